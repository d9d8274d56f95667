//! [`Record`]: what a finished cell leaves in `cell.json`. Tables and reports are made from records alone, so that a cell
//! finished by an earlier run counts like one just trained.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use transplant_core::{Error, Result, write_atomically};
use transplant_trainer::LedgerRow;

use super::labels::EarlierLabels;
use super::leaks::Leak;
use crate::resolved::{Cell, DatasetSpec};

/// Version of `cell.json`, `model.json` and `summary.json`.
pub(crate) const SCHEMA: u32 = 1;

/// Values of metrics by name.
pub type Metrics = BTreeMap<String, f64>;

/// A finished cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this file's form.
    pub schema: u32,
    /// Hash of all that decides the result: the cell, what it builds on, data and code.
    pub key: String,
    /// The cell.
    pub cell: Cell,
    /// Its data set.
    pub dataset: DatasetSpec,
    /// The folder from which the data set's relative paths start.
    pub base: PathBuf,
    /// Hash of the data set's content.
    pub data_hash: String,
    /// The device that computed it.
    pub device: String,
    /// Wall time of the session that finished it.
    pub seconds: f64,
    /// Largest resident memory of the process until then, where the system tells.
    pub peak_rss_mb: Option<u64>,
    /// Numbers in the model's weights.
    pub parameters: usize,
    /// Numbers that were trained.
    pub trainable_parameters: usize,
    /// Optimiser steps made.
    pub steps: u64,
    /// Epochs made.
    pub epochs: u64,
    /// Rows of each part.
    pub rows: BTreeMap<String, usize>,
    /// Labels used for training and for choosing together.
    pub labels: usize,
    /// Whether an unlabelled stream was used.
    pub unlabelled: bool,
    /// Metrics by split.
    pub metrics: BTreeMap<String, Metrics>,
    /// What peers without a network score on the test rows, by peer.
    pub peers: BTreeMap<String, Metrics>,
    /// Whether early stopping, the best checkpoint or the like chose on the validation part.
    pub chosen_by: Vec<String>,
    /// The metric by which the cell is judged: the first of its first task.
    pub main_metric: Option<String>,
    /// Test rows that the network has learned from.
    #[serde(default)]
    pub leak: Leak,
    /// Labels that the network has learned from in steps before it.
    #[serde(default)]
    pub labels_before: Vec<EarlierLabels>,
    /// Which weights of a file were taken, and how its names were read.
    #[serde(default)]
    pub weights: Vec<String>,
    /// What happened with each tensor.
    pub ledger: Vec<LedgerRow>,
    /// Files of the cell and their SHA-256.
    pub files: BTreeMap<String, String>,
}

impl Record {
    /// Reads the record of a cell.
    ///
    /// # Errors
    /// When there is none, or it is of another version.
    pub fn read(cell: &Path) -> Result<Self> {
        let path = cell.join("cell.json");
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        let record: Self = serde_json::from_str(&text).map_err(|e| Error::data(&path, None, e.to_string()))?;
        if record.schema != SCHEMA {
            return Err(Error::data(&path, None, format!("version {} is not version {SCHEMA}", record.schema)));
        }
        Ok(record)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, cell: &Path) -> Result<()> {
        write_json(&cell.join("cell.json"), self)
    }
}

/// Writes a value as indented JSON, whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| Error::data(path, None, e.to_string()))?;
    text.push('\n');
    write_atomically(path, text.as_bytes())
}
