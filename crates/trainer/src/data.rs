//! What [`fit`](crate::fit) is given: [`Recipe`], [`Data`] and [`Io`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use transplant_core::{
    Averaging, Fed, Feed, Invalid, Labels, Listener, Needs, Optimiser, Policy, Result, Schedule, StreamNeed, Train,
    Unlabelled, Validation, Validator,
};
use transplant_ops::Precision;

use crate::cache::Cache;

/// How training goes, whatever the strategy.
#[derive(Clone)]
pub struct Recipe {
    /// Passes over the stream that counts the epochs, which the phases share: see [`epochs_of`](transplant_core::epochs_of).
    pub epochs: u64,
    /// The optimiser.
    pub optimiser: Arc<dyn Optimiser>,
    /// The learning rate's course over each phase.
    pub schedule: Arc<dyn Schedule>,
    /// How the weights of many steps of a phase become those of the model; `None`: those of the last step are.
    pub averaging: Option<Arc<dyn Averaging>>,
    /// Largest Euclidean norm of all gradients of an update; `None`: unlimited.
    pub clip_norm: Option<f64>,
    /// Batches that make one optimiser step together, as one large batch would; at least 1.
    pub accumulate: u64,
    /// The precision of all products while it trains, those of frozen stages and of validation rows, too. Weights, gradients
    /// and the optimiser stay in the type of the parameters.
    pub precision: Precision,
    /// Seconds between checkpoints of the training state; 0: after every step, infinity: only when stopped.
    pub checkpoint_every_secs: f64,
}

/// The streams of a fit. Test rows have no place here.
#[derive(Clone, Default)]
pub struct Data {
    /// Labelled streams by name; the usual one is `target`. No other stream has the name of one of them.
    pub labelled: BTreeMap<String, Fed<Train>>,
    /// Unlabelled streams by name.
    pub unlabelled: BTreeMap<String, Fed<Unlabelled>>,
    /// Labelled rows that policies may look at.
    pub validation: Option<Fed<Validation>>,
}

impl Data {
    /// One labelled stream named `target`.
    pub fn target(feed: Fed<Train>) -> Self {
        Self { labelled: BTreeMap::from([("target".to_owned(), feed)]), ..Self::default() }
    }

    /// Adds a validation part.
    #[must_use]
    pub fn validated_on(mut self, feed: Fed<Validation>) -> Self {
        self.validation = Some(feed);
        self
    }

    /// The streams that a strategy needs are all there, and each has a name of its own.
    pub(crate) fn check(&self, needs: &Needs) -> Result<()> {
        if let Some(name) = self.unlabelled.keys().find(|n| self.labelled.contains_key(*n)) {
            return Err(Invalid::new(format!("there is a labelled and an unlabelled stream `{name}`")).into());
        }
        for StreamNeed { name, labels } in &needs.streams {
            let (kind, there, other) = match labels {
                Labels::Learned => ("a labelled", self.labelled.contains_key(name), self.unlabelled.contains_key(name)),
                Labels::None => ("an unlabelled", self.unlabelled.contains_key(name), self.labelled.contains_key(name)),
            };
            if !there {
                let but = if other { "the one of this name is not" } else { "none was given" };
                return Err(Invalid::new(format!("the strategy needs {kind} stream `{name}`, and {but}")).into());
            }
        }
        self.main(needs).map(|_| ())
    }

    /// The stream whose batches count the epochs: the first that the strategy needs by name; without one, that of the
    /// labelled streams with the most batches.
    pub(crate) fn main(&self, needs: &Needs) -> Result<&dyn Feed> {
        let by_name = |name: &str| {
            let labelled = self.labelled.get(name).map(|f| &**f);
            labelled.or_else(|| self.unlabelled.get(name).map(|f| &**f))
        };
        let longest = || self.labelled.values().rev().map(|f| &**f).max_by_key(|f| f.batches());
        let found = needs.streams.first().map_or_else(longest, |s| by_name(&s.name));
        found.ok_or_else(|| Invalid::new("the step has no labelled stream, and its strategy needs no other").into())
    }

    /// All streams, those with labels first, each kind in the order of names.
    pub(crate) fn streams(&self) -> Vec<StreamNeed> {
        let labelled = self.labelled.keys().map(|n| StreamNeed::labelled(n));
        labelled.chain(self.unlabelled.keys().map(|n| StreamNeed::unlabelled(n))).collect()
    }
}

/// A validator with the name that it has in reports.
#[derive(Clone)]
pub struct NamedValidator {
    /// Its name.
    pub name: String,
    /// What scores.
    pub validator: Arc<dyn Validator>,
}

/// What scores the model on rows without labels.
#[derive(Clone, Default)]
pub struct Validators {
    /// The one that gives policies their score; `None`: the validation part does.
    pub select: Option<NamedValidator>,
    /// Those that are told and never acted on.
    pub told: Vec<NamedValidator>,
}

impl Validators {
    /// All of them, the one that chooses first; each name once.
    pub(crate) fn all(&self) -> impl Iterator<Item = &NamedValidator> {
        let chosen = self.select.as_ref().map(|v| v.name.as_str());
        self.select.iter().chain(self.told.iter().filter(move |v| Some(v.name.as_str()) != chosen))
    }
}

impl Data {
    /// The stream without labels that a validator looks at.
    ///
    /// # Errors
    /// When there is none, or none of the name that it asks for.
    pub(crate) fn looked_at(&self, v: &NamedValidator) -> Result<(&str, &Fed<Unlabelled>)> {
        let found = match v.validator.on() {
            Some(name) => self.unlabelled.get_key_value(name),
            None => self.unlabelled.first_key_value(),
        };
        let message = || match v.validator.on() {
            Some(name) => {
                format!("`{}` looks at the stream `{name}`, and no stream without labels has this name", v.name)
            }
            None => format!("`{}` looks at a stream without labels, and there is none", v.name),
        };
        let (name, feed) = found.ok_or_else(|| Invalid::new(message()))?;
        Ok((name.as_str(), feed))
    }
}

/// What surrounds a fit: who listens, where state is kept, who may stop it.
pub struct Io<'a> {
    /// Observes events.
    pub listener: &'a mut dyn Listener,
    /// The folder of checkpoints; `None`: nothing is kept.
    pub checkpoints: Option<PathBuf>,
    /// Whether to go on from the newest whole checkpoint there.
    pub resume: bool,
    /// Set from outside to stop after the present step, with the state saved.
    pub stop: &'a AtomicBool,
    /// Early stopping and kin.
    pub policies: Vec<Box<dyn Policy>>,
    /// Scores without labels.
    pub validators: Validators,
    /// Where outputs of frozen stages are kept.
    pub cache: Cache,
}

impl<'a> Io<'a> {
    /// No checkpoints, no policies, no validators, a cache in memory.
    pub fn new(listener: &'a mut dyn Listener, stop: &'a AtomicBool) -> Self {
        let (policies, validators, cache) = Default::default();
        Self { listener, checkpoints: None, resume: false, stop, policies, validators, cache }
    }
}
