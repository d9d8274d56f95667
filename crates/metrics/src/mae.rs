//! Mean absolute error, in the unit of the target.
//!
//! How far predictions are off on average; a few that are far off count less than in `rmse`. The value is that of
//! scikit-learn's `mean_absolute_error`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Metric, Predictions, Result};

use crate::rows::{mean, numbered};

/// The mean absolute error of predicted numbers, in the unit of the target; smaller is better.
///
/// A few predictions that are far off count less than in `rmse`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaeOptions {}

/// The mean absolute error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mae;

impl Metric for Mae {
    fn name(&self) -> String {
        "mae".to_owned()
    }

    fn higher_is_better(&self) -> bool {
        false
    }

    fn compute(&self, p: &Predictions) -> Result<f64> {
        Ok(mean(&errors(p)?))
    }

    fn row_scores(&self, p: &Predictions) -> Result<Option<Vec<f64>>> {
        errors(p).map(Some)
    }
}

/// How far each row is off.
fn errors(p: &Predictions) -> Result<Vec<f64>> {
    Ok(numbered(p)?.into_iter().map(|(label, value)| (label - value).abs()).collect())
}

impl Component<dyn Metric> for Mae {
    const TYPE: &'static str = "mae";
    type Options = MaeOptions;

    fn build(_: MaeOptions, _: &BuildCx<'_>) -> Result<Box<dyn Metric>> {
        Ok(Box::new(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::numbers;

    #[test]
    fn the_mean_distance_of_labelled_rows() -> Result<()> {
        let p = numbers(&[Some(1.0), None, Some(-2.0)], &[3.0, 9.0, -1.0]);
        assert_eq!((Mae.compute(&p)?, Mae.row_scores(&p)?), (1.5, Some(vec![2.0, 1.0])));
        assert!(Mae.compute(&numbers(&[None], &[1.0]))?.is_nan());
        Ok(())
    }
}
