//! Regression: one number a row.
//!
//! A linear head with the squared error. Scale targets to about unit size, or the learning rate will not suit them.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, BuildCx, Component, Field, Invalid, Metric, Module, Plugins, Predictions, Result, Schema, Scope, Spec,
    Target, Task,
};
use transplant_ops::ScopeExt;

use crate::classification::{LinearHead, check_metrics, known_or_zero, make_metrics, width};

const VALUE: &str = "value";

/// Predicts one number a row: a linear head with the squared error.
///
/// No source of the catalogue has a target of numbers, and rows are drawn by a class: from a pipeline file it is of use
/// for a data set of one's own, beside a task of classes. In code it stands alone.
///
/// Scale targets to about unit size, or the learning rate will not suit them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegressionOptions {
    /// The target in the data set that is learned.
    pub target: String,
    /// Metrics; models are chosen by the first.
    pub metrics: Vec<Spec<dyn Metric>>,
}

impl Default for RegressionOptions {
    fn default() -> Self {
        Self { target: VALUE.to_owned(), metrics: Vec::new() }
    }
}

/// Learns a number. The head makes `weight [1, width]` and `bias [1]`.
#[derive(Clone)]
pub struct Regression {
    target: String,
    metrics: Vec<Arc<dyn Metric>>,
}

impl Regression {
    /// Of this target, judged by these metrics.
    pub fn new(target: &str, metrics: Vec<Arc<dyn Metric>>) -> Self {
        Self { target: target.to_owned(), metrics }
    }
}

impl Component<dyn Task> for Regression {
    const TYPE: &'static str = "regression";
    type Options = RegressionOptions;

    fn check(o: &Self::Options, plugins: &Plugins) -> Result<(), Invalid> {
        check_metrics(&o.metrics, plugins)
    }

    fn build(o: Self::Options, cx: &BuildCx<'_>) -> Result<Box<dyn Task>> {
        Ok(Box::new(Self::new(&o.target, make_metrics(&o.metrics, cx)?)))
    }
}

impl Task for Regression {
    fn target(&self) -> &str {
        &self.target
    }

    fn head(&self, features: &Schema, field: &Field, scope: &Scope) -> Result<Box<dyn Module>> {
        if *field != Field::Number {
            let found = match field {
                Field::Class { names } => format!("is one of {} classes", names.len()),
                _ => "is something else".to_owned(),
            };
            let message = format!("`regression` learns a number, and target `{}` {found}", self.target);
            return Err(Invalid::key("target", message).help("`classification` learns classes").into());
        }
        Ok(Box::new(LinearHead { linear: scope.linear(width(features)?, 1)?, output: VALUE }))
    }

    fn loss(&self, out: &Acts, target: &Target) -> Result<Tensor> {
        let value = out.get(VALUE)?.squeeze(1)?;
        Ok((&value - known_or_zero(target)?.to_dtype(value.dtype())?)?.sqr()?)
    }

    fn decode(&self, out: &Acts, _: &Field) -> Result<Predictions> {
        let value = out.get(VALUE)?.squeeze(1)?.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let values: Vec<f32> = value.to_vec1()?;
        Ok(Predictions::Number { labels: vec![None; values.len()], values })
    }

    fn metrics(&self) -> Vec<Arc<dyn Metric>> {
        self.metrics.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transplant_core::Error;

    #[test]
    fn the_loss_is_the_squared_error_of_each_row() -> Result<()> {
        let task = Regression::new(VALUE, Vec::new());
        let out = Acts::new().with(VALUE, Tensor::new(&[[1f32], [2.0]], &Device::Cpu)?);
        let target = Target::known(Tensor::new(&[1f32, 4.0], &Device::Cpu)?);
        assert_eq!(task.loss(&out, &target)?.to_vec1::<f32>()?, [0.0, 4.0]);
        let missing = Target {
            values: Tensor::new(&[1f32, f32::NAN], &Device::Cpu)?,
            present: Some(Tensor::new(&[1f32, 0.0], &Device::Cpu)?),
        };
        assert!(task.loss(&out, &missing)?.to_vec1::<f32>()?.iter().all(|l| l.is_finite()));
        let Predictions::Number { values, .. } = task.decode(&out, &Field::Number)? else {
            return Err(Error::contract("numbers were expected"));
        };
        assert_eq!(values, [1.0, 2.0]);
        Ok(())
    }
}
