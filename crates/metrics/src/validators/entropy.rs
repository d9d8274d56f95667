//! Entropy: how sure a model is of rows without labels. Morerio, Cavazza & Murino 2018, "Minimal-Entropy Correlation
//! Alignment for Unsupervised Deep Domain Adaptation", ICLR, choose by it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Result, Seen, Validator};

use super::{mean_entropy, over_tasks};

/// The mean entropy of rows without labels, negated: from minus the logarithm of the number of classes to 0.
///
/// A model that says one class of all rows has the best score: to choose, prefer `information_maximisation`. Morerio, Cavazza
/// & Murino 2018.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EntropyOptions {
    /// The stream without labels that it looks at; left out: the first of the step, by name.
    pub on: Option<String>,
}

/// See [`EntropyOptions`].
#[derive(Debug, Clone, Default)]
pub struct Entropy(EntropyOptions);

impl Component<dyn Validator> for Entropy {
    const TYPE: &'static str = "entropy";
    type Options = EntropyOptions;

    fn build(o: EntropyOptions, _: &BuildCx<'_>) -> Result<Box<dyn Validator>> {
        Ok(Box::new(Self(o)))
    }
}

impl Validator for Entropy {
    fn on(&self) -> Option<&str> {
        self.0.on.as_deref()
    }

    fn score(&self, seen: &Seen<'_>) -> Result<f64> {
        over_tasks(seen, |rows| -mean_entropy(rows))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::score;
    use super::*;

    #[test]
    fn sure_rows_score_best() -> Result<()> {
        let of = |rows: &[Vec<f32>]| score(&Entropy::default(), rows);
        assert_eq!(of(&[vec![1.0, 0.0], vec![1.0, 0.0]])?, 0.0);
        assert_eq!(of(&[vec![0.5, 0.5]])?, -2f64.ln());
        Ok(())
    }
}
