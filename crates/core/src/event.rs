//! [`Event`]s that a run tells, and the [`Listener`]s that observe them.

use std::collections::BTreeMap;

use serde::Serialize;

/// Something that happened. Serialised, one line each, it makes `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A part of the run (a cell: one step under one seed, draw and strategy) began.
    CellStarted {
        /// Its name.
        cell: String,
        /// Its number, from 0.
        index: usize,
        /// How many there are.
        of: usize,
    },
    /// A cell had been finished by an earlier run and was taken as it is.
    CellReused {
        /// Its name.
        cell: String,
    },
    /// A cell ended.
    CellFinished {
        /// Its name.
        cell: String,
        /// Wall time.
        seconds: f64,
        /// Metrics by split.
        metrics: BTreeMap<String, BTreeMap<String, f64>>,
    },
    /// The output of a frozen prefix is there for all rows of a stream: computed once, or taken from the cache.
    PrefixKept {
        /// The stream; `validation` is the validation part.
        stream: String,
        /// Stages of the prefix.
        stages: usize,
        /// Where it is read from during the phase.
        from: KeptIn,
        /// Rows, each view counted.
        rows: usize,
        /// Those of them that the prefix was run on, without what fills up tiles.
        computed: usize,
        /// Those of them that an earlier phase, cell or run had left in the cache.
        reused: usize,
    },
    /// A phase began.
    PhaseStarted {
        /// Its name.
        phase: String,
        /// Optimiser steps it will take.
        steps: u64,
        /// Weights that are trained, counted in numbers.
        trainable: usize,
        /// Stages whose output is computed once.
        cached_stages: usize,
    },
    /// A phase that made steps ended.
    PhaseEnded {
        /// Its name.
        phase: String,
        /// Epochs it made.
        epochs: u64,
        /// Why a policy ended it earlier than planned; `None`: it took all of its epochs.
        stopped: Option<String>,
    },
    /// An optimiser step was made.
    Stepped {
        /// Steps made in this phase.
        step: u64,
        /// Steps this phase has.
        steps: u64,
        /// Weighted sum of the terms.
        loss: f64,
        /// Learning rate of the main group.
        lr: f64,
    },
    /// An epoch ended.
    EpochFinished {
        /// The report that policies saw.
        report: crate::Report,
        /// Wall time of the epoch's steps since the run began or went on.
        seconds: f64,
        /// Share of it that the steps waited for their batches, from 0 to 1.
        waiting: f64,
    },
    /// Training state was written.
    Checkpointed {
        /// Steps made in this phase.
        step: u64,
    },
    /// Something worth knowing.
    Note {
        /// What.
        text: String,
    },
    /// Something that may be wrong.
    Warning {
        /// What.
        text: String,
    },
}

/// Where the output of a frozen prefix is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptIn {
    /// In memory.
    Memory,
    /// In a file, read by position.
    File,
}

/// Observes events.
pub trait Listener: Send {
    /// Called for each event, in order.
    fn on(&mut self, event: &Event);
}

impl<F: FnMut(&Event) + Send> Listener for F {
    fn on(&mut self, event: &Event) {
        self(event);
    }
}
