//! Regression: one number a row.
//!
//! A linear head with the squared error. The head puts out a number of mean 0 and deviation 1 over the rows that are learned
//! from, and brings it to the target's mean and deviation: learning rates suit it whatever the target's unit is.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, Buffer, BuildCx, Component, Ctx, Field, HIDDEN, Invalid, Metric, Module, Plugins, Predictions, Result,
    Schema, Scope, Spec, Target, Task,
};
use transplant_ops::{Linear, ScopeExt};

use crate::classification::{check_metrics, known_or_zero, make_metrics, width};

/// The name under which heads of numbers put out what they say, `[rows, 1]`.
pub(crate) const VALUE: &str = "value";
/// The deviation of the target, `[rows, 1]`, in whose unit the loss is.
const DEVIATION: &str = "deviation";

/// Predicts one number a row: a linear head with the squared error.
///
/// The target is standardised inside: by mean and deviation of the labels that are learned from, which are kept with the
/// head. The loss is in units of the deviation, predictions and metrics in the target's own.
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
        Self { target: VALUE.to_owned(), metrics: ["r2", "mae", "rmse"].map(Spec::new).to_vec() }
    }
}

/// Learns a number. The head makes `weight [1, width]` and `bias [1]`, and the buffers `mean [1]` and `deviation [1]` of
/// the target.
#[derive(Clone)]
pub struct Regression {
    target: String,
    metrics: Vec<Arc<dyn Metric>>,
    /// Of the target, in a head that is made afresh.
    mean: f64,
    deviation: f64,
}

impl Regression {
    /// Of this target, judged by these metrics. Until it is [`fitted`](Task::fitted) the target is taken as it is.
    pub fn new(target: &str, metrics: Vec<Arc<dyn Metric>>) -> Self {
        Self { target: target.to_owned(), metrics, mean: 0.0, deviation: 1.0 }
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
            let found = field.learned_as();
            let message = format!("`regression` learns a number, and target `{}` is {found}", self.target);
            return Err(Invalid::key("target", message).help("`classification` learns classes").into());
        }
        Ok(Box::new(ScaledHead {
            linear: scope.linear(width(features)?, 1)?,
            mean: scope.buffer("mean", 1, self.mean)?,
            deviation: scope.buffer("deviation", 1, self.deviation)?,
        }))
    }

    fn loss(&self, out: &Acts, target: &Target) -> Result<Tensor> {
        let (value, deviation) = (out.get(VALUE)?.squeeze(1)?, out.get(DEVIATION)?.squeeze(1)?);
        let error = (&value - known_or_zero(target)?.to_dtype(value.dtype())?)?;
        Ok((error / deviation)?.sqr()?)
    }

    fn fitted(&self, values: &[f32]) -> Result<Option<Arc<dyn Task>>> {
        if values.is_empty() {
            return Ok(None);
        }
        let (mean, deviation) = scale_of(values.iter().map(|v| f64::from(*v)));
        Ok(Some(Arc::new(Self { mean, deviation, ..self.clone() })))
    }

    fn decode(&self, out: &Acts, _: &Field) -> Result<Predictions> {
        let value = out.get(VALUE)?.squeeze(1)?.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let values: Vec<f32> = value.to_vec1()?;
        Ok(Predictions::Number { labels: vec![None; values.len()], values })
    }

    fn linear(&self, head: &BTreeMap<String, Tensor>) -> Result<Option<BTreeMap<String, Tensor>>> {
        in_target_s_unit(head)
    }

    fn metrics(&self) -> Vec<Arc<dyn Metric>> {
        self.metrics.clone()
    }
}

/// Mean and deviation of one or more numbers.
pub(crate) fn scale_of(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    let deviation = (values.map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    // Numbers that do not vary, rounding aside, have no scale of their own.
    (mean, if deviation > 1e-6 * mean.abs() { deviation } else { 1.0 })
}

/// The linear layer that says the same as a head of `weight`, `bias`, `mean` and `deviation`.
pub(crate) fn in_target_s_unit(head: &BTreeMap<String, Tensor>) -> Result<Option<BTreeMap<String, Tensor>>> {
    let names = ["weight", "bias", "mean", "deviation"];
    let [Some(weight), Some(bias), Some(mean), Some(deviation)] = names.map(|name| head.get(name)) else {
        return Ok(None);
    };
    let weight = weight.broadcast_mul(deviation)?;
    let bias = ((bias * deviation)? + mean)?;
    Ok(Some(BTreeMap::from([("weight".to_owned(), weight), ("bias".to_owned(), bias)])))
}

/// A linear layer from `hidden` to one number of mean 0 and deviation 1, and that number in the target's unit.
struct ScaledHead {
    linear: Linear,
    mean: Buffer,
    deviation: Buffer,
}

impl Module for ScaledHead {
    fn forward(&self, acts: &Acts, _: &mut Ctx) -> Result<Acts> {
        let standard = self.linear.forward(acts.get(HIDDEN)?)?;
        let of_target = |b: &Buffer| b.get().to_dtype(standard.dtype())?.broadcast_as(standard.dims());
        let deviation = of_target(&self.deviation)?.contiguous()?;
        let value = ((&standard * &deviation)? + of_target(&self.mean)?)?;
        Ok(Acts::new().with(VALUE, value).with(DEVIATION, deviation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transplant_core::{Error, Params, Plan, Seeds};

    /// The head of a task for features of width 1, whose weight is 1 and bias 0.
    fn head(task: &dyn Task) -> Result<Box<dyn Module>> {
        let params = Params::new(&Device::Cpu);
        for (name, value) in
            [("weight", Tensor::new(&[[1f32]], &Device::Cpu)?), ("bias", Tensor::new(&[0f32], &Device::Cpu)?)]
        {
            params.insert(name, &value, transplant_core::Role::Weight, transplant_core::Origin::Fresh)?;
        }
        let scope = Scope::new(&params, Arc::new(Plan::default()), Seeds::new(0), DType::F32);
        let schema = Schema::from([(HIDDEN.to_owned(), Field::Vector { width: 1 })]);
        task.head(&schema, &Field::Number, &scope)
    }

    /// A target of 1, 3 and 5 has mean 3 and deviation sqrt(8 / 3).
    #[test]
    fn the_target_is_standardised_inside() -> Result<()> {
        let task = Regression::new(VALUE, Vec::new()).fitted(&[1.0, 3.0, 5.0])?.unwrap();
        let x = Tensor::new(&[[0f32], [1.0]], &Device::Cpu)?;
        let out = head(task.as_ref())?.forward(&Acts::hidden(x), &mut Ctx::eval(&[0, 1]))?;
        let deviation = (8f32 / 3.0).sqrt();
        let said = out.get(VALUE)?.flatten_all()?.to_vec1::<f32>()?;
        assert!((said[0] - 3.0).abs() < 1e-6 && (said[1] - 3.0 - deviation).abs() < 1e-6, "{said:?}");
        let target = Target::known(Tensor::new(&[3.0 - deviation, 3.0], &Device::Cpu)?);
        let loss = task.loss(&out, &target)?.to_vec1::<f32>()?;
        assert!(loss.iter().all(|l| (l - 1.0).abs() < 1e-5), "{loss:?}");
        let tensors = [("weight", 1.0), ("bias", 0.5), ("mean", 3.0), ("deviation", 2.0)];
        let tensors = tensors.map(|(name, v)| (name.to_owned(), Tensor::new(&[v as f32], &Device::Cpu).unwrap()));
        let linear = task.linear(&BTreeMap::from(tensors))?.unwrap();
        let values = ["weight", "bias"].map(|name| linear[name].to_vec1::<f32>().unwrap()[0]);
        assert_eq!(values, [2.0, 4.0]);
        let alike = Regression::new(VALUE, Vec::new()).fitted(&[7.0, 7.0])?.unwrap();
        let out = head(alike.as_ref())?
            .forward(&Acts::hidden(Tensor::new(&[[2f32]], &Device::Cpu)?), &mut Ctx::eval(&[0]))?;
        assert_eq!(out.get(VALUE)?.flatten_all()?.to_vec1::<f32>()?, [9.0]);
        Ok(())
    }

    #[test]
    fn the_loss_is_the_squared_error_of_each_row() -> Result<()> {
        let task = Regression::new(VALUE, Vec::new());
        let ones = Tensor::new(&[[1f32], [1.0]], &Device::Cpu)?;
        let out = Acts::new().with(VALUE, Tensor::new(&[[1f32], [2.0]], &Device::Cpu)?).with(DEVIATION, ones);
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
