//! [`Weighting`]: how the terms of a loss count against each other; [`Supervise`]: which of them a task brings.

use crate::{Gradients, ModelInfo, Params, Progress, Result, Seeds, Step, Term};

/// Whose labels an update learns from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Supervise {
    /// Those of every labelled stream of the step.
    #[default]
    Labelled,
    /// Those of these streams.
    Streams(Vec<String>),
    /// None: the terms of the strategy are the whole loss.
    Nothing,
}

/// A term of a loss after its value was computed.
#[derive(Debug, Clone, PartialEq)]
pub struct TermInfo {
    /// Its name.
    pub name: String,
    /// The task whose supervised loss it is; `None`: a strategy added it.
    pub task: Option<String>,
    /// The stream whose rows it is about; `None`: it is about no rows.
    pub stream: Option<String>,
    /// Its value times its weight, averaged over the batches that one step accumulates.
    pub loss: f64,
}

/// The moment at which gradients are combined: once for each update of an optimiser step.
#[derive(Clone, Copy)]
pub struct CombineCx<'a> {
    /// The tensors of the model and of the strategy's modules. A weighting may set tensors of its own below
    /// `modules.<name>`, which are part of every checkpoint; it must not set others.
    pub params: &'a Params,
    /// The model, as strategies know it.
    pub model: &'a ModelInfo,
    /// How far the phase has come.
    pub progress: Progress,
    /// Whether the gradients only say where a step uphill goes ([`Optimiser::ascent`](crate::Optimiser::ascent)). They
    /// are combined again at its end; what a weighting remembers must change there alone.
    pub uphill: bool,
    /// Streams of random numbers for this step.
    pub seeds: Seeds,
}

/// How the terms of a loss are weighed against each other: learned weights, or the surgery of gradients.
///
/// The trainer calls [`weigh`](Self::weigh) once for every update of every batch, then, where
/// [`combines`](Self::combines) says so, [`combine`](Self::combine) once for every update of an optimiser step, however
/// many batches that step accumulates. Whatever it has to remember stands in tensors below `modules.<name>`, which
/// [`Strategy::modules`](crate::Strategy::modules) makes.
pub trait Weighting: Send + Sync {
    /// Sets the weights of terms, or replaces them. Supervised terms come first and have a
    /// [`task`](crate::Term::task).
    ///
    /// # Errors
    /// When an operation fails.
    fn weigh(&self, terms: &mut Vec<Term>, step: &mut dyn Step) -> Result<()> {
        let _ = (terms, step);
        Ok(())
    }

    /// Whether [`combine`](Self::combine) wants the gradients of each term apart: as many backward passes as terms.
    /// Must be pure.
    fn combines(&self) -> bool {
        false
    }

    /// Combines the gradients of the terms, each already times its weight and averaged over the accumulated batches, in
    /// the order of the terms. By default their sum.
    ///
    /// # Errors
    /// When shapes differ.
    fn combine(&self, gradients: Vec<(TermInfo, Gradients)>, cx: &CombineCx<'_>) -> Result<Gradients> {
        let _ = cx;
        sum_of(gradients)
    }
}

/// The sum of the terms' gradients.
///
/// # Errors
/// When shapes differ.
pub fn sum_of(gradients: Vec<(TermInfo, Gradients)>) -> Result<Gradients> {
    let mut all = gradients.into_iter().map(|(_, g)| g);
    let mut sum = all.next().unwrap_or_default();
    for g in all {
        sum.add_scaled(&g, 1.0)?;
    }
    Ok(sum)
}
