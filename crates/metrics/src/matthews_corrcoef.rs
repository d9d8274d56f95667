//! Matthews correlation coefficient: the correlation between right and predicted classes, from −1 to 1 (Matthews,
//! "Comparison of the predicted and observed secondary structure of T4 phage lysozyme", 1975; for several classes Gorodkin,
//! "Comparing two K-category assignments by a K-category correlation coefficient", 2004).
//!
//! One number that stays honest when classes are very unequal: 0 is what guessing reaches. The value is that of
//! scikit-learn's `matthews_corrcoef`: 0 where all labels, or all predictions, are of one class.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Metric, Predictions, Result};

use crate::confusion::{ClassCounts, class_counts};

/// The correlation between predicted and right classes, from -1 to 1.
///
/// It stays honest when classes are very unequal: 0 is what guessing reaches. Matthews 1975; for several classes
/// Gorodkin 2004.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MatthewsCorrcoefOptions {}

/// The correlation between right and predicted classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MatthewsCorrcoef;

impl Metric for MatthewsCorrcoef {
    fn name(&self) -> String {
        "matthews_corrcoef".to_owned()
    }

    fn compute(&self, p: &Predictions) -> Result<f64> {
        let classes = class_counts(p)?;
        let sum = |value: fn(&ClassCounts) -> f64| classes.iter().map(value).sum::<f64>();
        let rows = sum(|c| c.actual);
        if rows == 0.0 {
            return Ok(f64::NAN);
        }
        // Covariances of the one-hot labels and predictions, times the number of rows squared.
        let both = sum(|c| c.right) * rows - sum(|c| c.actual * c.predicted);
        let labels = rows * rows - sum(|c| c.actual * c.actual);
        let predictions = rows * rows - sum(|c| c.predicted * c.predicted);
        let variances = labels * predictions;
        Ok(if variances == 0.0 { 0.0 } else { both / variances.sqrt() })
    }
}

impl Component<dyn Metric> for MatthewsCorrcoef {
    const TYPE: &'static str = "matthews_corrcoef";
    type Options = MatthewsCorrcoefOptions;

    fn build(_: MatthewsCorrcoefOptions, _: &BuildCx<'_>) -> Result<Box<dyn Metric>> {
        Ok(Box::new(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::certain;

    fn value(labels: &[u32], predicted: &[usize]) -> Result<f64> {
        let labels: Vec<_> = labels.iter().map(|&l| Some(l)).collect();
        MatthewsCorrcoef.compute(&certain(3, &labels, predicted))
    }

    #[test]
    fn two_classes_give_the_textbook_formula() -> Result<()> {
        // tp 2, tn 1, fp 1, fn 1: (2·1 − 1·1) / sqrt(3·3·2·2).
        assert!((value(&[1, 1, 1, 0, 0], &[1, 1, 0, 0, 1])? - 1.0 / 6.0).abs() < 1e-15);
        assert_eq!(value(&[0, 1, 2], &[0, 1, 2])?, 1.0);
        assert_eq!(value(&[0, 1], &[1, 0])?, -1.0);
        Ok(())
    }

    #[test]
    fn one_class_alone_gives_zero_and_no_row_nan() -> Result<()> {
        assert_eq!(value(&[0, 1, 2], &[1, 1, 1])?, 0.0);
        assert_eq!(value(&[1, 1], &[1, 1])?, 0.0);
        assert!(value(&[], &[])?.is_nan());
        Ok(())
    }
}
