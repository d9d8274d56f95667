//! An exponential moving average of the weights after every step.
//!
//! Polyak & Juditsky 1992; Tarvainen & Valpola 2017, "Mean teachers are better role models". timm's `--model-ema`. Its use is
//! largest where the rate stays high or batches are small.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Averaging, BuildCx, Component, Invalid, Plugins, Progress, Result};

use crate::optimisers::below_one;

/// A moving average of the weights, in which older steps count exponentially less.
///
/// Statistics of batch normalisation are averaged alike. Polyak & Juditsky 1992; Tarvainen & Valpola 2017.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmaOptions {
    /// What a step keeps of the average, at least 0 and below 1: it is over the last 1 / (1 - `decay`) steps or so.
    pub decay: f64,
    /// Whether less is kept at first, (1 + n) / (10 + n) after n steps, so that a short run's average is over its last ninth rather
    /// than over its beginning.
    pub warmup: bool,
}

impl Default for EmaOptions {
    fn default() -> Self {
        Self { decay: 0.999, warmup: true }
    }
}

/// See [`EmaOptions`].
#[derive(Debug, Clone)]
pub struct Ema(pub EmaOptions);

impl Averaging for Ema {
    fn share(&self, at: Progress) -> f64 {
        let before = at.step.saturating_sub(1) as f64;
        let decay = if self.0.warmup { self.0.decay.min((1.0 + before) / (10.0 + before)) } else { self.0.decay };
        if at.step <= 1 { 1.0 } else { 1.0 - decay }
    }
}

impl Component<dyn Averaging> for Ema {
    const TYPE: &'static str = "ema";
    type Options = EmaOptions;

    fn check(o: &EmaOptions, _: &Plugins) -> Result<(), Invalid> {
        below_one("decay", o.decay)
    }

    fn build(o: EmaOptions, _: &BuildCx<'_>) -> Result<Box<dyn Averaging>> {
        Ok(Box::new(Self(o)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_averages_over_its_last_ninth() {
        let ema = Ema(EmaOptions::default());
        let share = |step| ema.share(Progress { step, steps: 900, steps_per_epoch: 30 });
        assert_eq!([share(1), share(11)], [1.0, 1.0 - 11.0 / 20.0]);
        // What the steps after the 800th have in the end.
        let old: f64 = (801..=900).map(|s| 1.0 - share(s)).product();
        assert!((0.6..0.7).contains(&(1.0 - old)), "{old}");
        assert!((share(1_000_000) - 0.001).abs() < 1e-12);
    }
}
