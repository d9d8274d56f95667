//! The confusion matrix: how often rows of each class were taken for each class. The metrics that look at classes one by one
//! are computed from it.

use transplant_core::{Predictions, Result};

use crate::rows::{labelled, predicted};

/// Counts of rows, `[right class][predicted class]`, over all classes that the predictions name, in their order, whether
/// they occur or not. Rows without a label do not count.
///
/// # Errors
/// When the predictions are not of classes, a label is not one of them or a score is not finite.
pub fn confusion(p: &Predictions) -> Result<Vec<Vec<u64>>> {
    let classes = if let Predictions::Class { names, .. } = p { names.len() } else { 0 };
    let mut counts = vec![vec![0; classes]; classes];
    for (label, scores) in labelled(p)? {
        counts[label][predicted(scores)] += 1;
    }
    Ok(counts)
}

/// What the confusion matrix says of one class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ClassCounts {
    /// Rows of this class that were found.
    pub(crate) right: f64,
    /// Rows of this class.
    pub(crate) actual: f64,
    /// Rows taken for this class.
    pub(crate) predicted: f64,
}

/// Counts class by class, for all classes that the predictions name.
pub(crate) fn class_counts(p: &Predictions) -> Result<Vec<ClassCounts>> {
    let m = confusion(p)?;
    let count = |c: usize| ClassCounts {
        right: m[c][c] as f64,
        actual: m[c].iter().sum::<u64>() as f64,
        predicted: m.iter().map(|row| row[c]).sum::<u64>() as f64,
    };
    Ok((0..m.len()).map(count).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::certain;

    #[test]
    fn rows_are_right_classes_and_columns_predicted_ones() -> Result<()> {
        let p = certain(3, &[Some(0), Some(0), Some(1), None, Some(1)], &[0, 2, 1, 1, 2]);
        assert_eq!(confusion(&p)?, [[1, 0, 1], [0, 1, 1], [0, 0, 0]]);
        let c = class_counts(&p)?;
        assert_eq!(c[1], ClassCounts { right: 1.0, actual: 2.0, predicted: 1.0 });
        assert_eq!(c[2], ClassCounts { right: 0.0, actual: 0.0, predicted: 2.0 });
        assert_eq!(confusion(&certain(2, &[], &[]))?, [[0, 0], [0, 0]]);
        Ok(())
    }
}
