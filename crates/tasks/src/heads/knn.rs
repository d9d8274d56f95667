//! k nearest neighbours.
//!
//! Keeps the features of every labelled row and lets the nearest ones vote. With `k = 1` it is retrieval, the control every
//! transfer result stands beside; it also shows how much of the answer is already in the features before anything is
//! fitted. Ties in distance go to the earlier row.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, BuildCx, Component, Ctx, Error, Features, Field, HIDDEN, HeadFit, Invalid, Module, Plugins, Result, Schema,
    Scope,
};
use transplant_kernels::parallel;

use super::{Distance, LOGITS, Rows, Uniform, class_count, labelled};

/// The least probability of a class, so that its logarithm is finite.
const FLOOR: f64 = 1e-6;

/// How much each neighbour's vote counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KnnWeights {
    /// One neighbour, one vote.
    #[default]
    Uniform,
    /// The inverse of the distance; neighbours at distance 0 outvote all others.
    Distance,
}

/// The k nearest labelled rows vote on the class.
///
/// With `k = 1` it is retrieval, the control that every transfer result stands beside. It shows how much of the answer
/// is in the features before anything is fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KnnOptions {
    /// How many neighbours vote; at least 1.
    pub k: usize,
    /// How far two rows are apart.
    pub distance: Distance,
    /// How much each vote counts.
    pub weights: KnnWeights,
}

impl Default for KnnOptions {
    fn default() -> Self {
        Self { k: 1, distance: Distance::default(), weights: KnnWeights::default() }
    }
}

/// Lets the nearest labelled rows vote. Keeps `features [rows, width]` and `classes [rows, classes]`, one-hot; puts out
/// log-probabilities.
#[derive(Debug, Clone, Default)]
pub struct Knn(KnnOptions);

impl Knn {
    /// With these options.
    ///
    /// # Errors
    /// When `k` is 0.
    pub fn new(options: KnnOptions) -> Result<Self, Invalid> {
        if options.k == 0 { Err(Invalid::key("k", "must be at least 1")) } else { Ok(Self(options)) }
    }
}

impl Component<dyn HeadFit> for Knn {
    const TYPE: &'static str = "knn";
    type Options = KnnOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn HeadFit>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl HeadFit for Knn {
    fn name(&self) -> &'static str {
        <Self as Component<dyn HeadFit>>::TYPE
    }

    fn fit(
        &self,
        f: &Features,
        target: &Tensor,
        field: &Field,
        _: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let classes = class_count(field)?;
        let (rows, y) = labelled(f, target, classes)?;
        if self.0.k > y.len() {
            return Err(Invalid::key("k", format!("{} neighbours of {} labelled rows", self.0.k, y.len())).into());
        }
        let mut one_hot = vec![0f32; y.len() * classes];
        y.iter().enumerate().for_each(|(i, c)| one_hot[i * classes + c] = 1.0);
        let one_hot = Tensor::from_vec(one_hot, (y.len(), classes), &Device::Cpu)?;
        Ok(BTreeMap::from([("features".to_owned(), rows.to_tensor()?), ("classes".to_owned(), one_hot)]))
    }

    fn build(&self, _: &Schema, field: &Field, scope: &Scope) -> Result<Box<dyn Module>> {
        let classes = class_count(field)?;
        let (Some(features), Some(one_hot)) = (scope.find("features"), scope.find("classes")) else {
            return Ok(Box::new(Uniform { classes }));
        };
        let (features, one_hot) = (self.prepared(Rows::of(&features)?), Rows::of(&one_hot)?);
        if one_hot.width != classes || one_hot.len() != features.len() {
            let message = format!("keeps {} rows of {} classes, the data have {classes}", one_hot.len(), one_hot.width);
            return Err(Error::param(scope.full("classes"), message));
        }
        Ok(Box::new(Neighbours { head: self.clone(), features, one_hot }))
    }
}

impl Knn {
    /// For the cosine, rows of length 1: half their squared distance is then one minus the cosine.
    fn prepared(&self, mut rows: Rows) -> Rows {
        if self.0.distance == Distance::Cosine {
            for row in rows.values.chunks_exact_mut(rows.width) {
                let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
                row.iter_mut().for_each(|v| *v /= length.max(1e-12));
            }
        }
        rows
    }

    fn distance(&self, a: &[f64], b: &[f64]) -> f64 {
        let square = squared_distance(a, b);
        if self.0.distance == Distance::Cosine { square / 2.0 } else { square.sqrt() }
    }
}

/// In eight sums side by side: one alone waits for each of its additions.
fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks(8), b.chunks(8));
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += (a - b) * (a - b);
        }
    }
    sums.iter().sum()
}

struct Neighbours {
    head: Knn,
    features: Rows,
    one_hot: Rows,
}

impl Neighbours {
    fn log_probabilities(&self, x: &[f64]) -> Vec<f32> {
        let mut near: Vec<(f64, usize)> =
            self.features.iter().enumerate().map(|(i, f)| (self.head.distance(x, f), i)).collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        near.truncate(self.head.0.k);
        let exact = near[0].0 == 0.0;
        let mut votes = vec![0.0; self.one_hot.width];
        for (d, i) in near {
            let weight = match self.head.0.weights {
                KnnWeights::Uniform => 1.0,
                KnnWeights::Distance if exact => f64::from(u8::from(d == 0.0)),
                KnnWeights::Distance => 1.0 / d,
            };
            votes.iter_mut().zip(self.one_hot.row(i)).for_each(|(v, c)| *v += weight * c);
        }
        let sum: f64 = votes.iter().sum();
        votes.iter().map(|v| (v / sum).max(FLOOR).ln() as f32).collect()
    }
}

impl Module for Neighbours {
    fn forward(&self, acts: &Acts, _: &mut Ctx) -> Result<Acts> {
        let x = acts.get(HIDDEN)?;
        let queries = self.head.prepared(Rows::of(x)?);
        let queries: Vec<&[f64]> = queries.iter().collect();
        let out = parallel::map(queries.len(), &|i| self.log_probabilities(queries[i])).concat();
        let out = Tensor::from_vec(out, (x.dim(0)?, self.one_hot.width), &Device::Cpu)?.to_dtype(DType::F32)?;
        Ok(Acts::new().with(LOGITS, out.to_device(x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{goldens, labels, logits, matrix, softmax};
    use super::*;

    #[test]
    fn agrees_with_scikit_learn() -> Result<()> {
        let g = goldens();
        let (x, y, q) = (matrix(&g["x"]), labels(&g["y"]), matrix(&g["queries"]));
        for case in g["knn"].as_array().unwrap() {
            let head = Knn::new(serde_json::from_value(case["options"].clone()).unwrap())?;
            let out = logits(&head, Some((&x, &y, &BTreeMap::new())), 3, &q)?;
            let want: Vec<Vec<f32>> = serde_json::from_value(case["probabilities"].clone()).unwrap();
            for (row, want) in out.iter().zip(want) {
                for (p, w) in softmax(row).iter().zip(want) {
                    assert!((p - w).abs() < 1e-5, "{p} is not {w} ({})", case["options"]);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn more_neighbours_than_rows_are_refused() -> Result<()> {
        let (x, y) = (Tensor::new(&[[1f32]], &Device::Cpu)?, Tensor::new(&[0u32], &Device::Cpu)?);
        let head = Knn::new(KnnOptions { k: 2, ..Default::default() })?;
        let e = logits(&head, Some((&x, &y, &BTreeMap::new())), 1, &x).unwrap_err();
        assert!(e.to_string().contains("k: 2 neighbours of 1 labelled rows"));
        assert!(Knn::new(KnnOptions { k: 0, ..Default::default() }).is_err());
        Ok(())
    }
}
