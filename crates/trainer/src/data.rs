//! What [`fit`](crate::fit) is given: [`Recipe`], [`Data`] and [`Io`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use transplant_core::{
    Averaging, Fed, Invalid, Listener, Needs, Optimiser, Policy, Result, Schedule, Train, Unlabelled, Validation,
};
use transplant_ops::Precision;

use crate::cache::Cache;

/// How training goes, whatever the strategy.
#[derive(Clone)]
pub struct Recipe {
    /// Passes over the first labelled stream, which the phases share: see [`epochs_of`](transplant_core::epochs_of).
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
    /// What policies may look at.
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

    /// The streams a strategy needs are all there, and each has a name of its own.
    pub(crate) fn check(&self, needs: &Needs) -> Result<()> {
        needs.check_streams()?;
        if let Some(name) = self.unlabelled.keys().find(|n| self.labelled.contains_key(*n)) {
            return Err(Invalid::new(format!("there is a labelled and an unlabelled stream `{name}`")).into());
        }
        let labelled = needs.labelled_streams().into_iter().map(|s| (self.labelled.contains_key(&s), "labelled", s));
        let unlabelled = needs.unlabelled.iter().cloned().map(|s| (self.unlabelled.contains_key(&s), "unlabelled", s));
        match labelled.chain(unlabelled).find(|(there, ..)| !there) {
            None => Ok(()),
            Some((_, kind, s)) => {
                Err(Invalid::new(format!("the strategy needs a {kind} stream `{s}`, and none was given")).into())
            }
        }
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
    /// Where outputs of frozen stages are kept.
    pub cache: Cache,
}

impl<'a> Io<'a> {
    /// No checkpoints, no policies, a cache in memory.
    pub fn new(listener: &'a mut dyn Listener, stop: &'a AtomicBool) -> Self {
        Self { listener, checkpoints: None, resume: false, stop, policies: Vec::new(), cache: Cache::default() }
    }
}
