//! Average precision: the mean of the precision at every row of the class, from the highest score down, from 0 to 1 (Buckley
//! and Voorhees, "Evaluating evaluation measure stability", 2000).
//!
//! For a class that is rare and looked for: where `roc_auc` is easily high, this one asks how many of the rows found first are
//! of the class; guessing reaches the class's share. The value is that of scikit-learn's `average_precision_score`: for two
//! classes that of the second one's score, for more the plain mean over classes, each against the rest. Rows with equal scores
//! are found together. A class that no row, or every row, is of is left out; with none left it is NaN.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Metric, Predictions, Result};

use crate::ranking::{Tied, mean_over_classes, named, positive_class};

/// The mean precision at each row of the class, from the highest score down, from 0 to 1.
///
/// For a class that is rare and looked for; guessing reaches the class's share. With two classes the second one's score
/// counts, with more each class stands against the rest and the mean is taken. Buckley and Voorhees 2000.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AveragePrecisionOptions {
    /// The class that is looked for, scikit-learn's `pos_label`; without it the second of two classes, and all of more.
    pub positive: Option<String>,
}

/// The mean precision at each row of the class, averaged over classes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AveragePrecision {
    /// The class that is looked for.
    pub positive: Option<String>,
}

/// The sum of precisions, each times what the recall grows by there.
fn average(ranked: &[Tied]) -> f64 {
    let (mut right, mut found, mut sum) = (0.0, 0.0, 0.0);
    for t in ranked {
        right += t.positives;
        found += t.positives + t.negatives;
        sum += t.positives * right / found;
    }
    sum / right
}

impl Metric for AveragePrecision {
    fn name(&self) -> String {
        named("average_precision", self.positive.as_deref())
    }

    fn class(&self, names: &[String]) -> Option<usize> {
        positive_class(names, self.positive.as_deref())
    }

    fn compute(&self, p: &Predictions) -> Result<f64> {
        mean_over_classes(p, self.positive.as_deref(), average)
    }
}

impl Component<dyn Metric> for AveragePrecision {
    const TYPE: &'static str = "average_precision";
    type Options = AveragePrecisionOptions;

    fn build(o: AveragePrecisionOptions, _: &BuildCx<'_>) -> Result<Box<dyn Metric>> {
        Ok(Box::new(Self { positive: o.positive }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::certain;

    #[test]
    fn the_precision_is_taken_where_the_class_is_found() -> Result<()> {
        let names = vec!["no".to_owned(), "yes".to_owned()];
        let labels = vec![Some(1), Some(0), None, Some(1), Some(0)];
        let scores = [0.9f32, 0.75, 0.8, 0.5, 0.5].iter().flat_map(|s| [1.0 - s, *s]).collect();
        // The first is found at once; the second together with a wrong one, when four rows are out.
        let value = AveragePrecision::default().compute(&Predictions::Class { names, labels, scores })?;
        assert!((value - (1.0 + 0.5) / 2.0).abs() < 1e-15, "{value}");
        Ok(())
    }

    /// scikit-learn 1.9.1: `average_precision_score(labels, p["no"], pos_label="no")`.
    #[test]
    fn the_positive_class_can_be_chosen() -> Result<()> {
        let names = vec!["no".to_owned(), "yes".to_owned()];
        let labels = vec![Some(1), Some(0), Some(1), Some(0), Some(0)];
        let scores = [0.9f32, 0.75, 0.8, 0.5, 0.5].iter().flat_map(|s| [1.0 - s, *s]).collect();
        let p = Predictions::Class { names: names.clone(), labels, scores };
        let of = |class: &str| AveragePrecision { positive: Some(class.to_owned()) };
        assert_eq!(of("yes").compute(&p)?, AveragePrecision::default().compute(&p)?);
        assert_eq!(of("no").compute(&p)?, 1.0);
        assert_eq!((of("no").name().as_str(), of("no").class(&names)), ("average_precision_no", Some(0)));
        assert_eq!(AveragePrecision::default().class(&names), Some(1));
        let e = of("noo").compute(&p).unwrap_err().to_string();
        assert!(e.starts_with("positive: is `noo`") && e.contains("`no`?"), "{e}");
        Ok(())
    }

    #[test]
    fn nothing_to_rank_is_nan() -> Result<()> {
        assert!(AveragePrecision::default().compute(&certain(2, &[None], &[0]))?.is_nan());
        assert!(AveragePrecision::default().compute(&certain(3, &[Some(1), Some(1)], &[0, 1]))?.is_nan());
        Ok(())
    }
}
