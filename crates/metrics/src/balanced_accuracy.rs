//! Balanced accuracy: the mean over classes of the share of their rows that is found, from 0 to 1 (Brodersen et al., "The
//! balanced accuracy and its posterior distribution", 2010).
//!
//! For classes of unequal size, where always answering the largest one should not look good: that scores one over the number
//! of classes. The value is that of scikit-learn's `balanced_accuracy_score`: the mean goes over classes that occur as labels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Metric, Predictions, Result};

use crate::confusion::class_counts;
use crate::rows::mean;

/// The mean over classes of the share of their rows that is found, from 0 to 1.
///
/// For classes of unequal size: always answering the largest one scores no more than one over the number of classes.
/// Brodersen et al. 2010.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BalancedAccuracyOptions {}

/// The mean recall over classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BalancedAccuracy;

impl Metric for BalancedAccuracy {
    fn name(&self) -> String {
        "balanced_accuracy".to_owned()
    }

    fn compute(&self, p: &Predictions) -> Result<f64> {
        let classes = class_counts(p)?;
        let recalls: Vec<_> = classes.iter().filter(|c| c.actual > 0.0).map(|c| c.right / c.actual).collect();
        Ok(mean(&recalls))
    }
}

impl Component<dyn Metric> for BalancedAccuracy {
    const TYPE: &'static str = "balanced_accuracy";
    type Options = BalancedAccuracyOptions;

    fn build(_: BalancedAccuracyOptions, _: &BuildCx<'_>) -> Result<Box<dyn Metric>> {
        Ok(Box::new(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::certain;

    #[test]
    fn the_mean_recall_of_the_classes_that_occur() -> Result<()> {
        // Recalls 2/3 and 1; class 2 is predicted but never right, class 3 is nowhere.
        let p = certain(4, &[Some(0), Some(0), Some(0), Some(1), None], &[0, 0, 2, 1, 3]);
        assert!((BalancedAccuracy.compute(&p)? - 5.0 / 6.0).abs() < 1e-15);
        assert!(BalancedAccuracy.compute(&p.take(&[4]))?.is_nan());
        Ok(())
    }
}
