//! Softmax and its logarithm over the last dimension, with backward passes (candle's fused softmax has none).

use candle_core::{D, Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::Element;
use transplant_kernels::elementwise::fill;

use crate::host::{by_dtype, is_fast, own, read, read2, tensor};

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
    if !is_fast(x) {
        return composed(x, log);
    }
    let width = x.dim(D::Minus1)?;
    let y = by_dtype!(x.dtype(), T => {
        own(read::<T, _>(x, |x| map_rows(x.len(), width, |y: &mut [T], from| {
            let x = &x[from..from + width];
            let (max, log_sum) = max_and_log_sum(x);
            y.iter_mut().zip(x).for_each(|(y, x)| {
                let l = *x - max - log_sum;
                *y = if log { l } else { l.exp() };
            });
        }))?)
    });
    record(Softmax { log, width }, &[x], y, x.shape(), Memory::Plain)
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
#[inline(always)]
pub(crate) fn max_and_log_sum<T: Element>(row: &[T]) -> (T, T) {
    let max = transplant_kernels::reduce::max_of(row);
    let sum = transplant_kernels::reduce::sum_of(
        row,
        #[inline(always)]
        |v| (v - max).exp(),
    );
    (max, T::from_f64(sum.ln()))
}

/// Applies `f(output row, index of its first element)` to all rows of a new buffer of zeros.
pub(crate) fn map_rows<T: Element>(len: usize, row: usize, f: impl Fn(&mut [T], usize) + Sync) -> Vec<T> {
    let rows = ((1 << 12) / row.max(1)).max(1);
    fill(len, rows * row, |slots, from| {
        T::with_scratch(slots.len(), |scratch| {
            scratch.fill(T::default());
            T::vectorised(
                #[inline(always)]
                || {
                    for (i, out) in scratch.chunks_exact_mut(row).enumerate() {
                        f(out, from + i * row);
                    }
                },
            );
            slots.map(scratch, |v| v);
        });
    })
}

struct Softmax {
    log: bool,
    width: usize,
}

impl Differentiable for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn reads_output(&self) -> bool {
        true
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (y, g, width) = (link.output()?, link.grad, self.width);
        by_dtype!(g.dtype(), T => {
            let dx = read2::<T, _>(y, g, |y, g| map_rows(y.len(), width, |dx: &mut [T], from| {
                let (y, g) = (&y[from..from + width], &g[from..from + width]);
                let pairs = y.iter().zip(g);
                if self.log {
                    let sum: T = g.iter().sum();
                    dx.iter_mut().zip(pairs).for_each(|(d, (y, g))| *d = *g - Element::exp(*y) * sum);
                } else {
                    let sum: T = pairs.clone().map(|(y, g)| y * g).sum();
                    dx.iter_mut().zip(pairs).for_each(|(d, (y, g))| *d = y * (g - sum));
                }
            }))?;
            Ok(vec![Some(tensor(dx, g.shape(), Memory::Plain)?)])
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
