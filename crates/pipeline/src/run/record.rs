//! [`Record`]: what a finished cell leaves in `cell.json`. Tables and reports are made from records alone, so that a
//! cell finished by an earlier run counts like one just trained.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use transplant_core::{Error, Result, write_atomically};
use transplant_trainer::{LedgerRow, Stopped};

use super::labels::EarlierLabels;
use super::layout::CellLayout;
use super::leaks::Leak;
use crate::resolved::{Cell, DatasetSpec};

/// Version of `cell.json`. 2: what was `peers` is `baselines`, and may be missing for a reason. 3: a cell has streams and
/// tests, and `data` holds each of its data sets.
pub(crate) const SCHEMA: u32 = 3;

/// Values of metrics by name.
pub type Metrics = BTreeMap<String, f64>;

/// A data set that a cell was made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataRecord {
    /// What the file says of it, and what the weights that the cell starts from call for.
    pub spec: DatasetSpec,
    /// Hash of its content.
    pub hash: String,
}

/// A finished cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this file's form.
    pub schema: u32,
    /// Hash of all that decides the result: the cell, what it builds on, data and code.
    pub key: String,
    /// The cell.
    pub cell: Cell,
    /// Its data sets by name.
    pub data: BTreeMap<String, DataRecord>,
    /// The folder from which relative paths of the data sets start.
    pub base: PathBuf,
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
    /// Phases that a policy ended before they had all of their epochs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<Stopped>,
    /// Rows of each part.
    pub rows: BTreeMap<String, usize>,
    /// Labels used for training and for choosing together.
    pub labels: usize,
    /// Whether an unlabelled stream was used.
    pub unlabelled: bool,
    /// Metrics by split.
    pub metrics: BTreeMap<String, Metrics>,
    /// What baselines without a network score on the test rows, by baseline.
    #[serde(default, alias = "peers")]
    pub baselines: BTreeMap<String, Metrics>,
    /// Baselines that could not be fitted, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub baselines_not_fitted: BTreeMap<String, String>,
    /// The policies that chose by the validation part or by a validator (early stopping, the best checkpoint or the like);
    /// empty where no step of training was made.
    pub chosen_by: Vec<String>,
    /// The validator that they chose by; `None`: the validation part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected_by: Option<String>,
    /// Scores of the finished model by its validators, without labels of the rows that they look at; larger is better.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub validators: Metrics,
    /// The metric by which the cell is judged: the first of the task that its step names first, or of the next that has
    /// one.
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
    /// The data set of its main stream.
    pub(crate) fn dataset(&self) -> Option<&DataRecord> {
        self.data.get(self.cell.dataset())
    }

    /// Reads the record of a cell.
    ///
    /// # Errors
    /// When there is none, or it is damaged or of a newer version.
    pub fn read(cell: &CellLayout) -> Result<Self> {
        read_json(&cell.record(), SCHEMA)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, cell: &CellLayout) -> Result<()> {
        write_json(&cell.record(), self)
    }
}

/// Reads a JSON file whose `schema` is at most `known`. A file of an older version lacks fields, which have defaults.
///
/// # Errors
/// When there is none, or it is damaged or of a newer version.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, known: u32) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let damaged = |e: serde_json::Error| Error::data(path, None, e.to_string());
    let value: Value = serde_json::from_str(&text).map_err(damaged)?;
    match value.get("schema").and_then(Value::as_u64) {
        Some(version) if version > u64::from(known) => {
            let message = format!("it is of version {version}, and this program reads versions up to {known}");
            return Err(Error::data(path, None, message));
        }
        Some(_) => {}
        None => return Err(Error::data(path, None, "it does not say its version in `schema`")),
    }
    serde_json::from_value(value).map_err(damaged)
}

/// A number that JSON, which has no NaN, may hold as null.
pub(crate) fn nan_for_null<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::NAN))
}

/// [`nan_for_null`] for both ends of an interval.
pub(crate) fn nans_for_nulls<'de, D: Deserializer<'de>>(from: D) -> Result<[f64; 2], D::Error> {
    Ok(<[Option<f64>; 2]>::deserialize(from)?.map(|end| end.unwrap_or(f64::NAN)))
}

/// Writes a value as indented JSON, whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| Error::data(path, None, e.to_string()))?;
    text.push('\n');
    write_atomically(path, text.as_bytes())
}
