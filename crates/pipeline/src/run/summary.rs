//! `summary.json`: the stable interface for scripts.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use transplant_core::Result;

use super::compare::Comparison;
use super::findings::DataFinding;
use super::folder::Folder;
use super::record::{Metrics, Record, SCHEMA, write_json};

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is running, or was killed.
    Running,
    /// It was asked to stop; `--resume` continues it.
    Interrupted,
    /// An error ended it.
    Failed,
    /// All cells are finished.
    Finished,
}

/// What is in `summary.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Version of this file's form.
    pub schema: u32,
    /// How far the run has come.
    pub status: Status,
    /// The pipeline's name.
    pub name: String,
    /// What was found about the data, each thing once.
    pub findings: Vec<DataFinding>,
    /// The finished cells.
    pub steps: Vec<StepSummary>,
    /// Strategies over seeds and draws; empty until the run is finished.
    pub comparison: Vec<Comparison>,
    /// What peers without a network score on the test rows, by step and peer: means over seeds and draws, folds taken together; empty
    /// until the run is finished.
    pub peers: BTreeMap<String, BTreeMap<String, Metrics>>,
}

/// One finished cell.
#[derive(Debug, Clone, Serialize)]
pub struct StepSummary {
    /// The step.
    pub name: String,
    /// Its folder below `cells`.
    pub cell: String,
    /// The strategy.
    pub strategy: String,
    /// The seed of the whole chain.
    pub seed: u64,
    /// Which draw of the labelled rows.
    pub draw: u64,
    /// Which fold of the data set is tested.
    pub fold: u64,
    /// Other swept keys and their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub swept: BTreeMap<String, Value>,
    /// Wall time.
    pub seconds: f64,
    /// Largest resident memory of the process until then; null where the system does not tell.
    pub peak_rss_mb: Option<u64>,
    /// Numbers in the model's weights.
    pub parameters: usize,
    /// Numbers that were trained.
    pub trainable_parameters: usize,
    /// Metrics by split.
    pub metrics: BTreeMap<String, Metrics>,
}

impl Summary {
    /// The summary of these cells, without comparisons.
    pub fn new(name: &str, status: Status, records: &[&Record]) -> Self {
        let steps = records.iter().map(|r| StepSummary::new(r)).collect();
        let (findings, comparison, peers) = Default::default();
        Self { schema: SCHEMA, status, name: name.to_owned(), findings, steps, comparison, peers }
    }

    /// Writes it into the run folder, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        write_json(&folder.file("summary.json"), self)
    }

    /// The metric by which each step is judged.
    pub fn main_metrics(records: &[&Record]) -> BTreeMap<String, String> {
        records.iter().filter_map(|r| Some((r.cell.step.clone(), r.main_metric.clone()?))).collect()
    }
}

impl StepSummary {
    fn new(r: &Record) -> Self {
        Self {
            name: r.cell.step.clone(),
            cell: r.cell.id.clone(),
            strategy: r.cell.strategy.clone(),
            seed: r.cell.seed,
            draw: r.cell.draw,
            fold: r.cell.fold,
            swept: r.cell.swept.clone(),
            seconds: r.seconds,
            peak_rss_mb: r.peak_rss_mb,
            parameters: r.parameters,
            trainable_parameters: r.trainable_parameters,
            metrics: r.metrics.clone(),
        }
    }
}
