//! Where everything lies in a run folder. File names are written down here and in `file_names.rs`, and nowhere else;
//! `docs/run_folder.md` says what each file holds and who reads it.

use std::path::{Path, PathBuf};

use super::file_names::{MODEL, MODEL_MANIFEST, MODEL_WEIGHTS, PIPELINE};

/// Files of a cell by the names that its record gives them, relative to the cell's folder.
pub(crate) const WEIGHTS: &str = "model/model.safetensors";
/// What describes the weights.
pub(crate) const MANIFEST: &str = "model/model.json";
/// What the cell predicted for validation and test rows.
pub(crate) const PREDICTIONS: &str = "predictions.safetensors";
/// What baselines predicted for the test rows, where there are any.
pub(crate) const BASELINES: &str = "baselines.safetensors";

/// The files of a run, below its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLayout {
    root: PathBuf,
}

impl RunLayout {
    /// Those of a run in this folder, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The pipeline file with every default and everything laid over it.
    pub fn pipeline(&self) -> PathBuf {
        self.root.join(PIPELINE)
    }

    /// What the run was made of.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock.json")
    }

    /// What happened, a line each. Locked for as long as a run writes to the folder.
    pub fn events(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }

    /// How far the run has come and what came out.
    pub fn summary(&self) -> PathBuf {
        self.root.join("summary.json")
    }

    /// Tables and protocol.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.md")
    }

    /// What happened with each tensor.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.md")
    }

    /// The predictions of all cells.
    pub fn predictions(&self) -> PathBuf {
        self.root.join("predictions.csv")
    }

    /// The folder of all cells.
    pub fn cells(&self) -> PathBuf {
        self.root.join("cells")
    }

    /// The files of a cell.
    pub fn cell(&self, id: &str) -> CellLayout {
        CellLayout::new(self.cells().join(id))
    }

    /// What was finished under other options, data or code and then replaced, in one folder a replacing run.
    pub fn superseded(&self) -> PathBuf {
        self.root.join("superseded")
    }

    /// The files of that one of the runs that were replaced.
    pub fn superseded_by(&self, number: u32) -> Self {
        Self::new(self.superseded().join(number.to_string()))
    }

    /// What is written of all cells together, once they are finished.
    pub fn reports(&self) -> [PathBuf; 3] {
        [self.report(), self.ledger(), self.predictions()]
    }
}

/// The files of a cell, below its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellLayout {
    root: PathBuf,
}

impl CellLayout {
    /// Those of a cell in this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its record, which is there once it is finished.
    pub fn record(&self) -> PathBuf {
        self.root.join("cell.json")
    }

    /// The key of what is being trained, until it is finished.
    pub fn key(&self) -> PathBuf {
        self.root.join("key")
    }

    /// Training state, until it is finished.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// The model.
    pub fn model(&self) -> ModelLayout {
        ModelLayout::new(self.root.join(MODEL))
    }

    /// A file by the name that the record gives it.
    pub fn named(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// The files of a model, below its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelLayout {
    root: PathBuf,
}

impl ModelLayout {
    /// Those of a model in this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What describes the model.
    pub fn manifest(&self) -> PathBuf {
        self.root.join(MODEL_MANIFEST)
    }

    /// Its tensors.
    pub fn weights(&self) -> PathBuf {
        self.root.join(MODEL_WEIGHTS)
    }

    /// A file that a transform reads.
    pub fn carried(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_names_are_those_of_the_layout() {
        let cell = RunLayout::new("run").cell("a");
        assert_eq!(cell.named(WEIGHTS), cell.model().weights());
        assert_eq!(cell.named(MANIFEST), cell.model().manifest());
    }

    #[test]
    fn file_names_stand_here_alone() {
        let names = ["pipeline.toml", "lock.json", "events.jsonl", "summary.json", "report.md", "ledger.md"];
        let more = ["predictions.csv", "cell.json", "model.json", "baselines.safetensors", "superseded", "checkpoints"];
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/run")];
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("layout.rs") && !path.ends_with("file_names.rs") {
                    let source = std::fs::read_to_string(&path).unwrap();
                    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
                    for name in names.iter().chain(&more) {
                        assert!(!code.contains(&format!("\"{name}\"")), "{}: {name}", path.display());
                    }
                }
            }
        }
    }
}
