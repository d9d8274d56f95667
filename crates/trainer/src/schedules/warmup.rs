//! A straight climb at the start, then another schedule.
//!
//! Goyal et al. 2017, "Accurate, Large Minibatch SGD". For optimisers whose moments are not settled yet, and for fresh heads
//! on pretrained networks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Invalid, Plugins, Progress, Result, Schedule, Spec};

/// A straight climb to the base rate, then another schedule over the rest.
///
/// For fresh heads on pretrained networks, and for optimisers whose moments are not settled yet; Goyal et al. 2017.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WarmupOptions {
    /// Steps of the climb, at least 1; at most half of the phase is spent on it.
    pub steps: u64,
    /// The first factor, from 0 to 1.
    pub start: f64,
    /// The schedule after the climb.
    pub then: Spec<dyn Schedule>,
}

impl Default for WarmupOptions {
    fn default() -> Self {
        Self { steps: 100, start: 0.01, then: Spec::new("constant") }
    }
}

/// See [`WarmupOptions`].
pub struct Warmup {
    steps: u64,
    start: f64,
    then: Box<dyn Schedule>,
}

impl Schedule for Warmup {
    fn factor(&self, at: Progress) -> f64 {
        let climb = self.steps.min(at.steps / 2);
        if at.step < climb {
            return self.start + (1.0 - self.start) * at.step as f64 / climb as f64;
        }
        self.then.factor(Progress { step: at.step - climb, steps: at.steps - climb, ..at })
    }
}

impl Component<dyn Schedule> for Warmup {
    const TYPE: &'static str = "warmup";
    type Options = WarmupOptions;

    fn check(o: &WarmupOptions, plugins: &Plugins) -> Result<(), Invalid> {
        if o.steps == 0 {
            return Err(Invalid::key("steps", "must be at least 1"));
        }
        if !(0.0..=1.0).contains(&o.start) {
            return Err(Invalid::key("start", "must lie between 0 and 1"));
        }
        plugins.check(&o.then).map(drop).map_err(|e| e.under("then"))
    }

    fn build(o: WarmupOptions, cx: &BuildCx<'_>) -> Result<Box<dyn Schedule>> {
        Ok(Box::new(Self { steps: o.steps, start: o.start, then: cx.make(&o.then)? }))
    }
}
