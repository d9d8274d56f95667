//! The divergence of predicted from given probabilities: cross entropy less the part that no prediction can remove.
//!
//! Kullback & Leibler 1951, *On Information and Sufficiency*; numbers as PyTorch's `kl_div(log_softmax(logits),
//! targets)` summed over classes.

use candle_core::{Result, Tensor};

use super::soft_cross_entropy::against;

/// `KL(targets || softmax(logits))` of each row: `[rows]` from `logits` and probabilities `targets [rows, classes]`.
/// Targets may be zero and get no gradient.
///
/// # Errors
/// When shapes do not fit.
pub fn kl_div(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    against("kl_div", logits, targets, true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::softmax;
    use crate::testing::{gradcheck, random, same_bits_on_any_pool, single, values};
    use candle_core::Device;

    #[test]
    fn gradients_are_right_and_there_is_none_for_equal_distributions() {
        let (x, t) = ([random(1, &[4, 5])], softmax(&random(2, &[4, 5])).unwrap());
        gradcheck(|x| kl_div(&x[0], &t), &x);
        let own = values(&kl_div(&x[0], &softmax(&x[0]).unwrap()).unwrap());
        assert!(own.iter().all(|v| v.abs() < 1e-15));
        let t = softmax(&single(&random(2, &[900, 31]))).unwrap();
        same_bits_on_any_pool(|x| kl_div(&x[0], &t), &[single(&random(1, &[900, 31]))]);
    }

    #[test]
    fn a_class_without_probability_counts_nothing_and_what_does_not_fit_is_refused() {
        let [x, t] = [[0.0, 0.0], [1.0, 0.0]].map(|v| Tensor::new(&[v], &Device::Cpu).unwrap());
        assert!((values(&kl_div(&x, &t).unwrap())[0] - 2f64.ln()).abs() < 1e-15);
        assert!(kl_div(&x, &random(1, &[1, 3])).is_err());
    }
}
