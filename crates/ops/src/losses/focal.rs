//! Focal loss: cross entropy in which examples that are already classified well count less.
//!
//! Lin et al. 2017, *Focal Loss for Dense Object Detection*, for any number of classes; with `gamma = 0` it is cross
//! entropy.

use candle_core::{D, Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::Element;

use super::{each_row, labels_of};
use crate::host::{by_dtype, is_fast, own, read, read2, tensor};
use crate::softmax::{log_softmax, map_rows, max_and_log_sum};

/// `-w[y] (1 - p)^gamma ln p` of each row, with `p` the softmax of the row's `logits [rows, classes]` at its label `y`:
/// `[rows]`. `labels [rows]` are of an integer type, `weights [classes]`; both get no gradient.
///
/// # Errors
/// When shapes do not fit, `gamma` is negative or a label is not below the number of classes; the error names the row.
pub fn focal(logits: &Tensor, labels: &Tensor, gamma: f64, weights: Option<&Tensor>) -> Result<Tensor> {
    if !(gamma >= 0.0 && gamma.is_finite()) {
        bail!("focal: gamma must not be negative, got {gamma}")
    }
    let (labels, weights) = labels_of("focal", logits, labels, weights, None)?;
    let (rows, classes) = (labels.len(), weights.len());
    let op = Focal { labels, gamma, weights };
    if !is_fast(logits) {
        return op.composed(logits);
    }
    let losses = by_dtype!(logits.dtype(), T => own(read::<T, _>(logits, |x| each_row(
        x, x, classes, #[inline(always)] |row, x, _| op.loss_and_slope(row, x).0,
    ))?));
    record(op, &[logits], losses, rows, Memory::Plain)
}

struct Focal {
    labels: Vec<u32>,
    gamma: f64,
    weights: Vec<f64>,
}

impl Focal {
    /// The loss of a row, and its derivative by `ln p`.
    #[inline(always)]
    fn loss_and_slope<T: Element>(&self, row: usize, x: &[T]) -> (f64, f64) {
        let (label, (max, log_sum)) = (self.labels[row] as usize, max_and_log_sum(x));
        let log_p = (x[label] - max - log_sum).to_f64();
        // 1 - p, also where p rounds to one.
        let (rest, weight) = (-log_p.exp_m1(), self.weights[label]);
        let factor = rest.powf(self.gamma);
        // In the limit of certainty the change of the factor counts nothing.
        let change = if rest <= 0.0 { 0.0 } else { self.gamma * factor / rest * log_p.exp() * log_p };
        (-weight * factor * log_p, weight * (change - factor))
    }

    /// The same from candle's operations, for devices other than the CPU.
    fn composed(&self, logits: &Tensor) -> Result<Tensor> {
        let (rows, classes) = logits.dims2()?;
        let of = |value: &dyn Fn(usize) -> f64| {
            let hit = |row: usize, c: usize| if self.labels[row] as usize == c { value(c) } else { 0.0 };
            let all = (0..rows).flat_map(|r| (0..classes).map(move |c| (r, c))).map(|(r, c)| hit(r, c)).collect();
            Tensor::from_vec(all, (rows, classes), logits.device())?.to_dtype(logits.dtype())
        };
        let log_p = (log_softmax(logits)? * of(&|_| 1.0)?)?.sum(D::Minus1)?;
        let weights = of(&|c| -self.weights[c])?.sum(D::Minus1)?;
        let weighted = (&log_p * weights)?;
        if self.gamma == 0.0 {
            return Ok(weighted);
        }
        // Bounded below, where the derivative of a power below one has no limit.
        weighted * log_p.exp()?.affine(-1.0, 1.0)?.maximum(1e-7)?.powf(self.gamma)?
    }
}

impl Differentiable for Focal {
    fn name(&self) -> &'static str {
        "focal"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (x, g, classes) = (link.input(0)?, link.grad, self.weights.len());
        by_dtype!(g.dtype(), T => {
            let dx = read2::<T, _>(x, g, |x, g| {
                map_rows(x.len(), classes, #[inline(always)] |dx: &mut [T], from| {
                    let (x, row) = (&x[from..from + classes], from / classes);
                    let (max, log_sum) = max_and_log_sum(x);
                    let g = g[row] * self.loss_and_slope(row, x).1 as T;
                    dx.iter_mut().zip(x).for_each(|(dx, x)| *dx = -g * Element::exp(*x - max - log_sum));
                    dx[self.labels[row] as usize] += g;
                })
            })?;
            Ok(vec![Some(tensor(dx, x.shape(), Memory::Plain)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cross_entropy_rows;
    use crate::testing::{gradcheck, gradients, max_difference, random, same_bits_on_any_pool, single, values};
    use candle_core::Device;

    fn labels(l: &[u32]) -> Tensor {
        Tensor::new(l, &Device::Cpu).unwrap()
    }

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        let (x, l) = ([(random(1, &[4, 3]) * 3.0).unwrap()], [2, 0, 1, 1]);
        let w = (random(2, &[3]) + 1.5).unwrap();
        for gamma in [0.0, 0.5, 2.0] {
            let op = Focal { labels: l.to_vec(), gamma, weights: values(&w) };
            gradcheck(|x| focal(&x[0], &labels(&l), gamma, Some(&w)), &x);
            gradcheck(|x| op.composed(&x[0]), &x);
            let (a, b) = (focal(&x[0], &labels(&l), gamma, Some(&w)).unwrap(), op.composed(&x[0]).unwrap());
            assert!(max_difference(&a, &b) < 1e-13);
        }
        let plain = cross_entropy_rows(&x[0], &labels(&l), 0.0, None, None).unwrap();
        assert!(max_difference(&focal(&x[0], &labels(&l), 0.0, None).unwrap(), &plain) < 1e-14);
        let many = labels(&(0..5000).map(|i| i % 3).collect::<Vec<_>>());
        same_bits_on_any_pool(|x| focal(&x[0], &many, 2.0, None), &[single(&random(3, &[5000, 3]))]);
    }

    #[test]
    fn certainty_is_finite_and_a_label_out_of_range_is_named() {
        let x = [Tensor::new(&[[1e3f64, 0.0]], &Device::Cpu).unwrap()];
        for gamma in [0.0, 0.5, 1.0] {
            let f = |x: &[Tensor]| focal(&x[0], &labels(&[0]), gamma, None);
            assert!(values(&f(&x).unwrap())[0] == 0.0 && values(&gradients(f, &x)[0]).iter().all(|g| g.is_finite()));
        }
        let e = focal(&random(1, &[2, 3]), &labels(&[1, 3]), 2.0, None).unwrap_err().to_string();
        assert!(e.contains("row 1") && e.contains("label 3"), "{e}");
        assert!(focal(&random(1, &[2, 3]), &labels(&[1]), 2.0, None).is_err());
        assert!(focal(&random(1, &[1, 3]), &labels(&[1]), -1.0, None).is_err());
    }
}
