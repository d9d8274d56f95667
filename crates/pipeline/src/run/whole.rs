//! What cells predicted for a task, all folds of a seed and a draw taken together.

use std::borrow::Cow;

use transplant_core::{Predictions, Result};
use transplant_metrics::Cell as Run;

use super::predictions::SplitPredictions;

/// Seed, draw and fold.
pub(super) type At = (u64, u64, u64);

/// What a cell predicted for a task.
pub(super) struct OfCell<'p> {
    pub(super) at: At,
    pub(super) predictions: &'p Predictions,
    /// The group of each row; empty when every row stands alone.
    pub(super) groups: &'p [u64],
}

impl<'p> OfCell<'p> {
    pub(super) fn new(at: At, split: &'p SplitPredictions, task: &str) -> Option<Self> {
        Some(Self { at, predictions: split.tasks.get(task)?, groups: &split.groups })
    }
}

/// The predictions for all folds together, which are about every row once.
pub(super) struct Whole<'p> {
    pub(super) seed: u64,
    pub(super) draw: u64,
    pub(super) predictions: Cow<'p, Predictions>,
    pub(super) groups: Cow<'p, [u64]>,
}

/// Predictions by seed and draw, of cells in order.
pub(super) fn whole<'p>(cells: impl Iterator<Item = OfCell<'p>>) -> Result<Vec<Whole<'p>>> {
    let mut out: Vec<Whole<'_>> = Vec::new();
    for OfCell { at: (seed, draw, _), predictions, groups } in cells {
        match out.last_mut() {
            Some(so_far) if (so_far.seed, so_far.draw) == (seed, draw) => {
                so_far.predictions.to_mut().extend(predictions.clone())?;
                so_far.groups.to_mut().extend(groups);
            }
            _ => {
                let (predictions, groups) = (Cow::Borrowed(predictions), Cow::Borrowed(groups));
                out.push(Whole { seed, draw, predictions, groups });
            }
        }
    }
    Ok(out)
}

/// As the statistics take them.
pub(super) fn as_runs<'p>(whole: &'p [Whole<'_>]) -> Vec<Run<'p>> {
    let run = |w: &'p Whole<'_>| Run { seed: w.seed, draw: w.draw, predictions: &w.predictions, groups: &w.groups };
    whole.iter().map(run).collect()
}
