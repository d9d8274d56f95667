//! [`Validator`]: says how good a model is on rows whose labels nobody may look at.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{Predictions, Result};

/// What a model makes of the rows of a stream without labels, in evaluation mode and without augmentation. It holds no
/// targets, so that no validator can read any.
#[derive(Debug, Clone)]
pub struct Outputs {
    /// What the backbone puts out: `f32 [rows, width]` where features are vectors.
    pub features: Tensor,
    /// Probabilities of classes, `f32 [rows, classes]` on the host, by task; tasks of numbers are not among them.
    pub probabilities: BTreeMap<String, Tensor>,
}

/// What a validator may look at.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What the model makes of the stream without labels that it is judged on.
    pub target: &'a Outputs,
    /// What it says of the step's validation part, with its labels, by task: rows of the labelled source. `None` without
    /// such a part.
    pub source: Option<&'a BTreeMap<String, Predictions>>,
}

/// Scores a model without labels of the rows that it is for: what chooses among models where a target has no labels.
///
/// The trainer calls [`score`](Self::score) after each epoch that has a step, and once for the finished model. The
/// validator that a step names in `select` gives policies their score; all others are told and never acted on.
pub trait Validator: Send + Sync {
    /// The stream without labels that it looks at; `None`: the first of the step, by name.
    fn on(&self) -> Option<&str> {
        None
    }

    /// The score; larger is better. What is not finite chooses nothing.
    ///
    /// # Errors
    /// When the model's outputs are of a kind it does not suit.
    fn score(&self, seen: &Seen<'_>) -> Result<f64>;
}
