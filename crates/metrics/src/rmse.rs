//! Root mean squared error, in the unit of the target.
//!
//! As `mae`, but a prediction that is twice as far off counts four times. The value is that of scikit-learn's
//! `root_mean_squared_error`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Metric, Predictions, Result};

use crate::rows::{mean, numbered};

/// The root of the mean squared error of predicted numbers, in the unit of the target; smaller is better.
///
/// A prediction that is twice as far off counts four times: see `mae` for one where it counts twice.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RmseOptions {}

/// The root of the mean squared error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rmse;

impl Metric for Rmse {
    fn name(&self) -> String {
        "rmse".to_owned()
    }

    fn higher_is_better(&self) -> bool {
        false
    }

    fn compute(&self, p: &Predictions) -> Result<f64> {
        let squares: Vec<f64> = numbered(p)?.into_iter().map(|(label, value)| (label - value).powi(2)).collect();
        Ok(mean(&squares).sqrt())
    }
}

impl Component<dyn Metric> for Rmse {
    const TYPE: &'static str = "rmse";
    type Options = RmseOptions;

    fn build(_: RmseOptions, _: &BuildCx<'_>) -> Result<Box<dyn Metric>> {
        Ok(Box::new(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::numbers;

    #[test]
    fn the_root_of_the_mean_square() -> Result<()> {
        let p = numbers(&[Some(1.0), None, Some(-2.0)], &[8.0, 9.0, -1.0]);
        assert_eq!((Rmse.compute(&p)?, Rmse.row_scores(&p)?), (5.0, None));
        assert!(Rmse.compute(&numbers(&[None], &[1.0]))?.is_nan());
        Ok(())
    }
}
