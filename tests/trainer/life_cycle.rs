//! What a fit leaves: exactly the tensors that should be there, however it ended, and a model from which the next step
//! starts.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use transplant_core::{
    Acts, Boundary, Ctx, Error, Event, Field, HIDDEN, Load, Policy, Role, Schema, Seeds, Spec, Stage, Strategy,
    Validation,
};
use transplant_datasets::Loader;
use transplant_ops::{Conv2dGeometry, ScopeExt, global_avg_pool, relu};
use transplant_strategies::compose;
use transplant_tests::{Memory, Net, Spy, classify, data_for, loader, make, model, normal, recipe};
use transplant_trainer::{Data, Fit, Io, Model, evaluate, fit, metrics_of};

/// Pictures of 6×6 with a bar, horizontal or vertical.
fn data() -> Arc<Memory> {
    let mut rng = Seeds::new(1).stream("bars", &[]);
    let (x, y): (Vec<_>, Vec<_>) = (0..90u32)
        .map(|i| {
            let (class, at) = (i % 2, (i / 2 % 6) as usize);
            let bar = |p: usize| if class == 0 { p / 6 == at } else { p % 6 == at };
            let level = |p: usize| if bar(p) { 1.5 } else { -1.0 };
            ((0..36).map(|p| level(p) + 0.4 * normal(&mut rng)).collect::<Vec<f32>>(), class)
        })
        .unzip();
    let n = x.len();
    let mut memory = Memory::vectors(x, &y, 2, 60);
    memory.inputs = Schema::from([(HIDDEN.to_owned(), Field::Image { channels: 1, height: 6, width: 6 })]);
    memory.acts = memory.acts.map(|_, t| Ok(t.reshape((n, 1, 6, 6))?)).unwrap();
    Arc::new(memory)
}

fn network() -> Net {
    Net::new(6)
        .stage(Stage::new("conv"), |s| {
            let layer = s.pp("conv").conv2d(1, 6, 3, Conv2dGeometry::padded(1), true)?;
            Ok(move |acts: Acts, _: &mut Ctx| {
                Ok(Acts::hidden(global_avg_pool(&relu(&layer.forward(acts.get(HIDDEN)?)?)?)?))
            })
        })
        .stage(Stage::new("fc"), |s| {
            let layer = s.pp("fc").linear(6, 6)?;
            Ok(move |acts: Acts, _: &mut Ctx| Ok(Acts::hidden(relu(&layer.forward(acts.get(HIDDEN)?)?)?)))
        })
}

/// A model that starts from a source where its strategy needs one.
fn started(data: &Memory, strategy: Arc<dyn Strategy>) -> Model {
    let mut m = model(network(), data, &[("class", classify("class"))], strategy);
    if m.strategy().needs().load != Load::Nothing {
        let source = model(network(), data, &[("class", classify("class"))], Arc::from(make(Spec::new("structure"))));
        let tensors = source.params().snapshot(|_| true).unwrap();
        m.load_source(&tensors, "source", &["class".to_owned()]).unwrap();
    }
    m
}

/// How a fit ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Budget,
    EarlyStop,
    BestCheckpoint,
    KilledAndResumed,
}

struct Ended {
    model: Model,
    fit: Fit,
    spy: Arc<Spy>,
    data: Data,
    events: Vec<Event>,
}

/// Three epochs of four steps.
fn ended(strategy: Box<dyn Strategy>, end: End) -> Ended {
    let (memory, dir) = (data(), tempfile::tempdir().unwrap());
    let spy = Arc::new(Spy::new(strategy));
    let rows = memory.roles.test.clone();
    let data = data_for(&*spy, &memory, &loader(15))
        .validated_on(Loader::validation(&Validation::new(memory.clone(), rows), loader(16)).unwrap());
    let mut events = Vec::new();
    let mut go = |resume: bool, stop_after: Option<u64>, folder: &Path| {
        let mut m = started(&memory, spy.clone());
        let (stop, mut steps) = (AtomicBool::new(false), 0);
        let mut listener = |e: &Event| {
            events.push(e.clone());
            steps += u64::from(matches!(e, Event::Stepped { .. }));
            stop.store(stop_after.is_some_and(|n| steps >= n), Ordering::Relaxed);
        };
        let never = Spec::new("early_stopping").with("patience_epochs", 1).with("min_delta", 9.0);
        let policies: Vec<Box<dyn Policy>> = match end {
            End::EarlyStop => vec![make(never)],
            End::BestCheckpoint => vec![make(Spec::new("best_checkpoint"))],
            End::Budget | End::KilledAndResumed => vec![],
        };
        let checkpoints = Some(folder.to_owned());
        let mut io = Io { checkpoints, resume, policies, ..Io::new(&mut listener, &stop) };
        (fit(&mut m, &recipe(3, "sgd", 0.1), &data, &mut io), m)
    };
    if end == End::KilledAndResumed
        && let (Err(e), _) = go(false, Some(6), dir.path())
    {
        assert!(matches!(e, Error::Interrupted), "{e}");
    }
    let (fitted, model) = go(end == End::KilledAndResumed, None, dir.path());
    Ended { model, fit: fitted.unwrap(), spy, data, events }
}

fn of(specs: &[Spec<dyn Strategy>]) -> Box<dyn Strategy> {
    compose(specs.iter().map(|s| (s.tag.clone(), make(s.clone()))).collect()).unwrap()
}

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|n| (*n).to_owned()).collect()
}

const NETWORK: [&str; 6] = [
    "backbone.conv.conv.bias",
    "backbone.conv.conv.weight",
    "backbone.fc.fc.bias",
    "backbone.fc.fc.weight",
    "heads.class.bias",
    "heads.class.weight",
];
const ADAPTERS: [&str; 4] = [
    "backbone.conv.conv.lora.down",
    "backbone.conv.conv.lora.up",
    "backbone.fc.fc.lora.down",
    "backbone.fc.fc.lora.up",
];

#[test]
fn every_strategy_leaves_its_tensors() {
    let spec = |tag: &str| Spec::<dyn Strategy>::new(tag);
    let merged = || spec("lora").with("merge", true);
    let mut cases: Vec<(Vec<Spec<dyn Strategy>>, bool)> = vec![
        (vec![merged()], false),
        (vec![merged(), spec("l2_sp")], false),
        (vec![spec("parameter"), spec("l2_sp")], false),
        (vec![spec("lora"), spec("l2_sp")], true),
        (vec![spec("feature").with("head", "linear"), spec("l2_sp"), spec("mixup")], false),
    ];
    let plugins = transplant_pipeline::builtin();
    let tags = plugins.entries().filter(|e| e.kind == "strategy").map(|e| e.tag);
    cases.extend(tags.map(|tag| (vec![spec(tag)], tag == "lora")));
    for (specs, adapters) in &cases {
        let what: Vec<&str> = specs.iter().map(|s| s.tag.as_str()).collect();
        let expected = if *adapters { names(&[&NETWORK[..], &ADAPTERS[..]].concat()) } else { names(&NETWORK) };
        let mut whole = None;
        for end in [End::Budget, End::EarlyStop, End::BestCheckpoint, End::KilledAndResumed] {
            let e = ended(of(specs), end);
            let all = e.model.params().all();
            let left: BTreeSet<String> = all.iter().map(|(n, _)| n.clone()).collect();
            assert_eq!(left, expected, "{what:?} × {end:?}");
            let of_adapters: BTreeSet<String> =
                all.iter().filter(|(_, p)| p.role == Role::Adapter).map(|(n, _)| n.clone()).collect();
            assert_eq!(of_adapters, if *adapters { names(&ADAPTERS) } else { names(&[]) }, "{what:?} × {end:?}");
            // Each fit of the two that a killed one takes is planned once; only one comes to its end.
            let (stepped, calls) = (e.fit.steps > 0, e.spy.calls());
            let fits = if end == End::KilledAndResumed { 2 } else { 1 };
            let finished = if stepped { 1 } else { fits };
            assert_eq!((calls.phases, calls.finish), (fits, finished), "{what:?} × {end:?}");
            let ends = calls.at.iter().filter(|b| matches!(b, Boundary::PhaseEnd(_))).count();
            assert_eq!(ends, finished, "{what:?} × {end:?}");

            let epochs = if end == End::EarlyStop { 2 } else { 3 };
            assert_eq!(e.fit.epochs, if stepped { epochs } else { 0 }, "{what:?} × {end:?}");
            assert_eq!(e.fit.stopped.len(), usize::from(stepped && end == End::EarlyStop), "{what:?} × {end:?}");
            if end == End::BestCheckpoint && stepped {
                let feed = e.data.validation.as_ref().unwrap();
                let accuracy = metrics_of(&e.model, &evaluate(&e.model, feed).unwrap()).unwrap()["accuracy"];
                let best = e.fit.history.iter().filter_map(|r| r.score).fold(f64::MIN, f64::max);
                assert!((accuracy - best).abs() < 1e-9, "{what:?}: {accuracy}, {best}");
            }
            let hash = e.model.params().hash(|_| true).unwrap();
            match end {
                End::Budget => whole = Some(hash),
                End::KilledAndResumed => assert_eq!(Some(hash), whole, "{what:?}"),
                End::EarlyStop | End::BestCheckpoint => {}
            }

            // The next step starts from it, and `export` has a name for every tensor.
            let tensors = e.model.params().snapshot(|_| true).unwrap();
            let parameter = Arc::from(make(Spec::<dyn Strategy>::new("parameter")));
            let mut next = model(network(), &data(), &[("class", classify("class"))], parameter);
            let loaded = next.load_source(&tensors, "step", &["class".to_owned()]);
            assert_eq!(loaded.is_err(), *adapters, "{what:?} × {end:?}: {loaded:?}");
            if let Err(e) = loaded {
                assert!(e.to_string().contains("lora") && e.to_string().contains("must be merged"), "{e}");
            }
        }
    }
}

#[test]
fn merged_weights_compute_what_adapters_did() {
    let spec = |merge: bool| Spec::<dyn Strategy>::new("lora").with("merge", merge);
    let logits = |merge| {
        let e = ended(of(&[spec(merge)]), End::Budget);
        let rows: Vec<u64> = (60..90).collect();
        let inputs = transplant_core::Dataset::batch(&*data(), &rows).unwrap().inputs;
        e.model.predict(inputs, &rows).unwrap()["class"].get("logits").unwrap().to_vec2::<f32>().unwrap()
    };
    let (apart, merged) = (logits(false), logits(true));
    assert!(apart.concat().iter().zip(merged.concat()).all(|(a, b)| (a - b).abs() < 1e-5), "{apart:?} {merged:?}");
}

#[test]
fn a_stopped_phase_is_told() {
    let e = ended(of(&[Spec::new("parameter")]), End::EarlyStop);
    let stopped = &e.fit.stopped[0];
    assert_eq!((stopped.phase.as_str(), stopped.epochs), ("fine-tune", 2));
    assert!(e.fit.history.iter().all(|r| r.phase == "fine-tune"));
    let told = |e: &Event| matches!(e, Event::PhaseEnded { epochs: 2, stopped: Some(_), .. });
    assert!(e.events.iter().any(told));
    let note =
        |e: &Event| matches!(e, Event::Note { text } if text.contains("`fine-tune` stopped early, after 2 epochs"));
    assert!(e.events.iter().any(note), "{:?}", e.events);
}
