//! How often the rows of a data set are read during a run.

use std::collections::BTreeMap;
use std::sync::Mutex;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Batch, BuildCx, Component, Dataset, Fingerprint, Result, Roles, Schema};
use transplant_datasets::{Images, Layout};
use transplant_pipeline::builtin;
use transplant_pipeline::file::{self, Overrides};
use transplant_pipeline::run::{self, prepare};

const FILE: &str = r#"
schema = 1
name = "counted"
[datasets.source]
type = "counted"
[datasets.target]
type = "counted"
counts = true
[steps.pretrain]
type = "train"
dataset = "source"
backbone = "convnet"
strategy = "structure"
trainer = { epochs = 1, batch_size = 16 }
[steps.transfer]
type = "train"
dataset = "target"
from = "pretrain"
strategy = { type = "feature", head = "linear" }
trainer = { epochs = 2, batch_size = 16 }
"#;

/// How often each row of the data set with `counts` was read.
static READ: Mutex<BTreeMap<u64, usize>> = Mutex::new(BTreeMap::new());

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// Whether reads are counted.
    counts: bool,
}

/// Pictures whose fingerprints are known, as those of files are.
struct Counted {
    images: Images,
    counts: bool,
}

impl Component<dyn Dataset> for Counted {
    const TYPE: &'static str = "counted";
    type Options = Options;

    fn build(o: Options, _: &BuildCx<'_>) -> Result<Box<dyn Dataset>> {
        let layout =
            Layout { name: "counted".into(), shape: [1, 28, 28], highest: 255, classes: vec!["a".into(), "b".into()] };
        let pixels = (0..60u64 * 784).map(|i| ((i * 37 + i / 784 % 2 * 90) % 256) as u8).collect();
        let (test, pool) = (0..60).partition(|row| row % 3 == 2);
        let labels = (0..60).map(|row| Some(row % 2)).collect();
        let images = Images::new(layout, labels, pixels, Roles { pool, validation: vec![], test })?;
        Ok(Box::new(Self { images, counts: o.counts }))
    }
}

impl Dataset for Counted {
    fn inputs(&self) -> &Schema {
        self.images.inputs()
    }
    fn targets(&self) -> &Schema {
        self.images.targets()
    }
    fn roles(&self) -> &Roles {
        self.images.roles()
    }
    fn classes_of(&self, target: &str) -> Result<Vec<Option<u32>>> {
        self.images.classes_of(target)
    }
    fn batch(&self, rows: &[u64]) -> Result<Batch> {
        if self.counts {
            let mut read = READ.lock().unwrap();
            rows.iter().for_each(|row| *read.entry(*row).or_default() += 1);
        }
        self.images.batch(rows)
    }
    fn content_hash(&self) -> String {
        self.images.content_hash()
    }
    fn fingerprint(&self, row: u64) -> Option<Fingerprint> {
        let mut print = Fingerprint::default();
        print[..8].copy_from_slice(&row.to_le_bytes());
        Some(print)
    }
}

#[test]
fn a_frozen_run_reads_test_rows_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("counted.toml");
    std::fs::write(&path, FILE).unwrap();
    let plugins = builtin().with(|p| p.add::<dyn Dataset, Counted>());
    let overrides = Overrides { device: Some("cpu".into()), ..Overrides::default() };
    let pipeline = file::open(&path, &overrides, &plugins).unwrap();
    let prepared = prepare(&pipeline, &plugins, Some(&dir.path().join("out"))).unwrap();
    let (mut listener, stop) = (|_: &transplant_core::Event| {}, std::sync::atomic::AtomicBool::new(false));
    let outcome = run::run(&prepared, false, &mut listener, &stop).unwrap();
    let baselines = outcome.summary.baselines.values().next().unwrap();
    assert!(baselines.keys().any(|name| name.contains("1-NN")), "one sees the test rows, too: {baselines:?}");
    let read = READ.lock().unwrap();
    let of_test: Vec<usize> = (0..60).filter(|row| row % 3 == 2).map(|row| read[&row]).collect();
    assert_eq!(of_test, [1; 20]);
}
