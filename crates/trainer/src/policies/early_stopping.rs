//! Stops when the validation score has not risen for a while.
//!
//! Prechelt 1998, "Early Stopping — But When?". Put `best_checkpoint` beside it to end with the best weights.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Action, BuildCx, Component, Invalid, Plugins, Policy, Report, Result};

use super::{captured, restored};

/// Stops when the validation score has not risen for some epochs.
///
/// Put `best_checkpoint` beside it to end with the best weights; Prechelt 1998. Where a strategy trains in several
/// phases, it ends the phase, and those that follow still run; in each of them it begins to count anew, since other
/// weights are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EarlyStoppingOptions {
    /// Epochs without a rise after which training stops, at least 1.
    pub patience_epochs: u64,
    /// A rise of at most this does not count, at least 0.
    pub min_delta: f64,
}

impl Default for EarlyStoppingOptions {
    fn default() -> Self {
        Self { patience_epochs: 5, min_delta: 0.0 }
    }
}

/// See [`EarlyStoppingOptions`].
#[derive(Debug, Clone)]
pub struct EarlyStopping {
    options: EarlyStoppingOptions,
    best: Option<f64>,
    waited: u64,
}

impl EarlyStopping {
    /// A policy that has seen nothing yet.
    pub fn new(options: EarlyStoppingOptions) -> Self {
        Self { options, best: None, waited: 0 }
    }
}

impl Policy for EarlyStopping {
    fn phase_start(&mut self) {
        (self.best, self.waited) = (None, 0);
    }

    fn decide(&mut self, report: &Report) -> Vec<Action> {
        let Some(score) = report.score else { return Vec::new() };
        if self.best.is_none_or(|b| score > b + self.options.min_delta) {
            (self.best, self.waited) = (Some(score), 0);
            return Vec::new();
        }
        self.waited += 1;
        if self.waited < self.options.patience_epochs {
            return Vec::new();
        }
        vec![Action::Stop { why: format!("no rise of the validation score for {} epochs", self.waited) }]
    }

    fn state(&self) -> serde_json::Value {
        captured(&(self.best, self.waited))
    }

    fn restore(&mut self, state: serde_json::Value) -> Result<()> {
        (self.best, self.waited) = restored(state)?;
        Ok(())
    }
}

impl Component<dyn Policy> for EarlyStopping {
    const TYPE: &'static str = "early_stopping";
    type Options = EarlyStoppingOptions;

    fn check(o: &EarlyStoppingOptions, _: &Plugins) -> Result<(), Invalid> {
        if o.patience_epochs == 0 {
            return Err(Invalid::key("patience_epochs", "must be at least 1"));
        }
        if !(o.min_delta.is_finite() && o.min_delta >= 0.0) {
            return Err(Invalid::key("min_delta", "must be at least 0"));
        }
        Ok(())
    }

    fn build(o: EarlyStoppingOptions, _: &BuildCx<'_>) -> Result<Box<dyn Policy>> {
        Ok(Box::new(Self::new(o)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_patience_epochs_and_its_state_comes_back() -> Result<()> {
        let options = EarlyStoppingOptions { patience_epochs: 2, min_delta: 0.1 };
        let mut p = EarlyStopping::new(options.clone());
        let at = |p: &mut EarlyStopping, score| p.decide(&Report { score: Some(score), ..Report::default() }).len();
        assert_eq!([at(&mut p, 0.5), at(&mut p, 0.55)], [0, 0]);
        let mut resumed = EarlyStopping::new(options);
        resumed.restore(p.state())?;
        assert_eq!([at(&mut p, 0.6), at(&mut resumed, 0.6)], [1, 1]);
        p.phase_start();
        assert_eq!([at(&mut p, 0.1), at(&mut p, 0.1)], [0, 0]);
        Ok(())
    }
}
