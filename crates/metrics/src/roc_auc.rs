//! Area under the receiver operating characteristic: how likely a row of the class has a higher score than a row of another,
//! from 0 to 1 (Hanley and McNeil, "The meaning and use of the area under a ROC curve", 1982).
//!
//! It judges the order that scores make, so no threshold and no share of classes changes it; 0.5 is what guessing reaches.
//! The value is that of scikit-learn's `roc_auc_score`: for two classes that of the second one's score, for more the plain
//! mean over classes, each against the rest (`multi_class="ovr"`, `average="macro"`). Rows with equal scores count half, as
//! midranks have it. A class that no row, or every row, is of is left out; with none left it is NaN.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Metric, Predictions, Result};

use crate::ranking::{Tied, mean_over_classes, named, positive_class};

/// How likely a row of the class is scored above a row of another, from 0 to 1; 0.5 is guessing.
///
/// No threshold and no share of classes changes it. With two classes the second one's score counts, with more each class
/// stands against the rest and the mean is taken. Hanley and McNeil 1982.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RocAucOptions {
    /// The class that is looked for, scikit-learn's `pos_label`; without it the second of two classes, and all of more.
    pub positive: Option<String>,
}

/// The area under the receiver operating characteristic, averaged over classes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RocAuc {
    /// The class that is looked for.
    pub positive: Option<String>,
}

/// The share of pairs of a positive and a negative row that stand in the right order; equal scores count half.
fn area(ranked: &[Tied]) -> f64 {
    let (mut above, mut pairs, mut negatives) = (0.0, 0.0, 0.0);
    for t in ranked {
        pairs += t.negatives * (above + t.positives / 2.0);
        above += t.positives;
        negatives += t.negatives;
    }
    pairs / (above * negatives)
}

impl Metric for RocAuc {
    fn name(&self) -> String {
        named("roc_auc", self.positive.as_deref())
    }

    fn class(&self, names: &[String]) -> Option<usize> {
        positive_class(names, self.positive.as_deref())
    }

    fn compute(&self, p: &Predictions) -> Result<f64> {
        mean_over_classes(p, self.positive.as_deref(), area)
    }
}

impl Component<dyn Metric> for RocAuc {
    const TYPE: &'static str = "roc_auc";
    type Options = RocAucOptions;

    fn build(o: RocAucOptions, _: &BuildCx<'_>) -> Result<Box<dyn Metric>> {
        Ok(Box::new(Self { positive: o.positive }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::certain;

    #[test]
    fn pairs_in_the_right_order_count_one_and_equal_ones_half() -> Result<()> {
        let names = vec!["no".to_owned(), "yes".to_owned()];
        let labels = vec![Some(1), Some(0), Some(1), None, Some(0)];
        let scores = [0.75f32, 0.75, 0.5, 0.9, 0.25].iter().flat_map(|s| [1.0 - s, *s]).collect();
        // Of four pairs: 0.75 = 0.75 half, 0.75 > 0.25 one, 0.5 < 0.75 none, 0.5 > 0.25 one.
        assert_eq!(RocAuc::default().compute(&Predictions::Class { names, labels, scores })?, 2.5 / 4.0);
        assert_eq!(RocAuc::default().compute(&certain(2, &[Some(0), Some(1)], &[1, 0]))?, 0.0);
        Ok(())
    }

    #[test]
    fn nothing_to_rank_is_nan() -> Result<()> {
        assert!(RocAuc::default().compute(&certain(2, &[None], &[0]))?.is_nan());
        assert!(RocAuc::default().compute(&certain(3, &[Some(1), Some(1)], &[0, 1]))?.is_nan());
        assert!(RocAuc::default().compute(&certain(1, &[Some(0)], &[0]))?.is_nan());
        Ok(())
    }
}
