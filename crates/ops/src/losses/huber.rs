//! Huber's loss: squares of small differences, absolute values of large ones, so that outliers pull with bounded force.
//!
//! Huber 1964, *Robust Estimation of a Location Parameter*; numbers as PyTorch's `huber_loss`.

use candle_core::{Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::Element;

use super::{each_row, row_means, rows_of};
use crate::host::{by_dtype, is_fast, own, read2, read3, tensor};
use crate::softmax::map_rows;

/// The mean over each row of `d^2 / 2` where `|d| <= delta`, else `delta (|d| - delta / 2)`, with `d = x - targets`:
/// `[rows]` from two tensors `[rows, ..]`, both of which get gradients.
///
/// # Errors
/// When shapes do not fit or `delta` is not above zero.
pub fn huber(x: &Tensor, targets: &Tensor, delta: f64) -> Result<Tensor> {
    let (rows, width) = rows_of("huber", x, targets)?;
    if !(delta > 0.0 && delta.is_finite()) {
        bail!("huber: delta must be above zero, got {delta}")
    }
    if !is_fast(x) {
        return composed(x, targets, width, delta);
    }
    let op = Huber { width, delta };
    let losses = by_dtype!(x.dtype(), T => own(read2::<T, _>(x, targets, |x, t| each_row(
        x, t, width, #[inline(always)] |_, x, t| op.row(x, t),
    ))?));
    record(op, &[x, targets], losses, rows, Memory::Plain)
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, targets: &Tensor, width: usize, delta: f64) -> Result<Tensor> {
    let d = (x - targets)?.abs()?;
    let capped = d.minimum(delta)?;
    row_means(&((&capped * &d)? - (capped.sqr()? / 2.0)?)?, width)
}

struct Huber {
    width: usize,
    delta: f64,
}

impl Huber {
    #[inline(always)]
    fn row<T: Element>(&self, x: &[T], t: &[T]) -> f64 {
        let mut sum = 0.0;
        for (x, t) in x.iter().zip(t) {
            let d = (x.to_f64() - t.to_f64()).abs();
            sum += if d <= self.delta { d * d / 2.0 } else { self.delta * (d - self.delta / 2.0) };
        }
        sum / x.len() as f64
    }
}

impl Differentiable for Huber {
    fn name(&self) -> &'static str {
        "huber"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (x, t, g, width) = (link.input(0)?, link.input(1)?, link.grad, self.width);
        by_dtype!(g.dtype(), T => {
            let (delta, share) = (self.delta as T, 1.0 / width as T);
            let dx = read3::<T, _>(x, t, g, |x, t, g| {
                map_rows(x.len(), width, #[inline(always)] |dx: &mut [T], from| {
                    let g = g[from / width] * share;
                    let pairs = x[from..from + width].iter().zip(&t[from..from + width]);
                    dx.iter_mut().zip(pairs).for_each(|(dx, (x, t))| *dx = g * (x - t).clamp(-delta, delta));
                })
            })?;
            let dx = tensor(dx, x.shape(), Memory::Plain)?;
            let dt = link.when_wanted(1, || dx.neg())?;
            Ok(vec![Some(dx), dt])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, single};

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        for shape in [&[3, 4][..], &[2, 3, 2], &[5]] {
            let t = [(random(1, shape) * 3.0).unwrap(), random(2, shape)];
            let width = shape[1..].iter().product();
            for delta in [0.3, 1.0] {
                gradcheck(|t| huber(&t[0], &t[1], delta), &t);
                gradcheck(|t| composed(&t[0], &t[1], width, delta), &t);
                let (a, b) = (huber(&t[0], &t[1], delta).unwrap(), composed(&t[0], &t[1], width, delta).unwrap());
                assert!(max_difference(&a, &b) < 1e-14);
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_threads_and_what_does_not_fit_is_refused() {
        let t = [random(1, &[900, 31]), random(2, &[900, 31])].map(|t| single(&t));
        same_bits_on_any_pool(|t| huber(&t[0], &t[1], 0.5), &t);
        assert!(huber(&t[0], &random(1, &[2]), 1.0).is_err() && huber(&t[0], &t[1], 0.0).is_err());
    }
}
