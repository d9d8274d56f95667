//! Holm's step-down correction for several tests (Holm, "A simple sequentially rejective multiple test procedure",
//! *Scandinavian Journal of Statistics* 6, 1979): it holds without assumptions on how the tests depend on each other, and
//! rejects whatever Bonferroni's rejects.

use transplant_core::{Error, Result};

/// Adjusted p-values, in the order of the given ones. Those below a level may be rejected, and the probability of rejecting
/// any true hypothesis is then at most that level.
///
/// # Errors
/// When a p-value does not lie in `[0, 1]`.
pub fn holm(p: &[f64]) -> Result<Vec<f64>> {
    if let Some(i) = p.iter().position(|p| !(0.0..=1.0).contains(p)) {
        return Err(Error::contract(format!("Holm's correction: p-value {i} is {}", p[i])));
    }
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0f64;
    for (done, &i) in order.iter().enumerate() {
        largest = largest.max(p[i] * (p.len() - done) as f64).min(1.0);
        adjusted[i] = largest;
    }
    Ok(adjusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjusted_values_never_fall() -> Result<()> {
        // Sorted: 0.01·4, 0.02·3, 0.03·2 (stays at 0.06), 0.9.
        let adjusted = holm(&[0.03, 0.01, 0.9, 0.02])?;
        for (a, expected) in adjusted.iter().zip([0.06, 0.04, 0.9, 0.06]) {
            assert!((a - expected).abs() < 1e-15, "{adjusted:?}");
        }
        assert_eq!(holm(&[0.6, 0.7])?, [1.0, 1.0]);
        assert!(holm(&[])?.is_empty());
        Ok(())
    }

    #[test]
    fn what_is_no_probability_is_named() {
        assert_eq!(holm(&[0.5, f64::NAN]).unwrap_err().to_string(), "Holm's correction: p-value 1 is NaN");
        assert!(holm(&[1.5]).is_err());
    }
}
