//! SHOT: Liang, Hu & Feng 2020, "Do We Really Need to Access the Source Data? Source Hypothesis Transfer for
//! Unsupervised Domain Adaptation", ICML.
//!
//! The head of the source stays as it is, and the network learns to give it features of target rows on which it is sure
//! (low entropy of each row) and which it spreads over the classes (high entropy of their mean). Pseudo-labels, from the
//! nearest of the classes' weighted centroids in the space of features, are computed anew before each epoch. Numbers are
//! those of the authors' code, <https://github.com/tim-learn/SHOT>: `1e-5` in logarithms, a 1 beside the features, and
//! one round of centroids from the labels themselves.

use std::collections::BTreeSet;

use candle_core::{D, DType, Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Boundary, BuildCx, Component, Error, Features, Finish, Invalid, Load, ModelInfo, Needs, Origin, Params, Pass,
    Pattern, Phase, Plan, Plugins, Result, Role, Step, Strategy, StreamNeed, Supervise, Term, Update,
};
use transplant_ops::{cross_entropy_rows, softmax};

use super::{LOGITS, TARGET, check_weight, class_tasks};

/// Where pseudo-labels and the rows that they are of stand while it trains.
const MEMORY: &str = "modules.shot";
/// What the authors add before they take logarithms.
const EPSILON: f64 = 1e-5;

/// SHOT: adapts a source network to a target without labels, and without the source's data.
///
/// Its one stream is `target`, with `labels = false`; `from` names the step that learned the same classes on the source.
/// Heads are frozen. Beside `parameter`, which may freeze the lower stages, that one must freeze `heads`, too. A source
/// that was trained with `label_smoothing` is adapted better. Liang, Hu & Feng 2020.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ShotOptions {
    /// Weight of each row's entropy, at least 0.
    pub entropy: f64,
    /// Weight of the entropy of the batch's mean, which is raised, at least 0: without it all rows become one class.
    pub diversity: f64,
    /// Weight of the cross entropy against pseudo-labels, at least 0.
    pub pseudo_labels: f64,
}

impl Default for ShotOptions {
    fn default() -> Self {
        Self { entropy: 1.0, diversity: 1.0, pseudo_labels: 0.3 }
    }
}

/// See [`ShotOptions`].
#[derive(Debug, Clone, Default)]
pub struct Shot(ShotOptions);

impl Component<dyn Strategy> for Shot {
    const TYPE: &'static str = "shot";
    type Options = ShotOptions;

    fn check(o: &ShotOptions, _: &Plugins) -> Result<(), Invalid> {
        check_weight("entropy", o.entropy)?;
        check_weight("diversity", o.diversity)?;
        check_weight("pseudo_labels", o.pseudo_labels)
    }

    fn build(o: ShotOptions, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self(o)))
    }
}

impl Strategy for Shot {
    fn needs(&self) -> Needs {
        let streams = vec![StreamNeed::unlabelled(TARGET)];
        Needs { load: Load::BackboneAndHeads, source_required: true, streams, ..Needs::default() }
    }

    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>> {
        model.feature_width()?;
        if let Some(task) = class_tasks(model)?.into_iter().find(|task| !model.kept_heads.contains(task)) {
            let e =
                Invalid::new(format!("has no head of task `{task}` to keep: the source does not tell these classes"));
            return Err(e.help("start from a step with the same classes").into());
        }
        let heads = model.weights().filter(|p| p.name.starts_with("heads."));
        Ok(vec![Phase::new("adapt", Plan::frozen(heads.map(|p| p.name.as_str())))])
    }

    fn supervises(&self, _: &Update) -> Supervise {
        Supervise::Nothing
    }

    fn terms(&self, _: &Update, step: &mut dyn Step) -> Result<Vec<Term>> {
        let rows = step.batch(TARGET)?.rows.clone();
        let forward = step.forward(TARGET)?;
        let mut terms = Vec::new();
        let mut add = |name: &str, weight, value| {
            terms.push(Term { weight, stream: Some(TARGET.to_owned()), ..Term::new(name, value) });
        };
        for (task, out) in &forward.outputs {
            let Ok(logits) = out.get(LOGITS) else { continue };
            let labels = remembered(step.params(), task, &rows)?;
            let labels = Tensor::new(labels, logits.device())?;
            add(&format!("shot.{task}.entropy"), self.0.entropy, entropy(logits)?);
            add(&format!("shot.{task}.diversity"), self.0.diversity, concentration(logits)?);
            let pseudo = cross_entropy_rows(logits, &labels, 0.0, None, None)?.mean_all()?;
            add(&format!("shot.{task}.pseudo_labels"), self.0.pseudo_labels, pseudo);
        }
        Ok(terms)
    }

    fn at(&self, boundary: Boundary, pass: &mut dyn Pass) -> Result<()> {
        match boundary {
            Boundary::PhaseStart(0) | Boundary::EpochEnd(0, _) => {
                let features = pass.features(TARGET)?;
                remember(pass.params(), &features)
            }
            _ => Ok(()),
        }
    }

    fn finish(&self) -> Finish {
        Finish { remove: vec![Pattern::new(MEMORY)], ..Finish::default() }
    }
}

/// The mean entropy of the rows' probabilities, from `logits [rows, classes]`: a scalar.
fn entropy(logits: &Tensor) -> Result<Tensor> {
    let p = softmax(logits)?;
    Ok((&p * (&p + EPSILON)?.log()?)?.sum(D::Minus1)?.mean_all()?.neg()?)
}

/// The negated entropy of the mean of the rows' probabilities, from `logits [rows, classes]`: a scalar.
fn concentration(logits: &Tensor) -> Result<Tensor> {
    let mean = softmax(logits)?.mean(0)?;
    Ok((&mean * (&mean + EPSILON)?.log()?)?.sum_all()?)
}

/// Keeps the pseudo-labels of all rows, ordered by row, as buffers: a run that resumes has them, too.
fn remember(params: &Params, f: &Features) -> Result<()> {
    let mut order: Vec<usize> = (0..f.rows.len()).collect();
    order.sort_by_key(|i| f.rows[*i]);
    let put = |name: &str, values: Vec<i64>| {
        params.insert(&format!("{MEMORY}.{name}"), &Tensor::new(values, &Device::Cpu)?, Role::Buffer, Origin::Fresh)
    };
    put("rows", order.iter().map(|i| f.rows[*i] as i64).collect())?;
    for (task, out) in &f.outputs {
        let Ok(logits) = out.get(LOGITS) else { continue };
        let labels = pseudo_labels(&f.values, &softmax(logits)?)?;
        put(&format!("labels.{task}"), order.iter().map(|i| i64::from(labels[*i])).collect())?;
    }
    Ok(())
}

/// The pseudo-labels of these rows.
fn remembered(params: &Params, task: &str, rows: &[u64]) -> Result<Vec<u32>> {
    let values = |name: String| -> Result<Vec<i64>> { Ok(params.get(&name)?.view().to_vec1()?) };
    let (all, labels) = (values(format!("{MEMORY}.rows"))?, values(format!("{MEMORY}.labels.{task}"))?);
    let label = |row: &u64| {
        let at = all.binary_search(&(*row as i64)).map_err(|_| {
            Error::contract(format!("row {row} of stream `{TARGET}` was not there when pseudo-labels were computed"))
        })?;
        Ok(labels[at] as u32)
    };
    rows.iter().map(label).collect()
}

/// The class of the nearest centroid, by cosine, of each row of `features [rows, width]`. Centroids are means of all rows,
/// weighed by the `probabilities [rows, classes]` that the head gives; then, once more, means of the rows that were put to
/// each class. A class that no row was put to before is not chosen.
fn pseudo_labels(features: &Tensor, probabilities: &Tensor) -> Result<Vec<u32>> {
    let on_host = |t: &Tensor| -> Result<Tensor> { Ok(t.to_device(&Device::Cpu)?.to_dtype(DType::F64)?) };
    let (x, p) = (on_host(features)?, on_host(probabilities)?);
    let (rows, classes) = p.dims2()?;
    let x = Tensor::cat(&[&x, &Tensor::ones((rows, 1), DType::F64, &Device::Cpu)?], 1)?;
    let x = x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?)?;
    let labels = nearest(&x, &p, &p.argmax(1)?.to_vec1()?)?;
    let mut one_hot = vec![0f64; rows * classes];
    labels.iter().enumerate().for_each(|(row, label)| one_hot[row * classes + *label as usize] = 1.0);
    nearest(&x, &Tensor::from_vec(one_hot, (rows, classes), &Device::Cpu)?, &labels)
}

/// The class whose centroid is nearest to each of the rows `x [rows, width]`, which have length 1, by cosine, among those
/// that rows had `before`. Centroids are means of rows with these `weights [rows, classes]`.
fn nearest(x: &Tensor, weights: &Tensor, before: &[u32]) -> Result<Vec<u32>> {
    let classes: BTreeSet<u32> = before.iter().copied().collect();
    let centroids = weights.t()?.contiguous()?.matmul(x)?;
    // A centroid's length has no influence on its cosine, so that sums do as well as means.
    let lengths: Vec<f64> = centroids.sqr()?.sum(1)?.sqrt()?.to_vec1()?;
    let products = x.matmul(&centroids.t()?.contiguous()?)?.to_vec2::<f64>()?;
    let best = |row: Vec<f64>| {
        let mut best = (0, f64::NEG_INFINITY);
        for class in &classes {
            let cosine = row[*class as usize] / lengths[*class as usize];
            if cosine > best.1 {
                best = (*class, cosine);
            }
        }
        best.0
    };
    Ok(products.into_iter().map(best).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{golden, number};
    use super::*;
    use std::collections::BTreeMap;
    use transplant_core::Acts;

    #[test]
    fn losses_are_those_of_pytorch() -> Result<()> {
        let logits = golden("shot", "logits");
        for (ours, name) in [(entropy(&logits)?, "entropy"), (concentration(&logits)?, "concentration")] {
            let (ours, wanted) = (ours.to_scalar::<f32>()?, number("shot", name));
            assert!((f64::from(ours) - wanted).abs() < 1e-6, "{name}: {ours}, expected {wanted}");
        }
        Ok(())
    }

    #[test]
    fn gradients_are_those_of_pytorch() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        params.insert("w", &golden("shot", "logits"), Role::Weight, Origin::Fresh)?;
        let w = params.get("w")?;
        let w = w.var().as_tensor();
        let mut g = transplant_core::Gradients::new(&params, |_| true);
        transplant_core::backward(&(entropy(w)? + concentration(w)?)?, &mut g)?;
        let off = (g.get("w").unwrap() - golden("shot", "gradient"))?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(off < 1e-6, "{off}");
        Ok(())
    }

    #[test]
    fn pseudo_labels_are_those_of_the_authors() -> Result<()> {
        let p = softmax(&golden("shot", "outputs"))?;
        let wanted: Vec<u32> =
            golden("shot", "pseudo_labels").to_vec1::<f32>()?.into_iter().map(|l| l as u32).collect();
        assert_eq!(pseudo_labels(&golden("shot", "features"), &p)?, wanted);
        // The case is one in which they are not what the head says.
        assert_ne!(p.argmax(1)?.to_vec1::<u32>()?, wanted);
        Ok(())
    }

    #[test]
    fn rows_find_their_labels() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        let values = Tensor::new(&[[1f32, 0.0], [0.0, 1.0], [0.9, 0.1]], &Device::Cpu)?;
        let logits = Tensor::new(&[[4f32, 0.0], [0.0, 4.0], [4.0, 0.0]], &Device::Cpu)?;
        let outputs = BTreeMap::from([("class".to_owned(), Acts::new().with(LOGITS, logits))]);
        remember(&params, &Features { values, outputs, targets: Default::default(), rows: vec![7, 2, 5] })?;
        assert_eq!(remembered(&params, "class", &[2, 7, 5, 2])?, [1, 0, 0, 1]);
        assert!(remembered(&params, "class", &[3]).unwrap_err().to_string().contains("row 3"));
        assert!(params.names().iter().all(|n| Shot::default().finish().remove[0].matches(n)));
        Ok(())
    }
}
