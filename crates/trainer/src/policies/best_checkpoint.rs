//! Keeps the weights of a phase's best epoch and puts them back at its end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Action, BuildCx, Component, Policy, Report, Result};

use super::{captured, restored};

const NAME: &str = "best";

/// Puts the weights of the epoch with the best score back at the end of training.
///
/// The score is that of the validation part, or of the step's validator (`select`). Of equal epochs the earliest counts. Put it beside `early_stopping`. Where a strategy trains in several phases, each
/// ends with its own best weights, and the next starts from them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BestCheckpointOptions {}

/// See [`BestCheckpointOptions`].
#[derive(Debug, Clone, Default)]
pub struct BestCheckpoint {
    best: Option<f64>,
}

impl Policy for BestCheckpoint {
    fn phase_start(&mut self) {
        self.best = None;
    }

    fn decide(&mut self, report: &Report) -> Vec<Action> {
        let better = report.score.filter(|s| self.best.is_none_or(|b| *s > b));
        self.best = better.or(self.best);
        better.map(|_| Action::Save { name: NAME.into() }).into_iter().collect()
    }

    fn phase_end(&mut self) -> Vec<Action> {
        vec![Action::Restore { name: NAME.into() }, Action::Delete { name: NAME.into() }]
    }

    fn state(&self) -> serde_json::Value {
        captured(&self.best)
    }

    fn restore(&mut self, state: serde_json::Value) -> Result<()> {
        self.best = restored(state)?;
        Ok(())
    }
}

impl Component<dyn Policy> for BestCheckpoint {
    const TYPE: &'static str = "best_checkpoint";
    type Options = BestCheckpointOptions;

    fn build(_: BestCheckpointOptions, _: &BuildCx<'_>) -> Result<Box<dyn Policy>> {
        Ok(Box::<Self>::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_better_epoch_is_kept() {
        let mut p = BestCheckpoint::default();
        let mut at = |score| p.decide(&Report { score: Some(score), ..Report::default() }).len();
        assert_eq!([at(0.5), at(0.5), at(0.4), at(0.6)], [1, 0, 0, 1]);
        p.phase_start();
        assert_eq!(p.decide(&Report { score: Some(0.1), ..Report::default() }).len(), 1);
    }
}
