//! [`Task`]: what is to be predicted, from the head to the metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use crate::{Acts, Field, Metric, Module, Predictions, Result, Schema, Scope, Target};

/// Class names in the order of their numbers.
pub type Classes = Vec<String>;

/// A head, its loss and how its outputs are read.
pub trait Task: Send + Sync {
    /// The name of the target this task learns.
    fn target(&self) -> &str;

    /// The task with what it takes from the numbers that are learned from, such as their scale; `None`: it takes nothing.
    /// The pipeline calls it once a cell, with the known values of the target in all training rows, before the model is
    /// made. A finished model is read again without it: whatever has to last stands in buffers of the head.
    ///
    /// # Errors
    /// When nothing can be learned from these numbers.
    fn fitted(&self, values: &[f32]) -> Result<Option<Arc<dyn Task>>> {
        let _ = values;
        Ok(None)
    }

    /// Builds the head on top of features of this schema; called again whenever the plan changes. `field` describes the
    /// target in the data.
    ///
    /// # Errors
    /// When features or target do not suit the task.
    fn head(&self, features: &Schema, field: &Field, scope: &Scope) -> Result<Box<dyn Module>>;

    /// The loss of each row, unreduced: `f32 [rows]`. The caller masks rows whose target is missing, and reduces.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn loss(&self, out: &Acts, target: &Target) -> Result<Tensor>;

    /// Reads the outputs of some rows: probabilities of classes, numbers.
    ///
    /// # Errors
    /// When an output is missing.
    fn decode(&self, out: &Acts, field: &Field) -> Result<Predictions>;

    /// The linear layer, `weight [outputs, width]` and `bias [outputs]`, that says the same as the head of these tensors,
    /// named as below `heads.<task>`; `None` where none does. By default the tensors are that layer.
    ///
    /// # Errors
    /// When a tensor is missing.
    fn linear(&self, head: &BTreeMap<String, Tensor>) -> Result<Option<BTreeMap<String, Tensor>>> {
        Ok(Some(head.clone()))
    }

    /// The metrics of this task. The first one chooses models and judges steps; an option of the
    /// task says which that is. Of several tasks it is the mean of their first metrics, negated where smaller is better.
    fn metrics(&self) -> Vec<Arc<dyn Metric>>;
}
