//! Cohen 1960: agreement beyond chance.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Metric, Predictions, Result};
use transplant_metrics::confusion;

/// Agreement between predictions and labels beyond what chance gives, at most 1.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {}

pub struct CohenKappa;

impl Metric for CohenKappa {
    fn name(&self) -> String {
        "cohen_kappa".into()
    }

    fn compute(&self, p: &Predictions) -> Result<f64> {
        let counts = confusion(p)?;
        let total: f64 = counts.iter().flatten().map(|n| *n as f64).sum();
        let agreed: f64 = (0..counts.len()).map(|c| counts[c][c] as f64).sum::<f64>() / total;
        let share = |c: usize| {
            let said: u64 = counts.iter().map(|row| row[c]).sum();
            counts[c].iter().sum::<u64>() as f64 / total * (said as f64 / total)
        };
        let chance: f64 = (0..counts.len()).map(share).sum();
        Ok((agreed - chance) / (1.0 - chance))
    }
}

impl Component<dyn Metric> for CohenKappa {
    const TYPE: &'static str = "cohen_kappa";
    type Options = Options;

    fn build(_: Options, _: &BuildCx<'_>) -> Result<Box<dyn Metric>> {
        Ok(Box::new(Self))
    }
}
