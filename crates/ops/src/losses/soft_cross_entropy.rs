//! Cross entropy against probabilities: mixed labels, averaged predictions, a teacher's outputs.
//!
//! Hinton, Vinyals & Dean 2015, *Distilling the Knowledge in a Neural Network*; numbers as PyTorch's `cross_entropy`
//! with class probabilities and `reduction="none"`.

use candle_core::{D, Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::Element;

use super::{each_row, rows_of};
use crate::host::{by_dtype, is_fast, own, read2, read3, tensor};
use crate::softmax::{log_softmax, map_rows, max_and_log_sum};

/// `-sum(targets * ln softmax(logits))` of each row: `[rows]` from `logits` and `targets [rows, classes]`. Targets get
/// no gradient.
///
/// # Errors
/// When shapes do not fit.
pub fn soft_cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    against("soft_cross_entropy", logits, targets, false)
}

/// The cross entropy, or with `relative` what it exceeds the targets' own entropy by.
pub(super) fn against(name: &'static str, logits: &Tensor, targets: &Tensor, relative: bool) -> Result<Tensor> {
    let (rows, classes) = rows_of(name, logits, targets)?;
    if logits.rank() != 2 {
        bail!("{name}: expected logits [rows, classes], got {:?}", logits.dims())
    }
    let targets = targets.detach().to_dtype(logits.dtype())?;
    if !is_fast(logits) {
        return composed(logits, &targets, relative);
    }
    let losses = by_dtype!(logits.dtype(), T => own(read2::<T, _>(logits, &targets, |x, t| each_row(
        x, t, classes, #[inline(always)] |_, x, t| row(x, t, relative),
    ))?));
    record(Soft { name, classes }, &[logits, &targets], losses, rows, Memory::Plain)
}

#[inline(always)]
fn row<T: Element>(x: &[T], t: &[T], relative: bool) -> f64 {
    let (max, log_sum) = max_and_log_sum(x);
    let mut sum = 0.0;
    for (x, t) in x.iter().zip(t) {
        let (log_p, t) = ((*x - max - log_sum).to_f64(), t.to_f64());
        let log_t = if relative { t.ln() } else { 0.0 };
        // The limit of `t ln t` at zero is zero, and a class without weight may have any logit.
        sum += if t == 0.0 { 0.0 } else { t * (log_t - log_p) };
    }
    sum
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(logits: &Tensor, targets: &Tensor, relative: bool) -> Result<Tensor> {
    let cross = (log_softmax(logits)? * targets)?.sum(D::Minus1)?.neg()?;
    if !relative {
        return Ok(cross);
    }
    // Where a target is zero, so is the product with the logarithm of one.
    let zero = targets.eq(&targets.zeros_like()?)?.to_dtype(targets.dtype())?;
    cross + (targets * (targets + zero)?.log()?)?.sum(D::Minus1)?
}

struct Soft {
    name: &'static str,
    classes: usize,
}

impl Differentiable for Soft {
    fn name(&self) -> &'static str {
        self.name
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (x, t, g, classes) = (link.input(0)?, link.input(1)?, link.grad, self.classes);
        by_dtype!(g.dtype(), T => {
            let dx = read3::<T, _>(x, t, g, |x, t, g| {
                map_rows(x.len(), classes, #[inline(always)] |dx: &mut [T], from| {
                    let (x, t, g) = (&x[from..from + classes], &t[from..from + classes], g[from / classes]);
                    let ((max, log_sum), total) = (max_and_log_sum(x), t.iter().sum::<T>());
                    for i in 0..classes {
                        dx[i] = g * (total * Element::exp(x[i] - max - log_sum) - t[i]);
                    }
                })
            })?;
            Ok(vec![Some(tensor(dx, x.shape(), Memory::Plain)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::softmax;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, single};

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        let x = [(random(1, &[4, 5]) * 3.0).unwrap()];
        // Also targets that do not add up to one.
        for t in [softmax(&random(2, &[4, 5])).unwrap(), random(3, &[4, 5]).abs().unwrap()] {
            gradcheck(|x| soft_cross_entropy(&x[0], &t), &x);
            gradcheck(|x| composed(&x[0], &t, false), &x);
            let (a, b) = (soft_cross_entropy(&x[0], &t).unwrap(), composed(&x[0], &t, false).unwrap());
            assert!(max_difference(&a, &b) < 1e-14);
        }
        let t = softmax(&single(&random(2, &[900, 31]))).unwrap();
        same_bits_on_any_pool(|x| soft_cross_entropy(&x[0], &t), &[single(&random(1, &[900, 31]))]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let x = random(1, &[2, 3]);
        assert!(soft_cross_entropy(&x, &random(1, &[2, 4])).is_err());
        assert!(soft_cross_entropy(&random(1, &[2, 3, 4]), &random(1, &[2, 3, 4])).is_err());
    }
}
