//! Accuracy: the share of rows whose predicted class is the right one, from 0 to 1.
//!
//! The number to read first when classes are about equally frequent; where they are not, prefer balanced accuracy or macro
//! F1. The value is that of scikit-learn's `accuracy_score`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Metric, Predictions, Result};

use crate::rows::{labelled, mean, predicted};

/// The share of rows whose most probable class is right, from 0 to 1.
///
/// Read it first when classes are about equally frequent; where they are not, prefer `balanced_accuracy` or `f1`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccuracyOptions {}

/// The share of rows whose predicted class is the right one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accuracy;

impl Metric for Accuracy {
    fn name(&self) -> String {
        "accuracy".to_owned()
    }

    fn compute(&self, p: &Predictions) -> Result<f64> {
        Ok(mean(&right(p)?))
    }

    fn row_scores(&self, p: &Predictions) -> Result<Option<Vec<f64>>> {
        right(p).map(Some)
    }
}

/// 1 for each row that is right, 0 for each that is wrong.
fn right(p: &Predictions) -> Result<Vec<f64>> {
    Ok(labelled(p)?.into_iter().map(|(label, scores)| f64::from(u8::from(predicted(scores) == label))).collect())
}

impl Component<dyn Metric> for Accuracy {
    const TYPE: &'static str = "accuracy";
    type Options = AccuracyOptions;

    fn build(_: AccuracyOptions, _: &BuildCx<'_>) -> Result<Box<dyn Metric>> {
        Ok(Box::new(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::certain;

    #[test]
    fn the_share_of_right_rows() -> Result<()> {
        let p = certain(3, &[Some(0), Some(1), None, Some(2), Some(2)], &[0, 2, 1, 2, 2]);
        assert_eq!(Accuracy.compute(&p)?, 0.75);
        assert_eq!(Accuracy.row_scores(&p)?, Some(vec![1.0, 0.0, 1.0, 1.0]));
        Ok(())
    }

    #[test]
    fn no_labelled_row_is_nan() -> Result<()> {
        assert!(Accuracy.compute(&certain(2, &[None, None], &[0, 1]))?.is_nan());
        assert!(Accuracy.compute(&certain(2, &[], &[]))?.is_nan());
        Ok(())
    }
}
