//! Validators: scores of a model on rows without labels, by which it may be chosen. Larger is better for all of them.
//!
//! | validator | paper | what it rewards |
//! |---|---|---|
//! | [`InformationMaximisation`] | Musgrave et al. 2022 | sure rows that are spread over the classes |
//! | [`Entropy`] | Morerio et al. 2018 | sure rows |
//! | [`Snd`] | Saito et al. 2021 | rows that have near neighbours alike |
//!
//! Of several tasks the score is the mean over those that predict classes. None of them is safe alone: a model that is
//! sure and wrong scores well with `entropy`, and one that gives all rows the same answer with `entropy` and `snd`.

mod entropy;
mod information_maximisation;
mod snd;

pub use entropy::{Entropy, EntropyOptions};
pub use information_maximisation::{InformationMaximisation, InformationMaximisationOptions};
pub use snd::{Snd, SndOptions};

use transplant_core::{Error, Invalid, Plugins, Result, Seen, Validator};

pub(crate) fn plugin(p: &mut Plugins) {
    p.add::<dyn Validator, Entropy>();
    p.add::<dyn Validator, InformationMaximisation>();
    p.add::<dyn Validator, Snd>();
}

/// The mean of a score over the tasks that predict classes, each from its rows of probabilities.
///
/// # Errors
/// When there is no such task, or a probability is not a number.
fn over_tasks(seen: &Seen<'_>, score: impl Fn(&[Vec<f64>]) -> f64) -> Result<f64> {
    let mut scores = Vec::new();
    for (task, probabilities) in &seen.target.probabilities {
        let rows = probabilities.to_dtype(transplant_core::candle_core::DType::F64)?.to_vec2::<f64>()?;
        if let Some(row) = rows.iter().position(|row| row.iter().any(|p| !p.is_finite())) {
            let what = format!("row {row} without a label: the probabilities of task `{task}`");
            return Err(Error::diverged(what, f64::NAN));
        }
        scores.push(score(&rows));
    }
    match scores.is_empty() {
        true => Err(Invalid::new("needs a task that predicts classes").into()),
        false => Ok(scores.iter().sum::<f64>() / scores.len() as f64),
    }
}

/// The entropy of probabilities, in nats.
fn entropy_of(probabilities: &[f64]) -> f64 {
    // The limit of `p ln p` at zero is zero.
    -probabilities.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>()
}

/// The mean entropy of rows; NaN for no row.
fn mean_entropy(rows: &[Vec<f64>]) -> f64 {
    rows.iter().map(|row| entropy_of(row)).sum::<f64>() / rows.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use transplant_core::Outputs;
    use transplant_core::candle_core::{DType, Device, Tensor};

    /// A score of rows that say this.
    pub(super) fn score(validator: &dyn Validator, rows: &[Vec<f32>]) -> Result<f64> {
        let p = Tensor::new(rows.to_vec(), &Device::Cpu)?;
        let probabilities = BTreeMap::from([("class".to_owned(), p)]);
        let features = Tensor::zeros((rows.len(), 1), DType::F32, &Device::Cpu)?;
        validator.score(&Seen { target: &Outputs { features, probabilities }, source: None })
    }

    /// What NumPy and PyTorch say; `tests/goldens/generate_validators.py` of the repository writes it.
    #[test]
    fn scores_are_those_of_numpy() -> Result<()> {
        let all: serde_json::Value = serde_json::from_str(include_str!("../../goldens/validators.json")).unwrap();
        let cases = all["cases"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let rows: Vec<Vec<f32>> = serde_json::from_value(case["probabilities"].clone()).unwrap();
            let validators: [(&str, Box<dyn Validator>); 3] = [
                ("entropy", Box::<Entropy>::default()),
                ("information_maximisation", Box::<InformationMaximisation>::default()),
                ("snd", Box::<Snd>::default()),
            ];
            for (name, validator) in validators {
                let (found, expected) = (score(&*validator, &rows)?, case[name].as_f64().unwrap());
                assert!((found - expected).abs() < 1e-9, "{name} of {}: {found}, expected {expected}", case["name"]);
            }
        }
        Ok(())
    }

    #[test]
    fn no_classes_and_no_numbers_are_errors() {
        let e = score(&Entropy::default(), &[vec![0.5, f32::NAN]]).unwrap_err().to_string();
        assert!(e.contains("row 0") && e.contains("`class`"), "{e}");
        let features = Tensor::zeros((1, 1), DType::F32, &Device::Cpu).unwrap();
        let none = Outputs { features, probabilities: BTreeMap::new() };
        assert!(Entropy::default().score(&Seen { target: &none, source: None }).is_err());
    }
}
