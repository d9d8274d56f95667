//! The contracts of Transplant.
//!
//! A run moves data along one road: [`Dataset`] rows become a [`Batch`], a [`Backbone`] turns it stage by stage into
//! features, a [`Task`] turns those into outputs and a loss per row, the [`Strategy`] adds its own [`Term`]s, and
//! [`backward`] turns the sum into [`Gradients`] for the weights in [`Params`]. Everything that can be swapped is a trait
//! here; everything that implements one lives in a crate above, and is made known by a [`Plugins`] registry.
//!
//! This crate knows no data set, no network and no strategy.
#![forbid(unsafe_code)]

// The example of a strategy names this crate as its users do.
#[cfg(test)]
extern crate self as transplant_core;

mod acts;
mod adapter;
mod add;
mod backbone;
mod batch;
mod budget;
mod caches;
mod columns;
mod component;
mod dataset;
mod error;
mod event;
mod feed;
mod finding;
mod frame;
mod gradients;
mod memory;
mod metric;
mod names;
mod optimise;
mod params;
mod plan;
mod policy;
mod read;
mod record;
mod sampler;
mod scope;
mod seeds;
mod spec;
mod step;
mod strategy;
#[cfg(test)]
#[allow(unreachable_pub, reason = "written as its users write it")]
mod strategy_example;
mod tape;
mod task;
mod transform;
mod weighting;
mod weights;
mod words;

/// Tensors, as every crate here has them: whoever depends on candle by itself may get those of another version.
pub use candle_core;

pub use acts::{Acts, HIDDEN, MASK, TEXT, TOKENS};
pub use adapter::{Adapter, Delta, Site, SiteKind};
pub use backbone::{Architecture, Backbone, Ctx, Mode, Module, Stage};
pub use batch::{Batch, Target, Targets};
pub use budget::epochs_of;
pub use caches::cache_folder;
pub use columns::{CategoryColumn, Columns, NumberColumn};
pub use component::{BuildCx, Component, Entry, Kind, Plugins, key_without};
pub use dataset::{
    DOMAIN, Dataset, Fact, Field, Fingerprint, Roles, Schema, Split, Test, Train, Unlabelled, Validation,
};
pub use error::{Class, Error, Invalid, InvalidKind, Result, Within, rows_in_words};
pub use event::{Event, KeptIn, Listener};
pub use feed::{Fed, Feed, Known, RowRole, rows_at_a_time};
pub use finding::{Finding, FindingKind, Severity};
pub use frame::{Filter, Fit, Frame};
pub use gradients::{Gradients, backward, backward_last, scalar};
pub use memory::Memory;
pub use metric::{Metric, Predictions};
pub use names::{Pattern, nearest};
pub use optimise::{Ascent, Averaging, InPlace, Optimiser, Progress, Schedule, UpdateAt};
pub use params::{Origin, Param, Params, Role};
pub use plan::{NormPolicy, Plan, Use};
pub use policy::{Action, Policy, Report};
pub use read::read_options;
pub use record::{Differentiable, Link, record};
pub use sampler::{Sampler, SamplerCx};
pub use scope::{Buffer, Init, Scope};
pub use seeds::{Seeds, Stream};
pub use spec::Spec;
pub use step::{Features, Forward, Mixed, Pass, Step, Term, join_rows};
pub use strategy::{
    Boundary, Finish, HeadFit, Labels, Load, ModelInfo, Modules, Needs, ParamInfo, Phase, Strategy, StreamNeed, Until,
    Update,
};
pub use tape::{Recording, is_recording};
pub use task::{Classes, Task};
pub use transform::{Carried, TextLimit, Transform, TransformCx, Vocabulary};
pub use weighting::{CombineCx, Supervise, TermInfo, Weighting, sum_of};
pub use weights::{
    SafetensorsFile, load_safetensors, read_metadata, read_safetensors, save_safetensors, write_atomically,
};
pub use words::{is_unspaced, words};
