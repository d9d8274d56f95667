//! Uncertainty weighting: Kendall, Gal & Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene
//! Geometry and Semantics", CVPR.
//!
//! Each task has a learned log variance `s` of its noise. A loss of numbers counts as `exp(-s) / 2 * loss + s / 2`, one
//! of classes as `exp(-s) * loss + s / 2`, which are the paper's forms: noisy tasks are learned with less weight, and
//! the second part keeps `s` from growing without end.

use std::sync::Arc;

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, BuildCx, Component, Ctx, Field, Finish, HIDDEN, Init, Invalid, ModelInfo, Modules, Pattern, Phase, Plan,
    Plugins, Result, Scope, Step, Strategy, Term, Use, Weighting,
};

use super::one_phase;

/// The log variances stand below `modules.uncertainty`, a number a task.
const MODULE: &str = "uncertainty";
/// The name of the second part of the loss.
const PENALTY: &str = "penalty";

/// Uncertainty weighting: the weight of each task's loss is learned with the network.
///
/// Use it beside another strategy, `strategy = ["parameter", "uncertainty"]`, where losses of several tasks are of very
/// different sizes; alone it trains fresh weights. Batches without a label of a task leave its weight alone. Kendall,
/// Gal and Cipolla 2018.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UncertaintyOptions {
    /// The log variance of each task at the start, from -10 to 10.
    pub log_variance: f64,
    /// Factor on the learning rate of the log variances, above 0.
    pub lr_scale: f64,
}

impl Default for UncertaintyOptions {
    fn default() -> Self {
        Self { log_variance: 0.0, lr_scale: 1.0 }
    }
}

/// See [`UncertaintyOptions`].
#[derive(Debug, Clone, Default)]
pub struct Uncertainty(UncertaintyOptions);

impl Component<dyn Strategy> for Uncertainty {
    const TYPE: &'static str = MODULE;
    type Options = UncertaintyOptions;

    fn check(o: &UncertaintyOptions, _: &Plugins) -> Result<(), Invalid> {
        if !(-10.0..=10.0).contains(&o.log_variance) {
            return Err(Invalid::key("log_variance", "must lie between -10 and 10"));
        }
        match o.lr_scale.is_finite() && o.lr_scale > 0.0 {
            true => Ok(()),
            false => Err(Invalid::key("lr_scale", "must be above 0")),
        }
    }

    fn build(o: UncertaintyOptions, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self(o)))
    }
}

impl Strategy for Uncertainty {
    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>> {
        let rate = Use::Trained { lr_scale: self.0.lr_scale, decay: false };
        let uses = model.tasks.keys().map(|task| (format!("modules.{MODULE}.{task}"), rate));
        Ok(one_phase(Plan { uses: uses.collect(), ..Plan::default() }))
    }

    fn modules(&self, model: &ModelInfo, scope: &Scope) -> Result<Modules> {
        let mut modules = Modules::new();
        for (task, field) in &model.tasks {
            let s = scope.pp(MODULE).weight(task, (), Init::Const(self.0.log_variance))?;
            let part = factor(field);
            let run = move |acts: &Acts, _: &mut Ctx| {
                let (loss, penalty) = weighed(acts.get(HIDDEN)?, &s, part)?;
                Ok(Acts::hidden(loss).with(PENALTY, penalty))
            };
            modules.insert(module(task), Box::new(run));
        }
        Ok(modules)
    }

    fn weighting(&self) -> Option<Arc<dyn Weighting>> {
        Some(Arc::new(self.clone()))
    }

    fn finish(&self) -> Finish {
        Finish { remove: vec![Pattern::new(format!("modules.{MODULE}"))], ..Finish::default() }
    }
}

impl Weighting for Uncertainty {
    fn weigh(&self, terms: &mut Vec<Term>, step: &mut dyn Step) -> Result<()> {
        for term in terms {
            let Some(task) = &term.task else { continue };
            let out = step.module(&module(task), &Acts::hidden(term.value.clone()))?;
            // Each batch has its share of the second part, so that a task without a label in a step has none.
            term.value = (out.get(HIDDEN)? + (out.get(PENALTY)? * term.share)?)?;
        }
        Ok(())
    }
}

/// The name of a task's module.
fn module(task: &str) -> String {
    format!("{MODULE}.{task}")
}

/// The factor on `exp(-s)`: a half where the loss is a squared distance of numbers, 1 where it is a cross-entropy.
fn factor(field: &Field) -> f64 {
    match field {
        Field::Class { .. } => 1.0,
        _ => 0.5,
    }
}

/// Both parts of the loss of a task whose log variance is `s`; all are scalars.
fn weighed(loss: &Tensor, s: &Tensor, factor: f64) -> Result<(Tensor, Tensor)> {
    let s = s.to_dtype(loss.dtype())?;
    Ok((((s.neg()?.exp()? * factor)? * loss)?, (s * 0.5)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::several_tasks::tests::{close, golden};
    use candle_core::{DType, Device};
    use transplant_core::{Gradients, Origin, Params, Role, backward};

    #[test]
    fn values_and_gradients_are_those_of_pytorch() -> Result<()> {
        for case in golden("uncertainty").as_array().unwrap() {
            let number = |key: &str| case[key].as_f64().unwrap();
            let params = Params::new(&Device::Cpu);
            for name in ["s", "loss"] {
                params.insert(name, &Tensor::new(number(name), &Device::Cpu)?, Role::Weight, Origin::Fresh)?;
            }
            let class = Field::Class { names: Vec::new() };
            let factor = factor(if case["task"] == "classification" { &class } else { &Field::Number });
            let var = |name: &str| Ok::<_, transplant_core::Error>(params.get(name)?.var().as_tensor().clone());
            let (loss, penalty) = weighed(&var("loss")?, &var("s")?, factor)?;
            let sum = (loss + penalty)?;
            let mut g = Gradients::new(&params, |_| true);
            backward(&sum, &mut g)?;
            let scalar = |t: &Tensor| t.to_dtype(DType::F64)?.to_scalar::<f64>();
            let ours = [scalar(&sum)?, scalar(g.get("s").unwrap())?, scalar(g.get("loss").unwrap())?];
            close(&ours, &[number("value"), number("of_s"), number("of_loss")], &case.to_string());
        }
        Ok(())
    }

    #[test]
    fn options_are_checked() {
        let check = |o| Uncertainty::check(&o, &Plugins::new()).map_err(|e| e.path);
        let o = UncertaintyOptions::default;
        assert_eq!(check(UncertaintyOptions { lr_scale: 0.0, ..o() }), Err(vec!["lr_scale".to_owned()]));
        assert_eq!(check(UncertaintyOptions { log_variance: f64::NAN, ..o() }), Err(vec!["log_variance".to_owned()]));
        assert!(check(o()).is_ok());
    }
}
