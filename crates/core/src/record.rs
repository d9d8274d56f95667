//! [`record`]: how an operation of our own takes its place, on the tape of a [`Recording`](crate::Recording) or in candle's graph.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Result, Shape, Tensor, bail};

use crate::Memory;
use crate::gradients::{sink_takes, sink_wants};
use crate::tape::{is_recording, on_tape};

/// The backward side of an operation.
pub trait Differentiable: Send + Sync + 'static {
    /// The operation's name, for errors.
    fn name(&self) -> &'static str;

    /// The gradients of the inputs, in order; only those that [`Link::wants`] need be there.
    ///
    /// # Errors
    /// When an operation fails.
    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>>;

    /// Whether [`Self::backward`] reads the values of the inputs. What nobody reads is not kept.
    fn reads_inputs(&self) -> bool {
        true
    }

    /// Whether [`Self::backward`] reads the output.
    fn reads_output(&self) -> bool {
        false
    }
}

/// What an operation sees on the way back.
#[derive(Debug)]
pub struct Link<'a> {
    pub(crate) inputs: &'a [Option<Tensor>],
    pub(crate) output: Option<&'a Tensor>,
    /// The gradient of the output, complete.
    pub grad: &'a Tensor,
    pub(crate) wants: &'a [bool],
}

impl Link<'_> {
    /// The value of an input.
    ///
    /// # Errors
    /// When the operation said that it reads no inputs, or there is no such input.
    pub fn input(&self, i: usize) -> Result<&Tensor> {
        match self.inputs.get(i) {
            Some(Some(t)) => Ok(t),
            _ => bail!("input {i} of the operation was not kept"),
        }
    }

    /// The value of the output.
    ///
    /// # Errors
    /// When the operation did not say that it reads it.
    pub fn output(&self) -> Result<&Tensor> {
        self.output.map_or_else(|| bail!("the output of the operation was not kept"), Ok)
    }

    /// Whether the gradient of an input is of any use.
    pub fn wants(&self, i: usize) -> bool {
        self.wants.get(i).copied().unwrap_or(false)
    }

    /// The gradient of input `i` by `f`, when it is wanted.
    ///
    /// # Errors
    /// What `f` returns.
    pub fn when_wanted(&self, i: usize, f: impl FnOnce() -> Result<Tensor>) -> Result<Option<Tensor>> {
        if self.wants(i) { f().map(Some) } else { Ok(None) }
    }
}

/// Gives a computed value its place in the graph: `storage` of this (logical) `shape` becomes a tensor whose gradient is
/// passed to `inputs` by `op`. When no input is tracked, the tensor is untracked.
///
/// # Errors
/// When there are more than three tracked inputs and no [`Recording`](crate::Recording).
pub fn record(
    op: impl Differentiable,
    inputs: &[&Tensor],
    storage: CpuStorage,
    shape: impl Into<Shape>,
    memory: Memory,
) -> Result<Tensor> {
    record_boxed(Box::new(op), inputs, storage, shape.into(), memory)
}

/// [`record`], compiled once for all operations.
fn record_boxed(
    op: Box<dyn Differentiable>,
    inputs: &[&Tensor],
    storage: CpuStorage,
    shape: Shape,
    memory: Memory,
) -> Result<Tensor> {
    let made = Made::new(storage, &shape, memory);
    let tracked: Vec<usize> = (0..inputs.len()).filter(|i| inputs[*i].track_op()).collect();
    if tracked.is_empty() {
        let seed = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        return memory.view(&seed.apply_op1_no_bwd(&made)?, &shape);
    }
    if is_recording() {
        return on_tape(op, inputs, made, &shape, memory);
    }
    let op =
        InGraph { op, made, kept: inputs.iter().map(|t| (*t).clone()).collect(), tracked: tracked.clone(), memory };
    let y = match tracked[..] {
        [a] => inputs[a].apply_op1(op)?,
        [a, b] => inputs[a].apply_op2(inputs[b], op)?,
        [a, b, c] => inputs[a].apply_op3(inputs[b], inputs[c], op)?,
        _ => bail!("{}: more than three tracked inputs need a recording", op.op.name()),
    };
    memory.view(&y, &shape)
}

/// A computed value on its way into a tensor.
pub(crate) struct Made(Mutex<Option<(CpuStorage, Shape)>>);

impl Made {
    fn new(storage: CpuStorage, shape: &Shape, memory: Memory) -> Self {
        Self(Mutex::new(Some((storage, memory.dims(shape)))))
    }

    pub(crate) fn take(&self) -> Result<(CpuStorage, Shape)> {
        let made = self.0.lock().ok().and_then(|mut m| m.take());
        made.map_or_else(|| bail!("the value of an operation was taken twice"), Ok)
    }
}

impl CustomOp1 for Made {
    fn name(&self) -> &'static str {
        "value"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take()
    }
}

/// An operation as a node of candle's graph.
struct InGraph {
    op: Box<dyn Differentiable>,
    made: Made,
    kept: Vec<Tensor>,
    tracked: Vec<usize>,
    memory: Memory,
}

impl InGraph {
    fn gradients(&self, y: &Tensor, g: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let shape = match (self.memory, y.dims()) {
            (Memory::ChannelsLast, [n, rest @ .., c]) if y.rank() > 1 => [&[*n, *c][..], rest].concat().into(),
            _ => y.shape().clone(),
        };
        let (y, g) = (self.memory.view(y, &shape)?, self.memory.view(g, &shape)?);
        let wants: Vec<bool> = self.kept.iter().map(wants_gradient).collect();
        let inputs: Vec<_> = self.kept.iter().cloned().map(Some).collect();
        let link = Link { inputs: &inputs, output: Some(&y), grad: &g, wants: &wants };
        let mut all = self.op.backward(&link)?;
        all.resize(self.kept.len(), None);
        let of = |i: &usize| match all[*i].take() {
            Some(g) if self.kept[*i].is_variable() => sink_takes(self.kept[*i].id(), g),
            g => Ok(g),
        };
        self.tracked.iter().map(of).collect()
    }
}

impl CustomOp1 for InGraph {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.made.take()
    }

    fn bwd(&self, _: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.gradients(y, g)?.swap_remove(0))
    }
}

impl CustomOp2 for InGraph {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.made.take()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut all = self.gradients(y, g)?.into_iter();
        Ok((all.next().flatten(), all.next().flatten()))
    }
}

impl CustomOp3 for InGraph {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.made.take()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut all = self.gradients(y, g)?.into_iter();
        Ok((all.next().flatten(), all.next().flatten(), all.next().flatten()))
    }
}

/// Whether a gradient for this operand of an operation is of any use.
fn wants_gradient(operand: &Tensor) -> bool {
    operand.track_op() && (!operand.is_variable() || sink_wants(operand.id()))
}
