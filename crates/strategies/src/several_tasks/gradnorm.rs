//! GradNorm: Chen et al. 2018, "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask
//! Networks", ICML.
//!
//! The weights of the tasks are moved after each step so that the weighted gradients of all tasks have one size where
//! they last meet, larger for tasks that have learned less so far: `mean size * (relative inverse training
//! rate)^alpha`. That rate is the loss as a share of its first value, divided by the mean of these shares. The weights
//! sum to the number of tasks.

use std::sync::Arc;

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Boundary, BuildCx, CombineCx, Component, Error, Finish, Gradients, Invalid, ModelInfo, Origin, Params, Pass,
    Pattern, Phase, Plan, Plugins, Result, Role, Step, Strategy, Term, TermInfo, Weighting, scalar,
};

use super::{OfTask, by_task, one_phase, sum};

/// The weight of each task: a buffer `modules.gradnorm.weight.TASK`.
const WEIGHT: &str = "modules.gradnorm.weight";
/// Its first loss, from the first step that has a label: a buffer `modules.gradnorm.first_loss.TASK`.
const FIRST_LOSS: &str = "modules.gradnorm.first_loss";
/// No weight becomes smaller, before all are brought to their sum.
const SMALLEST: f64 = 1e-3;

/// GradNorm: weights that bring the gradients of all tasks to one size, larger for tasks that learn more slowly.
///
/// Use it beside another strategy, `strategy = ["parameter", "gradnorm"]`, where some tasks learn much faster than
/// others; alone it trains fresh weights. A step takes one pass backwards for each term, and a task without a label in
/// it keeps its weight. Where the whole network is frozen all weights stay 1. Chen et al. 2018.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GradNormOptions {
    /// Exponent of the relative inverse training rate, at least 0: at 0 all gradients are brought to one size. Higher
    /// values suit tasks that differ more.
    pub alpha: f64,
    /// Learning rate of the weights, above 0.
    pub lr: f64,
}

impl Default for GradNormOptions {
    fn default() -> Self {
        Self { alpha: 1.5, lr: 0.025 }
    }
}

/// See [`GradNormOptions`].
#[derive(Debug, Clone, Default)]
pub struct GradNorm(GradNormOptions);

impl Component<dyn Strategy> for GradNorm {
    const TYPE: &'static str = "gradnorm";
    type Options = GradNormOptions;

    fn check(o: &GradNormOptions, _: &Plugins) -> Result<(), Invalid> {
        if !(o.alpha.is_finite() && o.alpha >= 0.0) {
            return Err(Invalid::key("alpha", "must be at least 0"));
        }
        match o.lr.is_finite() && o.lr > 0.0 {
            true => Ok(()),
            false => Err(Invalid::key("lr", "must be above 0")),
        }
    }

    fn build(o: GradNormOptions, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self(o)))
    }
}

impl Strategy for GradNorm {
    fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
        Ok(one_phase(Plan::default()))
    }

    fn weighting(&self) -> Option<Arc<dyn Weighting>> {
        Some(Arc::new(self.clone()))
    }

    fn at(&self, boundary: Boundary, pass: &mut dyn Pass) -> Result<()> {
        if boundary == Boundary::PhaseStart(0) {
            pass.info().tasks.keys().try_for_each(|task| keep(pass.params(), WEIGHT, task, 1.0))?;
        }
        Ok(())
    }

    fn finish(&self) -> Finish {
        Finish { remove: vec![Pattern::new("modules.gradnorm")], ..Finish::default() }
    }
}

impl Weighting for GradNorm {
    fn weigh(&self, terms: &mut Vec<Term>, step: &mut dyn Step) -> Result<()> {
        for term in terms {
            if let Some(task) = &term.task {
                term.weight *= known(step.params(), WEIGHT, task)?.unwrap_or(1.0);
            }
        }
        Ok(())
    }

    fn combines(&self) -> bool {
        true
    }

    fn combine(&self, gradients: Vec<(TermInfo, Gradients)>, cx: &CombineCx<'_>) -> Result<Gradients> {
        let (tasks, others) = by_task(gradients)?;
        if !cx.uphill {
            self.balance(&tasks, cx)?;
        }
        sum(&tasks, others)
    }
}

/// A task of a step in which it has labels.
struct Measured<'a> {
    task: &'a str,
    weight: f64,
    /// The size of its weighted gradient.
    size: f64,
    /// Its loss as a share of the first.
    left: f64,
}

impl GradNorm {
    /// Moves the weights of the tasks that have labels in this step.
    fn balance(&self, tasks: &[OfTask], cx: &CombineCx<'_>) -> Result<()> {
        // Without a label the loss is 0, as it is where there is nothing left to learn.
        let tasks: Vec<&OfTask> = tasks.iter().filter(|t| t.loss > 0.0).collect();
        let Some(stage) = last_shared(&tasks, cx.model) else { return Ok(()) };
        let mut measured = Vec::new();
        for OfTask { task, loss, gradients } in tasks {
            let weight = known(cx.params, WEIGHT, task)?;
            let weight =
                weight.ok_or_else(|| Error::contract(format!("`gradnorm` has no weight for task `{task}`")))?;
            let loss = loss / weight;
            let first = match known(cx.params, FIRST_LOSS, task)? {
                Some(first) => first,
                None => {
                    keep(cx.params, FIRST_LOSS, task, loss)?;
                    loss
                }
            };
            let mut here = Gradients::default();
            stage.iter().filter_map(|n| Some((*n, gradients.get(n)?))).for_each(|(n, g)| here.set(n, g.clone()));
            measured.push(Measured { task, weight, size: here.norm()?, left: loss / first });
        }
        let moved = moved(&measured, &self.0);
        for (of, weight) in measured.iter().zip(moved) {
            keep(cx.params, WEIGHT, of.task, weight)?;
        }
        Ok(())
    }
}

/// The weights after a step down the gradient of the sum of distances between each size and its aim, which is held
/// fast; their sum stays what it was.
fn moved(measured: &[Measured<'_>], o: &GradNormOptions) -> Vec<f64> {
    let mean = |of: fn(&Measured<'_>) -> f64| measured.iter().map(of).sum::<f64>() / measured.len().max(1) as f64;
    let (size, left) = (mean(|p| p.size), mean(|p| p.left));
    let step = |p: &Measured<'_>| {
        let apart = p.size - size * (p.left / left).powf(o.alpha);
        let sign = if apart == 0.0 { 0.0 } else { apart.signum() };
        // The size is the weight times that of the gradient without it.
        (p.weight - o.lr * sign * p.size / p.weight).max(SMALLEST)
    };
    let weights: Vec<f64> = measured.iter().map(step).collect();
    let factor = measured.iter().map(|p| p.weight).sum::<f64>() / weights.iter().sum::<f64>();
    weights.into_iter().map(|w| w * factor).collect()
}

/// The weights of the last stage of the backbone that the gradients of all these tasks reach.
fn last_shared<'m>(tasks: &[&OfTask], model: &'m ModelInfo) -> Option<Vec<&'m str>> {
    let shared = |name: &str| !tasks.is_empty() && tasks.iter().all(|t| t.gradients.get(name).is_some());
    let reached: Vec<_> = model.params.iter().filter(|p| p.stage.is_some() && shared(&p.name)).collect();
    let last = reached.iter().filter_map(|p| p.stage).max()?;
    Some(reached.into_iter().filter(|p| p.stage == Some(last)).map(|p| p.name.as_str()).collect())
}

/// A number that is kept for a task.
fn known(params: &Params, what: &str, task: &str) -> Result<Option<f64>> {
    params.find(&format!("{what}.{task}")).map(|p| scalar(&p.view())).transpose()
}

/// Keeps a number for a task, as a buffer, so that a fit that resumes still knows it.
fn keep(params: &Params, what: &str, task: &str, value: f64) -> Result<()> {
    let value = Tensor::new(value as f32, params.device())?;
    params.insert(&format!("{what}.{task}"), &value, Role::Buffer, Origin::Fresh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::several_tasks::tests::{close, golden, gradients, info, numbers};
    use candle_core::Device;
    use transplant_core::{ParamInfo, Progress, Seeds};

    /// A backbone of two stages, of which the last one to reach is `upper`; `heads` are no part of it.
    fn model() -> ModelInfo {
        let param = |name: &str, stage| ParamInfo {
            name: name.to_owned(),
            shape: vec![1],
            role: Role::Weight,
            stage,
            loaded: false,
        };
        let params = vec![
            param("backbone.lower.weight", Some(0)),
            param("backbone.upper.bias", Some(1)),
            param("backbone.upper.weight", Some(1)),
            param("heads.a.weight", None),
        ];
        ModelInfo { params, ..ModelInfo::default() }
    }

    fn combined(strategy: &GradNorm, terms: Vec<(TermInfo, Gradients)>, params: &Params, uphill: bool) -> Result<()> {
        let progress = Progress { step: 0, steps: 9, steps_per_epoch: 9 };
        let cx = CombineCx { params, model: &model(), progress, uphill, seeds: Seeds::new(0) };
        strategy.combine(terms, &cx).map(|_| ())
    }

    #[test]
    fn weights_follow_those_of_pytorch() -> Result<()> {
        let case = golden("gradnorm");
        let option = |key: &str| case[key].as_f64().unwrap();
        let strategy = GradNorm(GradNormOptions { alpha: option("alpha"), lr: option("lr") });
        let tasks = ["a", "b", "c"];
        let params = Params::new(&Device::Cpu);
        tasks.iter().try_for_each(|task| keep(&params, WEIGHT, task, 1.0))?;
        for (i, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            let mut terms = Vec::new();
            for task in tasks {
                let weight = known(&params, WEIGHT, task)?.unwrap();
                let mut g = gradients(&step["gradients"][task]);
                g.scale(weight)?;
                terms.push((info(Some(task), None, weight * step["losses"][task].as_f64().unwrap()), g));
            }
            combined(&strategy, terms.clone(), &params, true)?;
            combined(&strategy, terms, &params, false)?;
            let ours = tasks.map(|t| known(&params, WEIGHT, t).unwrap().unwrap());
            close(&ours, &numbers(&step["weights"]), &format!("after step {i}"));
            assert!((ours.iter().sum::<f64>() - 3.0).abs() < 1e-6);
        }
        Ok(())
    }

    #[test]
    fn tasks_without_labels_keep_their_weight() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        ["a", "b", "c"].iter().try_for_each(|task| keep(&params, WEIGHT, task, 1.0))?;
        let term = |task: &str, loss: f64, g: f64| {
            (info(Some(task), None, loss), gradients(&serde_json::json!({ "backbone.upper.weight": [g] })))
        };
        let terms = vec![term("a", 1.0, 3.0), term("b", 1.0, 1.0), term("c", 0.0, 0.0)];
        combined(&GradNorm::default(), terms, &params, false)?;
        let weight = |task: &str| known(&params, WEIGHT, task).unwrap().unwrap();
        assert!(weight("a") < 1.0 && weight("b") > 1.0 && weight("c") == 1.0);
        assert!((weight("a") + weight("b") - 2.0).abs() < 1e-6);
        assert!(known(&params, FIRST_LOSS, "b")?.is_some() && known(&params, FIRST_LOSS, "c")?.is_none());
        Ok(())
    }

    #[test]
    fn a_weight_does_not_become_negative() {
        let of = |task, size| Measured { task, weight: 1.0, size, left: 1.0 };
        let o = GradNormOptions { lr: 10.0, ..GradNormOptions::default() };
        let weights = moved(&[of("a", 4.0), of("b", 1.0)], &o);
        assert!(weights.iter().all(|w| *w > 0.0) && (weights[0] + weights[1] - 2.0).abs() < 1e-9, "{weights:?}");
    }
}
