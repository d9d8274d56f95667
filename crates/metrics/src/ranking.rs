//! What the metrics of ranking share: rows from the highest score to the lowest, with rows of one score together.

use transplant_core::{Invalid, Predictions, Result, nearest};

use crate::rows::{labelled, mean};

/// Rows that have the same score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tied {
    /// Those that are of the class.
    pub(crate) positives: f64,
    /// Those that are not.
    pub(crate) negatives: f64,
}

/// The name of a metric with the class that it is asked for.
pub(crate) fn named(metric: &str, positive: Option<&str>) -> String {
    positive.map_or_else(|| metric.to_owned(), |class| format!("{metric}_{class}"))
}

/// The class that is looked for: the one that is asked for, else the second of two.
pub(crate) fn positive_class(names: &[String], positive: Option<&str>) -> Option<usize> {
    match positive {
        Some(class) => names.iter().position(|name| name == class),
        None => (names.len() == 2).then_some(1),
    }
}

/// The value for the class that is looked for, or the mean over all classes, each against the rest. `value` gets groups of rows
/// from the highest score down. A class that no row, or every row, is of does not count; NaN when none counts.
///
/// # Errors
/// When there is no class of the name in `positive`, or the predictions are not of classes.
pub(crate) fn mean_over_classes(p: &Predictions, positive: Option<&str>, value: fn(&[Tied]) -> f64) -> Result<f64> {
    let rows = labelled(p)?;
    let names: &[String] = if let Predictions::Class { names, .. } = p { names } else { &[] };
    let classes = match (positive_class(names, positive), positive) {
        (Some(class), _) => class..class + 1,
        (None, None) => 0..names.len(),
        (None, Some(class)) => {
            let e = Invalid::key("positive", format!("is `{class}`, and there is no class of that name"));
            let near = nearest(class, names.iter().map(String::as_str));
            return Err(near.map_or(e.clone(), |near| e.help(format!("did you mean `{near}`?"))).into());
        }
    };
    let values: Vec<f64> = classes.filter_map(|class| ranked(&rows, class)).map(|r| value(&r)).collect();
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
