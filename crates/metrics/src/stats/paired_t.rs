//! The corrected resampled t test (Nadeau & Bengio, "Inference for the generalization error", *Machine Learning* 52, 2003).
//!
//! Two strategies that run on the same resampled training rows give paired differences, but runs share rows, so the plain
//! paired t test takes chance for an effect. The test widens the variance by the ratio of test to training rows.

use serde::Serialize;
use transplant_core::{Error, Result};

use super::Interval;
use super::student::{t95, two_sided_p};
use crate::rows::mean;

/// The outcome of [`corrected_paired_t`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedT {
    /// The mean difference and its 95 % interval.
    pub difference: Interval,
    /// The statistic: the mean difference in units of its corrected standard error.
    pub t: f64,
    /// One less than the number of differences.
    pub degrees_of_freedom: u64,
    /// The two-sided p-value.
    pub p: f64,
}

/// Tests whether differences of a metric, one for each resampled run of a pair of strategies, have mean zero.
///
/// `train_rows` and `test_rows` are the sizes of the sets that each run was trained and tested on; the variance of the mean
/// of `n` differences is taken to be `(1/n + test_rows/train_rows) · s²`. With `test_rows = 0` it is the plain paired t test.
/// Where all differences are zero, `t` is 0 and `p` is 1; where they all have one other value, `t` is infinite and `p` is 0.
///
/// # Errors
/// When there are fewer than two differences, one is not finite, or `train_rows` is 0.
pub fn corrected_paired_t(differences: &[f64], train_rows: usize, test_rows: usize) -> Result<PairedT> {
    let n = differences.len();
    if n < 2 {
        return Err(Error::contract(format!("a paired t test needs at least 2 differences, there are {n}")));
    }
    if let Some(i) = differences.iter().position(|d| !d.is_finite()) {
        return Err(Error::contract(format!("paired t test: difference {i} is {}", differences[i])));
    }
    if train_rows == 0 {
        return Err(Error::contract("paired t test: there must be at least 1 training row"));
    }
    let degrees_of_freedom = n as u64 - 1;
    let centre = mean(differences);
    let squares: f64 = differences.iter().map(|d| (d - centre).powi(2)).sum();
    let equal = differences.iter().all(|d| *d == differences[0]);
    // Rounding of the mean must not make a variance out of differences that are all alike.
    let variance = if equal { 0.0 } else { squares / degrees_of_freedom as f64 };
    let error = ((1.0 / n as f64 + test_rows as f64 / train_rows as f64) * variance).sqrt();
    let t = if centre == 0.0 { 0.0 } else { centre / error };
    let half = t95(degrees_of_freedom) * error;
    let difference = Interval { mean: centre, low: centre - half, high: centre + half };
    Ok(PairedT { difference, t, degrees_of_freedom, p: two_sided_p(t, degrees_of_freedom) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_test_is_the_textbook_one() -> Result<()> {
        // Mean 3, s² 2.5, standard error sqrt(0.5): t = 3 · sqrt 2, p = 0.0132...
        let r = corrected_paired_t(&[1.0, 2.0, 3.0, 4.0, 5.0], 10, 0)?;
        assert!((r.t - 18f64.sqrt()).abs() < 1e-12);
        assert_eq!(r.degrees_of_freedom, 4);
        assert!((r.p - 0.013_235).abs() < 1e-6, "{}", r.p);
        assert!((r.difference.high - 3.0 - 2.776_445_105 * 0.5f64.sqrt()).abs() < 1e-8);
        Ok(())
    }

    #[test]
    fn the_correction_widens_the_interval() -> Result<()> {
        let d = [0.02, 0.01, 0.03, 0.00, 0.02];
        let (plain, corrected) = (corrected_paired_t(&d, 90, 0)?, corrected_paired_t(&d, 90, 10)?);
        // (1/5 + 1/9) / (1/5)
        assert!((plain.t / corrected.t - (14f64 / 9.0).sqrt()).abs() < 1e-12);
        assert!(corrected.p > plain.p && corrected.difference.high > plain.difference.high);
        Ok(())
    }

    #[test]
    fn differences_without_spread() -> Result<()> {
        let none = corrected_paired_t(&[0.0; 4], 20, 900)?;
        assert_eq!((none.t, none.p, none.difference.low, none.difference.high), (0.0, 1.0, 0.0, 0.0));
        let all = corrected_paired_t(&[0.1; 3], 20, 900)?;
        assert_eq!((all.t, all.p), (f64::INFINITY, 0.0));
        Ok(())
    }

    #[test]
    fn what_cannot_be_tested_is_named() {
        let error = |d: &[f64], rows| corrected_paired_t(d, rows, 1).unwrap_err().to_string();
        assert_eq!(error(&[0.1], 1), "a paired t test needs at least 2 differences, there are 1");
        assert_eq!(error(&[0.1, f64::NAN], 1), "paired t test: difference 1 is NaN");
        assert!(error(&[0.1, 0.2], 0).contains("training row"));
    }
}
