//! [`Optimiser`], [`Schedule`] and [`Averaging`]: pure functions; the trainer keeps their state.

use candle_core::Tensor;

use crate::Result;

/// What an optimiser is told about one update of one tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateAt {
    /// Learning rate, schedule and group factor included.
    pub lr: f64,
    /// Weight decay for this tensor.
    pub weight_decay: f64,
    /// How often this tensor was updated before, from 0.
    pub step: u64,
}

/// Updates matching parts of value, gradient and slots. It fails when there are other slots than [`Optimiser::slots`].
pub type InPlace = Box<dyn Fn(&mut [f32], &[f32], &mut [&mut [f32]]) -> Result<()> + Send + Sync>;

/// A step uphill before the gradient that an update uses is taken: sharpness-aware minimisation, Foret et al. 2021.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ascent {
    /// Length of the step, in the norm of all weights that the update trains.
    pub rho: f64,
    /// Whether the step is longer for larger weights, so that it does not depend on their scale: Kwon et al. 2021.
    pub adaptive: bool,
}

/// Computes updates. All state stands in named slots that the trainer keeps, saves and restores.
pub trait Optimiser: Send + Sync {
    /// The base learning rate.
    fn lr(&self) -> f64;

    /// Weight decay of tensors that decay.
    fn weight_decay(&self) -> f64;

    /// Names of the state tensors each parameter needs; they begin as zeros of its shape.
    fn slots(&self) -> &'static [&'static str];

    /// The new value of a tensor; `slots` are replaced by their new values.
    ///
    /// # Errors
    /// When shapes differ, or there are other slots than [`slots`](Self::slots).
    fn update(&self, at: UpdateAt, value: &Tensor, grad: &Tensor, slots: &mut [Tensor]) -> Result<Tensor>;

    /// The same update of f32 values on the CPU in one pass, where they stand: the function of matching parts of value,
    /// gradient and slots. `None` when there is none; then [`Self::update`] is used everywhere.
    fn in_place(&self, _at: UpdateAt) -> Option<InPlace> {
        None
    }

    /// The step uphill that the trainer makes before each update: it computes gradients, moves the weights along them,
    /// computes gradients there on the same batches with the same random numbers and without updating running
    /// statistics, moves back, and gives [`update`](Self::update) the second gradients. `None`: it makes none.
    fn ascent(&self) -> Option<Ascent> {
        None
    }
}

/// How far training has come.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Progress {
    /// Optimiser steps made in this phase.
    pub step: u64,
    /// Optimiser steps this phase will have.
    pub steps: u64,
    /// Steps in an epoch.
    pub steps_per_epoch: u64,
}

impl Progress {
    /// From 0 to 1.
    pub fn fraction(&self) -> f64 {
        self.step as f64 / self.steps.max(1) as f64
    }
}

/// A factor on the learning rate as a function of progress.
pub trait Schedule: Send + Sync {
    /// The factor for the step that is about to be made.
    fn factor(&self, at: Progress) -> f64;
}

/// How the weights of many steps become those of one model, which is validated, tested and kept in their place.
pub trait Averaging: Send + Sync {
    /// The share that the present weights have in the average after a step, from 0 (it stays) to 1 (it becomes them); the rest is
    /// the average before. `at` counts the steps made, that one included; the average begins with the first share above 0.
    fn share(&self, at: Progress) -> f64;
}
