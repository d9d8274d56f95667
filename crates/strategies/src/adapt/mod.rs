//! Learning from rows without labels: unsupervised domain adaptation and pseudo-labels.
//!
//! | strategy | paper | what is brought together | needs |
//! |---|---|---|---|
//! | [`Dann`] | Ganin et al. 2016 | features, by a discriminator that cannot tell the domains apart | two streams |
//! | [`DeepCoral`] | Sun & Saenko 2016 | the covariances of features | two streams |
//! | [`Shot`] | Liang, Hu & Feng 2020 | target features and the source's head, without the source's data | `target`, `from` |
//! | [`PseudoLabel`] | Lee 2013 | nothing: confident predictions become labels | `unlabelled`, any labelled stream |
//!
//! Two streams are `source`, with labels, and `target`, without.

mod dann;
mod deep_coral;
mod pseudo_label;
mod shot;

pub use dann::{Dann, DannOptions};
pub use deep_coral::{DeepCoral, DeepCoralOptions};
pub use pseudo_label::{PseudoLabel, PseudoLabelOptions};
pub use shot::{Shot, ShotOptions};

use candle_core::Tensor;
use transplant_core::{Field, HIDDEN, Invalid, ModelInfo, Needs, Plugins, Result, Step, Strategy, StreamNeed};

/// The stream with labels.
pub(crate) const SOURCE: &str = "source";
/// The stream without labels.
pub(crate) const TARGET: &str = "target";

/// The name under which heads of classes put out logits, `[rows, classes]`.
const LOGITS: &str = "logits";

pub(crate) fn plugin(p: &mut Plugins) {
    p.add::<dyn Strategy, Dann>();
    p.add::<dyn Strategy, DeepCoral>();
    p.add::<dyn Strategy, PseudoLabel>();
    p.add::<dyn Strategy, Shot>();
}

/// A labelled source and an unlabelled target; the source counts the epochs.
fn two_domains() -> Needs {
    Needs { streams: vec![StreamNeed::labelled(SOURCE), StreamNeed::unlabelled(TARGET)], ..Needs::default() }
}

/// The features of both domains, `f32 [rows, width]` each.
///
/// # Errors
/// When the network's features are no vectors.
fn features(step: &mut dyn Step) -> Result<[Tensor; 2]> {
    let mut of = |stream| -> Result<Tensor> { Ok(step.forward(stream)?.features.get(HIDDEN)?.clone()) };
    Ok([of(SOURCE)?, of(TARGET)?])
}

/// Checks that a weight of a term is a finite number of at least 0.
fn check_weight(key: &str, weight: f64) -> Result<(), Invalid> {
    match weight.is_finite() && weight >= 0.0 {
        true => Ok(()),
        false => Err(Invalid::key(key, format!("must be at least 0, not {weight}"))),
    }
}

/// Checks that an option is from 0 to 1.
fn check_share(key: &str, share: f64) -> Result<(), Invalid> {
    match (0.0..=1.0).contains(&share) {
        true => Ok(()),
        false => Err(Invalid::key(key, format!("must be from 0 to 1, not {share}"))),
    }
}

/// The tasks that predict classes.
///
/// # Errors
/// When there is none.
fn class_tasks(model: &ModelInfo) -> Result<Vec<String>, Invalid> {
    let tasks = model.tasks.iter().filter(|(_, field)| matches!(field, Field::Class { .. }));
    let tasks: Vec<String> = tasks.map(|(name, _)| name.clone()).collect();
    match tasks.is_empty() {
        true => Err(Invalid::new("needs a task that predicts classes")),
        false => Ok(tasks),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    fn entry(of: &str, name: &str) -> serde_json::Value {
        let all: serde_json::Value = serde_json::from_str(include_str!("../../goldens/adapt.json")).unwrap();
        all[of][name].clone()
    }

    /// A tensor that `tests/goldens/generate_adapt.py` of the repository wrote.
    pub(super) fn golden(of: &str, name: &str) -> Tensor {
        let entry = entry(of, name);
        let list =
            |v: &serde_json::Value| v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
        let shape: Vec<usize> = list(&entry["shape"]).iter().map(|n| *n as usize).collect();
        let values: Vec<f32> = list(&entry["values"]).iter().map(|v| *v as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// A number of that file.
    pub(super) fn number(of: &str, name: &str) -> f64 {
        entry(of, name).as_f64().unwrap()
    }
}
