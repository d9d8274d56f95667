//! Up to the base rate, then down to almost nothing, each along half a cosine.
//!
//! Smith & Topin 2018, "Super-Convergence"; the course of PyTorch's `OneCycleLR` with cosine annealing. The base rate is the
//! peak. The choice for short trainings from scratch.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Invalid, Plugins, Progress, Result, Schedule};

use super::half_cosine;

/// Up to the base rate and down to almost nothing within the phase.
///
/// The choice for short trainings from scratch; Smith and Topin 2018. The base rate is the peak.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OneCycleOptions {
    /// Share of the steps spent on the way up, above 0 and below 1.
    pub up: f64,
    /// The first rate is the base rate divided by this, at least 1.
    pub initial_divisor: f64,
    /// The last rate is the first one divided by this, at least 1.
    pub final_divisor: f64,
}

impl Default for OneCycleOptions {
    fn default() -> Self {
        Self { up: 0.3, initial_divisor: 25.0, final_divisor: 1e4 }
    }
}

/// See [`OneCycleOptions`].
#[derive(Debug, Clone)]
pub struct OneCycle(pub OneCycleOptions);

impl Schedule for OneCycle {
    fn factor(&self, at: Progress) -> f64 {
        let first = 1.0 / self.0.initial_divisor;
        let last = first / self.0.final_divisor;
        let (step, peak) = (at.step as f64, self.0.up * at.steps as f64 - 1.0);
        if step <= peak {
            half_cosine(first, 1.0, step / peak)
        } else {
            half_cosine(1.0, last, ((step - peak) / (at.steps as f64 - 1.0 - peak)).min(1.0))
        }
    }
}

impl Component<dyn Schedule> for OneCycle {
    const TYPE: &'static str = "one_cycle";
    type Options = OneCycleOptions;

    fn check(o: &OneCycleOptions, _: &Plugins) -> Result<(), Invalid> {
        if !(o.up > 0.0 && o.up < 1.0) {
            return Err(Invalid::key("up", "must be above 0 and below 1"));
        }
        for (key, value) in [("initial_divisor", o.initial_divisor), ("final_divisor", o.final_divisor)] {
            if !(value.is_finite() && value >= 1.0) {
                return Err(Invalid::key(key, "must be at least 1"));
            }
        }
        Ok(())
    }

    fn build(o: OneCycleOptions, _: &BuildCx<'_>) -> Result<Box<dyn Schedule>> {
        Ok(Box::new(Self(o)))
    }
}
