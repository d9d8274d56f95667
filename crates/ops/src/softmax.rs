//! Softmax and its logarithm over the last dimension, with backward passes (candle's fused softmax has none).

use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;
use transplant_core::wants_gradient;

use crate::host::{Element, by_dtype, dtype, is_fast, own, read2, slice, zeros};

/// `x - ln(sum(exp(x)))` over the last dimension, of `x`'s shape.
///
/// # Errors
/// When the operation fails.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    apply(x, true)
}

/// `exp(x) / sum(exp(x))` over the last dimension, of `x`'s shape.
///
/// # Errors
/// When the operation fails.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    apply(x, false)
}

fn apply(x: &Tensor, log: bool) -> Result<Tensor> {
    if x.rank() == 0 || x.elem_count() == 0 {
        bail!("softmax: expected an input with values, got {:?}", x.dims())
    }
    if is_fast(x) { x.contiguous()?.apply_op1(Softmax { log }) } else { composed(x, log) }
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, log: bool) -> Result<Tensor> {
    // The maximum only keeps exp from overflowing; it cancels, and so does its gradient.
    let x = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?;
    let e = x.exp()?;
    let sum = e.sum_keepdim(D::Minus1)?;
    if log { x.broadcast_sub(&sum.log()?) } else { e.broadcast_div(&sum) }
}

/// The largest value of a row, and the logarithm of the sum of exponentials relative to it.
pub(crate) fn max_and_log_sum<T: Element>(row: &[T]) -> (T, T) {
    let max = row.iter().copied().fold(T::LOWEST, |m, v| if v > m { v } else { m });
    let sum: f64 = row.iter().map(|v| (*v - max).exp().to_f64()).sum();
    (max, T::from_f64(sum.ln()))
}

struct Softmax {
    log: bool,
}

/// Applies `f(output row, index of its first element)` to all rows of a new buffer.
pub(crate) fn map_rows<T: Element>(len: usize, row: usize, f: impl Fn(&mut [T], usize) + Sync) -> Vec<T> {
    let mut out = zeros(len);
    let rows = out.par_chunks_mut(row).enumerate().with_min_len((1 << 12) / row + 1);
    rows.for_each(|(i, out)| f(out, i * row));
    out
}

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = l.dims().last().copied().unwrap_or(1);
        by_dtype!(dtype(x), T => {
            let x = slice::<T>(x, l)?;
            let y = map_rows(x.len(), width, |y: &mut [T], from| {
                let x = &x[from..from + width];
                let (max, log_sum) = max_and_log_sum(x);
                y.iter_mut().zip(x).for_each(|(y, x)| {
                    let log = *x - max - log_sum;
                    *y = if self.log { log } else { log.exp() };
                });
            });
            Ok((own(y), l.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        if !wants_gradient(x) {
            return Ok(None);
        }
        let width = x.dim(D::Minus1)?;
        by_dtype!(g.dtype(), T => {
            let dx = read2::<T, _>(y, g, |y, g| map_rows(y.len(), width, |dx: &mut [T], from| {
                let (y, g) = (&y[from..from + width], &g[from..from + width]);
                let pairs = y.iter().zip(g);
                if self.log {
                    let sum: T = g.iter().sum();
                    dx.iter_mut().zip(pairs).for_each(|(d, (y, g))| *d = g - y.exp() * sum);
                } else {
                    let sum: T = pairs.clone().map(|(y, g)| y * g).sum();
                    dx.iter_mut().zip(pairs).for_each(|(d, (y, g))| *d = y * (g - sum));
                }
            }))?;
            Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, values};
    use candle_core::Device;

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        for shape in [&[5, 3][..], &[7], &[2, 3, 4], &[3, 1]] {
            let x = [(random(1, shape) * 3.0).unwrap()];
            for log in [true, false] {
                gradcheck(|t| apply(&t[0], log), &x);
                gradcheck(|t| composed(&t[0], log), &x);
                assert!(max_difference(&apply(&x[0], log).unwrap(), &composed(&x[0], log).unwrap()) < 1e-14);
            }
        }
        gradcheck(|t| log_softmax(&t[0].t()?), &[random(1, &[3, 5])]);
        same_bits_on_any_pool(|t| log_softmax(&t[0]), &[random(1, &[3000, 5])]);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let x = Tensor::new(&[1e4f64, 0.0, -1e4], &Device::Cpu).unwrap();
        assert_eq!(values(&log_softmax(&x).unwrap()), [0.0, -1e4, -2e4]);
        assert_eq!(values(&softmax(&x).unwrap()), [1.0, 0.0, 0.0]);
    }
}
