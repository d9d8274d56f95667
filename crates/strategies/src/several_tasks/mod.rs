//! Several tasks on one network: how their losses are weighed against each other, or their gradients combined.
//!
//! | strategy | paper | what it does | passes backwards |
//! |---|---|---|---|
//! | [`Equal`] | | the sum of the losses: the baseline | one |
//! | [`Uncertainty`] | Kendall, Gal & Cipolla 2018 | learns a log variance a task, by which its loss is divided | one |
//! | [`GradNorm`] | Chen et al. 2018 | weights that bring the gradients of all tasks to one size | one a term |
//! | [`PcGrad`] | Yu et al. 2020 | removes from each task's gradient what works against another task | one a term |
//!
//! Each stands beside a strategy that says which weights are trained, `strategy = ["parameter", "uncertainty"]`, and
//! alone trains fresh weights; of those beside each other at most one may weigh. The losses that one task has in
//! several streams share a weight. Terms that are no task's, such as the penalty of `l2_sp`, keep theirs.

mod equal;
mod gradnorm;
mod pcgrad;
mod uncertainty;

pub use equal::{Equal, EqualOptions};
pub use gradnorm::{GradNorm, GradNormOptions};
pub use pcgrad::{PcGrad, PcGradOptions};
pub use uncertainty::{Uncertainty, UncertaintyOptions};

use transplant_core::{Gradients, Phase, Plan, Plugins, Result, Strategy, TermInfo};

pub(crate) fn plugin(p: &mut Plugins) {
    p.add::<dyn Strategy, Equal>();
    p.add::<dyn Strategy, Uncertainty>();
    p.add::<dyn Strategy, GradNorm>();
    p.add::<dyn Strategy, PcGrad>();
}

/// One phase that trains what those beside it train.
fn one_phase(plan: Plan) -> Vec<Phase> {
    vec![Phase::new("train", plan)]
}

/// What the terms of one task say together.
#[derive(Debug, Clone)]
struct OfTask {
    task: String,
    /// The sum of its weighted losses over the streams.
    loss: f64,
    /// The sum of their gradients.
    gradients: Gradients,
}

/// The terms by task, in the order in which tasks come first, and the sum of those that are no task's.
///
/// # Errors
/// When shapes differ.
fn by_task(terms: Vec<(TermInfo, Gradients)>) -> Result<(Vec<OfTask>, Gradients)> {
    let (mut tasks, mut others) = (Vec::<OfTask>::new(), Gradients::default());
    for (info, gradients) in terms {
        let Some(task) = info.task else {
            others.add_scaled(&gradients, 1.0)?;
            continue;
        };
        match tasks.iter_mut().find(|t| t.task == task) {
            Some(known) => {
                known.loss += info.loss;
                known.gradients.add_scaled(&gradients, 1.0)?;
            }
            None => tasks.push(OfTask { task, loss: info.loss, gradients }),
        }
    }
    Ok((tasks, others))
}

/// The sum of the gradients of all tasks and of `others`.
///
/// # Errors
/// When shapes differ.
fn sum(tasks: &[OfTask], others: Gradients) -> Result<Gradients> {
    let mut sum = Gradients::default();
    for of in tasks {
        sum.add_scaled(&of.gradients, 1.0)?;
    }
    sum.add_scaled(&others, 1.0)?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};
    use serde_json::Value;

    /// What PyTorch and NumPy say; `tests/goldens/generate_several_tasks.py` of the repository writes it.
    pub(super) fn golden(of: &str) -> Value {
        let all: Value = serde_json::from_str(include_str!("../../goldens/several_tasks.json")).unwrap();
        all[of].clone()
    }

    pub(super) fn numbers(v: &Value) -> Vec<f64> {
        v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    /// Gradients of a golden: vectors by name.
    pub(super) fn gradients(v: &Value) -> Gradients {
        let mut out = Gradients::default();
        for (name, g) in v.as_object().unwrap() {
            out.set(name, Tensor::new(numbers(g), &Device::Cpu).unwrap());
        }
        out
    }

    pub(super) fn info(task: Option<&str>, stream: Option<&str>, loss: f64) -> TermInfo {
        let own = |s: &str| s.to_owned();
        TermInfo { name: own(task.unwrap_or("l2_sp")), task: task.map(own), stream: stream.map(own), loss }
    }

    pub(super) fn close(ours: &[f64], theirs: &[f64], what: &str) {
        assert_eq!(ours.len(), theirs.len(), "{what}");
        let apart = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart < 1e-6, "{what}: {ours:?} against {theirs:?}");
    }

    #[test]
    fn streams_of_one_task_are_added_up() -> Result<()> {
        let g = |v: f64| gradients(&serde_json::json!({ "w": [v] }));
        let terms = vec![
            (info(Some("b"), Some("one"), 1.0), g(1.0)),
            (info(Some("a"), Some("one"), 2.0), g(10.0)),
            (info(Some("b"), Some("two"), 4.0), g(100.0)),
            (info(None, None, 8.0), g(1000.0)),
        ];
        let (tasks, others) = by_task(terms)?;
        let seen: Vec<(&str, f64, Vec<f64>)> =
            tasks.iter().map(|t| (t.task.as_str(), t.loss, t.gradients.get("w").unwrap().to_vec1().unwrap())).collect();
        assert_eq!(seen, [("b", 5.0, vec![101.0]), ("a", 2.0, vec![10.0])]);
        assert_eq!(sum(&tasks, others)?.get("w").unwrap().to_vec1::<f64>()?, [1111.0]);
        Ok(())
    }
}
