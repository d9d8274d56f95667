//! Max pooling. The gradient goes to the first maximum of a window, in reading order, as in PyTorch.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use transplant_core::wants_gradient;

use super::window::{Dims, Pool2d};
use crate::host::{Element, by_dtype, dtype, is_fast, own, read, slice, vectorised, zeros};

/// The largest value of each window of `x [n, c, h, w]`: `[n, c, oh, ow]` with `oh = (h + 2 padding - kernel) / stride + 1`.
/// Windows may overlap; padding never wins.
///
/// # Errors
/// When the windows do not suit the input.
pub fn max_pool2d(x: &Tensor, pool: Pool2d) -> Result<Tensor> {
    let dims = Dims::new(x, pool)?;
    if is_fast(x) { x.contiguous()?.apply_op1(MaxPool { dims, winners: Arc::default() }) } else { composed(x, &dims) }
}

/// The same from candle's operations, for devices other than the CPU: the taps of the windows compete one after another.
fn composed(x: &Tensor, d: &Dims) -> Result<Tensor> {
    let mut best: Option<Tensor> = None;
    for ky in 0..d.y.kernel {
        let rows = x.index_select(&Tensor::new(d.y.nearest(ky), x.device())?, 2)?;
        for kx in 0..d.x.kernel {
            let tap = rows.index_select(&Tensor::new(d.x.nearest(kx), x.device())?, 3)?;
            best = Some(match best {
                None => tap,
                Some(best) => tap.gt(&best)?.where_cond(&tap, &best)?,
            });
        }
    }
    best.map_or_else(|| bail!("max_pool2d: empty kernel"), Ok)
}

struct MaxPool {
    dims: Dims,
    /// Where in its plane each output came from.
    winners: Arc<OnceLock<Vec<u32>>>,
}

/// Whether a later value wins over an earlier one: when it is larger, or NaN, as in PyTorch.
#[inline(always)]
fn beats<T: Element>(later: T, best: T) -> bool {
    (later > best) | later.partial_cmp(&later).is_none()
}

/// Outputs and winners of one plane.
#[inline(always)]
fn plane<T: Element>(d: &Dims, x: &[T], y: &mut [T], winners: &mut [u32]) {
    for (oy, (y, winners)) in y.chunks_exact_mut(d.x.out).zip(winners.chunks_exact_mut(d.x.out)).enumerate() {
        let rows = d.y.window(oy);
        if d.y.is_tiled(2) && d.x.is_tiled(2) {
            pairs(&x[rows.start * d.x.len..][..2 * d.x.len], rows.start * d.x.len, d.x.len, y, winners);
            continue;
        }
        for (ox, (y, winner)) in y.iter_mut().zip(winners).enumerate() {
            let columns = d.x.window(ox);
            let (mut best, mut at) = (T::LOWEST, rows.start * d.x.len + columns.start);
            for row in rows.clone() {
                let from = row * d.x.len;
                for (i, &v) in x[from + columns.start..from + columns.end].iter().enumerate() {
                    if beats(v, best) {
                        (best, at) = (v, from + columns.start + i);
                    }
                }
            }
            (*y, *winner) = (best, at as u32);
        }
    }
}

/// Windows of 2 × 2 side by side in two rows, whose first element is number `from` of the plane.
#[inline(always)]
fn pairs<T: Element>(rows: &[T], from: usize, width: usize, y: &mut [T], winners: &mut [u32]) {
    let (upper, lower) = rows.split_at(width);
    let windows = upper.chunks_exact(2).zip(lower.chunks_exact(2));
    for (i, ((y, winner), (u, l))) in y.iter_mut().zip(winners).zip(windows).enumerate() {
        let later = |best: (T, usize), v: T, at: usize| if beats(v, best.0) { (v, at) } else { best };
        let best = later((u[0], 0), u[1], 1);
        let best = later(best, l[0], width);
        let best = later(best, l[1], width + 1);
        (*y, *winner) = (best.0, (from + 2 * i + best.1) as u32);
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let d = &self.dims;
        if d.plane() > u32::MAX as usize {
            bail!("max_pool2d: planes of {} x {} are too large", d.y.len, d.x.len)
        }
        by_dtype!(dtype(x), T => {
            let (mut y, mut winners) = (zeros::<T>(d.n * d.c * d.out()), vec![0; d.n * d.c * d.out()]);
            let outputs = y.par_chunks_mut(d.out()).zip(winners.par_chunks_mut(d.out()));
            let planes = outputs.zip(slice::<T>(x, l)?.par_chunks(d.plane())).with_min_len(8);
            planes.for_each(|((y, winners), x)| vectorised(#[inline(always)] || plane(d, x, y, winners)));
            let _ = self.winners.set(winners);
            Ok((own(y), d.shape().into()))
        })
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        if !wants_gradient(x) {
            return Ok(None);
        }
        let Some(winners) = self.winners.get() else { bail!("max_pool2d: the forward pass left no winners") };
        let d = &self.dims;
        by_dtype!(g.dtype(), T => {
            let mut dx = zeros::<T>(x.elem_count());
            read::<T, _>(g, |g| {
                let outputs = g.par_chunks(d.out()).zip(winners.par_chunks(d.out()));
                dx.par_chunks_mut(d.plane()).zip(outputs).with_min_len(8).for_each(|(dx, (g, winners))| {
                    g.iter().zip(winners).for_each(|(g, at)| dx[*at as usize] += *g);
                });
            })?;
            Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, gradients, max_difference, random, same_bits_on_any_pool, values};
    use candle_core::Device;

    fn by_candle(x: &Tensor, pool: Pool2d) -> Result<Tensor> {
        composed(x, &Dims::new(x, pool)?)
    }

    #[test]
    fn gradients_are_right_for_all_windows_and_the_composed_form_agrees() {
        let odd = Pool2d { kernel: (3, 2), stride: (1, 3), padding: (1, 0) };
        for (shape, pool) in [
            ([2, 3, 6, 4], Pool2d::square(2)),
            ([1, 2, 7, 5], Pool2d::square(2)),
            ([2, 1, 7, 8], Pool2d::new(3, 2, 1)),
            ([1, 1, 5, 5], Pool2d::new(3, 1, 0)),
            ([1, 2, 5, 6], odd),
            ([1, 1, 4, 4], Pool2d::square(4)),
        ] {
            let x = [random(1, &shape)];
            gradcheck(|t| max_pool2d(&t[0], pool), &x);
            gradcheck(|t| by_candle(&t[0], pool), &x);
            let (a, b) = (max_pool2d(&x[0], pool).unwrap(), by_candle(&x[0], pool).unwrap());
            assert_eq!(max_difference(&a, &b), 0.0);
        }
        gradcheck(|t| max_pool2d(&t[0].transpose(2, 3)?, Pool2d::square(2)), &[random(2, &[1, 2, 4, 6])]);
        same_bits_on_any_pool(|t| max_pool2d(&t[0], Pool2d::new(3, 2, 1)), &[random(3, &[9, 7, 9, 11])]);
    }

    #[test]
    fn ties_go_to_the_first_and_nan_wins() {
        for pool in [Pool2d::square(2), Pool2d { stride: (1, 1), ..Pool2d::square(2) }] {
            let x = Tensor::new(&[[[[1f64, 3.0], [3.0, 3.0]]]], &Device::Cpu).unwrap();
            for f in [max_pool2d, by_candle] {
                let g = values(&gradients(|t| f(&t[0], pool), std::slice::from_ref(&x))[0]);
                assert!(g[1] != 0.0 && [g[0], g[2], g[3]] == [0.0; 3], "{g:?}");
            }
            let x = Tensor::new(&[[[[1f64, f64::NAN], [3.0, 3.0]]]], &Device::Cpu).unwrap();
            assert!(values(&max_pool2d(&x, pool).unwrap())[0].is_nan());
        }
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        let x = random(1, &[1, 1, 2, 3]);
        for pool in [Pool2d::square(3), Pool2d::square(0), Pool2d::new(2, 0, 0), Pool2d::new(2, 2, 2)] {
            assert!(max_pool2d(&x, pool).unwrap_err().to_string().contains("pooling"));
        }
    }
}
