//! The tape: how operations of our own take part in differentiation.
//!
//! candle's backward pass makes a zero tensor for every intermediate value and adds each gradient to it, which costs more
//! than the gradients themselves. While a [`Recording`] is alive, [`record`] therefore notes operations on a tape of this
//! thread, and [`backward`](crate::backward) runs them in reverse order, handing gradients from one to the next. To candle
//! each recorded value looks like an operation of one hidden variable, so candle's own operations may stand anywhere
//! between. Without a recording the same operation is an ordinary custom operation of candle's graph.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor, TensorId, Var, bail};

use crate::add::add;
use crate::gradients::{sink_takes, sink_wants};
use crate::record::Made;
use crate::{Differentiable, Link, Memory};

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

impl Tape {
    /// Where the gradient of an input of operation `number` goes.
    fn source(&mut self, t: &Tensor, number: usize) -> Source {
        if !t.track_op() {
            Source::Constant
        } else if t.is_variable() {
            Source::Variable(t.id())
        } else if let Some(n) = self.numbers.get(&t.id()) {
            Source::Recorded(*n)
        } else {
            self.first_reader.entry(t.id()).or_insert(number);
            Source::Candle(t.clone())
        }
    }

    /// Notes an operation and the value that it made.
    fn push(&mut self, node: Node, value: &Tensor) {
        self.numbers.insert(value.id(), self.nodes.len());
        self.nodes.push(Some(Arc::new(node)));
    }
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

/// Notes an operation on the tape.
pub(crate) fn on_tape(
    op: Box<dyn Differentiable>,
    inputs: &[&Tensor],
    made: Made,
    shape: &Shape,
    memory: Memory,
) -> Result<Tensor> {
    let (anchor, number) = TAPE.with_borrow(|t| {
        t.as_ref().map_or_else(|| bail!("no recording"), |t| Ok((t.anchor.as_tensor().clone(), t.nodes.len())))
    })?;
    let y = anchor.apply_op1(Anchored { made, tape: anchor.id(), number, memory, shape: shape.clone() })?;
    let y = memory.view(&y, shape)?;
    let output = op.reads_output().then(|| y.detach());
    let keep = op.reads_inputs();
    TAPE.with_borrow_mut(|tape| {
        let Some(tape) = tape else { bail!("no recording") };
        let sources = inputs.iter().map(|t| tape.source(t, number)).collect();
        let inputs = inputs.iter().map(|t| keep.then(|| t.detach())).collect();
        tape.push(Node { op, sources, inputs, output }, &y);
        Ok(())
    })?;
    Ok(y)
}

/// Notes that `view` shows all values of `t`, where `t` is a parameter or was recorded; `op` turns gradients of the one into
/// gradients of the other.
pub(crate) fn note_view<O: Differentiable>(op: O, t: &Tensor, view: &Tensor) {
    TAPE.with_borrow_mut(|tape| {
        let Some(tape) = tape.as_mut().filter(|_| t.track_op()) else { return };
        if t.is_variable() || tape.numbers.contains_key(&t.id()) {
            let sources = vec![tape.source(t, tape.nodes.len())];
            tape.push(Node { op: Box::new(op), sources, inputs: vec![None], output: None }, view);
        }
    });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gradients, Origin, Params, Role, backward, backward_last, record};

    /// `x` times a constant.
    struct Times(f64);

    impl Differentiable for Times {
        fn name(&self) -> &'static str {
            "times"
        }

        fn reads_inputs(&self) -> bool {
            false
        }

        fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
            Ok(vec![link.when_wanted(0, || link.grad * self.0)?])
        }
    }

    fn times(x: &Tensor, by: f64) -> Result<Tensor> {
        let values: Vec<f64> = x.to_vec1::<f64>()?.iter().map(|v| v * by).collect();
        record(Times(by), &[x], CpuStorage::F64(values), x.shape(), Memory::Plain)
    }

    fn variable() -> crate::Result<(Params, Tensor)> {
        let params = Params::new(&Device::Cpu);
        params.insert("w", &Tensor::new(&[1f64, 2.0, 3.0], &Device::Cpu)?, Role::Weight, Origin::Fresh)?;
        let w = params.get("w")?.var().as_tensor().clone();
        Ok((params, w))
    }

    /// Recorded operations, candle's between them, and values that several of both read.
    fn mixed(w: &Tensor) -> Result<Tensor> {
        let a = times(w, 2.0)?;
        let b = a.sqr()?;
        let c = times(&b, 3.0)?;
        let d = times(&b, 5.0)?;
        let e = ((&c * &a)? + (d + &b)?)?;
        (times(&e, 0.5)? + w)?.sum_all()
    }

    #[test]
    fn operations_of_both_kinds_may_alternate() -> crate::Result<()> {
        let (params, w) = variable()?;
        let of = |recorded: bool| -> crate::Result<Vec<f64>> {
            let _recording = recorded.then(Recording::start).transpose()?;
            let mut g = Gradients::new(&params, |_| true);
            backward_last(&mixed(&w)?, &mut g)?;
            Ok(g.get("w").map(Tensor::to_vec1).transpose()?.unwrap_or_default())
        };
        // e = 24 w^3 + 20 w^2 + 4 w^2, and the loss is the sum of e / 2 + w.
        let want: Vec<f64> = [1f64, 2.0, 3.0].iter().map(|w| 36.0 * w * w + 24.0 * w + 1.0).collect();
        assert_eq!(of(false)?, want);
        assert_eq!(of(true)?, want);
        Ok(())
    }

    #[test]
    fn views_of_recorded_values_and_of_parameters_stay_on_the_tape() -> crate::Result<()> {
        let params = Params::new(&Device::Cpu);
        let w: Vec<f64> = (0..24).map(f64::from).collect();
        params.insert("w", &Tensor::from_vec(w, (1, 2, 3, 4), &Device::Cpu)?, Role::Weight, Origin::Fresh)?;
        let w = params.get("w")?.var().as_tensor().clone();
        let doubled = |x: &Tensor| -> Result<Tensor> {
            let values: Vec<f64> = x.flatten_all()?.to_vec1::<f64>()?.iter().map(|v| v * 2.0).collect();
            record(Times(2.0), &[x], CpuStorage::F64(values), x.shape(), Memory::Plain)
        };
        let recording = Recording::start()?;
        let a = doubled(&Memory::ChannelsLast.raw(&w)?)?;
        let y = doubled(&Memory::ChannelsLast.view(&a, w.shape())?)?;
        let weights = Tensor::arange(0f64, 24.0, &Device::Cpu)?.reshape((1, 2, 3, 4))?;
        let mut g = Gradients::new(&params, |_| true);
        let loss = (&y * &weights)?.sum_all()?;
        let readers = TAPE.with_borrow(|t| t.as_ref().map(|t| t.first_reader.len()));
        assert_eq!(readers, Some(0), "nothing is handed to candle's graph");
        backward_last(&loss, &mut g)?;
        drop(recording);
        let want = (&weights * 4.0)?.flatten_all()?.to_vec1::<f64>()?;
        assert_eq!(g.get("w").map(|g| g.flatten_all()?.to_vec1::<f64>()).transpose()?, Some(want));
        Ok(())
    }

    #[test]
    fn what_was_forgotten_or_outlived_its_recording_is_an_error() -> crate::Result<()> {
        let (params, w) = variable()?;
        let mut g = Gradients::new(&params, |_| true);
        let recording = Recording::start()?;
        let loss = mixed(&w)?;
        backward_last(&loss, &mut g)?;
        assert!(backward(&loss, &mut g).is_err_and(|e| e.to_string().contains("forgotten")));
        drop(recording);
        assert!(!is_recording());
        let _another = Recording::start()?;
        assert!(backward(&loss, &mut g).is_err_and(|e| e.to_string().contains("outlived")));
        Ok(())
    }
}
