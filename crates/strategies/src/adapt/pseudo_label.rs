//! Pseudo-labels: Lee 2013, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural
//! Networks", ICML workshop.
//!
//! What the network says of a row without a label is taken for its label, at the weight `weight`, which rises from 0
//! over a stretch of the phase: at first what it says is worth little. With a threshold, rows of which it is not sure do
//! not count (as in FixMatch, Sohn et al. 2020).

use candle_core::{D, DType, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    BuildCx, Component, Invalid, ModelInfo, Needs, Phase, Plan, Plugins, Result, Step, Strategy, StreamNeed, Term,
    Update,
};
use transplant_ops::{cross_entropy_rows, softmax};

use super::{LOGITS, check_share, check_weight, class_tasks};

/// The stream without labels.
const UNLABELLED: &str = "unlabelled";

/// Pseudo-labels: confident predictions for rows without labels are learned like labels.
///
/// Use it with `parameter` or `structure`, beside any labelled stream. Its stream `unlabelled` has `labels = false`; where the
/// file does not name it, it has the rows beyond `labels_per_class`. An epoch goes once through that stream. Lee 2013.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PseudoLabelOptions {
    /// Weight of the pseudo-labels' loss once it has risen, at least 0.
    pub weight: f64,
    /// Probability of the most likely class from which a row counts, from 0 (all rows, as in the paper) to 1.
    pub threshold: f64,
    /// Share of the phase after which the weight begins to rise from 0, from 0 to 1.
    pub rise_from: f64,
    /// Share of the phase after which it has risen, from `rise_from` to 1.
    pub rise_until: f64,
}

impl Default for PseudoLabelOptions {
    fn default() -> Self {
        Self { weight: 1.0, threshold: 0.9, rise_from: 0.1, rise_until: 0.6 }
    }
}

/// See [`PseudoLabelOptions`].
#[derive(Debug, Clone, Default)]
pub struct PseudoLabel(PseudoLabelOptions);

impl Component<dyn Strategy> for PseudoLabel {
    const TYPE: &'static str = "pseudo_label";
    type Options = PseudoLabelOptions;

    fn check(o: &PseudoLabelOptions, _: &Plugins) -> Result<(), Invalid> {
        check_weight("weight", o.weight)?;
        check_share("threshold", o.threshold)?;
        check_share("rise_from", o.rise_from)?;
        check_share("rise_until", o.rise_until)?;
        match o.rise_from <= o.rise_until {
            true => Ok(()),
            false => Err(Invalid::key("rise_until", format!("must be at least `rise_from`, which is {}", o.rise_from))),
        }
    }

    fn build(o: PseudoLabelOptions, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self(o)))
    }
}

impl Strategy for PseudoLabel {
    fn needs(&self) -> Needs {
        Needs { streams: vec![StreamNeed::unlabelled(UNLABELLED)], ..Needs::default() }
    }

    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>> {
        class_tasks(model)?;
        Ok(vec![Phase::new("train", Plan::default())])
    }

    fn terms(&self, _: &Update, step: &mut dyn Step) -> Result<Vec<Term>> {
        let weight = self.0.weight * self.0.risen(step.progress().fraction());
        let forward = step.forward(UNLABELLED)?;
        let mut terms = Vec::new();
        for (task, out) in &forward.outputs {
            let Ok(logits) = out.get(LOGITS) else { continue };
            let term = Term::new(&format!("pseudo_label.{task}"), confident(logits, self.0.threshold)?);
            terms.push(Term { weight, stream: Some(UNLABELLED.to_owned()), ..term });
        }
        Ok(terms)
    }
}

impl PseudoLabelOptions {
    /// The share of the weight that counts when `progress` of the phase, from 0 to 1, has passed.
    fn risen(&self, progress: f64) -> f64 {
        match progress < self.rise_until {
            true => ((progress - self.rise_from) / (self.rise_until - self.rise_from)).max(0.0),
            false => 1.0,
        }
    }
}

/// The cross entropy of `logits [rows, classes]` against their own most likely classes, 0 for rows of which that has a
/// probability below the threshold, averaged over all rows: a scalar.
fn confident(logits: &Tensor, threshold: f64) -> Result<Tensor> {
    let said = softmax(&logits.detach())?;
    let labels = said.argmax(D::Minus1)?;
    let sure = said.max(D::Minus1)?.ge(threshold)?.to_dtype(DType::F32)?;
    Ok((cross_entropy_rows(logits, &labels, 0.0, None, None)? * sure)?.mean_all()?)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{golden, number};
    use super::*;

    #[test]
    fn the_loss_is_that_of_pytorch() -> Result<()> {
        let logits = golden("pseudo_label", "logits");
        for (threshold, name) in [(0.0, "all"), (0.7, "sure")] {
            let ours = f64::from(confident(&logits, threshold)?.to_scalar::<f32>()?);
            let wanted = number("pseudo_label", name);
            assert!((ours - wanted).abs() < 1e-6, "{name}: {ours}, expected {wanted}");
        }
        Ok(())
    }

    #[test]
    fn the_weight_rises_as_in_the_paper() {
        let o = PseudoLabelOptions { rise_from: 0.1, rise_until: 0.6, ..PseudoLabelOptions::default() };
        // Lee 2013, equation 16: 0 until T1, then (t - T1) / (T2 - T1), from T2 on 1.
        assert_eq!([o.risen(0.0), o.risen(0.1), o.risen(0.6), o.risen(1.0)], [0.0, 0.0, 1.0, 1.0]);
        assert!((o.risen(0.35) - 0.5).abs() < 1e-12);
        let at_once = PseudoLabelOptions { rise_from: 0.0, rise_until: 0.0, ..o };
        assert_eq!(at_once.risen(0.0), 1.0);
    }

    #[test]
    fn options_are_checked() {
        let check = |o| PseudoLabel::check(&o, &Plugins::new()).map_err(|e| e.path.join("."));
        let default = PseudoLabelOptions::default;
        assert_eq!(check(PseudoLabelOptions { threshold: 1.5, ..default() }), Err("threshold".to_owned()));
        assert_eq!(check(PseudoLabelOptions { rise_from: 0.7, ..default() }), Err("rise_until".to_owned()));
        assert!(check(default()).is_ok());
    }
}
