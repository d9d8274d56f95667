//! The trainer's side of [`transplant_core::Step`].

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use candle_core::Tensor;
use transplant_core::{
    Acts, Batch, Ctx, Error, Forward, Mixed, Mode, Params, Progress, Result, Seeds, Step, Strategy, Target, Targets,
    Task, Term,
};

use crate::fetched::{Fetched, known_rows};
use crate::model::Network;

/// Factors on supervised losses, by stream and task; 1 for those that are not named.
pub(crate) type Shares = BTreeMap<(String, String), f64>;

/// One update over one batch of every stream.
pub(crate) struct TrainStep<'a> {
    pub(crate) network: &'a Network,
    pub(crate) strategy: &'a dyn Strategy,
    pub(crate) tasks: &'a BTreeMap<String, Arc<dyn Task>>,
    pub(crate) params: &'a Params,
    pub(crate) streams: &'a BTreeMap<String, Fetched<'a>>,
    pub(crate) shares: &'a Shares,
    pub(crate) prefix: usize,
    pub(crate) taps: &'a BTreeSet<String>,
    pub(crate) progress: Progress,
    /// Steps over all phases.
    pub(crate) step: u64,
    pub(crate) seeds: Seeds,
    /// Whether the batches are gone through for the first time in this step.
    pub(crate) first_pass: bool,
    pub(crate) done: BTreeMap<String, Rc<Forward>>,
}

impl TrainStep<'_> {
    fn fetched(&self, stream: &str) -> Result<&Fetched<'_>> {
        self.streams.get(stream).ok_or_else(|| Error::contract(format!("there is no stream `{stream}` in this step")))
    }

    fn context(&self, stream: &str, rows: &[u64]) -> Ctx {
        let mut cx = Ctx::new(Mode::Train, stream, self.step, rows, self.seeds);
        cx.taps.clone_from(self.taps);
        cx.updates_statistics = self.first_pass;
        cx
    }

    /// The loss of a mixed batch: of each of its targets, by its share.
    fn mixed(&mut self, mixed: Mixed, stream: &str) -> Result<Vec<Term>> {
        let forward = self.forward_on(mixed.inputs, stream)?;
        let mut sums: Vec<Term> = Vec::new();
        for (share, targets) in &mixed.targets {
            for term in self.losses(&forward, targets)? {
                let value = (&term.value * *share)?;
                match sums.iter_mut().find(|t| t.name == term.name) {
                    Some(sum) => sum.value = (&sum.value + value)?,
                    None => sums.push(Term { value, ..term }),
                }
            }
        }
        Ok(sums)
    }
}

impl Step for TrainStep<'_> {
    fn streams(&self) -> Vec<String> {
        self.streams.keys().cloned().collect()
    }

    fn batch(&self, stream: &str) -> Result<Rc<Batch>> {
        self.fetched(stream)?.batch()
    }

    fn forward(&mut self, stream: &str) -> Result<Rc<Forward>> {
        if let Some(f) = self.done.get(stream) {
            return Ok(f.clone());
        }
        let fetched = self.fetched(stream)?;
        let mut cx = self.context(stream, fetched.rows());
        let f = self.network.forward(fetched.acts.clone(), self.prefix, fetched.select(), &mut cx)?;
        let f = Rc::new(f);
        self.done.insert(stream.to_owned(), f.clone());
        Ok(f)
    }

    fn forward_on(&mut self, inputs: Acts, stream: &str) -> Result<Forward> {
        let fetched = self.fetched(stream)?;
        let inputs = inputs.map(|_, t| Ok(t.to_device(self.params.device())?))?;
        self.network.forward(inputs, 0, fetched.select(), &mut self.context(stream, fetched.rows()))
    }

    fn module(&mut self, name: &str, inputs: &Acts) -> Result<Acts> {
        let module = self.network.modules.get(name);
        let module = module.ok_or_else(|| Error::contract(format!("the strategy made no module `{name}`")))?;
        module.forward(inputs, &mut self.ctx())
    }

    fn supervised(&mut self, stream: &str) -> Result<Vec<Term>> {
        let strategy = self.strategy;
        let mut terms = if let Some(mixed) = strategy.mix(stream, self)? {
            self.mixed(mixed, stream)?
        } else {
            let forward = self.forward(stream)?;
            self.losses(&forward, self.fetched(stream)?.targets())?
        };
        if terms.is_empty() {
            return Err(Error::contract(format!("stream `{stream}` has no target that a task learns")));
        }
        for term in &mut terms {
            term.stream = Some(stream.to_owned());
            if let Some(share) = self.shares.get(&(stream.to_owned(), term.name.clone())).copied() {
                term.share = share;
                term.value = (&term.value * share)?;
            }
        }
        Ok(terms)
    }

    fn losses(&self, forward: &Forward, targets: &Targets) -> Result<Vec<Term>> {
        losses(self.tasks, forward, targets)
    }

    fn params(&self) -> &Params {
        self.params
    }

    fn progress(&self) -> Progress {
        self.progress
    }

    fn seeds(&self) -> Seeds {
        self.seeds.child(&format!("step/{}", self.step))
    }

    fn ctx(&self) -> Ctx {
        self.context("", &[])
    }
}

/// The supervised loss of every task whose target is there, a term each.
pub(crate) fn losses(
    tasks: &BTreeMap<String, Arc<dyn Task>>,
    forward: &Forward,
    targets: &Targets,
) -> Result<Vec<Term>> {
    let mut terms = Vec::new();
    for (name, task) in tasks {
        let (Some(target), Some(outputs)) = (targets.get(task.target()), forward.outputs.get(name)) else {
            continue;
        };
        let (mean, share) = mean_over_known(&task.loss(outputs, target)?, target)?;
        terms.push(Term { share, ..Term::of_task(name, mean) });
    }
    Ok(terms)
}

/// The mean of a loss over the rows whose target is known, and 1; both are 0 when none is.
fn mean_over_known(rows: &Tensor, target: &Target) -> Result<(Tensor, f64)> {
    let Some(present) = &target.present else { return Ok((rows.mean_all()?, 1.0)) };
    let known = known_rows(target, 0)?;
    let sum = (rows * present.to_dtype(rows.dtype())?)?.sum_all()?;
    Ok(((sum / known.max(1.0))?, known.min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn missing_targets_do_not_count() -> Result<()> {
        let rows = Tensor::new(&[1f32, 5.0, 3.0], &Device::Cpu)?;
        let values = Tensor::zeros(3, DType::U32, &Device::Cpu)?;
        let some = Target { values: values.clone(), present: Some(Tensor::new(&[1f32, 0.0, 1.0], &Device::Cpu)?) };
        let mean = |target: &Target| {
            let (mean, share) = mean_over_known(&rows, target)?;
            Ok::<_, Error>((mean.to_scalar::<f32>()?, share))
        };
        assert_eq!(mean(&some)?, (2.0, 1.0));
        let none = Target { values: values.clone(), present: Some(values.to_dtype(DType::F32)?) };
        assert_eq!(mean(&none)?, (0.0, 0.0));
        assert_eq!(mean(&Target::known(values))?, (3.0, 1.0));
        Ok(())
    }
}
