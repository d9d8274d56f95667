//! Runs that repeat others: one that predicts exactly what an earlier one does says nothing new about a difference.

use transplant_core::Result;
use transplant_metrics::corrected_paired_t;

/// Differences whose spread is below this share of their size differ by rounding alone.
const ROUNDING: f64 = 1e-12;

/// Places of the items that equal no earlier one.
pub(super) fn distinct<T: PartialEq>(items: &[T]) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    for (place, item) in items.iter().enumerate() {
        if !found.iter().any(|earlier| items[*earlier] == *item) {
            found.push(place);
        }
    }
    found
}

/// The p of [`corrected_paired_t`]. `None` where it says nothing: for a single difference, without training rows, where a
/// difference is not finite, and for differences without spread, by which any size at all would be certain.
///
/// # Errors
/// Those of [`corrected_paired_t`].
pub(super) fn p_value(differences: &[f64], train_rows: usize, test_rows: usize) -> Result<Option<f64>> {
    let (low, high) = differences.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), d| (l.min(*d), h.max(*d)));
    let finite = differences.iter().all(|d| d.is_finite());
    let testable = differences.len() > 1 && train_rows > 0 && finite;
    if !testable || high - low <= ROUNDING * (1.0 + low.abs().max(high.abs())) {
        return Ok(None);
    }
    Ok(Some(corrected_paired_t(differences, train_rows, test_rows)?.p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_runs_count_once() {
        assert_eq!(distinct(&["a", "b", "a", "c", "b"]), [0, 1, 3]);
        assert_eq!(distinct::<u8>(&[]), Vec::<usize>::new());
    }

    #[test]
    fn differences_without_spread_have_no_p() -> Result<()> {
        for none in [&[0.1; 8][..], &[0.0; 8], &[0.8 - 0.7, 0.9 - 0.8], &[0.3], &[0.1, f64::NAN]] {
            assert_eq!(p_value(none, 100, 10)?, None, "{none:?}");
        }
        assert_eq!(p_value(&[0.1, 0.2], 0, 10)?, None);
        let p = p_value(&[0.1, 0.2, 0.1, 0.2], 100, 10)?.unwrap();
        assert_eq!(p, corrected_paired_t(&[0.1, 0.2, 0.1, 0.2], 100, 10)?.p);
        Ok(())
    }
}
