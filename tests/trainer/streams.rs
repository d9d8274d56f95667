//! Streams have names of their own, those without labels have none, and what is chosen by has a target.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use candle_core::{Device, Tensor};
use transplant_core::{
    Batch, Boundary, Event, Fed, Feed, ModelInfo, Needs, Pass, Phase, Plan, Result, Schema, Spec, Strategy, StreamNeed,
    Target, Unlabelled, Validation,
};
use transplant_datasets::{Loader, LoaderOptions};
use transplant_tests::{Memory, classes_target, classify, loader, make, model, recipe};
use transplant_trainer::{Cache, Data, Fit, Io, Model, fit};

use super::resume::{data, fresh, fresh_under, network};

/// Looks at the features of its unlabelled stream before it trains.
#[derive(Default)]
struct Looks {
    unlabelled: Vec<String>,
    targets: Mutex<Vec<String>>,
}

impl Strategy for Looks {
    fn needs(&self) -> Needs {
        let streams = self.unlabelled.iter().map(|n| StreamNeed::unlabelled(n)).collect();
        Needs { streams, ..Needs::default() }
    }
    fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
        Ok(vec![Phase::new("train", Plan::default())])
    }
    fn at(&self, boundary: Boundary, pass: &mut dyn Pass) -> Result<()> {
        if boundary == Boundary::PhaseStart(0) {
            for stream in &self.unlabelled {
                self.targets.lock().unwrap().extend(pass.features(stream)?.targets.into_keys());
            }
        }
        Ok(())
    }
}

fn go(model: &mut Model, data: &Data, policies: &[&str]) -> (Result<Fit>, Vec<String>) {
    let (stop, mut warnings) = (AtomicBool::new(false), Vec::new());
    let mut listener = |e: &Event| {
        if let Event::Warning { text } = e {
            warnings.push(text.clone());
        }
    };
    let policies = policies.iter().map(|p| make(Spec::new(p))).collect();
    let mut io = Io { policies, ..Io::new(&mut listener, &stop) };
    (fit(model, &recipe(2, "sgd", 0.1), data, &mut io), warnings)
}

#[test]
fn a_name_names_one_stream() {
    let rows = data();
    let train = || Loader::train(&rows.train(), loader(16)).unwrap();
    let unlabelled = || Loader::unlabelled(&rows.unlabelled(), loader(16)).unwrap();
    let twice = Arc::new(Looks { unlabelled: vec!["target".into()], ..Looks::default() });
    let e = go(&mut fresh_under(&rows, twice), &Data::target(train()), &[]).0.unwrap_err().to_string();
    assert!(e.contains("an unlabelled stream `target`, and the one of this name is not"), "{e}");
    let mut both = Data::target(train());
    both.unlabelled.insert("target".into(), unlabelled());
    let e = go(&mut fresh(&rows), &both, &[]).0.unwrap_err().to_string();
    assert!(e.contains("a labelled and an unlabelled stream `target`"), "{e}");
}

#[test]
fn unlabelled_features_have_no_targets() {
    let rows = data();
    let looks = Arc::new(Looks { unlabelled: vec!["other".into()], ..Looks::default() });
    let labelled = Loader::train(&rows.train(), loader(16)).unwrap();
    // A feed that hands out the labels all the same.
    let careless = Fed::<Unlabelled>::new(&rows.unlabelled(), labelled.shared().clone()).unwrap();
    let mut streams = Data::target(labelled);
    streams.unlabelled.insert("other".into(), careless);
    go(&mut fresh_under(&rows, looks.clone()), &streams, &[]).0.unwrap();
    assert_eq!(*looks.targets.lock().unwrap(), Vec::<String>::new());
}

/// Rows of two targets, of which the validation part knows those that `known` says.
fn two_targets(known: [bool; 2]) -> Arc<Memory> {
    let one = data();
    let (inputs, roles) = (one.inputs.clone(), one.roles.clone());
    let of = |known: bool| {
        let (field, t) = classes_target(&(0..90).map(|i| i % 3).collect::<Vec<u32>>(), 3);
        let present: Vec<f32> = (0..90).map(|i| f32::from(u8::from(i < 60 || known))).collect();
        (field, Target { present: Some(Tensor::new(present, &Device::Cpu).unwrap()), ..t })
    };
    let labels = BTreeMap::from([("a".to_owned(), of(known[0])), ("b".to_owned(), of(known[1]))]);
    Arc::new(Memory::new(one.acts.clone(), inputs, labels, roles))
}

#[test]
fn a_task_without_targets_has_no_score() {
    let chosen = |known| {
        let rows = two_targets(known);
        let tasks = [("first", classify("a")), ("second", classify("b"))];
        let mut m = model(network(), &rows, &tasks, Arc::from(make(Spec::<dyn Strategy>::new("structure"))));
        let validation = Validation::new(rows.clone(), rows.roles.test.clone());
        let streams = Data::target(Loader::train(&rows.train(), loader(16)).unwrap())
            .validated_on(Loader::validation(&validation, loader(16)).unwrap());
        go(&mut m, &streams, &["best_checkpoint"])
    };
    let (fitted, warnings) = chosen([true, true]);
    assert!(fitted.unwrap().history.iter().all(|r| r.score.is_some()) && warnings.is_empty());
    let (fitted, warnings) = chosen([true, false]);
    assert!(fitted.unwrap().history.iter().all(|r| r.score.is_some_and(|s| !s.is_nan())));
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("leaves out the task `second`"), "{warnings:?}");
    let e = chosen([false, false]).0.unwrap_err().to_string();
    assert!(e.contains("policies: ") && e.contains("`first`, `second`"), "{e}");
}

/// Another target in every second view of a row.
struct Turning(Arc<dyn Feed>);

impl Feed for Turning {
    fn inputs(&self) -> &Schema {
        self.0.inputs()
    }
    fn targets(&self) -> &Schema {
        self.0.targets()
    }
    fn rows(&self) -> &[u64] {
        self.0.rows()
    }
    fn batches(&self) -> u64 {
        self.0.batches()
    }
    fn order(&self, epoch: u64, index: u64) -> Result<Vec<u64>> {
        self.0.order(epoch, index)
    }
    fn view(&self, rows: &[u64], epoch: u64) -> Result<Batch> {
        let mut batch = self.0.view(rows, epoch)?;
        for target in batch.targets.values_mut().filter(|_| epoch % 2 == 1) {
            target.values = target.values.zeros_like()?;
        }
        Ok(batch)
    }
    fn plain(&self, rows: &[u64]) -> Result<Batch> {
        self.0.plain(rows)
    }
    fn views(&self) -> Option<u64> {
        Some(2)
    }
}

#[test]
fn cached_targets_are_those_of_the_view() {
    let hash = |cache: Cache| {
        let rows = data();
        let parameter = Spec::<dyn Strategy>::new("parameter").with("freeze", vec!["backbone"]);
        let strategy: Arc<dyn Strategy> = Arc::from(make(parameter));
        let mut m = model(super::resume::plain_network(), &rows, &[("class", classify("class"))], strategy);
        let source = m.params().snapshot(|_| true).unwrap();
        m.load_source(&source, "itself", &["class".to_owned()]).unwrap();
        let options = LoaderOptions { views: Some(2), ..loader(16) };
        let feed = Loader::train(&rows.train(), options).unwrap();
        let turning = Fed::new(&rows.train(), Arc::new(Turning(feed.shared().clone())) as Arc<dyn Feed>).unwrap();
        let (stop, mut quiet) = (AtomicBool::new(false), |_: &Event| {});
        let mut io = Io { cache, ..Io::new(&mut quiet, &stop) };
        fit(&mut m, &recipe(4, "sgd", 0.1), &Data::target(turning), &mut io).unwrap();
        m.params().hash(|_| true).unwrap()
    };
    assert_eq!(hash(Cache::default()), hash(Cache { enabled: false, ..Cache::default() }));
}
