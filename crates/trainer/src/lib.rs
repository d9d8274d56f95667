//! The trainer: one loop for every strategy.
//!
//! [`fit`] takes a [`Model`] (network, tasks, strategy), a [`Recipe`] and [`Data`], and does what the strategy's phases say:
//! it builds the network under each phase's plan, computes a frozen prefix once, makes the updates, asks policies after each
//! epoch and acts on their answers, and keeps the state on disk so that a killed run goes on where it was. [`evaluate`] is
//! the only function that accepts test rows.
#![forbid(unsafe_code)]

mod ahead;
mod average;
pub mod averaging;
mod cache;
mod checkpoint;
mod data;
mod evaluate;
mod fetched;
mod finish;
mod fit;
mod keeper;
mod kept;
mod ledger;
mod model;
pub mod optimisers;
mod pass;
mod phase_run;
pub mod policies;
mod prefix;
pub mod schedules;
mod step;
mod update;
mod validate;

pub use cache::{Cache, CacheEntry, CacheFiles, Cleared, clear_cache, list_cache};
pub use data::{Data, Io, NamedValidator, Recipe, Validators};
pub use evaluate::{Evaluation, evaluate, evaluate_in, evaluate_views, metrics_of};
pub use fit::{Fit, Stopped, fit};
pub use ledger::LedgerRow;
pub use model::{Model, Parts, SourceLabels};
pub use prefix::frozen_stages;
pub use transplant_ops::Precision;
pub use validate::validate;

use transplant_core::Plugins;

/// Registers the optimisers, schedules, ways of averaging and policies of this crate.
pub fn plugin(p: &mut Plugins) {
    optimisers::plugin(p);
    schedules::plugin(p);
    averaging::plugin(p);
    policies::plugin(p);
}
