//! Tests of the whole program: files in, exit codes, messages and run folders out.

mod bad_input;
mod cache;
mod chains;
mod cifar10;
mod configs;
mod data_findings;
mod exports;
mod help;
mod hub;
mod outside;
mod overview;
mod pictures;
mod predicting;
mod pretrained;
mod repeats;
mod resume;
mod run;
mod run_folder;
mod same_bytes;
mod sources;
mod streams;
mod table_findings;
mod test_rows;
mod weights;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A pipeline of seconds: one epoch on MNIST, then a few steps on two labels a digit.
const SMALL: &str = r#"schema = 1
name = "small"

[datasets.mnist]
type = "mnist_5k"
labels_per_class = 40

[datasets.scans]
type = "optdigits"
labels_per_class = 2
transforms = [{ type = "resize", height = 20, width = 20 }, { type = "pad", height = 28, width = 28 }]

[backbones.net]
type = "convnet"
widths = [4, 8]

[steps.pretrain]
type = "train"
dataset = "mnist"
backbone = "net"
strategy = "structure"
trainer = { epochs = 2, batch_size = 16, optimiser = { type = "sgd", lr = 0.05 } }

[steps.transfer]
type = "train"
dataset = "scans"
from = "pretrain"
strategy = "parameter"
trainer = { epochs = 3, batch_size = 10, optimiser = { type = "sgd", lr = 0.01 } }
"#;

/// The binary, with nothing of the caller's environment that could change what it does.
pub(crate) fn transplant() -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_transplant-under-test"));
    for (key, _) in std::env::vars().filter(|(k, _)| k.starts_with("TRANSPLANT_")) {
        c.env_remove(key);
    }
    c
}

/// A folder with a pipeline file.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new(text: &str) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::write(bench.file(), text).unwrap();
        bench
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("pipeline.toml")
    }

    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A verb that is no run, in the folder of the file.
    pub(crate) fn command_of(&self, verb: &str, more: &[&str]) -> Command {
        let mut c = transplant();
        c.current_dir(self.dir.path()).arg(verb).arg("pipeline.toml").args(more);
        c
    }

    pub(crate) fn command(&self, out: &str, more: &[&str]) -> Command {
        let mut c = transplant();
        c.current_dir(self.dir.path()).arg("run").arg("pipeline.toml").arg("--out").arg(self.out(out)).args(more);
        c.env("TRANSPLANT_CACHE", self.cache());
        c
    }

    /// The folder of the activation cache.
    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Runs to the end and succeeds.
    pub(crate) fn run(&self, out: &str, more: &[&str]) -> PathBuf {
        succeeded(&self.command(out, more).output().unwrap());
        self.out(out)
    }
}

pub(crate) fn succeeded(o: &Output) -> String {
    assert!(o.status.success(), "{}\n{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    String::from_utf8_lossy(&o.stdout).into_owned()
}

/// The bytes of every `model.safetensors` below a run folder, by path; and the metrics of every cell.
pub(crate) fn results(run: &Path) -> (Vec<(PathBuf, Vec<u8>)>, serde_json::Value) {
    let mut models = Vec::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("model.safetensors") {
                models.push((path.strip_prefix(run).unwrap().to_owned(), std::fs::read(&path).unwrap()));
            }
        }
    }
    models.sort();
    assert!(!models.is_empty(), "no model below {}", run.display());
    let mut summary = summary(run);
    for step in summary["steps"].as_array_mut().unwrap() {
        // Times and memory are the run's own.
        step.as_object_mut().unwrap().retain(|k, _| k != "seconds" && k != "peak_rss_mb");
    }
    (models, summary)
}

pub(crate) fn summary(run: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(run.join("summary.json")).unwrap()).unwrap()
}

/// Copies the program under test to `to`.
///
/// A child process does it: were the copy written here, a process that another test starts meanwhile would hold it open
/// for writing, and it could not be run ("text file busy").
#[cfg(unix)]
pub(crate) fn copy_of_program(to: &Path) {
    let status = Command::new("cp").arg(env!("CARGO_BIN_EXE_transplant-under-test")).arg(to).status();
    assert!(status.unwrap().success());
}

/// Copies the program under test to `to`.
#[cfg(not(unix))]
pub(crate) fn copy_of_program(to: &Path) {
    std::fs::copy(env!("CARGO_BIN_EXE_transplant-under-test"), to).unwrap();
}
