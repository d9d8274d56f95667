//! Soft neighbourhood density: Saito, Kim, Teterwak, Sclaroff, Darrell & Saenko 2021, "Tune it the Right Way:
//! Unsupervised Validation of Domain Adaptation via Soft Neighborhood Density", ICCV.
//!
//! Each row's cosines with all others become a distribution, `softmax(cosine / temperature)`; the score is the mean entropy
//! of these: high where a row has many neighbours that are as near as the nearest. As in the paper, what is compared is
//! the probabilities that the model gives, and a row is no neighbour of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Invalid, Plugins, Result, Seen, Validator};

use super::{entropy_of, over_tasks};

/// Soft neighbourhood density: entropy of the similarities between predictions of rows without labels.
///
/// From 0 to the logarithm of the number of other rows. A model that says the same of all rows has the best score: compare
/// it among models that were trained alike, such as those of one sweep. Its time grows with the square of the rows. Saito
/// et al. 2021.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SndOptions {
    /// The stream without labels that it looks at; left out: the first of the step, by name.
    pub on: Option<String>,
    /// What cosines are divided by, above 0.
    pub temperature: f64,
}

impl Default for SndOptions {
    fn default() -> Self {
        Self { on: None, temperature: 0.05 }
    }
}

/// See [`SndOptions`].
#[derive(Debug, Clone, Default)]
pub struct Snd(SndOptions);

impl Component<dyn Validator> for Snd {
    const TYPE: &'static str = "snd";
    type Options = SndOptions;

    fn check(o: &SndOptions, _: &Plugins) -> Result<(), Invalid> {
        match o.temperature > 0.0 && o.temperature.is_finite() {
            true => Ok(()),
            false => Err(Invalid::key("temperature", format!("must be above 0, not {}", o.temperature))),
        }
    }

    fn build(o: SndOptions, _: &BuildCx<'_>) -> Result<Box<dyn Validator>> {
        Ok(Box::new(Self(o)))
    }
}

impl Validator for Snd {
    fn on(&self) -> Option<&str> {
        self.0.on.as_deref()
    }

    fn score(&self, seen: &Seen<'_>) -> Result<f64> {
        over_tasks(seen, |rows| density(rows, self.0.temperature))
    }
}

/// The mean entropy of the rows' soft neighbourhoods; NaN for fewer than two rows.
fn density(rows: &[Vec<f64>], temperature: f64) -> f64 {
    if rows.len() < 2 {
        return f64::NAN;
    }
    let unit = |row: &Vec<f64>| {
        let length = row.iter().map(|p| p * p).sum::<f64>().sqrt();
        row.iter().map(|p| p / length).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<f64>> = rows.iter().map(unit).collect();
    let neighbourhood = |(i, row): (usize, &Vec<f64>)| {
        let others = rows.iter().enumerate().filter(|(j, _)| *j != i);
        let near = others.map(|(_, other)| row.iter().zip(other).map(|(a, b)| a * b).sum::<f64>() / temperature);
        let near: Vec<f64> = near.collect();
        let top = near.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let e: Vec<f64> = near.iter().map(|n| (n - top).exp()).collect();
        let sum: f64 = e.iter().sum();
        entropy_of(&e.iter().map(|e| e / sum).collect::<Vec<_>>())
    };
    rows.iter().enumerate().map(neighbourhood).sum::<f64>() / rows.len() as f64
}

#[cfg(test)]
mod tests {
    use super::super::tests::score;
    use super::*;

    #[test]
    fn two_clusters_have_neighbours_and_one_row_has_none() -> Result<()> {
        let of = |rows: &[Vec<f32>]| score(&Snd::default(), rows);
        let (a, b) = (vec![1.0, 0.0], vec![0.0, 1.0]);
        // Each row has one neighbour that counts; the two of the other cluster are `exp(-20)` as near.
        assert!(of(&[a.clone(), a.clone(), b.clone(), b])?.abs() < 1e-6);
        assert!((of(&[a.clone(), a.clone(), a.clone()])? - 2f64.ln()).abs() < 1e-12);
        assert!(of(&[a])?.is_nan());
        Ok(())
    }

    #[test]
    fn a_temperature_is_above_zero() {
        let check = |temperature| Snd::check(&SndOptions { temperature, ..SndOptions::default() }, &Plugins::new());
        assert!(check(0.0).unwrap_err().to_string().starts_with("temperature: ") && check(0.1).is_ok());
    }
}
