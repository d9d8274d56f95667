//! Several phases: they share one budget, policies end one of them, and a strategy that remembers something resumes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use transplant_core::{
    Boundary, Error, Event, Finish, ModelInfo, Origin, Pass, Pattern, Phase, Plan, Policy, Result, Role, Spec,
    Strategy, Until, Use, Validation,
};
use transplant_datasets::Loader;
use transplant_strategies::compose;
use transplant_tests::{Spy, loader, make, recipe};
use transplant_trainer::{Data, Fit, Io, Model, fit};

use super::resume::{data, fresh_under};

/// Trains the head first, then all weights; remembers the head that the second phase started from.
struct HeadFirst;

impl Strategy for HeadFirst {
    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>> {
        let head = |p: &transplant_core::ParamInfo| {
            (p.name.clone(), if p.stage.is_some() { Use::Frozen } else { Use::TRAINED })
        };
        let head = Plan { uses: model.weights().map(head).collect(), ..Plan::default() };
        Ok(vec![Phase { until: Until::Share(0.5), ..Phase::new("head", head) }, Phase::new("all", Plan::default())])
    }

    fn at(&self, boundary: Boundary, pass: &mut dyn Pass) -> Result<()> {
        if boundary == Boundary::PhaseStart(1) {
            for (name, head) in pass.params().snapshot(|n| n.starts_with("heads."))? {
                pass.params().insert(&format!("modules.first.{name}"), &head, Role::Buffer, Origin::Fresh)?;
            }
        }
        Ok(())
    }

    fn finish(&self) -> Finish {
        Finish { remove: vec![Pattern::new("modules.first")], ..Finish::default() }
    }
}

/// A fit of four steps an epoch.
fn go(
    strategy: Arc<dyn Strategy>,
    epochs: u64,
    policies: &[Spec<dyn Policy>],
    (folder, resume, stop_after): (Option<&std::path::Path>, bool, Option<usize>),
) -> (Result<Fit>, Model) {
    let data = data();
    let mut model = fresh_under(&data, strategy);
    let rows = data.roles.test.clone();
    let streams = Data::target(Loader::train(&data.train(), loader(15)).unwrap())
        .validated_on(Loader::validation(&Validation::new(data.clone(), rows), loader(16)).unwrap());
    let (stop, mut steps) = (AtomicBool::new(false), 0);
    let mut listener = |e: &Event| {
        steps += usize::from(matches!(e, Event::Stepped { .. }));
        stop.store(stop_after.is_some_and(|n| steps >= n), Ordering::Relaxed);
    };
    let policies = policies.iter().map(|p| make(p.clone())).collect();
    let checkpoints = folder.map(std::path::Path::to_owned);
    let mut io = Io { checkpoints, resume, policies, ..Io::new(&mut listener, &stop) };
    (fit(&mut model, &recipe(epochs, "sgd", 0.1), &streams, &mut io), model)
}

const ONCE: (Option<&std::path::Path>, bool, Option<usize>) = (None, false, None);

#[test]
fn phases_share_the_epochs() {
    let fitted = go(Arc::new(HeadFirst), 6, &[], ONCE).0.unwrap();
    assert_eq!((fitted.epochs, fitted.steps), (6, 24));
    let phases: Vec<&str> = fitted.history.iter().map(|r| r.phase.as_str()).collect();
    assert_eq!(phases, ["head", "head", "head", "all", "all", "all"]);
    let e = go(Arc::new(HeadFirst), 1, &[], ONCE).0.unwrap_err().to_string();
    assert!(e.contains("phase `all` gets no epoch"), "{e}");
}

#[test]
fn early_stopping_ends_one_phase() {
    let spy = Arc::new(Spy::new(Box::new(HeadFirst)));
    let never = Spec::new("early_stopping").with("patience_epochs", 1).with("min_delta", 9.0);
    let fitted = go(spy.clone(), 8, &[never], ONCE).0.unwrap();
    // Two epochs in each phase: in the second it begins to count anew.
    let stopped: Vec<_> = fitted.stopped.iter().map(|s| (s.phase.as_str(), s.epochs)).collect();
    assert_eq!(stopped, [("head", 2), ("all", 2)]);
    assert_eq!(fitted.epochs, 4);
    let ends = [
        Boundary::PhaseStart(0),
        Boundary::EpochEnd(0, 0),
        Boundary::EpochEnd(0, 1),
        Boundary::PhaseEnd(0),
        Boundary::PhaseStart(1),
        Boundary::EpochEnd(1, 0),
        Boundary::EpochEnd(1, 1),
        Boundary::PhaseEnd(1),
    ];
    let calls = spy.calls();
    assert_eq!(calls.at, ends);
    assert_eq!((calls.phases, calls.finish), (1, 1));
}

#[test]
fn composed_parts_see_all_phases() {
    let plain = Spy::new(make(Spec::new("structure")));
    let calls = plain.calls.clone();
    let parts: Vec<(String, Box<dyn Strategy>)> =
        vec![("plain".into(), Box::new(plain)), ("first".into(), Box::new(HeadAlone))];
    let both: Arc<dyn Strategy> = compose(parts).unwrap().into();
    go(both, 2, &[], ONCE).0.unwrap();
    let seen = calls.lock().unwrap().at.clone();
    let starts = seen.iter().filter(|b| matches!(b, Boundary::PhaseStart(0))).count();
    let ends = seen.iter().filter(|b| matches!(b, Boundary::PhaseEnd(0))).count();
    assert_eq!((starts, ends, seen.len()), (1, 1, 4), "{seen:?}");
}

/// Two phases that say nothing of any weight.
struct HeadAlone;

impl Strategy for HeadAlone {
    fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
        Ok(["one", "two"].map(|name| Phase::new(name, Plan::default())).to_vec())
    }
}

#[test]
fn a_second_phase_resumes_with_its_memory() {
    let policies = [Spec::new("best_checkpoint"), Spec::new("early_stopping").with("patience_epochs", 2)];
    let hash = |m: &Model| m.params().hash(|_| true).unwrap();
    let (whole, model) = go(Arc::new(HeadFirst), 6, &policies, ONCE);
    let (whole, expected) = (whole.unwrap(), hash(&model));
    assert!(model.params().names().iter().all(|n| !n.starts_with("modules.")));
    let of_the_first = whole.history.iter().filter(|r| r.phase == "head").count() * 4;
    for after in 1..whole.steps as usize {
        let dir = tempfile::tempdir().unwrap();
        let (first, m) = go(Arc::new(HeadFirst), 6, &policies, (Some(dir.path()), false, Some(after)));
        assert!(matches!(first, Err(Error::Interrupted)), "after {after} steps");
        let remembers = m.params().names().iter().any(|n| n.starts_with("modules.first."));
        assert_eq!(remembers, after > of_the_first, "after {after} steps");
        let (second, m) = go(Arc::new(HeadFirst), 6, &policies, (Some(dir.path()), true, None));
        assert_eq!((hash(&m), second.unwrap()), (expected.clone(), whole.clone()), "after {after} steps");
    }
}
