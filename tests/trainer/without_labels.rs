//! A fit without any label: what it remembers survives a stop, and a validator chooses its epoch.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use transplant_core::{Error, Event, Spec, Strategy, Validator};
use transplant_datasets::Loader;
use transplant_tests::{Memory, classify, loader, make, model, recipe, train};
use transplant_trainer::{Cache, Data, Fit, Io, Model, NamedValidator, Recipe, Validators, fit, validate};

use super::resume::{data, fresh, plain_network};

fn named(spec: Spec<dyn Validator>) -> NamedValidator {
    NamedValidator { name: spec.tag.clone(), validator: Arc::from(make(spec)) }
}

fn validators() -> Validators {
    Validators {
        select: Some(named(Spec::new("information_maximisation"))),
        told: vec![named(Spec::new("snd")), named(Spec::new("entropy").with("on", "target"))],
    }
}

fn unlabelled(rows: &Arc<Memory>) -> Data {
    let feed = Loader::unlabelled(&rows.unlabelled(), loader(16)).unwrap();
    Data { unlabelled: BTreeMap::from([("target".to_owned(), feed)]), ..Data::default() }
}

/// A model that learned the labels of the rows, under SHOT.
fn adapted(rows: &Arc<Memory>) -> Model {
    let mut source = fresh(rows);
    train(&mut source, &recipe(3, "sgd", 0.05), &Data::target(Loader::train(&rows.train(), loader(16)).unwrap()));
    let mut m = model(
        super::resume::network(),
        rows,
        &[("class", classify("class"))],
        Arc::from(make(Spec::<dyn Strategy>::new("shot"))),
    );
    m.load_source(&source.params().snapshot(|_| true).unwrap(), "source", &["class".to_owned()]).unwrap();
    m
}

fn go(
    rows: &Arc<Memory>,
    recipe: &Recipe,
    folder: &Path,
    resume: bool,
    stop_after: Option<usize>,
) -> (Result<Fit, Error>, Model) {
    let mut m = adapted(rows);
    let (stop, mut steps) = (AtomicBool::new(false), 0);
    let mut listener = |e: &Event| {
        if let Event::Stepped { .. } = e {
            steps += 1;
            if stop_after == Some(steps) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    let policies = vec![make(Spec::new("best_checkpoint"))];
    let checkpoints = Some(folder.to_owned());
    let mut io = Io { checkpoints, resume, policies, validators: validators(), ..Io::new(&mut listener, &stop) };
    (fit(&mut m, recipe, &unlabelled(rows), &mut io), m)
}

#[test]
fn pseudo_labels_survive_a_stop() {
    let rows = data();
    let recipe = recipe(4, "sgd", 0.1);
    let dir = tempfile::tempdir().unwrap();
    let (whole, reference) = go(&rows, &recipe, dir.path(), false, None);
    let whole = whole.unwrap();
    let expected = reference.params().hash(|_| true).unwrap();
    assert!(whole.steps >= 8 && reference.params().names().iter().all(|n| !n.starts_with("modules.")));
    for after in 1..whole.steps as usize {
        let dir = tempfile::tempdir().unwrap();
        let (first, _) = go(&rows, &recipe, dir.path(), false, Some(after));
        assert!(matches!(first, Err(Error::Interrupted)));
        let (second, m) = go(&rows, &recipe, dir.path(), true, None);
        assert_eq!(m.params().hash(|_| true).unwrap(), expected, "stopped after {after} steps");
        assert_eq!(second.unwrap(), whole);
    }
}

#[test]
fn the_best_epoch_by_a_validator_is_kept() {
    let rows = data();
    let dir = tempfile::tempdir().unwrap();
    let (fitted, m) = go(&rows, &recipe(6, "sgd", 0.5), dir.path(), false, None);
    let history = fitted.unwrap().history;
    let chosen = |v: &BTreeMap<String, f64>| v["information_maximisation"];
    assert!(history.iter().all(|r| r.score == Some(chosen(&r.validators)) && r.validators.len() == 3));
    let best = history.iter().map(|r| chosen(&r.validators)).fold(f64::NEG_INFINITY, f64::max);
    let end = validate(&m, &unlabelled(&rows), &validators(), None).unwrap();
    assert!((chosen(&end) - best).abs() < 1e-9, "{end:?} {best}");
}

#[test]
fn cached_stages_score_alike() {
    let rows = data();
    let scores = |cache: Cache| {
        let parameter = Spec::<dyn Strategy>::new("parameter").with("freeze", vec!["backbone"]);
        let mut m = model(plain_network(), &rows, &[("class", classify("class"))], Arc::from(make(parameter)));
        let source = m.params().snapshot(|_| true).unwrap();
        m.load_source(&source, "itself", &["class".to_owned()]).unwrap();
        let mut streams = unlabelled(&rows);
        streams.labelled.insert("source".into(), Loader::train(&rows.train(), loader(16)).unwrap());
        let (stop, mut quiet) = (AtomicBool::new(false), |_: &Event| {});
        let mut io = Io { cache, validators: validators(), ..Io::new(&mut quiet, &stop) };
        let fitted = fit(&mut m, &recipe(2, "sgd", 0.1), &streams, &mut io).unwrap();
        fitted.history.into_iter().map(|r| r.validators).collect::<Vec<_>>()
    };
    assert_eq!(scores(Cache::default()), scores(Cache { enabled: false, ..Cache::default() }));
}

#[test]
fn a_validator_needs_its_stream() {
    let rows = data();
    let mut m = fresh(&rows);
    let (stop, mut quiet) = (AtomicBool::new(false), |_: &Event| {});
    let mut io = Io { validators: validators(), ..Io::new(&mut quiet, &stop) };
    let labelled = Data::target(Loader::train(&rows.train(), loader(16)).unwrap());
    let e = fit(&mut m, &recipe(1, "sgd", 0.1), &labelled, &mut io).unwrap_err().to_string();
    assert!(e.contains("`information_maximisation` looks at a stream without labels, and there is none"), "{e}");
}
