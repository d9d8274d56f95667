//! F1: the harmonic mean of precision and recall, averaged over classes, from 0 to 1 (van Rijsbergen, *Information
//! Retrieval*, 1979).
//!
//! Macro F1 counts every class alike, so it shows when rare classes are missed; weighted F1 counts classes by their rows;
//! micro F1 of one class a row is the accuracy. The value is that of scikit-learn's `f1_score` with its defaults: the average
//! goes over the classes that occur as a label *or* as a prediction, and a class that is never found has F1 0.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Metric, Predictions, Result};

use crate::confusion::{ClassCounts, class_counts};

/// How classes are averaged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// The plain mean over classes that occur as a label or as a prediction.
    #[default]
    Macro,
    /// Over all rows together.
    Micro,
    /// The mean over classes, each weighted by its number of rows.
    Weighted,
}

/// The harmonic mean of precision and recall, averaged over the classes, from 0 to 1.
///
/// `macro` counts every class alike, so it shows when rare ones are missed; `weighted` counts them by their rows;
/// `micro` of one class a row is the accuracy. Van Rijsbergen 1979.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How classes are averaged: `macro`, `micro` or `weighted`.
    pub average: Average,
}

/// The harmonic mean of precision and recall, averaged over classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct F1 {
    average: Average,
}

impl F1 {
    /// F1 with this average.
    pub fn new(average: Average) -> Self {
        Self { average }
    }
}

/// `2 · right / (actual + predicted)`, which is the harmonic mean of precision and recall.
fn f1(c: &ClassCounts) -> f64 {
    2.0 * c.right / (c.actual + c.predicted)
}

impl Metric for F1 {
    fn name(&self) -> String {
        let average = match self.average {
            Average::Macro => "macro",
            Average::Micro => "micro",
            Average::Weighted => "weighted",
        };
        format!("f1_{average}")
    }

    fn compute(&self, p: &Predictions) -> Result<f64> {
        let mut classes = class_counts(p)?;
        classes.retain(|c| c.actual + c.predicted > 0.0);
        let sum = |value: fn(&ClassCounts) -> f64| classes.iter().map(value).sum::<f64>();
        // Without rows each of these is 0 / 0, hence NaN.
        Ok(match self.average {
            Average::Macro => sum(f1) / classes.len() as f64,
            Average::Micro => sum(|c| c.right) / sum(|c| c.actual),
            Average::Weighted => sum(|c| c.actual * f1(c)) / sum(|c| c.actual),
        })
    }
}

impl Component<dyn Metric> for F1 {
    const TYPE: &'static str = "f1";
    type Options = Options;

    fn build(o: Options, _: &BuildCx<'_>) -> Result<Box<dyn Metric>> {
        Ok(Box::new(Self::new(o.average)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::certain;
    use transplant_core::{Plugins, Seeds, Spec};

    #[test]
    fn classes_that_neither_occur_nor_are_predicted_do_not_count() -> Result<()> {
        // Class 0: F1 2·2/(3+2) = 0.8; class 1: 2·1/(1+1) = 1; class 2: predicted only, 0; class 3: nowhere.
        let p = certain(4, &[Some(0), Some(0), Some(0), Some(1), None], &[0, 0, 2, 1, 3]);
        let value = |average| F1::new(average).compute(&p);
        assert!((value(Average::Macro)? - 0.6).abs() < 1e-15);
        assert!((value(Average::Micro)? - 0.75).abs() < 1e-15);
        assert!((value(Average::Weighted)? - 0.85).abs() < 1e-15);
        Ok(())
    }

    #[test]
    fn no_row_is_nan() -> Result<()> {
        for average in [Average::Macro, Average::Micro, Average::Weighted] {
            assert!(F1::new(average).compute(&certain(2, &[None], &[0]))?.is_nan());
        }
        Ok(())
    }

    #[test]
    fn the_average_is_an_option_and_part_of_the_name() -> Result<()> {
        let plugins = Plugins::new().with(crate::plugin);
        let cx = BuildCx { plugins: &plugins, base: ".".as_ref(), seeds: Seeds::new(0) };
        assert_eq!(cx.make(&Spec::<dyn Metric>::new("f1"))?.name(), "f1_macro");
        for average in ["macro", "micro", "weighted"] {
            let spec = Spec::<dyn Metric>::new("f1").with("average", average);
            assert_eq!(cx.make(&spec)?.name(), format!("f1_{average}"));
        }
        let wrong = plugins.check(&Spec::<dyn Metric>::new("f1").with("average", "mean")).unwrap_err().to_string();
        assert!(wrong.contains("average") && wrong.contains("weighted"), "{wrong}");
        Ok(())
    }
}
