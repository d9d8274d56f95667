//! Max pooling. The gradient goes to the first maximum of a window, in reading order, as in PyTorch.

use candle_core::{Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::{Element, zeros};
use transplant_kernels::parallel;

use super::window::{Dims, Pool2d};
use crate::host::{by_dtype, is_fast, own, raw, read, tensor};

/// The largest value of each window of `x [n, c, h, w]`: `[n, c, oh, ow]` with `oh = (h + 2 padding - kernel) / stride + 1`.
/// Windows may overlap; padding never wins.
///
/// # Errors
/// When the windows do not suit the input.
pub fn max_pool2d(x: &Tensor, pool: Pool2d) -> Result<Tensor> {
    let dims = Dims::new(x, pool)?;
    if !is_fast(x) {
        return composed(x, &dims);
    }
    if dims.y.longest() * dims.x.longest() > usize::from(u16::MAX) {
        bail!("max_pool2d: a window of {:?} is too large", pool.kernel)
    }
    let shape = dims.shape();
    let (y, winners) = by_dtype!(x.dtype(), T => {
        let (y, winners) = read::<T, _>(&raw(x)?, |x| forward(&dims, x))?;
        (own(y), winners)
    });
    record(MaxPool { dims, winners }, &[x], y, shape, Memory::ChannelsLast)
}

/// The same from candle's operations, for devices other than the CPU: the taps of the windows compete one after another.
fn composed(x: &Tensor, d: &Dims) -> Result<Tensor> {
    let mut best: Option<Tensor> = None;
    for ky in 0..d.y.longest() {
        let rows = x.index_select(&Tensor::new(d.y.nearest(ky), x.device())?, 2)?;
        for kx in 0..d.x.longest() {
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
    /// Which input of its window each output came from, in reading order.
    winners: Vec<u16>,
}

/// Outputs and winners.
fn forward<T: Element>(d: &Dims, x: &[T]) -> (Vec<T>, Vec<u16>) {
    let (mut y, mut winners) = (zeros::<T>(d.n * d.out()), vec![0; d.n * d.out()]);
    if y.is_empty() {
        return (y, winners);
    }
    let row = d.c * d.x.out();
    let mut rows: Vec<_> = y.chunks_mut(row).zip(winners.chunks_mut(row)).collect();
    parallel::chunks_mut(&mut rows, 1, &|i, rows| {
        let [(y, winners)] = rows else { return };
        let (image, oy) = (&x[i / d.y.out() * d.image()..][..d.image()], i % d.y.out());
        T::vectorised(
            #[inline(always)]
            || {
                let outputs = y.chunks_exact_mut(d.c).zip(winners.chunks_exact_mut(d.c));
                for (ox, (y, winners)) in outputs.enumerate() {
                    for (tap, from) in d.taps(oy, ox).enumerate() {
                        let x = &image[from..from + d.c];
                        if tap == 0 {
                            y.copy_from_slice(x);
                            continue;
                        }
                        for ((y, winner), x) in y.iter_mut().zip(winners.iter_mut()).zip(x) {
                            // NaN wins, as in PyTorch.
                            let beats = (*x > *y) | x.partial_cmp(x).is_none();
                            *y = if beats { *x } else { *y };
                            *winner = if beats { tap as u16 } else { *winner };
                        }
                    }
                }
            },
        );
    });
    (y, winners)
}

impl Differentiable for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (d, g) = (&self.dims, raw(link.grad)?);
        by_dtype!(g.dtype(), T => {
            let mut dx = zeros::<T>(d.n * d.image());
            read::<T, _>(&g, |g| {
                parallel::chunks_mut(&mut dx, d.image().max(1), &|i, dx| {
                    let outputs = i * d.out()..(i + 1) * d.out();
                    let (g, winners) = (&g[outputs.clone()], &self.winners[outputs]);
                    T::vectorised(#[inline(always)] || image_gradient(d, dx, g, winners));
                });
            })?;
            Ok(vec![Some(tensor(dx, d.input(), Memory::ChannelsLast)?)])
        })
    }
}

#[inline(always)]
fn image_gradient<T: Element>(d: &Dims, dx: &mut [T], g: &[T], winners: &[u16]) {
    for (i, (g, winners)) in g.chunks_exact(d.c).zip(winners.chunks_exact(d.c)).enumerate() {
        for (tap, from) in d.taps(i / d.x.out(), i % d.x.out()).enumerate() {
            let dx = &mut dx[from..from + d.c];
            for ((dx, g), winner) in dx.iter_mut().zip(g).zip(winners) {
                *dx += if usize::from(*winner) == tap { *g } else { T::default() };
            }
        }
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
        let odd = Pool2d { kernel: (3, 2), stride: (1, 3), padding: (1, 0), ceil: true };
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
