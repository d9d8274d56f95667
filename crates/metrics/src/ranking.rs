//! What the metrics of ranking share: rows from the highest score to the lowest, with rows of one score together.

use transplant_core::{Predictions, Result};

use crate::rows::{labelled, mean};

/// Rows that have the same score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tied {
    /// Those that are of the class.
    pub(crate) positives: f64,
    /// Those that are not.
    pub(crate) negatives: f64,
}

/// Of two classes the value for the second one, of more the mean over all of them, each against the rest. `value` gets groups
/// of rows from the highest score down. A class that no row, or every row, is of does not count; NaN when none counts.
pub(crate) fn mean_over_classes(p: &Predictions, value: fn(&[Tied]) -> f64) -> Result<f64> {
    let rows = labelled(p)?;
    let classes = if let Predictions::Class { names, .. } = p { names.len() } else { 0 };
    let first = if classes == 2 { 1 } else { 0 };
    let values: Vec<f64> = (first..classes).filter_map(|class| ranked(&rows, class)).map(|r| value(&r)).collect();
    Ok(mean(&values))
}

/// The groups of one class; `None` when no row, or every row, is of it.
fn ranked(rows: &[(usize, &[f32])], class: usize) -> Option<Vec<Tied>> {
    let mut scores: Vec<(f32, bool)> = rows.iter().map(|(label, scores)| (scores[class], *label == class)).collect();
    scores.sort_by(|a, b| b.0.total_cmp(&a.0));
    let group = |rows: &[(f32, bool)]| {
        let positives = rows.iter().filter(|(_, of_class)| *of_class).count();
        Tied { positives: positives as f64, negatives: (rows.len() - positives) as f64 }
    };
    let positives = scores.iter().filter(|(_, of_class)| *of_class).count();
    (0 < positives && positives < scores.len()).then(|| scores.chunk_by(|a, b| a.0 == b.0).map(group).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_stand_together_and_classes_that_cannot_be_ranked_are_left_out() {
        let scores: [&[f32]; 4] = [&[0.5, 0.0, 0.0], &[0.75, -0.0, 0.5], &[0.5, 1.0, 0.25], &[0.0, 0.5, 0.25]];
        let rows: Vec<(usize, &[f32])> = [0, 0, 1, 1].into_iter().zip(scores).collect();
        let tied = |positives, negatives| Tied { positives, negatives };
        assert_eq!(ranked(&rows, 0), Some(vec![tied(1.0, 0.0), tied(1.0, 1.0), tied(0.0, 1.0)]));
        assert_eq!(ranked(&rows, 1), Some(vec![tied(1.0, 0.0), tied(1.0, 0.0), tied(0.0, 2.0)]));
        assert_eq!(ranked(&rows, 2), None);
        assert_eq!(ranked(&rows[..2], 0), None);
    }
}
