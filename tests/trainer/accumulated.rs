//! Batches that are accumulated for one step make the step of one large batch, also where labels are missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use transplant_core::{Acts, Ctx, HIDDEN, Roles, Seeds, Spec, Stage, Strategy, Target};
use transplant_datasets::Loader;
use transplant_ops::{ScopeExt, relu};
use transplant_tests::{Memory, Net, classes_target, classify, loader, make, model, normal, recipe, train};
use transplant_trainer::{Data, Recipe};

/// 46 rows of two targets: `often` is known for most rows, `seldom` for one in nine.
fn data() -> Arc<Memory> {
    let (n, mut rng) = (46usize, Seeds::new(5).stream("rows", &[]));
    let x: Vec<f32> = (0..3 * n).map(|_| normal(&mut rng)).collect();
    let target = |known: fn(usize) -> bool| {
        let (field, t) = classes_target(&(0..n as u32).map(|i| i * 7 % 3).collect::<Vec<_>>(), 3);
        let present: Vec<f32> = (0..n).map(|i| f32::from(u8::from(known(i)))).collect();
        (field, Target { present: Some(Tensor::new(present, &Device::Cpu).unwrap()), ..t })
    };
    let labels =
        BTreeMap::from([("often".to_owned(), target(|i| i % 5 != 0)), ("seldom".to_owned(), target(|i| i % 9 == 1))]);
    let roles = Roles { pool: (0..n as u64).collect(), validation: vec![], test: vec![] };
    let acts = Acts::hidden(Tensor::from_vec(x, (n, 3), &Device::Cpu).unwrap());
    let inputs = Memory::vectors(vec![vec![0.0; 3]], &[0], 2, 1).inputs;
    Arc::new(Memory::new(acts, inputs, labels, roles))
}

/// All weights after two epochs of a strategy.
fn weights(tag: &str, batch_size: usize, accumulate: u64) -> BTreeMap<String, Vec<f32>> {
    let data = data();
    let net = Net::new(8).stage(Stage::new("mlp"), |s| {
        let layer = s.pp("fc").linear(3, 8)?;
        Ok(move |acts: Acts, _: &mut Ctx| Ok(Acts::hidden(relu(&layer.forward(acts.get(HIDDEN)?)?)?)))
    });
    let strategy: Arc<dyn Strategy> = Arc::from(make(Spec::<dyn Strategy>::new(tag)));
    let mut m = model(net, &data, &[("often", classify("often")), ("seldom", classify("seldom"))], strategy);
    let recipe = Recipe { accumulate, ..recipe(2, "sgd", 0.2) };
    let fitted = train(&mut m, &recipe, &Data::target(Loader::train(&data.train(), loader(batch_size)).unwrap()));
    assert_eq!(fitted.steps, 2);
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    m.params().snapshot(|_| true).unwrap().iter().map(|(n, t)| (n.clone(), values(t))).collect()
}

#[test]
fn accumulated_batches_equal_one_large_batch() {
    for tag in ["structure", "equal", "uncertainty", "gradnorm", "pcgrad"] {
        let whole = weights(tag, 46, 1);
        // Two batches, batches of 7 and 8 rows, of 15 and 16, and of which the last are fewer than may be accumulated.
        for (batch_size, accumulate) in [(23, 2), (8, 6), (16, 3), (16, 5)] {
            let parts = weights(tag, batch_size, accumulate);
            for (name, values) in &whole {
                let apart = values.iter().zip(&parts[name]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(apart < 1e-6, "{tag}, {name}: {apart} with {accumulate} batches of {batch_size}");
            }
        }
    }
}
