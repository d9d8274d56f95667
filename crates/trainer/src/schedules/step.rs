//! The rate falls by a factor every few epochs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Invalid, Plugins, Progress, Result, Schedule};

/// The rate is multiplied by a factor every few epochs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StepDecayOptions {
    /// Epochs between two falls, at least 1.
    pub every_epochs: u64,
    /// The factor, above 0 and at most 1.
    pub factor: f64,
}

impl Default for StepDecayOptions {
    fn default() -> Self {
        Self { every_epochs: 10, factor: 0.1 }
    }
}

/// See [`StepDecayOptions`].
#[derive(Debug, Clone)]
pub struct StepDecay(pub StepDecayOptions);

impl Schedule for StepDecay {
    fn factor(&self, at: Progress) -> f64 {
        let epoch = at.step / at.steps_per_epoch.max(1);
        self.0.factor.powf((epoch / self.0.every_epochs) as f64)
    }
}

impl Component<dyn Schedule> for StepDecay {
    const TYPE: &'static str = "step";
    type Options = StepDecayOptions;

    fn check(o: &StepDecayOptions, _: &Plugins) -> Result<(), Invalid> {
        if o.every_epochs == 0 {
            return Err(Invalid::key("every_epochs", "must be at least 1"));
        }
        if !(o.factor > 0.0 && o.factor <= 1.0) {
            return Err(Invalid::key("factor", "must be above 0 and at most 1"));
        }
        Ok(())
    }

    fn build(o: StepDecayOptions, _: &BuildCx<'_>) -> Result<Box<dyn Schedule>> {
        Ok(Box::new(Self(o)))
    }
}
