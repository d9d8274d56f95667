//! Whole runs of small pipelines: what they leave behind, that they go on where they stopped, and what is met at the door.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

mod passes;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use serde_json::Value;
use transplant_core::{Error, Event};
use transplant_pipeline::builtin;
use transplant_pipeline::file::{self, Overrides, Place};
use transplant_pipeline::run::{self, Asked, Folder, Format, Outcome, prepare};

const SMALL: &str = r#"
schema = 1
name = "small"
[datasets.mnist]
type = "mnist_5k"
labels_per_class = 10
validation = 0.2
[datasets.scans]
type = "optdigits"
labels_per_class = 2
transforms = [{ type = "resize", height = 20, width = 20 }, { type = "pad", height = 28, width = 28 }]
[backbones.small]
type = "convnet"
[steps.pretrain]
type = "train"
dataset = "mnist"
backbone = "small"
strategy = "structure"
trainer = { epochs = 2, batch_size = 20, checkpoint_every_secs = 0 }
[steps.transfer]
type = "train"
dataset = "scans"
from = "pretrain"
strategy = "parameter"
trainer = { epochs = 2, batch_size = 10, checkpoint_every_secs = 0 }
[steps.transfer.sweep]
strategy = ["parameter", "structure"]
seed = [0, 1]
"#;

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("small.toml"), text).unwrap();
        Self { dir }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the pipeline; `stop_after` optimiser steps it is asked to stop.
    fn run(&self, out: &Path, resume: bool, stop_after: Option<usize>) -> (Result<Outcome, Error>, Vec<Event>) {
        let plugins = builtin();
        let overrides = Overrides { device: Some("cpu".into()), ..Overrides::default() };
        let pipeline = file::open(&self.out("small.toml"), &overrides, &plugins).unwrap();
        let prepared = prepare(&pipeline, &plugins, Some(out)).unwrap();
        let (stop, mut events, mut steps) = (AtomicBool::new(false), Vec::new(), 0);
        let mut listener = |e: &Event| {
            steps += usize::from(matches!(e, Event::Stepped { .. }));
            stop.store(stop_after.is_some_and(|n| steps >= n), Ordering::Relaxed);
            events.push(e.clone());
        };
        let outcome = run::run(&prepared, resume, &mut listener, &stop);
        (outcome, events)
    }

    /// What is wrong with the pipeline.
    fn refused(&self) -> file::FileError {
        let plugins = builtin();
        let overrides = Overrides { device: Some("cpu".into()), ..Overrides::default() };
        let out = self.out("never");
        let error = match file::open(&self.out("small.toml"), &overrides, &plugins) {
            Err(e) => e,
            Ok(pipeline) => prepare(&pipeline, &plugins, Some(&out)).err().expect("must be refused"),
        };
        assert!(!out.exists());
        error
    }
}

fn json(path: PathBuf) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The summary without times and memory.
fn timeless(out: &Path) -> Value {
    let mut summary = json(out.join("summary.json"));
    for step in summary["steps"].as_array_mut().unwrap() {
        step.as_object_mut().unwrap().remove("seconds");
        step.as_object_mut().unwrap().remove("peak_rss_mb");
    }
    summary
}

fn weights(out: &Path) -> Vec<Vec<u8>> {
    let mut cells: Vec<_> = std::fs::read_dir(out.join("cells")).unwrap().map(|e| e.unwrap().path()).collect();
    cells.sort();
    cells.iter().map(|c| std::fs::read(c.join("model/model.safetensors")).unwrap()).collect()
}

#[test]
fn a_run_leaves_its_folder_and_is_not_run_twice() {
    let bench = Bench::new(SMALL);
    let out = bench.out("run");
    let (outcome, events) = bench.run(&out, false, None);
    let outcome = outcome.unwrap();
    assert_eq!(events.iter().filter(|e| matches!(e, Event::CellFinished { .. })).count(), 6);
    for file in
        ["pipeline.toml", "lock.json", "events.jsonl", "summary.json", "ledger.md", "predictions.csv", "report.md"]
    {
        assert!(out.join(file).is_file(), "{file}");
    }
    let summary = json(out.join("summary.json"));
    assert_eq!((summary["status"].as_str(), summary["steps"].as_array().unwrap().len()), (Some("finished"), 6));
    let pretrain = &summary["steps"][0];
    assert_eq!(pretrain["name"], "pretrain");
    assert!(pretrain["metrics"]["validation"]["accuracy"].is_f64() && pretrain["metrics"]["test"].is_null());
    let accuracy = |strategy: &str| {
        let lines = summary["comparison"].as_array().unwrap().iter();
        let line = lines.clone().find(|c| c["strategy"] == strategy && c["metric"] == "accuracy").unwrap().clone();
        assert_eq!((line["runs"].as_u64(), line["split"].as_str()), (Some(2), Some("test")));
        line
    };
    assert!(accuracy("parameter")["paired"]["p"].is_f64());
    assert!(accuracy("structure")["paired"].is_null());
    assert!(!outcome.tables.is_empty());
    let csv = std::fs::read_to_string(out.join("predictions.csv")).unwrap();
    assert!(csv.starts_with("cell,row,name,split,group,task,label,score_0,"), "{}", &csv[..80]);
    let ledger = std::fs::read_to_string(out.join("ledger.md")).unwrap();
    assert!(ledger.contains("loaded from `pretrain`") && ledger.contains("transfer: parameter"), "{ledger}");
    assert!(std::fs::read_dir(out.join("cells")).unwrap().all(|c| !c.unwrap().path().join("checkpoints").exists()));

    let manifest = json(out.join("cells/transfer-parameter-seed0/model/model.json"));
    assert_eq!(manifest["licences"].as_array().unwrap().len(), 2, "the source's licence is handed on");

    let before = std::fs::read(out.join("summary.json")).unwrap();
    let (again, events) = bench.run(&out, false, None);
    again.unwrap();
    assert!(!events.iter().any(|e| matches!(e, Event::Stepped { .. })), "a finished cell was trained again");
    assert_eq!(std::fs::read(out.join("summary.json")).unwrap(), before);

    let check = |cell| run::check_run(&Folder::at(&out), cell, &builtin(), (&Device::Cpu, "cpu"));
    let checked = check(None).unwrap();
    assert_eq!((checked.len(), checked.iter().all(|c| c.same)), (4, true));
    assert_eq!(check(Some("transfer-parameter-seed1")).unwrap().len(), 1);
    let e = check(Some("transfer-parametr-seed1")).unwrap_err().to_string();
    assert!(
        e.contains("has no tested cell `transfer-parametr-seed1` (did you mean `transfer-parameter-seed1`?)"),
        "{e}"
    );
    let image = bench.out("a.pgm");
    std::fs::write(&image, [b"P5 8 8 16\n".as_slice(), &[3; 64]].concat()).unwrap();
    let e = run::choose(&out, None, &builtin()).unwrap_err().to_string();
    assert!(e.contains("has 4 finished models, and they have no validation score by which to choose"), "{e}");
    assert!(e.contains("\n  transfer-parameter-seed0  test accuracy 0."), "{e}");
    let cell = Some("transfer-parameter-seed0");
    let (artefact, name) = run::model_of(&out, cell, &builtin(), &Device::Cpu).unwrap();
    assert_eq!(Some(name.as_str()), cell);
    let (mut said, mut told) = (Vec::new(), Vec::new());
    let mut progress = |done: usize, of: usize| told.push((done, of));
    let asked = Asked { inputs: &[image], format: Format::Csv, out: Box::new(&mut said), progress: &mut progress };
    assert_eq!(run::predict(&artefact, asked).unwrap().done, 1);
    let said = String::from_utf8(said).unwrap();
    assert_eq!((said.lines().count(), told), (2, vec![(1, 1)]));
    assert!(said.starts_with("input,task,class,score,score_0,"), "{said}");
}

#[test]
fn a_run_stopped_anywhere_ends_as_if_it_had_not_been() {
    let bench = Bench::new(SMALL);
    let (whole, broken) = (bench.out("whole"), bench.out("broken"));
    bench.run(&whole, false, None).0.unwrap();
    // In the middle of pretraining's first epoch, and in the middle of a later cell.
    for (resume, stop_after) in [(false, 2), (true, 13)] {
        let (outcome, _) = bench.run(&broken, resume, Some(stop_after));
        assert!(matches!(outcome, Err(Error::Interrupted)));
        assert_eq!(json(broken.join("summary.json"))["status"], "interrupted");
    }
    let (outcome, events) = bench.run(&broken, true, None);
    outcome.unwrap();
    assert!(events.iter().any(|e| matches!(e, Event::Note { text } if text.contains("resumed"))), "{events:?}");
    assert_eq!(weights(&whole), weights(&broken));
    assert_eq!(timeless(&whole), timeless(&broken));
    let csv = |out: &Path| std::fs::read(out.join("predictions.csv")).unwrap();
    assert_eq!(csv(&whole), csv(&broken));
}

#[test]
fn a_damaged_cell_is_trained_again() {
    let bench = Bench::new(SMALL);
    let out = bench.out("run");
    bench.run(&out, false, None).0.unwrap();
    let before = weights(&out);
    let cells = std::fs::read_dir(out.join("cells")).unwrap();
    let first = cells.map(|c| c.unwrap().path()).find(|c| c.to_string_lossy().contains("parameter")).unwrap();
    std::fs::write(first.join("model/model.safetensors"), b"broken").unwrap();
    let (outcome, events) = bench.run(&out, false, None);
    outcome.unwrap();
    assert_eq!(events.iter().filter(|e| matches!(e, Event::CellFinished { .. })).count(), 1);
    assert_eq!(weights(&out), before);
}

#[test]
fn a_run_under_other_options_begins_anew_says_so_and_leaves_no_report_of_the_one_before() {
    let bench = Bench::new(SMALL);
    let out = bench.out("run");
    bench.run(&out, false, None).0.unwrap();
    let changed = SMALL.replace("epochs = 2, batch_size = 20", "epochs = 2, batch_size = 10");
    std::fs::write(bench.out("small.toml"), &changed).unwrap();
    assert!(matches!(bench.run(&out, false, Some(2)).0, Err(Error::Interrupted)));
    for file in ["report.md", "ledger.md", "predictions.csv"] {
        assert!(!out.join(file).exists(), "{file} is of a run whose cells are gone");
    }
    let anew = |events: &[Event]| {
        let said = |e: &Event| matches!(e, Event::Warning { text } if text.contains("pretrain-seed0 begins anew"));
        events.iter().any(said)
    };
    let (outcome, events) = bench.run(&out, true, Some(3));
    assert!(matches!(outcome, Err(Error::Interrupted)) && !anew(&events));
    std::fs::write(bench.out("small.toml"), SMALL).unwrap();
    let (outcome, events) = bench.run(&out, true, None);
    assert!(anew(&events), "{events:?}");
    outcome.unwrap();
    assert!(out.join("report.md").is_file());
}

#[test]
fn what_the_data_do_not_give_is_met_at_the_door() {
    let line = |text: &str, wrong: &str, right: &str| {
        let text = text.replace(right, wrong);
        let error = Bench::new(&text).refused();
        let Place::File(at) = &error.place else { panic!("{error}") };
        assert_eq!(text.lines().nth(at.line - 1), Some(wrong.lines().next().unwrap()), "{error}");
        error.to_string()
    };
    let e = line(SMALL, "labels_per_class = 2000", "labels_per_class = 2");
    assert!(e.contains("2000 are asked for"), "{e}");
    let sweep = "strategy = [\"parameter\", \"structure\"]";
    let e = line(SMALL, "strategy = [{ type = \"parameter\", freeze_until = \"blok1\" }]", sweep);
    assert!(e.contains("steps.transfer.sweep.strategy.0") && e.contains("did you mean `block1`?"), "{e}");
}
