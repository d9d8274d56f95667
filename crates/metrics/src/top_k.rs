//! Top-k accuracy: the share of rows whose right class is among the `k` with the highest scores, from 0 to 1.
//!
//! For many classes that are easily confused, where offering a few candidates is good enough. The value is that of
//! scikit-learn's `top_k_accuracy_score` over more than two classes: of equal scores the later class ranks first. (For
//! accuracy it is the first one that counts, as in scikit-learn, so `k = 1` may differ from it when scores are tied.)

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Invalid, Metric, Plugins, Predictions, Result};

use crate::rows::{labelled, mean};

/// The share of rows whose right class is among the k most probable ones, from 0 to 1.
///
/// For many classes that are easily confused, where offering a few candidates is good enough.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How many classes with the highest scores are looked at; at least 1. With as many as there are classes every row is
    /// right.
    pub k: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { k: 5 }
    }
}

/// The share of rows whose right class is among the `k` with the highest scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopK {
    k: usize,
}

impl TopK {
    /// Looks at the `k` classes with the highest scores.
    pub fn new(k: usize) -> Self {
        Self { k }
    }

    fn right(&self, p: &Predictions) -> Result<Vec<f64>> {
        Ok(labelled(p)?.into_iter().map(|(label, scores)| f64::from(u8::from(rank(label, scores) < self.k))).collect())
    }
}

/// How many classes rank before this one.
fn rank(class: usize, scores: &[f32]) -> usize {
    let own = scores[class];
    scores.iter().enumerate().filter(|&(c, &s)| s > own || (s == own && c > class)).count()
}

impl Metric for TopK {
    fn name(&self) -> String {
        format!("top_{}", self.k)
    }

    fn compute(&self, p: &Predictions) -> Result<f64> {
        Ok(mean(&self.right(p)?))
    }

    fn row_scores(&self, p: &Predictions) -> Result<Option<Vec<f64>>> {
        self.right(p).map(Some)
    }
}

impl Component<dyn Metric> for TopK {
    const TYPE: &'static str = "top_k";
    type Options = Options;

    fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
        if o.k == 0 { Err(Invalid::key("k", "must be at least 1")) } else { Ok(()) }
    }

    fn build(o: Options, _: &BuildCx<'_>) -> Result<Box<dyn Metric>> {
        Ok(Box::new(Self::new(o.k)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transplant_core::Spec;

    fn predictions() -> Predictions {
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        // Ranks of the right class: 0, 1, 2, and with ties 1 (c before b) and 2 (c and b before a).
        let labels = vec![Some(0), Some(0), Some(0), Some(1), Some(0), None];
        let scores =
            [[0.5, 0.3, 0.2], [0.3, 0.5, 0.2], [0.1, 0.5, 0.4], [0.2, 0.4, 0.4], [1.0 / 3.0; 3], [1.0, 0.0, 0.0]];
        Predictions::Class { names, labels, scores: scores.concat() }
    }

    #[test]
    fn of_equal_scores_the_later_class_ranks_first() -> Result<()> {
        assert_eq!(TopK::new(1).compute(&predictions())?, 0.2);
        assert_eq!(TopK::new(2).compute(&predictions())?, 0.6);
        assert_eq!(TopK::new(2).row_scores(&predictions())?, Some(vec![1.0, 1.0, 0.0, 1.0, 0.0]));
        assert_eq!(TopK::new(3).compute(&predictions())?, 1.0);
        assert_eq!(TopK::new(9).compute(&predictions())?, 1.0);
        assert!(TopK::new(2).compute(&predictions().take(&[5]))?.is_nan());
        Ok(())
    }

    #[test]
    fn k_is_an_option_of_at_least_one() -> Result<()> {
        let plugins = Plugins::new().with(crate::plugin);
        let cx = BuildCx { plugins: &plugins, base: ".".as_ref(), seeds: transplant_core::Seeds::new(0) };
        let spec = || Spec::<dyn Metric>::new("top_k");
        assert_eq!(cx.make(&spec())?.name(), "top_5");
        assert_eq!(cx.make(&spec().with("k", 3))?.name(), "top_3");
        assert_eq!(plugins.check(&spec().with("k", 0)).unwrap_err().to_string(), "k: must be at least 1");
        Ok(())
    }
}
