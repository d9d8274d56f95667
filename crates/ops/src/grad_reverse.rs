//! Gradient reversal: the identity forward, `-lambda` times the gradient backward.
//!
//! Ganin & Lempitsky 2015, *Unsupervised Domain Adaptation by Backpropagation*: what a discriminator learns to tell apart,
//! the features below it unlearn.

use candle_core::{Result, Tensor};

/// `x`, whose gradient is multiplied by `-lambda` on the way back.
///
/// # Errors
/// When the operation fails.
pub fn grad_reverse(x: &Tensor, lambda: f64) -> Result<Tensor> {
    let constant = x.detach();
    // `x - constant` is exactly zero, so the values stay, and only its gradient is scaled.
    &constant + ((x - &constant)? * -lambda)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradients, max_difference, random};

    #[test]
    fn values_stay_and_gradients_are_reversed() {
        let x = [random(1, &[3, 4])];
        assert_eq!(max_difference(&grad_reverse(&x[0], 0.7).unwrap(), &x[0]), 0.0);
        let plain = gradients(|t| t[0].affine(1.0, 0.0), &x);
        let reversed = gradients(|t| grad_reverse(&t[0], 0.7), &x);
        assert!(max_difference(&reversed[0], &(&plain[0] * -0.7).unwrap()) < 1e-15);
        let none = gradients(|t| grad_reverse(&t[0], 0.0), &x);
        assert_eq!(max_difference(&none[0], &x[0].zeros_like().unwrap()), 0.0);
    }
}
