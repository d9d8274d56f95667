//! Optimisers, schedules and clipping against PyTorch: `goldens/optim.json`, made by `tests/goldens/generate_optim.py`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::Value;
use transplant_core::{BuildCx, Optimiser, Plugins, Progress, Schedule, Seeds, Spec, UpdateAt};

fn goldens() -> Value {
    serde_json::from_str(include_str!("../goldens/optim.json")).unwrap()
}

fn make<K: ?Sized + transplant_core::Kind>(spec: Spec<K>) -> Box<K> {
    let plugins = Plugins::new().with(transplant_trainer::plugin);
    plugins.build(&spec, &BuildCx { plugins: &plugins, base: Path::new("."), seeds: Seeds::new(0) }).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    let v = v.get("data").unwrap_or(v);
    v.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
}

fn close(ours: &[f64], theirs: &[f64], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() <= 1e-9 * (1.0 + b.abs()), "{what}: {ours:?} against {theirs:?}");
    }
}

#[test]
fn optimisers_take_pytorchs_steps() {
    let g = goldens();
    for case in g["optimisers"].as_array().unwrap() {
        let (name, o) = (case["name"].as_str().unwrap(), &case["options"]);
        let number = |key: &str, default: f64| o[key].as_f64().unwrap_or(default);
        let optimiser: Box<dyn Optimiser> = match case["optimiser"].as_str().unwrap() {
            "SGD" => make(
                Spec::new("sgd")
                    .with("lr", number("lr", 0.0))
                    .with("momentum", number("momentum", 0.0))
                    .with("nesterov", o["nesterov"].as_bool().unwrap_or(false)),
            ),
            _ => make(Spec::new("adamw").with("lr", number("lr", 0.0)).with("epsilon", number("eps", 0.0))),
        };
        for tensor in ["weight", "bias"] {
            let mut value = Tensor::new(numbers(&g["start"][tensor]), &Device::Cpu).unwrap();
            let mut slots: Vec<Tensor> = optimiser.slots().iter().map(|_| value.zeros_like().unwrap()).collect();
            for (step, expected) in case["values"].as_array().unwrap().iter().enumerate() {
                let grad = Tensor::new(numbers(&g["gradients"][step][tensor]), &Device::Cpu).unwrap();
                let at =
                    UpdateAt { lr: number("lr", 0.0), weight_decay: number("weight_decay", 0.0), step: step as u64 };
                value = optimiser.update(at, &value, &grad, &mut slots).unwrap();
                close(
                    &value.to_vec1().unwrap(),
                    &numbers(&expected[tensor]),
                    &format!("{name}, {tensor}, step {step}"),
                );
            }
        }
    }
}

#[test]
fn schedules_follow_pytorchs_rates() {
    let g = goldens();
    for case in g["schedules"].as_array().unwrap() {
        let (name, o, lr) = (case["name"].as_str().unwrap(), &case["options"], case["lr"].as_f64().unwrap());
        let spec = match case["schedule"].as_str().unwrap() {
            "CosineAnnealingLR" => Spec::new("cosine").with("floor", o["eta_min"].as_f64().unwrap() / lr),
            "StepLR" => {
                Spec::new("step").with("every_epochs", o["step_size"].clone()).with("factor", o["gamma"].clone())
            }
            "OneCycleLR" => Spec::new("one_cycle"),
            _ => Spec::new("warmup").with("steps", o["total_iters"].clone()).with("start", o["start_factor"].clone()),
        };
        let schedule: Box<dyn Schedule> = make(spec);
        let rates = numbers(&case["rates"]);
        // One step an epoch, so that PyTorch's schedulers by epoch and by step are the same.
        let at = |step| Progress { step, steps: 20, steps_per_epoch: 1 };
        let ours: Vec<f64> = (0..rates.len() as u64).map(|s| lr * schedule.factor(at(s))).collect();
        close(&ours, &rates, name);
    }
}
