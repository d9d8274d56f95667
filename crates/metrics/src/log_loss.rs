//! Log-loss: the mean negative natural logarithm of the probability given to the right class, in nats, from 0; lower is
//! better.
//!
//! It judges probabilities where accuracy judges only which is highest: being sure and wrong costs most. The value is that of
//! scikit-learn's `log_loss` for single-precision probabilities: they are clipped to `[ε, 1 − ε]` with `f32`'s
//! ε = 1.19 · 10⁻⁷, so a row costs at most 15.95, and they are not normalised again. Logarithms are taken in double
//! precision, scikit-learn's in single, so the two agree to about seven digits.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Metric, Predictions, Result};

use crate::rows::{labelled, mean};

/// The mean negative logarithm of the probability given to the right class; lower is better.
///
/// It judges probabilities where accuracy judges only which is highest: being sure and wrong costs most, up to 15.95
/// nats a row.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogLossOptions {}

/// The mean negative logarithm of the right class's probability.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogLoss;

impl Metric for LogLoss {
    fn name(&self) -> String {
        "log_loss".to_owned()
    }

    fn higher_is_better(&self) -> bool {
        false
    }

    fn compute(&self, p: &Predictions) -> Result<f64> {
        Ok(mean(&losses(p)?))
    }

    fn row_scores(&self, p: &Predictions) -> Result<Option<Vec<f64>>> {
        losses(p).map(Some)
    }
}

fn losses(p: &Predictions) -> Result<Vec<f64>> {
    let loss = |score: f32| -f64::from(score.clamp(f32::EPSILON, 1.0 - f32::EPSILON)).ln();
    Ok(labelled(p)?.into_iter().map(|(label, scores)| loss(scores[label])).collect())
}

impl Component<dyn Metric> for LogLoss {
    const TYPE: &'static str = "log_loss";
    type Options = LogLossOptions;

    fn build(_: LogLossOptions, _: &BuildCx<'_>) -> Result<Box<dyn Metric>> {
        Ok(Box::new(Self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::certain;

    #[test]
    fn the_mean_of_negative_logarithms() -> Result<()> {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let labels = vec![Some(0), None, Some(1)];
        let p = Predictions::Class { names, labels, scores: vec![0.5, 0.5, 0.9, 0.1, 0.75, 0.25] };
        let expected = [2f64.ln(), 4f64.ln()];
        assert_eq!(LogLoss.row_scores(&p)?, Some(expected.to_vec()));
        assert_eq!(LogLoss.compute(&p)?, mean(&expected));
        assert!(!LogLoss.higher_is_better());
        Ok(())
    }

    #[test]
    fn certainty_is_clipped_and_no_row_is_nan() -> Result<()> {
        let wrong = LogLoss.compute(&certain(2, &[Some(0)], &[1]))?;
        assert!((wrong - 15.942_385_152_878_742).abs() < 1e-12, "{wrong}");
        let right = LogLoss.compute(&certain(2, &[Some(1)], &[1]))?;
        assert!((right - 1.192_093e-7).abs() < 1e-12, "{right}");
        assert!(LogLoss.compute(&certain(2, &[None], &[1]))?.is_nan());
        Ok(())
    }
}
