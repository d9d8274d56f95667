//! Average pooling, over windows, over a given number of windows, and over whole planes.

use candle_core::{D, Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::{Element, zeros};
use transplant_kernels::parallel;
use transplant_kernels::reduce::ColumnSums;

use super::window::{Axis, Dims, Pool2d};
use crate::host::{by_dtype, is_fast, own, raw, read, tensor};

/// The mean of each window of `x [n, c, h, w]`: `[n, c, oh, ow]` with `oh = (h + 2 padding - kernel) / stride + 1`. Padding
/// counts as zeros when `count_padding` (PyTorch's `count_include_pad`), else not at all.
///
/// # Errors
/// When the windows do not suit the input.
pub fn avg_pool2d(x: &Tensor, pool: Pool2d, count_padding: bool) -> Result<Tensor> {
    let mut dims = Dims::new(x, pool)?;
    if !count_padding {
        for axis in [&mut dims.y, &mut dims.x] {
            axis.extents = axis.windows.iter().map(ExactSizeIterator::len).collect();
        }
    }
    means(x, dims)
}

/// The mean of each of `oh x ow` windows that together cover `x [n, c, h, w]`: `[n, c, oh, ow]`.
///
/// # Errors
/// When there is nothing to pool.
pub fn adaptive_avg_pool2d(x: &Tensor, (oh, ow): (usize, usize)) -> Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    means(x, Dims { n, c, y: Axis::adaptive(h, oh)?, x: Axis::adaptive(w, ow)? })
}

fn means(x: &Tensor, d: Dims) -> Result<Tensor> {
    if !is_fast(x) {
        return composed(x, &d);
    }
    let shape = d.shape();
    let y = by_dtype!(x.dtype(), T => own(read::<T, _>(&raw(x)?, |x| forward(&d, x))?));
    record(AvgPool(d), &[x], y, shape, Memory::ChannelsLast)
}

/// The same from candle's operations, for devices other than the CPU: a product with the weights of each window's inputs.
fn composed(x: &Tensor, d: &Dims) -> Result<Tensor> {
    let weights = |axis: &Axis| {
        let of = |i: usize, o: usize| {
            if axis.windows[o].contains(&i) { 1.0 / axis.extents[o] as f64 } else { 0.0 }
        };
        let all = (0..axis.len).flat_map(|i| (0..axis.out()).map(move |o| of(i, o))).collect::<Vec<_>>();
        Tensor::from_vec(all, (axis.len, axis.out()), x.device())?.to_dtype(x.dtype())
    };
    let across = x.reshape(((), d.x.len))?.matmul(&weights(&d.x)?)?.reshape((d.n, d.c, d.y.len, d.x.out()))?;
    let turned = across.transpose(2, 3)?.contiguous()?.reshape(((), d.y.len))?;
    turned.matmul(&weights(&d.y)?)?.reshape((d.n, d.c, d.x.out(), d.y.out()))?.transpose(2, 3)?.contiguous()
}

struct AvgPool(Dims);

fn share<T: Element>(d: &Dims, oy: usize, ox: usize) -> T {
    T::from_f64(1.0 / (d.y.extents[oy] * d.x.extents[ox]) as f64)
}

fn forward<T: Element>(d: &Dims, x: &[T]) -> Vec<T> {
    let mut y = zeros::<T>(d.n * d.out());
    parallel::chunks_mut(&mut y, (d.c * d.x.out()).max(1), &|i, y| {
        let (image, oy) = (&x[i / d.y.out() * d.image()..][..d.image()], i % d.y.out());
        T::vectorised(
            #[inline(always)]
            || {
                for (ox, y) in y.chunks_exact_mut(d.c).enumerate() {
                    for from in d.taps(oy, ox) {
                        y.iter_mut().zip(&image[from..from + d.c]).for_each(|(y, x)| *y += *x);
                    }
                    let share = share::<T>(d, oy, ox);
                    y.iter_mut().for_each(|y| *y *= share);
                }
            },
        );
    });
    y
}

impl Differentiable for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (d, g) = (&self.0, raw(link.grad)?);
        by_dtype!(g.dtype(), T => {
            let mut dx = zeros::<T>(d.n * d.image());
            read::<T, _>(&g, |g| {
                parallel::chunks_mut(&mut dx, d.image().max(1), &|i, dx| {
                    let g = &g[i * d.out()..(i + 1) * d.out()];
                    T::vectorised(#[inline(always)] || {
                        for (i, g) in g.chunks_exact(d.c).enumerate() {
                            let (oy, ox) = (i / d.x.out(), i % d.x.out());
                            let share = share::<T>(d, oy, ox);
                            for from in d.taps(oy, ox) {
                                dx[from..from + d.c].iter_mut().zip(g).for_each(|(dx, g)| *dx += *g * share);
                            }
                        }
                    });
                });
            })?;
            Ok(vec![Some(tensor(dx, d.input(), Memory::ChannelsLast)?)])
        })
    }
}

/// The mean of each plane: `[n, c, ..]` to `[n, c]`.
///
/// # Errors
/// When the input has no planes.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    if x.rank() < 3 || x.elem_count() == 0 {
        bail!("global_avg_pool: expected an input [n, c, ..] with values, got {:?}", x.dims())
    }
    if !is_fast(x) {
        return x.flatten_from(2)?.mean(D::Minus1);
    }
    let (n, c) = (x.dim(0)?, x.dim(1)?);
    let len = x.elem_count() / (n * c);
    let y = by_dtype!(x.dtype(), T => {
        own(read::<T, _>(&raw(x)?, |x| {
            parallel::map(n, &|i| T::column_sums(&x[i * len * c..(i + 1) * len * c], c)).concat()
        })?.into_iter().map(|s| s / len as T).collect::<Vec<T>>())
    });
    record(PlaneMean(x.shape().clone()), &[x], y, (n, c), Memory::Plain)
}

struct PlaneMean(candle_core::Shape);

impl Differentiable for PlaneMean {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let c = self.0.dims()[1];
        let len: usize = self.0.dims()[2..].iter().product();
        by_dtype!(link.grad.dtype(), T => {
            let spread = |g: &[T]| -> Vec<T> {
                let mut all = zeros::<T>(g.len() * len);
                parallel::chunks_mut(&mut all, len * c, &|i, image| {
                    let mean: Vec<T> = g[i * c..(i + 1) * c].iter().map(|g| *g / len as T).collect();
                    image.chunks_exact_mut(c).for_each(|pixel| pixel.copy_from_slice(&mean));
                });
                all
            };
            Ok(vec![Some(tensor(read::<T, _>(link.grad, spread)?, self.0.clone(), Memory::ChannelsLast)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool};

    #[test]
    fn gradients_are_right_for_all_windows_and_the_composed_form_agrees() {
        let odd = Pool2d { kernel: (3, 2), stride: (1, 3), padding: (1, 1), ceil: false };
        for (shape, pool) in [
            ([2, 3, 6, 4], Pool2d::square(2)),
            ([1, 2, 7, 5], Pool2d::square(2)),
            ([2, 1, 7, 8], Pool2d::new(3, 2, 1)),
            ([1, 2, 5, 6], odd),
        ] {
            let x = [random(1, &shape)];
            let by_candle = |x: &Tensor| composed(x, &Dims::new(x, pool)?);
            gradcheck(|t| avg_pool2d(&t[0], pool, true), &x);
            gradcheck(|t| by_candle(&t[0]), &x);
            assert!(max_difference(&avg_pool2d(&x[0], pool, true).unwrap(), &by_candle(&x[0]).unwrap()) < 1e-14);
        }
        same_bits_on_any_pool(|t| avg_pool2d(&t[0], odd, true), &[random(3, &[9, 7, 9, 11])]);
    }

    #[test]
    fn the_mean_of_planes_is_right() {
        let x = [random(1, &[3, 2, 5, 7])];
        gradcheck(|t| global_avg_pool(&t[0]), &x);
        gradcheck(|t| global_avg_pool(&t[0].permute((3, 2, 1, 0))?), &x);
        let want = x[0].flatten_from(2).and_then(|x| x.mean(2)).unwrap();
        assert!(max_difference(&global_avg_pool(&x[0]).unwrap(), &want) < 1e-14);
        assert!(global_avg_pool(&random(1, &[3, 2])).is_err());
        same_bits_on_any_pool(|t| global_avg_pool(&t[0]), &[random(3, &[9, 7, 9, 11])]);
    }
}
