//! Times one pass of one operation.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use candle_core::{CpuStorage, Device, Tensor};
use transplant_core::{Differentiable, Gradients, Link, Memory, Origin, Params, Recording, Role, backward, record};
use transplant_ops::testing::{random, single};

use super::cases::{Case, Pass};

/// Calls that are not timed.
const WARM_UP: usize = 2;
/// Timed calls, at least.
const CALLS: usize = 5;
/// Time for timed calls, at least.
const TIME: Duration = Duration::from_millis(300);

/// Median seconds of a pass.
pub(crate) fn seconds(case: &Case, pass: Pass) -> Result<f64> {
    let stored = stored(case)?;
    if pass == Pass::Forward {
        let operands = operands(&stored)?;
        return median_seconds(|| Ok((case.run)(&operands, case.at).map(drop)?));
    }
    let params = Params::new(&Device::Cpu);
    let variable = |(i, t): (usize, &Tensor)| -> Result<Tensor> {
        params.insert(&i.to_string(), t, Role::Weight, Origin::Fresh)?;
        let variable = params.get(&i.to_string())?.var().as_tensor().clone();
        // An operand whose gradient is not timed is a constant: a view of a variable would get its gradient all the same.
        Ok(if pass.wants(i) { variable } else { variable.detach() })
    };
    let variables: Vec<Tensor> = stored.iter().enumerate().map(variable).collect::<Result<_>>()?;
    let wanted: Vec<String> = (0..variables.len()).filter(|i| pass.wants(*i)).map(|i| i.to_string()).collect();
    let _recording = Recording::start()?;
    let y = (case.run)(&operands(&variables)?, case.at)?;
    let loss = record(GivenGradient(like(&y)?), &[&y], CpuStorage::F32(vec![0.0]), (), Memory::Plain)?;
    median_seconds(|| {
        let mut gradients = Gradients::new(&params, |name| wanted.iter().any(|w| w == name));
        backward(&loss, &mut gradients)?;
        black_box(gradients);
        Ok(())
    })
}

fn median_seconds(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..WARM_UP {
        call()?;
    }
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < CALLS || begin.elapsed() < TIME {
        let start = Instant::now();
        call()?;
        times.push(start.elapsed().as_secs_f64());
    }
    crate::median(times).context("no call was timed")
}

/// The operands as they are stored: images with their channels innermost, as convolutions leave them.
fn stored(case: &Case) -> Result<Vec<Tensor>> {
    let made = |(i, shape): (usize, &Vec<usize>)| {
        let t = single(&random(i as u64, shape));
        let image = i == 0 && t.rank() == 4;
        Ok(if image { Memory::ChannelsLast.raw(&t)?.contiguous()? } else { t })
    };
    case.shapes.iter().enumerate().map(made).collect()
}

fn operands(stored: &[Tensor]) -> Result<Vec<Tensor>> {
    let view = |(i, t): (usize, &Tensor)| match *t.dims() {
        [n, h, w, c] if i == 0 => Ok(Memory::ChannelsLast.view(t, &(n, c, h, w).into())?),
        _ => Ok(t.clone()),
    };
    stored.iter().enumerate().map(view).collect()
}

/// A tensor with the values and the layout of `y`.
fn like(y: &Tensor) -> Result<Tensor> {
    let y = y.detach();
    let memory = Memory::of(&y).context("an output in one of our layouts")?;
    Ok(memory.view(&memory.raw(&y)?.copy()?, y.shape())?)
}

/// A loss whose gradient is given, so that only the operation is timed.
struct GivenGradient(Tensor);

impl Differentiable for GivenGradient {
    fn name(&self) -> &'static str {
        "given_gradient"
    }

    fn backward(&self, _: &Link<'_>) -> candle_core::Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.0.clone())])
    }
}
