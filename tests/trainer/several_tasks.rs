//! Weightings of several tasks learn what their formulas say, over any batches, and go on after a stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;
use transplant_core::{
    Boundary, Error, Event, Finish, Init, ModelInfo, Modules, Needs, Pass, Phase, Plan, Result, Scope, Seeds, Spec,
    Step, Strategy, Supervise, Target, Term, Update, Weighting,
};
use transplant_datasets::Loader;
use transplant_strategies::compose;
use transplant_tests::{Memory, classes_target, classify, loader, make, model, normal, recipe, train};
use transplant_trainer::{Data, Io, Model, Recipe, fit};

use super::resume::plain_network;

/// 60 rows with labels of `first`, and of `second` where `known` says so.
fn data(known: fn(u32) -> bool) -> Arc<Memory> {
    let mut rng = Seeds::new(21).stream("rows", &[]);
    let x: Vec<Vec<f32>> = (0..60).map(|_| (0..4).map(|_| normal(&mut rng)).collect()).collect();
    let first: Vec<u32> = x.iter().map(|x| u32::from(x[0] + x[1] > 0.0)).collect();
    let second: Vec<u32> = x.iter().map(|x| u32::from(x[1] > x[2]) + u32::from(x[3] > 0.0)).collect();
    let rows = Memory::vectors(x, &first, 2, 60);
    let present: Vec<f32> = (0..60).map(|i| f32::from(u8::from(known(i)))).collect();
    let (field, target) = classes_target(&second, 3);
    let present = Some(Tensor::new(present, target.values.device()).unwrap());
    let labels = BTreeMap::from([
        ("first".to_owned(), classes_target(&first, 2)),
        ("second".to_owned(), (field, Target { present, ..target })),
    ]);
    Arc::new(Memory::new(rows.acts.clone(), rows.inputs.clone(), labels, rows.roles.clone()))
}

fn fresh(data: &Memory, strategy: Arc<dyn Strategy>) -> Model {
    let tasks = [("first", classify("first")), ("second", classify("second"))];
    let mut m = model(plain_network(), data, &tasks, strategy);
    let source = m.params().snapshot(|n| n.starts_with("backbone.")).unwrap();
    m.load_source(&source, "source", &[]).unwrap();
    m
}

fn target(data: &Arc<Memory>, rows: usize) -> Data {
    Data::target(Loader::train(&data.train(), loader(rows)).unwrap())
}

fn spec(tag: &str) -> (String, Box<dyn Strategy>) {
    (tag.to_owned(), make(Spec::<dyn Strategy>::new(tag)))
}

/// Keeps what another strategy would remove at the end.
struct Keeps(Box<dyn Strategy>);

impl Strategy for Keeps {
    fn needs(&self) -> Needs {
        self.0.needs()
    }
    fn phases(&self, m: &ModelInfo) -> Result<Vec<Phase>> {
        self.0.phases(m)
    }
    fn modules(&self, m: &ModelInfo, s: &Scope) -> Result<Modules> {
        self.0.modules(m, s)
    }
    fn terms(&self, u: &Update, s: &mut dyn Step) -> Result<Vec<Term>> {
        self.0.terms(u, s)
    }
    fn supervises(&self, u: &Update) -> Supervise {
        self.0.supervises(u)
    }
    fn weighting(&self) -> Option<Arc<dyn Weighting>> {
        self.0.weighting()
    }
    fn at(&self, b: Boundary, p: &mut dyn Pass) -> Result<()> {
        self.0.at(b, p)
    }
    fn finish(&self) -> Finish {
        Finish::default()
    }
}

/// The loss of two classifications by Kendall, Gal & Cipolla 2018, written out as terms of a strategy.
struct ByHand;

impl Strategy for ByHand {
    fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
        Ok(vec![Phase::new("train", Plan::default())])
    }
    fn modules(&self, model: &ModelInfo, scope: &Scope) -> Result<Modules> {
        for task in model.tasks.keys() {
            scope.pp("uncertainty").weight(task, (), Init::Const(0.0))?;
        }
        Ok(Modules::new())
    }
    fn supervises(&self, _: &Update) -> Supervise {
        Supervise::Nothing
    }
    fn terms(&self, _: &Update, step: &mut dyn Step) -> Result<Vec<Term>> {
        let mut terms = Vec::new();
        for Term { name, value, .. } in step.supervised("target")? {
            let s = step.params().get(&format!("modules.uncertainty.{name}"))?.var().as_tensor().clone();
            terms.push(Term::new(&name, ((s.neg()?.exp()? * value)? + (s * 0.5)?)?));
        }
        Ok(terms)
    }
}

/// All weights after some steps.
fn weights(data: &Arc<Memory>, strategy: Box<dyn Strategy>, recipe: &Recipe) -> BTreeMap<String, Vec<f32>> {
    let mut m = fresh(data, Arc::new(Keeps(strategy)));
    train(&mut m, recipe, &target(data, 16));
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    m.params().snapshot(|_| true).unwrap().iter().map(|(n, t)| (n.clone(), values(t))).collect()
}

#[test]
fn uncertainty_learns_the_sum_by_hand() {
    let data = data(|_| true);
    let own = weights(
        &data,
        compose(vec![spec("parameter"), spec("l2_sp"), spec("uncertainty")]).unwrap(),
        &recipe(3, "sgd", 0.1),
    );
    let by_hand = ("by_hand".to_owned(), Box::new(ByHand) as Box<dyn Strategy>);
    let hand =
        weights(&data, compose(vec![spec("parameter"), by_hand, spec("l2_sp")]).unwrap(), &recipe(3, "sgd", 0.1));
    assert_eq!(own, hand);
    let log_variances = ["first", "second"].map(|t| own[&format!("modules.uncertainty.{t}")][0]);
    assert!(log_variances.iter().all(|s| *s != 0.0), "{log_variances:?}");
    let plain =
        weights(&data, compose(vec![spec("parameter"), spec("l2_sp"), spec("equal")]).unwrap(), &recipe(3, "sgd", 0.1));
    assert_ne!(plain["backbone.mlp.fc.weight"], own["backbone.mlp.fc.weight"]);
}

#[test]
fn equal_is_no_weighting() {
    let data = data(|i| i % 3 == 0);
    let of = |tags: &[&str]| {
        weights(&data, compose(tags.iter().map(|t| spec(t)).collect()).unwrap(), &recipe(2, "adamw", 0.05))
    };
    assert_eq!(of(&["parameter"]), of(&["parameter", "equal"]));
}

#[test]
fn a_task_without_labels_keeps_its_weight() {
    let data = data(|_| false);
    let m = weights(&data, make(Spec::new("uncertainty")), &recipe(2, "sgd", 0.1));
    assert_eq!(m["modules.uncertainty.second"], [0.0]);
    assert_ne!(m["modules.uncertainty.first"], [0.0]);
    let m = weights(&data, make(Spec::new("gradnorm")), &recipe(2, "sgd", 0.1));
    assert_eq!(m["modules.gradnorm.weight.second"], [1.0]);
    assert!(!m.contains_key("modules.gradnorm.first_loss.second"));
}

#[test]
fn gradnorm_weights_sum_to_the_tasks() {
    let data = data(|i| i % 2 == 0);
    for optimiser in ["sgd", "sam"] {
        let recipe = Recipe { optimiser: Arc::from(make(Spec::new(optimiser))), ..recipe(6, "sgd", 0.1) };
        let m = weights(&data, make(Spec::new("gradnorm")), &recipe);
        let weights = ["first", "second"].map(|t| m[&format!("modules.gradnorm.weight.{t}")][0]);
        assert!((weights[0] + weights[1] - 2.0).abs() < 1e-5 && weights[0] != 1.0, "{weights:?}");
    }
}

/// Stopped after any step, a fit goes on to the same bytes: log variances, weights and first losses are in checkpoints.
#[test]
fn weightings_resume_exactly() {
    let data = data(|i| i % 2 == 0);
    for (tag, optimiser) in [("uncertainty", "sgd"), ("gradnorm", "sgd"), ("pcgrad", "sgd"), ("gradnorm", "sam")] {
        let recipe = Recipe { optimiser: Arc::from(make(Spec::new(optimiser))), ..recipe(2, "sgd", 0.1) };
        let go = |folder: &std::path::Path, resume: bool, stop_after: Option<usize>| {
            let mut m = fresh(&data, Arc::new(Keeps(compose(vec![spec("parameter"), spec(tag)]).unwrap())));
            let (stop, mut steps) = (AtomicBool::new(false), 0);
            let mut listener = |e: &Event| {
                steps += usize::from(matches!(e, Event::Stepped { .. }));
                stop.store(stop_after == Some(steps), Ordering::Relaxed);
            };
            let mut io = Io { checkpoints: Some(folder.to_owned()), resume, ..Io::new(&mut listener, &stop) };
            let fitted = fit(&mut m, &recipe, &target(&data, 16), &mut io);
            fitted.map(|_| m.params().hash(|_| true).unwrap())
        };
        let dir = tempfile::tempdir().unwrap();
        let whole = go(dir.path(), false, None).unwrap();
        for after in [1, 5] {
            let dir = tempfile::tempdir().unwrap();
            assert!(matches!(go(dir.path(), false, Some(after)), Err(Error::Interrupted)));
            assert_eq!(go(dir.path(), true, None).unwrap(), whole, "{tag}, {optimiser}, stopped after {after}");
        }
    }
}
