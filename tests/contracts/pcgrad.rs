//! Two tasks with missing labels, whose conflicting gradients `pcgrad` projects.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use rand::Rng;
use transplant_core::{Acts, Ctx, HIDDEN, Roles, Seeds, Spec, Stage, Strategy, Target};
use transplant_datasets::Loader;
use transplant_ops::{ScopeExt, relu};
use transplant_tests::{Memory, Net, classes_target, classify, loader, make, model, normal, recipe, tested, train};
use transplant_trainer::{Data, Model};

/// `left` is known for the even rows only, `above` for the odd ones.
fn data() -> Arc<Memory> {
    let mut rng = Seeds::new(11).stream("points", &[]);
    let n = 600;
    let x: Vec<f32> = (0..2 * n).map(|_| normal(&mut rng)).collect();
    let noisy = |v: f32, rng: &mut transplant_core::Stream| u32::from(v + 0.05 * (rng.random::<f32>() - 0.5) > 0.0);
    let left: Vec<u32> = (0..n).map(|i| noisy(x[2 * i] - x[2 * i + 1], &mut rng)).collect();
    let above: Vec<u32> = (0..n).map(|i| noisy(x[2 * i] + x[2 * i + 1], &mut rng)).collect();
    let known = |odd: usize| {
        let mask: Vec<f32> = (0..n).map(|i| if i >= 300 || i % 2 == odd { 1.0 } else { 0.0 }).collect();
        Some(Tensor::new(mask, &Device::Cpu).unwrap())
    };
    let target = |y: &[u32], odd| {
        // A missing label holds a wrong value, which must not be learned.
        let y: Vec<u32> =
            y.iter().enumerate().map(|(i, c)| if i >= 300 || i % 2 == odd { *c } else { 1 - *c }).collect();
        let (field, t) = classes_target(&y, 2);
        (field, Target { present: known(odd), ..t })
    };
    let labels = BTreeMap::from([("left".to_owned(), target(&left, 0)), ("above".to_owned(), target(&above, 1))]);
    let roles = Roles { pool: (0..300).collect(), validation: vec![], test: (300..n as u64).collect() };
    let acts = Acts::hidden(Tensor::from_vec(x, (n, 2), &Device::Cpu).unwrap());
    let inputs = Memory::vectors(vec![vec![0.0; 2]], &[0], 2, 1).inputs;
    Arc::new(Memory::new(acts, inputs, labels, roles))
}

/// A network that learned both tasks under a strategy of the catalogue.
fn learned(data: &Arc<Memory>, tag: &str) -> Model {
    let net = Net::new(8).stage(Stage::new("mlp"), |s| {
        let layer = s.pp("fc").linear(2, 8)?;
        Ok(move |acts: Acts, _: &mut Ctx| Ok(Acts::hidden(relu(&layer.forward(acts.get(HIDDEN)?)?)?)))
    });
    let tasks = [("left", classify("left")), ("above", classify("above"))];
    let mut m = model(net, data, &tasks, Arc::from(make(Spec::<dyn Strategy>::new(tag))));
    train(&mut m, &recipe(60, "sgd", 0.1), &Data::target(Loader::train(&data.train(), loader(50)).unwrap()));
    m
}

#[test]
fn both_tasks_are_learned_from_half_of_their_labels() {
    let data = data();
    let m = learned(&data, "pcgrad");
    for task in ["left", "above"] {
        let accuracy = tested(&m, &data, &format!("{task}.accuracy"));
        assert!(accuracy > 0.93, "{task}: {accuracy}");
    }
    let hash = |m: &Model| m.params().hash(|_| true).unwrap();
    assert_ne!(hash(&m), hash(&learned(&data, "equal")), "the tasks never disagreed, so nothing was shown");
}
