//! Information maximisation: the mutual information of rows and the classes that a model says of them. Musgrave, Belongie
//! & Lim 2022, "Benchmarking Validation Methods for Unsupervised Domain Adaptation" (`MIScore`), compare it with others;
//! as a loss: Krause, Perona & Gomes 2010, Liang, Hu & Feng 2020.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Result, Seen, Validator};

use super::{entropy_of, mean_entropy, over_tasks};

/// Entropy of the mean prediction of rows without labels, less their mean entropy.
///
/// From 0 to the logarithm of the number of classes. It is high where rows are sure and all classes are said equally
/// often, so that it suits targets whose classes are about equally frequent. `shot` maximises it, and is flattered by it
/// beside other strategies. Musgrave, Belongie & Lim 2022.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InformationMaximisationOptions {
    /// The stream without labels that it looks at; left out: the first of the step, by name.
    pub on: Option<String>,
}

/// See [`InformationMaximisationOptions`].
#[derive(Debug, Clone, Default)]
pub struct InformationMaximisation(InformationMaximisationOptions);

impl Component<dyn Validator> for InformationMaximisation {
    const TYPE: &'static str = "information_maximisation";
    type Options = InformationMaximisationOptions;

    fn build(o: InformationMaximisationOptions, _: &BuildCx<'_>) -> Result<Box<dyn Validator>> {
        Ok(Box::new(Self(o)))
    }
}

impl Validator for InformationMaximisation {
    fn on(&self) -> Option<&str> {
        self.0.on.as_deref()
    }

    fn score(&self, seen: &Seen<'_>) -> Result<f64> {
        over_tasks(seen, |rows| entropy_of(&mean(rows)) - mean_entropy(rows))
    }
}

/// The mean of rows.
fn mean(rows: &[Vec<f64>]) -> Vec<f64> {
    let classes = rows.first().map_or(0, Vec::len);
    (0..classes).map(|c| rows.iter().map(|row| row[c]).sum::<f64>() / rows.len() as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::score;
    use super::*;

    #[test]
    fn one_answer_for_all_rows_scores_nothing() -> Result<()> {
        let of = |rows: &[Vec<f32>]| score(&InformationMaximisation::default(), rows);
        assert_eq!(of(&[vec![1.0, 0.0], vec![1.0, 0.0]])?, 0.0);
        assert_eq!(of(&[vec![0.5, 0.5], vec![0.5, 0.5]])?, 0.0);
        assert_eq!(of(&[vec![1.0, 0.0], vec![0.0, 1.0]])?, 2f64.ln());
        Ok(())
    }
}
