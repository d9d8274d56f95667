//! What the trainer offers a strategy: [`Step`] within an update, [`Pass`] at a boundary.

use std::collections::BTreeMap;
use std::rc::Rc;

use candle_core::{DType, Tensor};

use crate::{
    Acts, Batch, Ctx, Error, Gradients, ModelInfo, Params, Phase, Progress, Result, Seeds, StreamNeed, Targets,
};

/// The outcome of running the model on a batch.
#[derive(Debug, Clone)]
pub struct Forward {
    /// What the backbone put out, for the rows asked about.
    pub features: Acts,
    /// The outputs of tapped stages.
    pub taps: BTreeMap<String, Acts>,
    /// The outputs of each task's head, by task.
    pub outputs: BTreeMap<String, Acts>,
}

/// One part of a loss.
#[derive(Debug, Clone)]
pub struct Term {
    /// Its name in logs (`supervised`, `mmd`).
    pub name: String,
    /// The task whose supervised loss it is; `None`: a strategy added it.
    pub task: Option<String>,
    /// The stream whose rows it is about; `None`: it is about no rows.
    pub stream: Option<String>,
    /// Its factor in the sum.
    pub weight: f64,
    /// How much this batch counts for the task beside the others that one step accumulates: its known rows, divided by
    /// the mean of those of all batches; 0 where no row is known. The mean over the batches is 1, and 0 in a step
    /// without a label. The value of a supervised term is already times it; a strategy's own term has 1.
    pub share: f64,
    /// A scalar.
    pub value: Tensor,
}

impl Term {
    /// A strategy's own term, of weight 1.
    pub fn new(name: &str, value: Tensor) -> Self {
        Self { name: name.to_owned(), task: None, stream: None, weight: 1.0, share: 1.0, value }
    }

    /// The supervised loss of a task, of weight 1.
    pub fn of_task(task: &str, value: Tensor) -> Self {
        Self { task: Some(task.to_owned()), ..Self::new(task, value) }
    }
}

/// A batch made of a stream's rows, to learn from in place of them.
#[derive(Debug, Clone)]
pub struct Mixed {
    /// Inputs, as many rows as the stream's batch has.
    pub inputs: Acts,
    /// Targets of these rows, and the share of each in the loss.
    pub targets: Vec<(f64, Targets)>,
}

/// One update, seen by a strategy.
pub trait Step {
    /// The streams that have a batch in this step, those with labels first, each kind in the order of names.
    fn streams(&self) -> Vec<String>;

    /// The batch of a stream.
    ///
    /// # Errors
    /// When there is no such stream.
    fn batch(&self, stream: &str) -> Result<Rc<Batch>>;

    /// Runs the model on a stream's batch; within one update it runs once, however often it is asked for.
    ///
    /// # Errors
    /// When the model fails.
    fn forward(&mut self, stream: &str) -> Result<Rc<Forward>>;

    /// Runs the model on any inputs (mixed, adversarial, generated ones).
    ///
    /// # Errors
    /// When the model fails.
    fn forward_on(&mut self, inputs: Acts, stream: &str) -> Result<Forward>;

    /// Runs a module of the strategy.
    ///
    /// # Errors
    /// When there is no such module or it fails.
    fn module(&mut self, name: &str, inputs: &Acts) -> Result<Acts>;

    /// The loss of every task that has a target in the stream's batch, averaged over the rows where it is known: one term
    /// a task, named as the task. Where the strategy mixes batches ([`crate::Strategy::mix`]), it is the loss of the mixed one.
    ///
    /// Where the trainer accumulates several batches for one step, each counts by its share of the rows that are known
    /// in all of them, so that the gradient is that of one large batch; other terms count alike in every batch.
    ///
    /// # Errors
    /// When the model fails or no task has a target.
    fn supervised(&mut self, stream: &str) -> Result<Vec<Term>>;

    /// The loss of every task whose target is among `targets`, for what the model made of some inputs, averaged over the
    /// rows where it is known: one term a task, named as the task; none when no task has a target.
    ///
    /// # Errors
    /// When outputs and targets do not fit.
    fn losses(&self, forward: &Forward, targets: &Targets) -> Result<Vec<Term>>;

    /// The tensors of the model and of the strategy's modules; operations on a parameter's variable are tracked, which is
    /// how a penalty on weights is written.
    fn params(&self) -> &Params;

    /// How far the phase has come.
    fn progress(&self) -> Progress;

    /// Streams of random numbers for this step.
    fn seeds(&self) -> Seeds;

    /// The context in which modules run.
    fn ctx(&self) -> Ctx;
}

/// Features of all rows of a stream, computed without randomness.
#[derive(Debug, Clone)]
pub struct Features {
    /// `f32 [rows, width]`; texts themselves (`u8 [rows, bytes]`) where the network passes them on.
    pub values: Tensor,
    /// What the head of each task makes of them, by task.
    pub outputs: BTreeMap<String, Acts>,
    /// Targets of the rows; empty for unlabelled streams.
    pub targets: Targets,
    /// Global rows.
    pub rows: Vec<u64>,
}

impl Features {
    /// The rows whose target of this name is known, and its values there.
    ///
    /// # Errors
    /// When there is no such target.
    pub fn known(&self, target: &str) -> Result<(Self, Tensor)> {
        let t =
            self.targets.get(target).ok_or_else(|| Error::contract(format!("the rows have no target `{target}`")))?;
        let Some(present) = &t.present else { return Ok((self.clone(), t.values.clone())) };
        let present: Vec<f32> = present.to_dtype(DType::F32)?.to_vec1()?;
        let at: Vec<u32> = (0..).zip(&present).filter(|(_, p)| **p > 0.0).map(|(i, _)| i).collect();
        let rows = at.iter().map(|i| self.rows[*i as usize]).collect();
        let at = Tensor::new(at, t.values.device())?;
        let known =
            Self { values: self.values.index_select(&at, 0)?, outputs: BTreeMap::new(), targets: Targets::new(), rows };
        Ok((known, t.values.index_select(&at, 0)?))
    }
}

/// Rows of tensors, one after another. Texts (`u8 [rows, bytes]`), of which each tensor is as wide as its longest, are
/// filled up with zeros.
///
/// # Errors
/// When there are none, or their shapes differ.
pub fn join_rows(parts: &[Tensor]) -> Result<Tensor> {
    if !parts.iter().all(|t| t.dtype() == DType::U8 && t.rank() == 2) {
        return Ok(Tensor::cat(parts, 0)?);
    }
    let width = parts.iter().map(|t| t.dims()[1]).max().unwrap_or_default();
    let filled = parts.iter().map(|t| t.pad_with_zeros(1, 0, width - t.dims()[1]));
    Ok(Tensor::cat(&filled.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
}

/// The model and the training data, seen by a strategy at a boundary between phases or epochs.
pub trait Pass {
    /// The model.
    fn info(&self) -> &ModelInfo;

    /// Its tensors.
    fn params(&self) -> &Params;

    /// The phases of this fit, as [`Strategy::phases`](crate::Strategy::phases) gave them.
    fn phases(&self) -> &[Phase];

    /// The streams of the step, those with labels first, each kind in the order of names.
    fn streams(&self) -> Vec<StreamNeed>;

    /// Gradients of the supervised loss of a labelled stream, batch by batch of at most `rows` rows, in evaluation mode
    /// and without augmentation: `each` is given the number of rows and the gradients, by parameter, of the mean loss
    /// over them. With `rows = 1` their squares sum up to the diagonal of the empirical Fisher information.
    ///
    /// # Errors
    /// When there is no such stream, it has no labels, or the model fails.
    fn gradients(
        &mut self,
        stream: &str,
        rows: usize,
        each: &mut dyn FnMut(usize, Gradients) -> Result<()>,
    ) -> Result<()>;

    /// Features of a stream's rows, with their targets unless the stream is one without labels.
    ///
    /// # Errors
    /// When there is no such stream or the model fails.
    fn features(&mut self, stream: &str) -> Result<Features>;

    /// Streams of random numbers for this boundary.
    fn seeds(&self) -> Seeds;

    /// Tells the user something.
    fn note(&mut self, text: String);
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn texts_are_filled_up_and_numbers_are_not() -> Result<()> {
        let texts = [Tensor::new(&[*b"ab"], &Device::Cpu)?, Tensor::new(&[*b"cdef", *b"g\0\0\0"], &Device::Cpu)?];
        assert_eq!(join_rows(&texts)?.to_vec2::<u8>()?, [*b"ab\0\0", *b"cdef", *b"g\0\0\0"]);
        let numbers = [Tensor::new(&[[1f32]], &Device::Cpu)?, Tensor::new(&[[2f32, 3.0]], &Device::Cpu)?];
        assert!(join_rows(&numbers).is_err());
        Ok(())
    }
}
