//! [`Backbone`]: a network as a list of named stages.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::{Acts, HIDDEN, Result, Schema, Scope, Seeds, Within, rows_in_words};

/// Whether a forward pass trains or evaluates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, dropout and other randomness as the plan says.
    Train,
    /// Running statistics, no randomness.
    Eval,
}

/// What a stage needs to know of the moment.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// Training or evaluation.
    pub mode: Mode,
    /// The stream the batch belongs to (`source`, `target`, …), for layers that keep statistics apart.
    pub stream: String,
    /// Optimiser steps made so far.
    pub step: u64,
    /// Global rows of the batch: what randomness is keyed by.
    pub rows: Vec<u64>,
    /// Streams of random numbers for this run.
    pub seeds: Seeds,
    /// Whether layers that keep running statistics add the batch to them; not where a batch is gone through again.
    pub updates_statistics: bool,
    /// Stages whose output is wanted.
    pub taps: BTreeSet<String>,
    /// The outputs of those stages.
    pub tapped: BTreeMap<String, Acts>,
}

impl Ctx {
    /// A context without taps.
    pub fn new(mode: Mode, stream: &str, step: u64, rows: &[u64], seeds: Seeds) -> Self {
        let (taps, tapped) = Default::default();
        let (stream, rows) = (stream.to_owned(), rows.to_vec());
        Self { mode, stream, step, rows, seeds, updates_statistics: true, taps, tapped }
    }

    /// A context for evaluation of these rows.
    pub fn eval(rows: &[u64]) -> Self {
        Self::new(Mode::Eval, "", 0, rows, Seeds::new(0))
    }
}

/// A stage of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The name by which plans, taps and users speak of it.
    pub name: String,
    /// Where its parameters stand within the network: modules (`layer1`, for all of `layer1.*`) or single tensors.
    pub prefixes: Vec<String>,
    /// Activations it reads.
    pub reads: Vec<String>,
    /// Activations it writes; all others pass through untouched.
    pub writes: Vec<String>,
    /// Whether each row's output depends on that row alone (when normalisation is frozen).
    pub row_wise: bool,
    /// Whether it normalises by the batch while training.
    pub batch_norm: bool,
    /// Whether it draws random numbers while training.
    pub random: bool,
}

impl Stage {
    /// A row-wise stage without randomness or batch statistics that reads and writes [`HIDDEN`].
    pub fn new(name: &str) -> Self {
        let hidden = vec![HIDDEN.to_owned()];
        let (reads, writes) = (hidden.clone(), hidden);
        let (name, prefixes) = (name.to_owned(), vec![name.to_owned()]);
        Self { name, prefixes, reads, writes, row_wise: true, batch_norm: false, random: false }
    }

    /// The same with its parameters in these modules, as in checkpoints that have no module for the stage.
    #[must_use]
    pub fn over(self, prefixes: &[&str]) -> Self {
        Self { prefixes: prefixes.iter().map(|p| (*p).to_owned()).collect(), ..self }
    }

    /// Whether a parameter, by its name within the network, belongs to this stage.
    pub fn holds(&self, name: &str) -> bool {
        self.prefixes.iter().any(|p| name.strip_prefix(p.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('.')))
    }
}

/// The description of a network: what it is made of, and how to make it.
pub trait Architecture: Send + Sync {
    /// The stages, in order. They depend on the options alone.
    fn stages(&self) -> Vec<Stage>;

    /// Builds the network for inputs of this schema. Called again whenever the plan changes.
    ///
    /// # Errors
    /// When the inputs do not fit or existing parameters have other shapes.
    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>>;

    /// What [`Backbone::forward`] over all stages puts out.
    ///
    /// # Errors
    /// When the inputs do not fit.
    fn features(&self, inputs: &Schema) -> Result<Schema>;
}

/// A built network.
pub trait Backbone: Send + Sync {
    /// Applies stage number `index` of [`Architecture::stages`].
    ///
    /// # Errors
    /// When an activation is missing or an operation fails.
    fn stage(&self, index: usize, acts: Acts, cx: &mut Ctx) -> Result<Acts>;

    /// The stages this was built from.
    fn stages(&self) -> &[Stage];

    /// Applies a range of stages, tapping those that `cx` asks for.
    ///
    /// # Errors
    /// When a stage fails.
    fn forward(&self, mut acts: Acts, stages: Range<usize>, cx: &mut Ctx) -> Result<Acts> {
        for i in stages {
            let name = &self.stages()[i].name;
            acts = self.stage(i, acts, cx).within(|| format!("stage `{name}`, {}", rows_in_words(&cx.rows)))?;
            if cx.taps.contains(name) {
                cx.tapped.insert(name.clone(), acts.clone());
            }
        }
        Ok(acts)
    }
}

/// A module beside the backbone: a head, a discriminator, a generator.
pub trait Module: Send + Sync {
    /// Maps activations to activations.
    ///
    /// # Errors
    /// When an activation is missing or an operation fails.
    fn forward(&self, acts: &Acts, cx: &mut Ctx) -> Result<Acts>;
}

impl<F: Fn(&Acts, &mut Ctx) -> Result<Acts> + Send + Sync> Module for F {
    fn forward(&self, acts: &Acts, cx: &mut Ctx) -> Result<Acts> {
        self(acts, cx)
    }
}
