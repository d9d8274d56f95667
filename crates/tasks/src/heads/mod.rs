//! Heads fitted on frozen features: of classes `logistic_regression`, `knn`, `nearest_prototype`, of numbers `ridge`; and
//! of classes on texts: `tfidf_logistic_regression`.
//!
//! All others work on `f32 [rows, width]` features, in `f64` on the host while they are fitted, and none draws a random number:
//! the same features give the same head on every machine. Built before anything was fitted, they put out zero logits,
//! that is the same probability for every class; `ridge` puts out 0.

mod knn;
mod logistic_regression;
mod nearest_prototype;
mod ridge;
mod scale;
mod softmax;
mod sparse;
mod tfidf;
mod tfidf_logistic_regression;

pub use knn::{Knn, KnnOptions, KnnWeights};
pub use logistic_regression::{LogisticRegression, LogisticRegressionOptions};
pub use nearest_prototype::{NearestPrototype, NearestPrototypeOptions};
pub use ridge::{Ridge, RidgeOptions};
pub use scale::Scaling;
pub use tfidf_logistic_regression::{TfidfLogisticRegression, TfidfLogisticRegressionOptions};

use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, Ctx, Error, Features, Field, HIDDEN, Invalid, Module, Result};

/// The name under which heads of classes put out their scores.
pub(crate) const LOGITS: &str = "logits";

/// How far two feature vectors are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// One minus the cosine of the angle between them: their lengths do not count.
    #[default]
    Cosine,
    /// Euclidean.
    Euclidean,
}

/// What the rows of each class count while a head is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeight {
    /// Every row counts 1.
    #[default]
    None,
    /// Every class counts the same: a row counts the number of rows over that of classes and of rows of its class, as in
    /// scikit-learn.
    Balanced,
}

impl ClassWeight {
    /// What each row counts.
    pub(crate) fn of(self, y: &[usize], classes: usize) -> Vec<f64> {
        if self == Self::None {
            return vec![1.0; y.len()];
        }
        let mut counts = vec![0.0; classes];
        y.iter().for_each(|c| counts[*c] += 1.0);
        let seen = counts.iter().filter(|n| **n > 0.0).count() as f64;
        y.iter().map(|c| y.len() as f64 / (seen * counts[*c])).collect()
    }
}

/// A matrix on the host, row-major.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) width: usize,
    pub(crate) values: Vec<f64>,
}

impl Rows {
    pub(crate) fn of(t: &Tensor) -> Result<Self> {
        let (_, width) = t.dims2()?;
        let values = t.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        Ok(Self { width, values })
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.width.max(1))
    }

    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    pub(crate) fn to_tensor(&self) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.values, (self.len(), self.width), &Device::Cpu)?.to_dtype(DType::F32)?)
    }
}

/// Features and their classes on the host, checked against each other.
pub(crate) fn labelled(f: &Features, target: &Tensor, classes: usize) -> Result<(Rows, Vec<usize>)> {
    let rows = Rows::of(&f.values)?;
    let labels = checked_labels(f, target, classes, rows.len())?;
    check_finite(f, &rows)?;
    Ok((rows, labels))
}

/// Features and their numbers on the host, checked against each other.
pub(crate) fn numbered(f: &Features, target: &Tensor) -> Result<(Rows, Vec<f64>)> {
    let rows = Rows::of(&f.values)?;
    let values: Vec<f64> = target.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1()?;
    if values.is_empty() || values.len() != rows.len() {
        let message = format!("a head needs a number for each row, got {} for {} rows", values.len(), rows.len());
        return Err(Error::contract(message));
    }
    if let Some(i) = values.iter().position(|v| !v.is_finite()) {
        return Err(Error::data("labels", f.rows.get(i).copied(), "a label is not a finite number"));
    }
    check_finite(f, &rows)?;
    Ok((rows, values))
}

fn check_finite(f: &Features, rows: &Rows) -> Result<()> {
    match rows.values.iter().position(|v| !v.is_finite()) {
        Some(i) => {
            Err(Error::data("features", f.rows.get(i / rows.width).copied(), "a feature is not a finite number"))
        }
        None => Ok(()),
    }
}

/// The classes of so many rows.
pub(crate) fn checked_labels(f: &Features, target: &Tensor, classes: usize, rows: usize) -> Result<Vec<usize>> {
    let labels: Vec<u32> = target.to_device(&Device::Cpu)?.to_dtype(DType::U32)?.to_vec1()?;
    if labels.is_empty() || labels.len() != rows {
        let l = labels.len();
        return Err(Error::contract(format!("a head needs a label for each row, got {l} labels for {rows} rows")));
    }
    let labels: Vec<usize> = labels.into_iter().map(|l| l as usize).collect();
    if let Some(i) = labels.iter().position(|l| *l >= classes) {
        let message = format!("label {} is out of range, there are {classes} classes", labels[i]);
        return Err(Error::data("labels", f.rows.get(i).copied(), message));
    }
    Ok(labels)
}

/// Number of classes of a target.
pub(crate) fn class_count(field: &Field) -> Result<usize> {
    match field {
        Field::Class { names } => Ok(names.len()),
        other => {
            let message = format!("this head is for classes, and the target is {}", other.learned_as());
            Err(Invalid::new(message).into())
        }
    }
}

/// Puts out zero logits: what a head says before it was fitted.
pub(crate) struct Uniform {
    pub(crate) classes: usize,
}

impl Module for Uniform {
    fn forward(&self, acts: &Acts, _: &mut Ctx) -> Result<Acts> {
        let x = acts.get(HIDDEN)?;
        Ok(Acts::new().with(LOGITS, Tensor::zeros((x.dim(0)?, self.classes), DType::F32, x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::Value;
    use transplant_core::{HeadFit, Origin, Params, Plan, Role, Schema, Scope, Seeds, Targets};

    /// What scikit-learn and SciPy say; `tests/goldens/generate_heads.py` of the repository writes it.
    pub(super) fn goldens() -> Value {
        serde_json::from_str(include_str!("../../goldens/heads.json")).unwrap()
    }

    pub(super) fn matrix(v: &Value) -> Tensor {
        Tensor::new(serde_json::from_value::<Vec<Vec<f32>>>(v.clone()).unwrap(), &Device::Cpu).unwrap()
    }

    pub(super) fn labels(v: &Value) -> Tensor {
        Tensor::new(serde_json::from_value::<Vec<u32>>(v.clone()).unwrap(), &Device::Cpu).unwrap()
    }

    pub(super) fn features(values: Tensor) -> Features {
        let rows = (0..values.dim(0).unwrap() as u64).collect();
        Features { values, outputs: std::collections::BTreeMap::new(), targets: Targets::new(), rows }
    }

    pub(super) fn class_field(classes: usize) -> Field {
        Field::Class { names: (0..classes).map(|c| c.to_string()).collect() }
    }

    /// Fits a head, keeps what was fitted as a trainer does, and returns the logits of `queries`.
    pub(super) fn logits(
        head: &dyn HeadFit,
        data: Option<(&Tensor, &Tensor, &BTreeMap<String, Tensor>)>,
        classes: usize,
        queries: &Tensor,
    ) -> Result<Vec<Vec<f32>>> {
        let params = Params::new(&Device::Cpu);
        let field = class_field(classes);
        if let Some((x, y, prior)) = data {
            for (name, t) in head.fit(&features(x.clone()), y, &field, prior)? {
                let by = head.name().to_owned();
                params.insert(&format!("heads.t.{name}"), &t, Role::Buffer, Origin::Fitted { by })?;
            }
        }
        let scope = Scope::new(&params, Arc::new(Plan::default()), Seeds::new(0), DType::F32).pp("heads").pp("t");
        let schema = Schema::from([(HIDDEN.to_owned(), Field::Vector { width: queries.dim(1)? })]);
        let module = head.build(&schema, &field, &scope)?;
        let out = module.forward(&Acts::hidden(queries.clone()), &mut Ctx::eval(&[]))?;
        Ok(out.get(LOGITS)?.to_vec2()?)
    }

    pub(super) fn softmax(row: &[f32]) -> Vec<f32> {
        let top = row.iter().copied().fold(f32::MIN, f32::max);
        let e: Vec<f32> = row.iter().map(|v| (v - top).exp()).collect();
        let sum: f32 = e.iter().sum();
        e.iter().map(|v| v / sum).collect()
    }

    pub(super) fn largest(row: &[f32]) -> u64 {
        (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as u64
    }

    #[test]
    fn before_a_fit_every_class_is_equally_likely_and_wrong_data_are_named() -> Result<()> {
        let x = Tensor::new(&[[0f32, 1.0], [1.0, 0.0]], &Device::Cpu)?;
        let heads: [Box<dyn HeadFit>; 3] =
            [Box::new(LogisticRegression::default()), Box::new(Knn::default()), Box::new(NearestPrototype::default())];
        for head in heads {
            assert_eq!(logits(head.as_ref(), None, 3, &x)?, [[0.0; 3], [0.0; 3]]);
            let fit = |x: &Tensor, y: &[u32]| {
                let y = Tensor::new(y, &Device::Cpu).unwrap();
                head.fit(&features(x.clone()), &y, &class_field(3), &BTreeMap::new()).unwrap_err().to_string()
            };
            assert!(fit(&x, &[0, 3]).contains("row 1: label 3 is out of range"));
            assert!(fit(&x, &[0]).contains("1 labels for 2 rows"));
            let nan = Tensor::new(&[[0f32, 1.0], [f32::NAN, 0.0]], &Device::Cpu)?;
            assert!(fit(&nan, &[0, 1]).contains("row 1"));
        }
        Ok(())
    }
}
