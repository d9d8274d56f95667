//! Images in another size, by the nearest pixel or by linear interpolation in both directions.
//!
//! The positions are those of PyTorch's `interpolate`; the gradient of a pixel is summed over the outputs that read it,
//! in their order.

use candle_core::{Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::{Element, zeros};
use transplant_kernels::parallel;

use crate::host::{by_dtype, is_fast, own, raw, read, tensor};

/// `x [n, c, h, w]` as `[n, c, oh, ow]`: output `i` of a direction is input `floor(i * (inputs / outputs))`, reckoned in single
/// precision as PyTorch does, which for a few sizes is one less than the exact quotient.
///
/// # Errors
/// When there are no pixels.
pub fn resize_nearest(x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
    resize(x, size, |i, inputs, outputs| f64::from((i as f32 * (inputs as f32 / outputs as f32)).floor()))
}

/// `x [n, c, h, w]` as `[n, c, oh, ow]`, between the nearest two pixels of each direction. Output `i` stands at input
/// `(i + 0.5) * inputs / outputs - 0.5`; with `align_corners` at `i * (inputs - 1) / (outputs - 1)`, so that corners
/// stay.
///
/// # Errors
/// When there are no pixels.
pub fn resize_bilinear(x: &Tensor, size: (usize, usize), align_corners: bool) -> Result<Tensor> {
    resize(x, size, |i, inputs, outputs| {
        if align_corners {
            i as f64 * (inputs - 1) as f64 / (outputs - 1).max(1) as f64
        } else {
            ((i as f64 + 0.5) * inputs as f64 / outputs as f64 - 0.5).max(0.0)
        }
    })
}

/// `place(output, inputs, outputs)` says where an output stands among the inputs of a direction.
fn resize(x: &Tensor, (oh, ow): (usize, usize), place: impl Fn(usize, usize, usize) -> f64) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    if [c, h, w, oh, ow].contains(&0) {
        bail!("resize: {:?} to {oh} x {ow} pixels", x.dims())
    }
    if (h, w) == (oh, ow) {
        return Ok(x.clone());
    }
    let op = Resize { n, c, y: Axis::new(h, oh, &place), x: Axis::new(w, ow, &place) };
    if !is_fast(x) {
        return op.composed(x);
    }
    let y =
        by_dtype!(x.dtype(), T => own(read::<T, _>(&raw(x)?, |x| combine(x, c, &op.y.inputs, &op.x.inputs, (h, w)))?));
    record(op, &[x], y, (n, c, oh, ow), Memory::ChannelsLast)
}

/// Of each result along a direction: what it is a sum of, as positions and weights.
type Taps = Vec<Vec<(usize, f64)>>;

/// One direction, seen from the outputs and from the inputs.
struct Axis {
    inputs: Taps,
    outputs: Taps,
}

impl Axis {
    fn new(inputs: usize, outputs: usize, place: impl Fn(usize, usize, usize) -> f64) -> Self {
        let of = |o: usize| {
            let at = place(o, inputs, outputs);
            let first = (at as usize).min(inputs - 1);
            let second = (first + 1).min(inputs - 1);
            let share = if second == first { 0.0 } else { at - first as f64 };
            // An input without weight is not read, so that it cannot make a NaN.
            [(first, 1.0 - share), (second, share)].into_iter().filter(|(_, w)| *w != 0.0).collect()
        };
        let taps: Taps = (0..outputs).map(of).collect();
        let mut readers: Taps = vec![Vec::new(); inputs];
        for (o, taps) in taps.iter().enumerate() {
            taps.iter().for_each(|(i, w)| readers[*i].push((o, *w)));
        }
        Self { inputs: taps, outputs: readers }
    }

    /// The weights as a matrix `[inputs, outputs]`.
    fn matrix(&self, like: &Tensor) -> Result<Tensor> {
        let (inputs, outputs) = (self.outputs.len(), self.inputs.len());
        let mut all = vec![0.0; inputs * outputs];
        for (o, taps) in self.inputs.iter().enumerate() {
            taps.iter().for_each(|(i, w)| all[i * outputs + o] = *w);
        }
        Tensor::from_vec(all, (inputs, outputs), like.device())?.to_dtype(like.dtype())
    }
}

/// Images `[n, .., .., c]` of `size` pixels as sums over the taps of both directions.
fn combine<T: Element>(x: &[T], c: usize, rows: &Taps, columns: &Taps, size: (usize, usize)) -> Vec<T> {
    let (image, line) = (size.0 * size.1 * c, columns.len() * c);
    let mut y = zeros::<T>(x.len() / image * rows.len() * line);
    parallel::chunks_mut(&mut y, line.max(1), &|i, y| {
        let x = &x[i / rows.len() * image..][..image];
        T::vectorised(
            #[inline(always)]
            || {
                for (y, across) in y.chunks_exact_mut(c).zip(columns) {
                    for (row, wy) in &rows[i % rows.len()] {
                        for (column, wx) in across {
                            let (from, weight) = ((row * size.1 + column) * c, T::from_f64(wy * wx));
                            y.iter_mut().zip(&x[from..from + c]).for_each(|(y, x)| *y += *x * weight);
                        }
                    }
                }
            },
        );
    });
    y
}

struct Resize {
    n: usize,
    c: usize,
    y: Axis,
    x: Axis,
}

impl Resize {
    /// The same from candle's operations, for devices other than the CPU: products with the weights of both directions.
    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let (h, w) = (self.y.outputs.len(), self.x.outputs.len());
        let (oh, ow) = (self.y.inputs.len(), self.x.inputs.len());
        let across = x.reshape(((), w))?.matmul(&self.x.matrix(x)?)?.reshape((self.n, self.c, h, ow))?;
        let turned = across.transpose(2, 3)?.contiguous()?.reshape(((), h))?.matmul(&self.y.matrix(x)?)?;
        turned.reshape((self.n, self.c, ow, oh))?.transpose(2, 3)?.contiguous()
    }
}

impl Differentiable for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (y, x) = (&self.y, &self.x);
        by_dtype!(link.grad.dtype(), T => {
            let size = (y.inputs.len(), x.inputs.len());
            let dx = read::<T, _>(&raw(link.grad)?, |g| combine(g, self.c, &y.outputs, &x.outputs, size))?;
            let shape = (self.n, self.c, y.outputs.len(), x.outputs.len());
            Ok(vec![Some(tensor(dx, shape, Memory::ChannelsLast)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, single, values};
    use candle_core::Device;

    const SIZES: [(usize, usize); 4] = [(7, 9), (2, 3), (1, 1), (8, 2)];

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        let x = [random(1, &[2, 3, 4, 5])];
        for size in SIZES {
            let axes = |place: fn(usize, usize, usize) -> f64| Resize {
                n: 2,
                c: 3,
                y: Axis::new(4, size.0, place),
                x: Axis::new(5, size.1, place),
            };
            let op = axes(|i, inputs, outputs| f64::from((i as f32 * (inputs as f32 / outputs as f32)).floor()));
            gradcheck(|t| resize_nearest(&t[0], size), &x);
            gradcheck(|t| op.composed(&t[0]), &x);
            assert_eq!(max_difference(&resize_nearest(&x[0], size).unwrap(), &op.composed(&x[0]).unwrap()), 0.0);
            let op = axes(|i, inputs, outputs| ((i as f64 + 0.5) * inputs as f64 / outputs as f64 - 0.5).max(0.0));
            gradcheck(|t| resize_bilinear(&t[0], size, false), &x);
            gradcheck(|t| resize_bilinear(&t[0], size, true), &x);
            let y = resize_bilinear(&x[0], size, false).unwrap();
            assert!(max_difference(&y, &op.composed(&x[0]).unwrap()) < 1e-14);
        }
        gradcheck(|t| resize_bilinear(&t[0].permute((0, 3, 1, 2))?, (5, 3), true), &[random(1, &[1, 2, 3, 2])]);
        same_bits_on_any_pool(|t| resize_bilinear(&t[0], (17, 23), false), &[single(&random(2, &[3, 5, 9, 11]))]);
    }

    #[test]
    fn corners_stay_when_aligned_and_an_empty_size_is_refused() {
        let x = Tensor::new(&[[[[1f64, 3.0]]]], &Device::Cpu).unwrap();
        assert_eq!(values(&resize_bilinear(&x, (1, 3), true).unwrap()), [1.0, 2.0, 3.0]);
        assert_eq!(values(&resize_bilinear(&x, (1, 4), false).unwrap()), [1.0, 1.5, 2.5, 3.0]);
        assert_eq!(values(&resize_nearest(&x, (1, 4)).unwrap()), [1.0, 1.0, 3.0, 3.0]);
        assert!(resize_nearest(&x, (0, 3)).is_err() && resize_nearest(&random(1, &[2, 3]), (2, 2)).is_err());
    }
}
