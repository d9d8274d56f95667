//! Steps in a chain, and streams of a step: what `check` says of them is what `run` does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use transplant_core::{
    Acts, Batch, BuildCx, Component, Dataset, Event, Field, HIDDEN, ModelInfo, Needs, Phase, Plan, Plugins, Result,
    Roles, Schema, Step, Strategy, StreamNeed, Target, Term, Update,
};
use transplant_pipeline::builtin;
use transplant_pipeline::file::{self, Overrides};
use transplant_pipeline::run::{self, prepare};
use transplant_strategies::StructureOptions;

/// Forty vectors of two classes to train on, ten to test on.
struct Tiny {
    inputs: Schema,
    targets: Schema,
    roles: Roles,
}

impl Dataset for Tiny {
    fn inputs(&self) -> &Schema {
        &self.inputs
    }
    fn targets(&self) -> &Schema {
        &self.targets
    }
    fn roles(&self) -> &Roles {
        &self.roles
    }
    fn classes_of(&self, _: &str) -> Result<Vec<Option<u32>>> {
        Ok((0..50).map(|i| Some(i % 2)).collect())
    }
    fn batch(&self, rows: &[u64]) -> Result<Batch> {
        let values: Vec<f32> = rows.iter().flat_map(|r| [(r % 2) as f32, *r as f32 / 50.0]).collect();
        let hidden = Tensor::from_vec(values, (rows.len(), 2), &Device::Cpu)?;
        let classes: Vec<Option<u32>> = rows.iter().map(|r| Some((r % 2) as u32)).collect();
        let targets = BTreeMap::from([("class".to_owned(), Target::classes(&classes)?)]);
        Ok(Batch::new(Acts::hidden(hidden), targets, rows.to_vec()))
    }
    fn content_hash(&self) -> String {
        "tiny".into()
    }
}

impl Component<dyn Dataset> for Tiny {
    const TYPE: &'static str = "tiny";
    type Options = StructureOptions;
    fn build(_: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Dataset>> {
        let names = vec!["even".to_owned(), "odd".to_owned()];
        Ok(Box::new(Self {
            inputs: Schema::from([(HIDDEN.to_owned(), Field::Vector { width: 2 })]),
            targets: Schema::from([("class".to_owned(), Field::Class { names })]),
            roles: Roles { pool: (0..40).collect(), validation: vec![], test: (40..50).collect() },
        }))
    }
}

/// Where the rows of each batch stand among the rows of their stream, by stream.
static ORDERS: Mutex<BTreeMap<String, Vec<u64>>> = Mutex::new(BTreeMap::new());

/// A strategy that needs other streams, and notes what they bring.
struct Streams(Vec<StreamNeed>);

impl Strategy for Streams {
    fn needs(&self) -> Needs {
        Needs { streams: self.0.clone(), ..Needs::default() }
    }
    fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
        Ok(vec![Phase::new("train", Plan::default())])
    }
    fn terms(&self, _: &Update, step: &mut dyn Step) -> Result<Vec<Term>> {
        for stream in step.streams() {
            let batch = step.batch(&stream)?;
            assert_eq!(batch.targets.is_empty(), stream != "target", "{stream}");
            ORDERS.lock().unwrap().entry(stream).or_default().extend(&batch.rows);
        }
        Ok(Vec::new())
    }
}

macro_rules! streams {
    ($name:ident, $tag:literal, $needs:expr) => {
        struct $name;
        impl Component<dyn Strategy> for $name {
            const TYPE: &'static str = $tag;
            type Options = StructureOptions;
            fn build(_: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
                Ok(Box::new(Streams($needs)))
            }
        }
    };
}
streams!(Pair, "pair", vec![StreamNeed::unlabelled("other"), StreamNeed::unlabelled("third")]);
streams!(Twice, "twice", vec![StreamNeed::unlabelled("target")]);
streams!(Elsewhere, "elsewhere", vec![StreamNeed::labelled("source")]);

fn plugins() -> Plugins {
    builtin().with(|p| {
        p.add::<dyn Dataset, Tiny>();
        p.add::<dyn Strategy, Pair>();
        p.add::<dyn Strategy, Twice>();
        p.add::<dyn Strategy, Elsewhere>();
    })
}

/// Checks a file, and runs it when nothing is wrong.
fn go(text: &str) -> Result<(tempfile::TempDir, PathBuf), String> {
    let (dir, plugins) = (tempfile::tempdir().unwrap(), plugins());
    let path = dir.path().join("chain.toml");
    std::fs::write(&path, text).unwrap();
    let overrides = Overrides { device: Some("cpu".into()), ..Overrides::default() };
    let pipeline = file::open(&path, &overrides, &plugins).map_err(|e| e.to_string())?;
    let out = dir.path().join("out");
    let prepared = prepare(&pipeline, &plugins, Some(&out)).map_err(|e| format!("{}: {}", e.key, e.message))?;
    let (stop, mut quiet) = (AtomicBool::new(false), |_: &Event| {});
    run::run(&prepared, false, &mut quiet, &stop).map_err(|e| format!("run: {e}"))?;
    Ok((dir, out))
}

fn with_streams(strategy: &str, labels: &str) -> String {
    format!(
        "schema = 1\nname = \"streams\"\n[datasets.tiny]\ntype = \"tiny\"\n{labels}\n[backbones.net]\ntype = \"mlp\"\n\
         [steps.only]\ntype = \"train\"\ndataset = \"tiny\"\nbackbone = \"net\"\nstrategy = \"{strategy}\"\n\
         trainer = {{ epochs = 1, batch_size = 5 }}\n"
    )
}

#[test]
fn unlabelled_streams_have_names_and_orders() {
    go(&with_streams("pair", "labels_per_class = 10")).unwrap();
    let orders = ORDERS.lock().unwrap();
    let order = |stream: &str| {
        let rows = &orders[stream];
        assert_eq!(rows.len(), 20, "{stream}");
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        rows.iter().map(|r| sorted.binary_search(r).unwrap()).collect::<Vec<_>>()
    };
    let [target, other, third] = ["target", "other", "third"].map(order);
    assert!(target != other && other != third && target != third);
    let rows = |s: &str| orders[s].iter().copied().collect::<std::collections::BTreeSet<_>>();
    assert!(rows("target").is_disjoint(&rows("other")) && rows("other") == rows("third"));
}

#[test]
fn streams_that_cannot_be_had_are_errors() {
    let refused = |strategy, labels| go(&with_streams(strategy, labels)).unwrap_err();
    let e = refused("twice", "labels_per_class = 10");
    assert!(e.contains("strategy") && e.contains("stream `target` without labels, and it has them"), "{e}");
    let e = refused("elsewhere", "labels_per_class = 10");
    assert!(e.contains("strategy") && e.contains("labelled stream `source`"), "{e}");
    let e = refused("pair", "");
    assert!(e.contains("strategy") && e.contains("rows without labels for the stream `other`"), "{e}");
}

#[test]
fn parts_that_never_act_are_errors() {
    let beside = |other: &str| {
        format!(
            "{}[steps.then]\ntype = \"train\"\ndataset = \"tiny\"\nfrom = \"only\"\nstrategy = [\"feature\", \"{other}\"]\n",
            with_streams("structure", "")
        )
    };
    for other in ["l2_sp", "mixup"] {
        let e = go(&beside(other)).unwrap_err();
        assert!(
            e.contains("steps.then.strategy") && e.contains("`feature`") && e.contains(&format!("`{other}`")),
            "{e}"
        );
    }
}

/// A source, its adaptation, and a step from that.
fn chain(adapt: &str) -> String {
    let step = |name: &str, rest: &str| {
        format!(
            "[steps.{name}]\ntype = \"train\"\ndataset = \"scans\"\nbackbone = \"net\"\n{rest}\n\
             trainer = {{ epochs = 1, batch_size = 10, optimiser = {{ type = \"sgd\", lr = 0.01 }} }}\n"
        )
    };
    let start = "schema = 1\nname = \"chain\"\n[datasets.scans]\ntype = \"optdigits\"\nlabels_per_class = 1\n\
                 [backbones.net]\ntype = \"resnet\"\n";
    let steps = [
        step("source", "strategy = \"structure\""),
        step("adapt", &format!("from = \"source\"\nstrategy = {adapt}")),
        step("then", "from = \"adapt\"\nstrategy = \"parameter\""),
    ];
    [&[start.to_owned()], &steps[..]].concat().concat()
}

#[test]
fn merged_lora_starts_the_next_step_and_exports() {
    let (_dir, out) = go(&chain("[{ type = \"lora\", rank = 2, merge = true }, \"l2_sp\"]")).unwrap();
    let cells: Vec<PathBuf> = std::fs::read_dir(out.join("cells")).unwrap().map(|c| c.unwrap().path()).collect();
    let names = |step: &str| {
        let cell = cells.iter().find(|c| c.file_name().unwrap().to_string_lossy().starts_with(step)).unwrap();
        let weights = cell.join("model/model.safetensors");
        let (tensors, _) = transplant_core::load_safetensors(&weights, &Device::Cpu).unwrap();
        (tensors.into_keys().collect::<Vec<_>>(), cell.clone())
    };
    let (adapted, cell) = names("adapt");
    assert_eq!(adapted, names("source").0);
    assert_eq!(adapted, names("then").0);
    let artefact = run::load_artefact(&cell.join("model"), &plugins(), &Device::Cpu).unwrap();
    let to = out.join("exported.safetensors");
    run::export(&artefact, &to).unwrap();
    assert!(to.is_file());
}

#[test]
fn adapters_beside_weights_are_no_start() {
    let e = go(&chain("{ type = \"lora\", rank = 2 }")).unwrap_err();
    assert!(e.contains("steps.then.from") && e.contains("step `adapt` leaves adapters beside its weights"), "{e}");
}
