//! A fit that is stopped after any step goes on to the same bytes, and a damaged checkpoint costs a few steps, no more.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use transplant_core::{Acts, Averaging, Ctx, Error, Event, HIDDEN, Policy, Seeds, Spec, Stage, Strategy, Validation};
use transplant_datasets::Loader;
use transplant_ops::{ScopeExt, dropout_rows, relu};
use transplant_tests::{Memory, Net, classify, loader, make, model, normal, recipe};
use transplant_trainer::{Data, Fit, Io, Model, Recipe, fit};

pub(crate) fn data() -> Arc<Memory> {
    let mut rng = Seeds::new(8).stream("rows", &[]);
    let y: Vec<u32> = (0..90).map(|i| i % 3).collect();
    let x = y.iter().map(|c| (0..4).map(|d| normal(&mut rng) + if *c == d { 1.5 } else { 0.0 }).collect()).collect();
    Arc::new(Memory::vectors(x, &y, 3, 60))
}

pub(crate) fn fresh(data: &Memory) -> Model {
    fresh_under(data, Arc::from(make(Spec::<dyn Strategy>::new("structure"))))
}

/// A layer and dropout.
pub(crate) fn network() -> Net {
    Net::new(8).stage(Stage { random: true, ..Stage::new("mlp") }, |s| {
        let layer = s.pp("fc").linear(4, 8)?;
        Ok(move |acts: Acts, cx: &mut Ctx| {
            Ok(Acts::hidden(dropout_rows(&relu(&layer.forward(acts.get(HIDDEN)?)?)?, 0.2, "mlp", cx)?))
        })
    })
}

/// A layer alone.
pub(crate) fn plain_network() -> Net {
    Net::new(8).stage(Stage::new("mlp"), |s| {
        let layer = s.pp("fc").linear(4, 8)?;
        Ok(move |acts: Acts, _: &mut Ctx| Ok(Acts::hidden(relu(&layer.forward(acts.get(HIDDEN)?)?)?)))
    })
}

/// The same network under another strategy.
pub(crate) fn fresh_under(data: &Memory, strategy: Arc<dyn Strategy>) -> Model {
    model(network(), data, &[("class", classify("class"))], strategy)
}

struct Go<'a> {
    folder: &'a Path,
    resume: bool,
    /// Stop after this many steps of this process.
    stop_after: Option<usize>,
}

fn go(data: &Arc<Memory>, recipe: &Recipe, go: &Go<'_>) -> (Result<Fit, Error>, Model) {
    let mut m = fresh(data);
    let stop = AtomicBool::new(false);
    let mut steps = 0;
    let mut listener = |e: &Event| {
        if let Event::Stepped { .. } = e {
            steps += 1;
            if go.stop_after == Some(steps) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    let rows = data.roles.test.clone();
    let streams = Data::target(Loader::train(&data.train(), loader(16)).unwrap())
        .validated_on(Loader::validation(&Validation::new(data.clone(), rows), loader(16)).unwrap());
    let policies: Vec<Box<dyn Policy>> =
        vec![make(Spec::new("early_stopping").with("patience_epochs", 4)), make(Spec::new("best_checkpoint"))];
    let checkpoints = Some(go.folder.to_owned());
    let mut io = Io { checkpoints, resume: go.resume, policies, ..Io::new(&mut listener, &stop) };
    let result = fit(&mut m, recipe, &streams, &mut io);
    (result, m)
}

#[test]
fn stopping_after_any_step_changes_nothing() {
    let data = data();
    let averaging = |spec: Spec<dyn Averaging>| Some(Arc::from(make(spec)));
    for recipe in [
        Recipe { averaging: averaging(Spec::new("swa").with("from", 0.5)), ..recipe(5, "adamw", 0.02) },
        Recipe { accumulate: 3, clip_norm: Some(0.5), ..recipe(5, "sgd", 0.1) },
        Recipe { averaging: averaging(Spec::new("ema")), ..recipe(5, "sgd", 0.1) },
        Recipe { optimiser: Arc::from(make(Spec::new("sam"))), accumulate: 2, ..recipe(4, "sgd", 0.1) },
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (whole, reference) = go(&data, &recipe, &Go { folder: dir.path(), resume: false, stop_after: None });
        let whole = whole.unwrap();
        let expected = reference.params().hash(|_| true).unwrap();
        assert!(whole.steps >= 5, "{}", whole.steps);
        for after in 1..whole.steps as usize {
            let dir = tempfile::tempdir().unwrap();
            let (first, _) = go(&data, &recipe, &Go { folder: dir.path(), resume: false, stop_after: Some(after) });
            assert!(matches!(first, Err(Error::Interrupted)));
            let (second, m) = go(&data, &recipe, &Go { folder: dir.path(), resume: true, stop_after: None });
            assert_eq!(m.params().hash(|_| true).unwrap(), expected, "stopped after {after} steps");
            assert_eq!(second.unwrap(), whole);
        }
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let data = data();
    let recipe = Recipe { checkpoint_every_secs: 0.0, ..recipe(4, "sgd", 0.1) };
    let dir = tempfile::tempdir().unwrap();
    let (_, reference) = go(&data, &recipe, &Go { folder: dir.path(), resume: false, stop_after: None });
    let other = tempfile::tempdir().unwrap();
    let (first, _) = go(&data, &recipe, &Go { folder: other.path(), resume: false, stop_after: Some(6) });
    assert!(matches!(first, Err(Error::Interrupted)));
    let newest = std::fs::read_dir(other.path()).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let (_, m) = go(&data, &recipe, &Go { folder: other.path(), resume: true, stop_after: None });
    assert_eq!(m.params().hash(|_| true).unwrap(), reference.params().hash(|_| true).unwrap());
}
