//! R², the coefficient of determination: the share of the labels' variance that is predicted, at most 1.
//!
//! 0 is what always predicting the mean of the labels scores, and there is no lower end. It has no unit, so that targets can
//! be compared. The value is that of scikit-learn's `r2_score`: where all labels are alike, 1 if every prediction is right,
//! otherwise 0. With fewer than two labelled rows it is NaN.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Metric, Predictions, Result};

use crate::rows::numbered;

/// R², the share of the variance of the labels that predicted numbers explain; 1 at best, 0 for always the mean.
///
/// Read it first: it has no unit. `mae` and `rmse` say the same in the unit of the target.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct R2Options {}

/// The coefficient of determination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct R2;

impl Metric for R2 {
    fn name(&self) -> String {
        "r2".to_owned()
    }

    fn compute(&self, p: &Predictions) -> Result<f64> {
        let rows = numbered(p)?;
        if rows.len() < 2 {
            return Ok(f64::NAN);
        }
        let mean = rows.iter().map(|(label, _)| label).sum::<f64>() / rows.len() as f64;
        let error: f64 = rows.iter().map(|(label, value)| (label - value).powi(2)).sum();
        let variance: f64 = rows.iter().map(|(label, _)| (label - mean).powi(2)).sum();
        Ok(match (error == 0.0, variance == 0.0) {
            (true, _) => 1.0,
            (false, true) => 0.0,
            (false, false) => 1.0 - error / variance,
        })
    }
}

impl Component<dyn Metric> for R2 {
    const TYPE: &'static str = "r2";
    type Options = R2Options;

    fn build(_: R2Options, _: &BuildCx<'_>) -> Result<Box<dyn Metric>> {
        Ok(Box::new(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::numbers;

    #[test]
    fn the_mean_scores_zero() -> Result<()> {
        let mean = numbers(&[Some(1.0), None, Some(3.0)], &[2.0, 9.0, 2.0]);
        let right = numbers(&[Some(1.0), None, Some(3.0)], &[1.0, 9.0, 3.0]);
        assert_eq!((R2.compute(&mean)?, R2.compute(&right)?, R2.row_scores(&right)?), (0.0, 1.0, None));
        assert!(R2.compute(&numbers(&[Some(1.0), None], &[1.0, 1.0]))?.is_nan());
        Ok(())
    }
}
