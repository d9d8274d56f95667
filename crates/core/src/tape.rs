//! The tape: how operations of our own take part in differentiation.
//!
//! candle's backward pass makes a zero tensor for every intermediate value and adds each gradient to it, which costs more
//! than the gradients themselves. While a [`Recording`] is alive, [`record`] therefore notes operations on a tape of this
//! thread, and [`backward`](crate::backward) runs them in reverse order, handing gradients from one to the next. To candle
//! each recorded value looks like an operation of one hidden variable, so candle's own operations may stand anywhere
//! between. Without a recording the same operation is an ordinary custom operation of candle's graph.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Result, Shape, Tensor, TensorId, Var, bail,
};

use crate::add::add;
use crate::gradients::{sink_takes, sink_wants};

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
    inputs: &'a [Option<Tensor>],
    output: Option<&'a Tensor>,
    /// The gradient of the output, complete.
    pub grad: &'a Tensor,
    wants: &'a [bool],
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

/// How the values of an output lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// In the order of the shape.
    Plain,
    /// With the second dimension innermost: `[n, c, h, w]` stands in memory as `[n, h, w, c]`.
    ChannelsLast,
}

/// Gives a computed value its place in the graph: `storage` of this (logical) `shape` becomes a tensor whose gradient is
/// passed to `inputs` by `op`. When no input is tracked, the tensor is untracked.
///
/// # Errors
/// When there are more than three tracked inputs and no [`Recording`].
pub fn record<O: Differentiable>(
    op: O,
    inputs: &[&Tensor],
    storage: CpuStorage,
    shape: impl Into<Shape>,
    memory: Memory,
) -> Result<Tensor> {
    let shape = shape.into();
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

impl Memory {
    /// How a tensor's values lie, so that what does not look at its shape can leave them so.
    ///
    /// # Errors
    /// When the operation fails.
    pub fn of(t: &Tensor) -> Result<Self> {
        let last = t.rank() > 2 && !t.is_contiguous() && Self::ChannelsLast.raw(t)?.is_contiguous();
        Ok(if last { Self::ChannelsLast } else { Self::Plain })
    }

    /// Applies `f`, which must keep all dimensions but the first, to the values in the order of their memory.
    ///
    /// # Errors
    /// When `f` fails.
    pub fn keep(t: &Tensor, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let memory = Self::of(t)?;
        let out = f(&memory.raw(t)?)?;
        let dims = [&out.dims()[..1], &t.dims()[1..]].concat();
        memory.view(&out, &dims.into())
    }

    /// The dimensions in the order of the memory.
    pub fn dims(self, shape: &Shape) -> Shape {
        match (self, shape.dims()) {
            (Self::ChannelsLast, [n, c, rest @ ..]) => [&[*n][..], rest, &[*c]].concat().into(),
            _ => shape.clone(),
        }
    }

    /// A tensor in the order of the memory, seen with its logical shape.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn view(self, t: &Tensor, shape: &Shape) -> Result<Tensor> {
        let rank = shape.rank();
        if self == Self::Plain || rank < 3 {
            return Ok(t.clone());
        }
        let order: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        t.permute(order)
    }

    /// A logical tensor, seen in the order of the memory.
    ///
    /// # Errors
    /// When the operation fails.
    pub fn raw(self, t: &Tensor) -> Result<Tensor> {
        let rank = t.rank();
        if self == Self::Plain || rank < 3 {
            return Ok(t.clone());
        }
        let order: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
        t.permute(order)
    }
}

/// A computed value on its way into a tensor.
struct Made(Mutex<Option<(CpuStorage, Shape)>>);

impl Made {
    fn new(storage: CpuStorage, shape: &Shape, memory: Memory) -> Self {
        Self(Mutex::new(Some((storage, memory.dims(shape)))))
    }

    fn take(&self) -> Result<(CpuStorage, Shape)> {
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
struct InGraph<O> {
    op: O,
    made: Made,
    kept: Vec<Tensor>,
    tracked: Vec<usize>,
    memory: Memory,
}

impl<O: Differentiable> InGraph<O> {
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

impl<O: Differentiable> CustomOp1 for InGraph<O> {
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

impl<O: Differentiable> CustomOp2 for InGraph<O> {
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

impl<O: Differentiable> CustomOp3 for InGraph<O> {
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

/// Where the gradient of an input goes.
enum Source {
    /// Nowhere: the input is not tracked.
    Constant,
    /// To a parameter.
    Variable(TensorId),
    /// To the recorded operation of this number.
    Recorded(usize),
    /// To candle's graph.
    Candle(Tensor),
}

struct Node {
    op: Box<dyn Differentiable>,
    sources: Vec<Source>,
    inputs: Vec<Option<Tensor>>,
    output: Option<Tensor>,
}

struct Tape {
    /// What candle believes all recorded values are computed from.
    anchor: Var,
    nodes: Vec<Option<Arc<Node>>>,
    numbers: HashMap<TensorId, usize>,
    /// The first recorded operation that reads a tensor of candle's graph.
    first_reader: HashMap<TensorId, usize>,
    /// Gradients that have arrived, by recorded operation.
    arrived: BTreeMap<usize, Tensor>,
    depth: usize,
}

thread_local! {
    static TAPE: RefCell<Option<Tape>> = const { RefCell::new(None) };
}

/// Whether operations of this thread are being recorded.
pub fn is_recording() -> bool {
    TAPE.with_borrow(Option::is_some)
}

/// While this is alive, operations of this thread are recorded on its tape; recordings may be nested.
#[derive(Debug)]
#[must_use]
pub struct Recording(std::marker::PhantomData<*const ()>);

impl Recording {
    /// Begins.
    ///
    /// # Errors
    /// When a scalar cannot be made.
    pub fn start() -> crate::Result<Self> {
        TAPE.with_borrow_mut(|tape| -> Result<()> {
            match tape {
                Some(t) => t.depth += 1,
                None => {
                    *tape = Some(Tape {
                        anchor: Var::zeros((), DType::F32, &Device::Cpu)?,
                        nodes: Vec::new(),
                        numbers: HashMap::new(),
                        first_reader: HashMap::new(),
                        arrived: BTreeMap::new(),
                        depth: 1,
                    });
                }
            }
            Ok(())
        })?;
        Ok(Self(std::marker::PhantomData))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Taken out before it is dropped, so that no destructor runs while the cell is borrowed.
        let ended = TAPE.with_borrow_mut(|tape| {
            let last = tape.as_mut().is_some_and(|t| {
                t.depth -= 1;
                t.depth == 0
            });
            if last { tape.take() } else { None }
        });
        drop(ended);
    }
}

/// The place of a recorded value in candle's graph.
struct Anchored {
    made: Made,
    /// The anchor of the tape that recorded the value.
    tape: TensorId,
    number: usize,
    memory: Memory,
    shape: Shape,
}

impl CustomOp1 for Anchored {
    fn name(&self) -> &'static str {
        "recorded"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.made.take()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        if TAPE.with_borrow(|t| t.as_ref().map(|t| t.anchor.as_tensor().id())) != Some(self.tape) {
            bail!("a recorded value outlived its recording")
        }
        arrive(self.number, self.memory.view(grad, &self.shape)?)?;
        Ok(None)
    }
}

fn arrive(number: usize, grad: Tensor) -> Result<()> {
    let before = TAPE.with_borrow_mut(|t| t.as_mut().and_then(|t| t.arrived.remove(&number)));
    let sum = match before {
        None => grad,
        Some(before) => add(&before, &grad)?,
    };
    TAPE.with_borrow_mut(|tape| {
        let Some(tape) = tape else { bail!("no recording") };
        tape.arrived.insert(number, sum);
        Ok(())
    })
}

fn on_tape<O: Differentiable>(op: O, inputs: &[&Tensor], made: Made, shape: &Shape, memory: Memory) -> Result<Tensor> {
    let (anchor, number) = TAPE.with_borrow(|t| {
        t.as_ref().map_or_else(|| bail!("no recording"), |t| Ok((t.anchor.as_tensor().clone(), t.nodes.len())))
    })?;
    let y = anchor.apply_op1(Anchored { made, tape: anchor.id(), number, memory, shape: shape.clone() })?;
    let y = memory.view(&y, shape)?;
    let output = op.reads_output().then(|| y.detach());
    let keep = op.reads_inputs();
    TAPE.with_borrow_mut(|tape| {
        let Some(tape) = tape else { bail!("no recording") };
        let source = |t: &&Tensor| {
            if !t.track_op() {
                Source::Constant
            } else if t.is_variable() {
                Source::Variable(t.id())
            } else if let Some(n) = tape.numbers.get(&t.id()) {
                Source::Recorded(*n)
            } else {
                tape.first_reader.entry(t.id()).or_insert(number);
                Source::Candle((*t).clone())
            }
        };
        let sources = inputs.iter().map(source).collect();
        let inputs = inputs.iter().map(|t| keep.then(|| t.detach())).collect();
        tape.nodes.push(Some(Arc::new(Node { op: Box::new(op), sources, inputs, output })));
        tape.numbers.insert(y.id(), number);
        Ok(())
    })?;
    Ok(y)
}

/// Differentiates `loss`: candle's part by `candle`, what was recorded here. Gradients of parameters go to the sink. When
/// `free`, recorded operations are forgotten as soon as they have been used.
pub(crate) fn run(loss: &Tensor, free: bool, candle: &mut impl FnMut(&Tensor) -> Result<()>) -> Result<()> {
    candle(loss)?;
    // Gradients for tensors of candle's graph, until the first operation that reads them has been passed.
    let mut waiting: HashMap<TensorId, (Tensor, Tensor)> = HashMap::new();
    loop {
        let next = TAPE.with_borrow_mut(|tape| {
            let tape = tape.as_mut()?;
            let (number, grad) = tape.arrived.pop_last()?;
            let node = if free { tape.nodes[number].take() } else { tape.nodes[number].clone() };
            Some((number, grad, node))
        });
        let Some((number, grad, node)) = next else { return Ok(()) };
        let Some(node) = node else { bail!("backward: a recorded value was already differentiated and forgotten") };
        let wants: Vec<bool> = node.sources.iter().map(Source::wants).collect();
        if wants.contains(&true) {
            let link = Link { inputs: &node.inputs, output: node.output.as_ref(), grad: &grad, wants: &wants };
            let found = node.op.backward(&link)?;
            drop(grad);
            for ((source, wanted), g) in node.sources.iter().zip(wants).zip(found) {
                let Some(g) = g.filter(|_| wanted) else { continue };
                match source {
                    Source::Constant => {}
                    Source::Variable(id) => drop(sink_takes(*id, g)?),
                    Source::Recorded(n) => arrive(*n, g)?,
                    Source::Candle(t) => {
                        let sum = match waiting.remove(&t.id()) {
                            None => g,
                            Some((_, before)) => add(&before, &g)?,
                        };
                        waiting.insert(t.id(), (t.clone(), sum));
                    }
                }
            }
        }
        for source in &node.sources {
            let Source::Candle(t) = source else { continue };
            let first = TAPE.with_borrow(|tape| tape.as_ref().and_then(|tape| tape.first_reader.get(&t.id()).copied()));
            if first == Some(number)
                && let Some((t, g)) = waiting.remove(&t.id())
            {
                candle(&(t * g.detach())?.sum_all()?)?;
            }
        }
    }
}

/// Forgets gradients that were on their way when something failed.
pub(crate) fn clear() {
    let left = TAPE.with_borrow_mut(|t| t.as_mut().map(|t| std::mem::take(&mut t.arrived)));
    drop(left);
}

impl Source {
    fn wants(&self) -> bool {
        match self {
            Self::Constant => false,
            Self::Variable(id) => sink_wants(*id),
            Self::Recorded(_) | Self::Candle(_) => true,
        }
    }
}
