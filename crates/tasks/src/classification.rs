//! Classification: one of several classes.
//!
//! A linear head with softmax cross-entropy, optionally with smoothed labels (Szegedy et al. 2016) or weighted classes.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, BuildCx, Component, Ctx, Field, HIDDEN, Invalid, Metric, Module, Plugins, Predictions, Result, Schema, Scope,
    Spec, Target, Task,
};
use transplant_ops::{Linear, ScopeExt, cross_entropy_rows};

use crate::heads::{LOGITS, class_count};

/// Predicts one of several classes: a linear head with softmax cross-entropy.
///
/// Labels can be smoothed (Szegedy et al. 2016) and classes weighted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClassificationOptions {
    /// The target in the data set that is learned.
    pub target: String,
    /// Share of the label that is spread evenly over all classes, in [0, 1).
    pub label_smoothing: f64,
    /// Weight of each class in the loss, in the order of the classes, above 0. Empty: all alike.
    pub class_weights: Vec<f64>,
    /// Metrics; models are chosen by the first.
    pub metrics: Vec<Spec<dyn Metric>>,
}

impl Default for ClassificationOptions {
    fn default() -> Self {
        let metrics = ["accuracy", "f1", "balanced_accuracy", "log_loss"].map(Spec::new).to_vec();
        Self { target: "class".to_owned(), label_smoothing: 0.0, class_weights: Vec::new(), metrics }
    }
}

/// Learns which of several classes a row belongs to. The head makes `weight [classes, width]` and `bias [classes]`.
#[derive(Clone)]
pub struct Classification {
    target: String,
    label_smoothing: f64,
    class_weights: Vec<f64>,
    metrics: Vec<Arc<dyn Metric>>,
}

impl Classification {
    /// With these options, except that the metrics are given ready-made.
    ///
    /// # Errors
    /// When an option is out of its range.
    pub fn new(options: ClassificationOptions, metrics: Vec<Arc<dyn Metric>>) -> Result<Self, Invalid> {
        let ClassificationOptions { target, label_smoothing, class_weights, .. } = options;
        if !(0.0..1.0).contains(&label_smoothing) {
            return Err(Invalid::key("label_smoothing", "must be at least 0 and below 1"));
        }
        // The loss takes them in single precision, in which a tiny one is 0.
        let fits = |w: f32| w > 0.0 && w.is_finite();
        if let Some(i) = class_weights.iter().position(|w| !fits(*w as f32)) {
            let message = format!("must be a number of single precision above 0, not {}", class_weights[i]);
            return Err(Invalid::key(&format!("class_weights.{i}"), message));
        }
        Ok(Self { target, label_smoothing, class_weights, metrics })
    }
}

impl Component<dyn Task> for Classification {
    const TYPE: &'static str = "classification";
    type Options = ClassificationOptions;

    fn check(o: &Self::Options, plugins: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone(), Vec::new())?;
        check_metrics(&o.metrics, plugins)
    }

    fn build(o: Self::Options, cx: &BuildCx<'_>) -> Result<Box<dyn Task>> {
        let metrics = make_metrics(&o.metrics, cx)?;
        Ok(Box::new(Self::new(o, metrics)?))
    }
}

impl Task for Classification {
    fn target(&self) -> &str {
        &self.target
    }

    fn head(&self, features: &Schema, field: &Field, scope: &Scope) -> Result<Box<dyn Module>> {
        let classes = class_count(field)?;
        let weights = self.class_weights.len();
        if weights != 0 && weights != classes {
            return Err(Invalid::key("class_weights", format!("has {weights} weights for {classes} classes")).into());
        }
        Ok(Box::new(LinearHead { linear: scope.linear(width(features)?, classes)?, output: LOGITS }))
    }

    fn loss(&self, out: &Acts, target: &Target) -> Result<Tensor> {
        let logits = out.get(LOGITS)?;
        let weights: Vec<f32> = self.class_weights.iter().map(|w| *w as f32).collect();
        let weights = (!weights.is_empty()).then(|| Tensor::from_slice(&weights, weights.len(), logits.device()));
        let labels = known_or_zero(target)?;
        Ok(cross_entropy_rows(logits, &labels, self.label_smoothing, weights.transpose()?.as_ref(), None)?)
    }

    fn decode(&self, out: &Acts, field: &Field) -> Result<Predictions> {
        let Field::Class { names } = field else {
            return Err(
                Invalid::key("target", format!("classification needs a class, and the target is {field:?}")).into()
            );
        };
        let logits = out.get(LOGITS)?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let rows = logits.dim(0)?;
        let logits: Vec<f64> = logits.flatten_all()?.to_vec1()?;
        let scores = logits.chunks(names.len().max(1)).flat_map(softmax).collect();
        Ok(Predictions::Class { names: names.clone(), labels: vec![None; rows], scores })
    }

    fn metrics(&self) -> Vec<Arc<dyn Metric>> {
        self.metrics.clone()
    }
}

/// In `f64` on the host, so that a row sums to 1 as well as `f32` can say.
fn softmax(row: &[f64]) -> Vec<f32> {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = row.iter().map(|z| (z - top).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|v| (v / sum) as f32).collect()
}

/// A linear layer from `hidden` to one output.
pub(crate) struct LinearHead {
    pub(crate) linear: Linear,
    pub(crate) output: &'static str,
}

impl Module for LinearHead {
    fn forward(&self, acts: &Acts, _: &mut Ctx) -> Result<Acts> {
        Ok(Acts::new().with(self.output, self.linear.forward(acts.get(HIDDEN)?)?))
    }
}

/// The width of the features that a linear head reads.
pub(crate) fn width(features: &Schema) -> Result<usize> {
    match features.get(HIDDEN) {
        Some(Field::Vector { width }) => Ok(*width),
        other => {
            Err(Invalid::new(format!("a linear head reads a vector `{HIDDEN}`, the network puts out {other:?}")).into())
        }
    }
}

/// The values of a target, 0 where they are missing: whatever stands there may be out of range or not a number, and the
/// caller's mask would not undo that.
pub(crate) fn known_or_zero(target: &Target) -> Result<Tensor> {
    let Some(present) = &target.present else { return Ok(target.values.clone()) };
    Ok(present.gt(0f32)?.where_cond(&target.values, &target.values.zeros_like()?)?)
}

pub(crate) fn check_metrics(metrics: &[Spec<dyn Metric>], plugins: &Plugins) -> Result<(), Invalid> {
    let check = |(i, m)| plugins.check(m).map(|_| ()).map_err(|e| e.under(&format!("metrics.{i}")));
    metrics.iter().enumerate().try_for_each(check)
}

pub(crate) fn make_metrics(metrics: &[Spec<dyn Metric>], cx: &BuildCx<'_>) -> Result<Vec<Arc<dyn Metric>>> {
    metrics.iter().map(|m| Ok(cx.make(m)?.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use transplant_core::{Error, Params, Seeds};

    fn task(label_smoothing: f64, class_weights: &[f64]) -> Result<Classification, Invalid> {
        let class_weights = class_weights.to_vec();
        let options = ClassificationOptions { label_smoothing, class_weights, ..Default::default() };
        Classification::new(options, Vec::new())
    }

    fn field() -> Field {
        Field::Class { names: ["a", "b"].map(str::to_owned).to_vec() }
    }

    #[test]
    fn the_head_is_linear_and_its_loss_is_one_number_a_row() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        let scope = Scope::new(&params, Arc::default(), Seeds::new(0), DType::F32).pp("heads").pp("class");
        let features = Schema::from([(HIDDEN.to_owned(), Field::Vector { width: 3 })]);
        let head = task(0.0, &[])?.head(&features, &field(), &scope)?;
        assert_eq!(params.names(), ["heads.class.bias", "heads.class.weight"]);
        let x = Tensor::zeros((4, 3), DType::F32, &Device::Cpu)?;
        let out = head.forward(&Acts::hidden(x), &mut Ctx::eval(&[0, 1, 2, 3]))?;
        assert_eq!(out.get(LOGITS)?.dims(), [4, 2]);
        assert!(task(0.0, &[1.0])?.head(&features, &field(), &scope).is_err());
        assert!(task(0.0, &[])?.head(&Schema::new(), &field(), &scope).is_err());
        Ok(())
    }

    #[test]
    fn loss_and_probabilities_of_known_logits() -> Result<()> {
        let logits = Tensor::new(&[[0f32, 0.0], [3.0f32.ln(), 0.0]], &Device::Cpu)?;
        let out = Acts::new().with(LOGITS, logits);
        let target = Target::known(Tensor::new(&[1u32, 0], &Device::Cpu)?);
        let loss = task(0.0, &[])?.loss(&out, &target)?.to_vec1::<f32>()?;
        assert!((loss[0] - 2f32.ln()).abs() < 1e-6 && (loss[1] + 0.75f32.ln()).abs() < 1e-6, "{loss:?}");
        // Half of the label is spread: the second row pays for both classes.
        let smooth = task(0.5, &[])?.loss(&out, &target)?.to_vec1::<f32>()?;
        assert!((smooth[1] + 0.75 * 0.75f32.ln() + 0.25 * 0.25f32.ln()).abs() < 1e-6, "{smooth:?}");
        let missing = Target {
            values: Tensor::new(&[9u32, 0], &Device::Cpu)?,
            present: Some(Tensor::new(&[0f32, 1.0], &Device::Cpu)?),
        };
        assert_eq!(task(0.0, &[])?.loss(&out, &missing)?.to_vec1::<f32>()?[1], loss[1]);
        let weighted = task(0.0, &[3.0, 1.0])?.loss(&out, &target)?.to_vec1::<f32>()?;
        assert!((weighted[1] - 3.0 * loss[1]).abs() < 1e-6);
        let Predictions::Class { labels, scores, .. } = task(0.0, &[])?.decode(&out, &field())? else {
            return Err(Error::contract("classes were expected"));
        };
        assert_eq!(labels, [None, None]);
        assert!((scores[2] - 0.75).abs() < 1e-6, "{scores:?}");
        Ok(())
    }

    #[test]
    fn values_out_of_range_and_unknown_metrics_are_named() {
        assert!(task(1.0, &[]).err().unwrap().to_string().starts_with("label_smoothing: "));
        for wrong in [0.0, -1.0, 1e-50, 1e50, f64::NAN] {
            let said = task(0.0, &[1.0, wrong]).err().unwrap().to_string();
            assert!(said.starts_with("class_weights.1: must be a number of single precision above 0"), "{said}");
        }
        assert!(task(0.0, &[0.0, 0.0]).err().unwrap().to_string().starts_with("class_weights.0: "));
        let plugins = Plugins::new().with(crate::plugin);
        let e = plugins.check(&Spec::<dyn Task>::new("classification")).unwrap_err().to_string();
        assert!(e.starts_with("metrics.0: there is no metric `accuracy`"), "{e}");
        let none = Spec::<dyn Task>::new("classification").with("metrics", serde_json::json!([]));
        assert!(plugins.check(&none).is_ok());
    }
}
