//! Average pooling, over windows and over whole planes.

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use transplant_core::wants_gradient;

use super::window::{Dims, Pool2d};
use crate::host::{by_dtype, dtype, is_fast, own, read, slice, zeros};
use crate::reduce;

/// The mean of each window of `x [n, c, h, w]`: `[n, c, oh, ow]` with `oh = (h + 2 padding - kernel) / stride + 1`. Padding
/// counts as zeros (PyTorch's `count_include_pad`).
///
/// # Errors
/// When the windows do not suit the input.
pub fn avg_pool2d(x: &Tensor, pool: Pool2d) -> Result<Tensor> {
    let dims = Dims::new(x, pool)?;
    if is_fast(x) { x.contiguous()?.apply_op1(AvgPool(dims)) } else { composed(x, pool, &dims) }
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, p: Pool2d, d: &Dims) -> Result<Tensor> {
    let x = x.pad_with_zeros(2, p.padding.0, p.padding.0)?.pad_with_zeros(3, p.padding.1, p.padding.1)?;
    let at = |k: usize, stride: usize, out: usize| {
        Tensor::new((0..out).map(|i| (i * stride + k) as u32).collect::<Vec<_>>(), x.device())
    };
    let mut sum: Option<Tensor> = None;
    for ky in 0..p.kernel.0 {
        let rows = x.index_select(&at(ky, p.stride.0, d.y.out)?, 2)?;
        for kx in 0..p.kernel.1 {
            let tap = rows.index_select(&at(kx, p.stride.1, d.x.out)?, 3)?;
            sum = Some(match sum {
                None => tap,
                Some(sum) => (sum + tap)?,
            });
        }
    }
    let Some(sum) = sum else { bail!("avg_pool2d: empty kernel") };
    sum / (p.kernel.0 * p.kernel.1) as f64
}

struct AvgPool(Dims);

impl AvgPool {
    fn share(&self) -> f64 {
        1.0 / (self.0.y.kernel * self.0.x.kernel) as f64
    }
}

/// The rows of a window's inputs in their plane.
fn window(d: &Dims, i: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let (rows, columns, width) = (d.y.window(i / d.x.out), d.x.window(i % d.x.out), d.x.len);
    rows.map(move |r| r * width + columns.start..r * width + columns.end)
}

impl CustomOp1 for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (d, share) = (&self.0, self.share());
        by_dtype!(dtype(x), T => {
            let mut y = zeros::<T>(d.n * d.c * d.out());
            let planes = y.par_chunks_mut(d.out()).zip(slice::<T>(x, l)?.par_chunks(d.plane())).with_min_len(8);
            planes.for_each(|(y, x)| {
                for (i, y) in y.iter_mut().enumerate() {
                    *y = window(d, i).flat_map(|row| &x[row]).sum::<T>() * share as T;
                }
            });
            Ok((own(y), d.shape().into()))
        })
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        if !wants_gradient(x) {
            return Ok(None);
        }
        let (d, share) = (&self.0, self.share());
        by_dtype!(g.dtype(), T => {
            let mut dx = zeros::<T>(x.elem_count());
            read::<T, _>(g, |g| {
                let planes = dx.par_chunks_mut(d.plane()).zip(g.par_chunks(d.out())).with_min_len(8);
                planes.for_each(|(dx, g)| {
                    for (i, g) in g.iter().enumerate() {
                        window(d, i).for_each(|row| dx[row].iter_mut().for_each(|v| *v += *g * share as T));
                    }
                });
            })?;
            Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
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
    let x = x.flatten_from(2)?.contiguous()?;
    if is_fast(&x) { x.apply_op1(PlaneMean) } else { x.mean(D::Minus1) }
}

struct PlaneMean;

impl CustomOp1 for PlaneMean {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, c, len) = l.shape().dims3()?;
        by_dtype!(dtype(x), T => {
            let mean = |plane: &[T]| (reduce::sum(plane) / len as f64) as T;
            Ok((own(slice::<T>(x, l)?.par_chunks(len).map(mean).collect()), (n, c).into()))
        })
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        if !wants_gradient(x) {
            return Ok(None);
        }
        let len = x.dim(2)?;
        by_dtype!(g.dtype(), T => {
            let spread = |g: &[T]| g.iter().flat_map(|v| std::iter::repeat_n(*v / len as T, len)).collect::<Vec<_>>();
            Tensor::from_vec(read::<T, _>(g, spread)?, x.shape(), x.device()).map(Some)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool};

    #[test]
    fn gradients_are_right_for_all_windows_and_the_composed_form_agrees() {
        let odd = Pool2d { kernel: (3, 2), stride: (1, 3), padding: (1, 1) };
        for (shape, pool) in [
            ([2, 3, 6, 4], Pool2d::square(2)),
            ([1, 2, 7, 5], Pool2d::square(2)),
            ([2, 1, 7, 8], Pool2d::new(3, 2, 1)),
            ([1, 2, 5, 6], odd),
        ] {
            let x = [random(1, &shape)];
            let by_candle = |x: &Tensor| composed(x, pool, &Dims::new(x, pool)?);
            gradcheck(|t| avg_pool2d(&t[0], pool), &x);
            gradcheck(|t| by_candle(&t[0]), &x);
            assert!(max_difference(&avg_pool2d(&x[0], pool).unwrap(), &by_candle(&x[0]).unwrap()) < 1e-14);
        }
        same_bits_on_any_pool(|t| avg_pool2d(&t[0], odd), &[random(3, &[9, 7, 9, 11])]);
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
