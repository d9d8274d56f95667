//! PCGrad: Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", NeurIPS.
//!
//! Where the gradients of two tasks point against each other, the part of one that does is removed: for each task, its
//! gradient is projected onto the plane normal to that of every other task it conflicts with, in random order, and the
//! results are added up. Only weights that two tasks or more reach are compared; a head learns from its own task alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    BuildCx, CombineCx, Component, Gradients, ModelInfo, Phase, Plan, Result, Strategy, TermInfo, Weighting,
};

use super::{OfTask, by_task, one_phase, sum};

/// PCGrad: removes from each task's gradient what works against another task.
///
/// Use it beside another strategy, `strategy = ["parameter", "pcgrad"]`, where tasks learned together are worse than
/// each alone; alone it trains fresh weights. A step takes one pass backwards for each term. Yu et al. 2020.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PcGradOptions {}

/// See [`PcGradOptions`].
#[derive(Debug, Clone, Copy, Default)]
pub struct PcGrad;

impl Component<dyn Strategy> for PcGrad {
    const TYPE: &'static str = "pcgrad";
    type Options = PcGradOptions;

    fn build(_: PcGradOptions, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self))
    }
}

impl Strategy for PcGrad {
    fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
        Ok(one_phase(Plan::default()))
    }

    fn weighting(&self) -> Option<Arc<dyn Weighting>> {
        Some(Arc::new(*self))
    }
}

impl Weighting for PcGrad {
    fn combines(&self) -> bool {
        true
    }

    fn combine(&self, gradients: Vec<(TermInfo, Gradients)>, cx: &CombineCx<'_>) -> Result<Gradients> {
        let (mut tasks, others) = by_task(gradients)?;
        let mut rng = cx.seeds.stream("pcgrad", &[]);
        let mut order = |of: usize| {
            let mut others: Vec<usize> = (0..tasks.len()).filter(|j| *j != of).collect();
            others.shuffle(&mut rng);
            others
        };
        let orders: Vec<Vec<usize>> = (0..tasks.len()).map(&mut order).collect();
        project(&mut tasks, &orders)?;
        sum(&tasks, others)
    }
}

/// Projects the gradient of each task, where several tasks reach a weight, against those of the others in this order.
fn project(tasks: &mut [OfTask], orders: &[Vec<usize>]) -> Result<()> {
    let (mut seen, mut shared) = (BTreeSet::new(), BTreeSet::new());
    for (name, _) in tasks.iter().flat_map(|t| t.gradients.iter()) {
        if !seen.insert(name) {
            shared.insert(name);
        }
    }
    let within = |t: &OfTask| {
        let mut out = Gradients::default();
        t.gradients.iter().filter(|(n, _)| shared.contains(n)).for_each(|(n, g)| out.set(n, g.clone()));
        out
    };
    let before: Vec<Gradients> = tasks.iter().map(within).collect();
    let mut after = before.clone();
    for (own, order) in after.iter_mut().zip(orders) {
        for other in order.iter().map(|j| &before[*j]) {
            let along = own.dot(other)?;
            if along < 0.0 {
                own.add_scaled(other, -along / other.dot(other)?)?;
            }
        }
    }
    for (task, projected) in tasks.iter_mut().zip(after) {
        projected.iter().for_each(|(name, g)| task.gradients.set(name, g.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::several_tasks::tests::{close, golden, gradients, info, numbers};
    use candle_core::Device;
    use transplant_core::{Params, Progress, Seeds};

    fn terms(case: &serde_json::Value) -> Vec<(TermInfo, Gradients)> {
        let task = |(name, g): (&String, &serde_json::Value)| (info(Some(name), Some("target"), 1.0), gradients(g));
        case["gradients"].as_object().unwrap().iter().map(task).collect()
    }

    #[test]
    fn projections_are_those_of_the_paper() -> Result<()> {
        let case = golden("pcgrad");
        for (order, wanted) in case["orders"].as_array().unwrap().iter().zip(case["sums"].as_array().unwrap()) {
            let (mut tasks, others) = by_task(terms(&case))?;
            let indices = |o: &serde_json::Value| numbers(o).iter().map(|n| *n as usize).collect();
            project(&mut tasks, &order.as_array().unwrap().iter().map(indices).collect::<Vec<_>>())?;
            let sum = sum(&tasks, others)?;
            for (name, g) in wanted.as_object().unwrap() {
                close(&sum.get(name).unwrap().to_vec1::<f64>()?, &numbers(g), name);
            }
        }
        Ok(())
    }

    /// Each combination is that of one of the orders there are, and a penalty is added to it as it is.
    #[test]
    fn orders_are_drawn_and_penalties_stay() -> Result<()> {
        let case = golden("pcgrad");
        let sums: Vec<Vec<f64>> = case["sums"].as_array().unwrap().iter().map(|s| numbers(&s["shared.a"])).collect();
        let mut seen = BTreeSet::new();
        for seed in 0..60 {
            let (params, model) = (Params::new(&Device::Cpu), ModelInfo::default());
            let progress = Progress { step: 0, steps: 1, steps_per_epoch: 1 };
            let cx = CombineCx { params: &params, model: &model, progress, uphill: false, seeds: Seeds::new(seed) };
            let mut all = terms(&case);
            let penalty = vec![5.0; sums[0].len()];
            all.push((info(None, None, 1.0), gradients(&serde_json::json!({ "shared.a": penalty }))));
            let ours = PcGrad.combine(all, &cx)?.get("shared.a").unwrap().to_vec1::<f64>()?;
            let is = |s: &Vec<f64>| s.iter().zip(&ours).all(|(s, o)| (s + 5.0 - o).abs() < 1e-9);
            seen.insert(sums.iter().position(is).unwrap());
        }
        assert!(seen.len() > 1, "{seen:?}");
        Ok(())
    }
}
