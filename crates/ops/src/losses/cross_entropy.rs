//! Cross entropy of each row, with label smoothing, class weights and labels to ignore.
//!
//! Smoothing after Szegedy et al. 2016; numbers and weights as PyTorch's `cross_entropy(reduction="none")`.

use candle_core::{D, Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::Element;

use super::labels_of;
use crate::host::{by_dtype, is_fast, own, read, read2, tensor};
use crate::softmax::{log_softmax, map_rows, max_and_log_sum};

/// The loss of each row, `[rows]`, unreduced: with `p = softmax(logits)`, smoothing `s`, weights `w` and label `y`,
/// `-(1 - s) w[y] ln p[y] - s / classes * sum over c of w[c] ln p[c]`. Rows whose label is `ignore` have loss and gradient 0.
///
/// `logits [rows, classes]`, `labels [rows]` of an integer type, `weights [classes]`; labels and weights get no gradient.
///
/// # Errors
/// When shapes do not fit or a label is not below the number of classes; the error names the row.
pub fn cross_entropy_rows(
    logits: &Tensor,
    labels: &Tensor,
    smoothing: f64,
    weights: Option<&Tensor>,
    ignore: Option<u32>,
) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&smoothing) {
        bail!("cross_entropy: smoothing must lie in 0..=1, got {smoothing}")
    }
    let (labels, weights) = labels_of("cross_entropy", logits, labels, weights, ignore)?;
    let rows = labels.len();
    let op = CrossEntropy { labels, ignore, smoothing, weights };
    if !is_fast(logits) {
        return op.composed(logits);
    }
    let losses = by_dtype!(logits.dtype(), T => own(read::<T, _>(logits, |x| op.losses(x))?));
    record(op, &[logits], losses, rows, Memory::Plain)
}

struct CrossEntropy {
    labels: Vec<u32>,
    ignore: Option<u32>,
    smoothing: f64,
    weights: Vec<f64>,
}

impl CrossEntropy {
    /// The label of a row that counts.
    fn label(&self, row: usize) -> Option<usize> {
        Some(self.labels[row]).filter(|l| Some(*l) != self.ignore).map(|l| l as usize)
    }

    /// The factor of `-ln p[class]` in the loss of a row.
    fn factor(&self, label: usize, class: usize) -> f64 {
        let hit = if label == class { 1.0 - self.smoothing } else { 0.0 };
        self.weights[class] * (hit + self.smoothing / self.weights.len() as f64)
    }

    /// The sum of the factors of a row.
    fn total(&self, label: usize) -> f64 {
        let even = self.weights.iter().sum::<f64>() / self.weights.len() as f64;
        self.weights[label] * (1.0 - self.smoothing) + self.smoothing * even
    }

    /// The same from candle's operations, for devices other than the CPU.
    fn composed(&self, logits: &Tensor) -> Result<Tensor> {
        let (rows, classes) = logits.dims2()?;
        let of_row = |r: usize| (0..classes).map(move |c| self.label(r).map_or(0.0, |l| -self.factor(l, c)));
        let factors = Tensor::from_vec((0..rows).flat_map(of_row).collect(), (rows, classes), logits.device())?;
        (log_softmax(logits)? * factors.to_dtype(logits.dtype())?)?.sum(D::Minus1)
    }

    fn losses<T: Element>(&self, x: &[T]) -> Vec<T> {
        let classes = self.weights.len();
        let loss = |(row, x): (usize, &[T])| {
            let Some(label) = self.label(row) else { return T::default() };
            let (max, log_sum) = max_and_log_sum(x);
            let log_p = |c: usize| x[c] - max - log_sum;
            let hit = T::from_f64(self.weights[label] * (1.0 - self.smoothing)) * log_p(label);
            let even = if self.smoothing == 0.0 {
                T::default()
            } else {
                let all = (0..classes).fold(T::default(), |s, c| s + T::from_f64(self.weights[c]) * log_p(c));
                all * T::from_f64(self.smoothing / classes as f64)
            };
            T::default() - (hit + even)
        };
        x.chunks_exact(classes).enumerate().map(loss).collect()
    }
}

impl Differentiable for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (x, g, classes) = (link.input(0)?, link.grad, self.weights.len());
        by_dtype!(g.dtype(), T => {
            let dx = read2::<T, _>(x, g, |x, g| map_rows(x.len(), classes, |dx: &mut [T], from| {
                let (x, row) = (&x[from..from + classes], from / classes);
                let Some(label) = self.label(row) else { return };
                let ((max, log_sum), total) = (max_and_log_sum(x), self.total(label) as T);
                for (c, (dx, x)) in dx.iter_mut().zip(x).enumerate() {
                    *dx = g[row] * (total * Element::exp(*x - max - log_sum) - self.factor(label, c) as T);
                }
            }))?;
            Ok(vec![Some(tensor(dx, x.shape(), Memory::Plain)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, gradients, max_difference, random, same_bits_on_any_pool, values};
    use candle_core::Device;

    fn labels(l: &[u32]) -> Tensor {
        Tensor::new(l, &Device::Cpu).unwrap()
    }

    #[test]
    fn gradients_are_right_with_all_options_and_the_composed_form_agrees() {
        let (x, l, w) = (random(1, &[4, 3]), [2, 0, 7, 1], (random(2, &[3]) + 1.5).unwrap());
        for smoothing in [0.0, 0.1, 1.0] {
            for weights in [None, Some(&w)] {
                let f = |t: &[Tensor]| cross_entropy_rows(&t[0], &labels(&l), smoothing, weights, Some(7));
                gradcheck(f, std::slice::from_ref(&x));
                let weights = weights.map_or(vec![1.0; 3], values);
                let op = CrossEntropy { labels: l.to_vec(), ignore: Some(7), smoothing, weights };
                gradcheck(|t| op.composed(&t[0]), std::slice::from_ref(&x));
                let (a, b) = (f(std::slice::from_ref(&x)).unwrap(), op.composed(&x).unwrap());
                assert!(max_difference(&a, &b) < 1e-14);
            }
        }
        let l = labels(&[1, 0]);
        gradcheck(|t| cross_entropy_rows(&t[0].t()?, &l, 0.1, None, None), &[random(1, &[5, 2])]);
        let many = labels(&(0..5000).map(|i| i % 3).collect::<Vec<_>>());
        same_bits_on_any_pool(|t| cross_entropy_rows(&t[0], &many, 0.1, None, None), &[random(3, &[5000, 3])]);
    }

    #[test]
    fn an_ignored_row_has_no_loss_and_no_gradient() {
        let x = random(1, &[2, 3]);
        let f = |t: &[Tensor]| cross_entropy_rows(&t[0], &labels(&[1, u32::MAX]), 0.2, None, Some(u32::MAX));
        assert_eq!(values(&f(std::slice::from_ref(&x)).unwrap())[1], 0.0);
        assert_eq!(values(&gradients(f, std::slice::from_ref(&x))[0])[3..], [0.0; 3]);
    }

    #[test]
    fn a_label_out_of_range_is_named_with_its_row() {
        let e = cross_entropy_rows(&random(1, &[2, 3]), &labels(&[1, 3]), 0.0, None, None).unwrap_err().to_string();
        assert!(e.contains("row 1") && e.contains("label 3"), "{e}");
        assert!(cross_entropy_rows(&random(1, &[2, 3]), &labels(&[1]), 0.0, None, None).is_err());
        assert!(cross_entropy_rows(&random(1, &[1, 3]), &labels(&[1]), 1.5, None, None).is_err());
    }
}
