//! `summary.json`: the stable interface for scripts.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use transplant_core::{Error, Invalid, Result};
use transplant_trainer::Stopped;

use super::compare::Comparison;
use super::export::{BESIDE, WEIGHTS};
use super::findings::PipelineFinding;
use super::folder::Folder;
use super::layout::{CellLayout, ModelLayout, RunLayout};
use super::record::{Metrics, Record, read_json, write_json};
use crate::counted;

/// Version of this file's form. 2: what was `peers` is `baselines`.
const SCHEMA: u32 = 2;

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// Version of this file's form.
    pub schema: u32,
    /// How far the run has come.
    pub status: Status,
    /// The pipeline's name.
    pub name: String,
    /// What was found about data and steps, each thing once.
    #[serde(default)]
    pub findings: Vec<PipelineFinding>,
    /// The finished cells.
    pub steps: Vec<StepSummary>,
    /// Strategies over seeds and draws; empty until the run is finished.
    pub comparison: Vec<Comparison>,
    /// What baselines without a network score on the test rows, by step and baseline: means over seeds and draws, folds
    /// taken together; empty until the run is finished.
    #[serde(default, alias = "peers")]
    pub baselines: BTreeMap<String, BTreeMap<String, Metrics>>,
    /// Baselines that could not be fitted in some cell, by step, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub baselines_not_fitted: BTreeMap<String, BTreeMap<String, String>>,
}

/// One finished cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub swept: BTreeMap<String, Value>,
    /// Wall time.
    pub seconds: f64,
    /// Largest resident memory of the process until then; null where the system does not tell.
    pub peak_rss_mb: Option<u64>,
    /// Numbers in the model's weights.
    pub parameters: usize,
    /// Numbers that were trained.
    pub trainable_parameters: usize,
    /// Phases that a policy ended before they had all of their epochs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<Stopped>,
    /// Metrics by split.
    pub metrics: BTreeMap<String, Metrics>,
    /// The validator by which policies chose; missing where the validation part did, or nothing was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected_by: Option<String>,
    /// Scores of the finished model by its validators, without labels of the rows that they look at; larger is better.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub validators: Metrics,
}

impl Summary {
    /// The summary of these cells, without comparisons.
    pub fn new(name: &str, status: Status, records: &[&Record]) -> Self {
        let steps = records.iter().map(|r| StepSummary::new(r)).collect();
        let mut baselines_not_fitted = BTreeMap::<String, BTreeMap<String, String>>::new();
        for r in records {
            for (baseline, why) in &r.baselines_not_fitted {
                let of_step = baselines_not_fitted.entry(r.cell.step.clone()).or_default();
                of_step.entry(baseline.clone()).or_insert_with(|| why.clone());
            }
        }
        let (findings, comparison, baselines) = Default::default();
        Self {
            schema: SCHEMA,
            status,
            name: name.to_owned(),
            findings,
            steps,
            comparison,
            baselines,
            baselines_not_fitted,
        }
    }

    /// Reads the summary of a run.
    ///
    /// # Errors
    /// When the folder is not that of a run, or the summary is damaged or of a newer version.
    pub fn read(run: &RunLayout) -> Result<Self> {
        read_json(&run.summary(), SCHEMA).map_err(|e| match e {
            Error::Io { path, source } => no_summary(run, &path, &source).into(),
            other => other,
        })
    }

    /// That the run in this folder has come to its end.
    ///
    /// # Errors
    /// When it has not.
    pub fn check_finished(&self, run: &RunLayout) -> Result<(), Invalid> {
        let (root, cells) = (run.root().display(), counted(self.steps.len(), "cell"));
        let status = match self.status {
            Status::Finished => return Ok(()),
            Status::Running => "running",
            Status::Interrupted => "interrupted",
            Status::Failed => "failed",
        };
        Err(Invalid::new(format!("{root} is not finished: it is {status}, with {cells} done")))
    }

    /// Writes it into the run folder, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        write_json(&folder.layout().summary(), self)
    }

    /// The metric by which each step is judged.
    pub fn main_metrics(records: &[&Record]) -> BTreeMap<String, String> {
        records.iter().filter_map(|r| Some((r.cell.step.clone(), r.main_metric.clone()?))).collect()
    }
}

/// What a folder is that has no summary: of a run, a cell, a model or an export, something is missing.
fn no_summary(run: &RunLayout, summary: &Path, e: &io::Error) -> Invalid {
    let root = run.root();
    let name = |path: PathBuf| path.file_name().unwrap_or_default().display().to_string();
    let (cell, model) = (CellLayout::new(root), ModelLayout::new(root));
    let (summary_name, resume) = (name(summary.to_owned()), "run its pipeline file again with `--resume`");
    let (what, missing, help) = if run.events().is_file() || run.cells().is_dir() {
        ("holds a run that did not end, or was not copied whole", summary_name, resume)
    } else if cell.key().is_file() || cell.checkpoints().is_dir() || cell.record().is_file() {
        let missing = format!("{}/{}", name(cell.model().root().to_owned()), name(model.manifest()));
        ("holds a cell of a run that did not end, or was not copied whole", missing, resume)
    } else if model.weights().is_file() {
        let help = "predict with the folder of the run, or with an export";
        ("holds weights that nothing describes", name(model.manifest()), help)
    } else if BESIDE.iter().any(|file| root.join(file).is_file()) {
        ("holds an export that did not end, or was not copied whole", WEIGHTS.to_owned(), "export the run again")
    } else {
        return Invalid::new(format!(
            "{} is not the folder of a run: cannot read {}: {e}",
            root.display(),
            summary.display()
        ));
    };
    Invalid::new(format!("{} {what}: `{missing}` is missing", root.display())).help(help)
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
            stopped: r.stopped.clone(),
            metrics: r.metrics.clone(),
            selected_by: r.selected_by.clone(),
            validators: r.validators.clone(),
        }
    }
}
