//! [`Policy`]: looks at an epoch's report and says what should happen; the trainer acts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Result;

/// What is known after an epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The epoch just finished, from 0, counted over all phases.
    pub epoch: u64,
    /// The name of its phase.
    #[serde(default)]
    pub phase: String,
    /// Mean training loss of the epoch.
    pub train_loss: f64,
    /// What models are chosen by, turned so that larger is better: the step's validator where it names one, otherwise the
    /// chosen validation metric; `None` without a validator or validation part.
    pub score: Option<f64>,
    /// All validation metrics.
    pub validation: BTreeMap<String, f64>,
    /// Scores of the step's validators, by name; larger is better.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub validators: BTreeMap<String, f64>,
}

/// What a policy asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// End this phase; those that follow still run.
    Stop {
        /// Why, for the log.
        why: String,
    },
    /// Keep the present weights under a name.
    Save {
        /// The name.
        name: String,
    },
    /// Put back the weights kept under a name.
    Restore {
        /// The name.
        name: String,
    },
    /// Forget the weights kept under a name.
    Delete {
        /// The name.
        name: String,
    },
    /// Multiply all learning rates from now on.
    ScaleLr {
        /// The factor.
        factor: f64,
    },
}

/// Decides, after each epoch and at the end of each phase.
///
/// Each phase that makes steps is a training of its own: what a policy saw in one says nothing about the next, which
/// trains other weights.
pub trait Policy: Send {
    /// Called before the first step of each phase that makes steps, not when a run resumes within it.
    fn phase_start(&mut self) {}

    /// Called after each epoch.
    fn decide(&mut self, report: &Report) -> Vec<Action>;

    /// Whether it can do nothing without a score: without a validation part and a validator.
    fn needs_validation(&self) -> bool {
        true
    }

    /// Called after the last step of each phase that makes steps, however the phase ended, and before the strategy's
    /// [`Boundary::PhaseEnd`](crate::Boundary::PhaseEnd). An average of weights has become the weights by then.
    fn phase_end(&mut self) -> Vec<Action> {
        Vec::new()
    }

    /// Its state, for a checkpoint.
    fn state(&self) -> serde_json::Value;

    /// Takes a state back.
    ///
    /// # Errors
    /// When the state is not its own.
    fn restore(&mut self, state: serde_json::Value) -> Result<()>;
}
