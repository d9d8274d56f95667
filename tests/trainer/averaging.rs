//! Averaged weights: they are what is validated, chosen among and kept; training itself goes on from the weights of the last step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::Tensor;
use transplant_core::{Averaging, Event, Policy, Report, Spec, Validation};
use transplant_datasets::Loader;
use transplant_tests::{loader, make, recipe};
use transplant_trainer::{Data, Io, Model, Recipe, evaluate, fit, metrics_of};

use super::resume::{data, fresh};

struct Ran {
    model: Model,
    reports: Vec<Report>,
    losses: Vec<f64>,
    validation: BTreeMap<String, f64>,
}

fn ran(epochs: u64, averaging: Option<Spec<dyn Averaging>>, policies: &[&str]) -> Ran {
    let data = data();
    let mut model = fresh(&data);
    let rows = data.roles.test.clone();
    let validation = Loader::validation(&Validation::new(data.clone(), rows), loader(16)).unwrap();
    let streams = Data::target(Loader::train(&data.train(), loader(16)).unwrap()).validated_on(validation);
    let mut losses = Vec::new();
    let mut listener = |e: &Event| {
        if let Event::Stepped { loss, .. } = e {
            losses.push(*loss);
        }
    };
    let policies: Vec<Box<dyn Policy>> = policies.iter().map(|p| make(Spec::new(p))).collect();
    let averaging = averaging.map(|a| Arc::from(make(a)));
    let stop = AtomicBool::new(false);
    let mut io = Io { policies, ..Io::new(&mut listener, &stop) };
    let recipe = Recipe { averaging, ..recipe(epochs, "sgd", 0.3) };
    let reports = fit(&mut model, &recipe, &streams, &mut io).unwrap().history;
    let evaluation = evaluate(&model, streams.validation.as_ref().unwrap()).unwrap();
    let validation = metrics_of(&model, &evaluation).unwrap();
    Ran { model, reports, losses, validation }
}

fn weights(r: &Ran) -> BTreeMap<String, Tensor> {
    r.model.params().snapshot(|_| true).unwrap()
}

fn farthest(a: &BTreeMap<String, Tensor>, b: &BTreeMap<String, Tensor>) -> f32 {
    let far = |n: &String| (&a[n] - &b[n]).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap();
    a.keys().map(|n| far(n).to_scalar::<f32>().unwrap()).fold(0.0, f32::max)
}

#[test]
fn the_mean_of_the_last_epochs_is_kept_and_the_course_of_training_stays() {
    let swa = || Spec::new("swa").with("from", 0.5);
    let (plain, averaged) = (ran(4, None, &[]), ran(4, Some(swa()), &[]));
    assert_eq!(plain.losses, averaged.losses);
    let (third, fourth) = (weights(&ran(3, None, &[])), weights(&plain));
    let mean = |(n, a): (&String, &Tensor)| (n.clone(), ((a + &fourth[n]).unwrap() * 0.5).unwrap());
    let mean: BTreeMap<_, _> = third.iter().map(mean).collect();
    assert!(farthest(&weights(&averaged), &mean) < 1e-6);
    assert!(farthest(&fourth, &mean) > 1e-3);
    // The last report is of the average, the third, where it begins, of the weights as they were.
    assert_eq!(averaged.reports[3].validation, averaged.validation);
    assert_eq!(averaged.reports[2], plain.reports[2]);
}

#[test]
fn the_best_average_is_put_back() {
    let ema = || Some(Spec::new("ema").with("decay", 0.8));
    let best = ran(6, ema(), &["best_checkpoint"]);
    let scores: Vec<f64> = best.reports.iter().filter_map(|r| r.score).collect();
    let top = scores.iter().copied().fold(f64::MIN, f64::max);
    let epoch = scores.iter().position(|s| *s == top).unwrap() as u64;
    assert!(epoch < 5, "the best epoch is the last: {scores:?}");
    assert_eq!(weights(&best).len(), weights(&ran(epoch + 1, ema(), &[])).len());
    assert_eq!(farthest(&weights(&best), &weights(&ran(epoch + 1, ema(), &[]))), 0.0);
}
