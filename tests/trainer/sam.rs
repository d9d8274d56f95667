//! Sharpness-aware minimisation takes the steps of `pytorch_optimizer`, and counts a batch's statistics once.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use transplant_core::{Acts, Ctx, Field, HIDDEN, Optimiser, Roles, Schema, Spec, Stage, Strategy};
use transplant_datasets::Loader;
use transplant_ops::{Conv2dGeometry, ScopeExt, global_avg_pool, relu};
use transplant_tests::{Memory, Net, classes_target, classify, loader, make, model, recipe, train};
use transplant_trainer::{Data, Model, Recipe};

/// `tests/goldens/generate_sam.py` writes it.
fn golden() -> Value {
    serde_json::from_str(include_str!("../goldens/sam.json")).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
}

fn tensor(v: &Value) -> Tensor {
    let shape: Vec<usize> = numbers(&v["shape"]).iter().map(|n| *n as usize).collect();
    let values: Vec<f32> = numbers(&v["values"]).iter().map(|n| *n as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn data(golden: &Value) -> Arc<Memory> {
    let x = tensor(&golden["inputs"]);
    let y: Vec<u32> = numbers(&golden["classes"]).iter().map(|n| *n as u32).collect();
    let (rows, channels, height, width) = x.dims4().unwrap();
    let inputs = Schema::from([(HIDDEN.to_owned(), Field::Image { channels, height, width })]);
    let labels = BTreeMap::from([("class".to_owned(), classes_target(&y, 2))]);
    let roles = Roles { pool: (0..rows as u64).collect(), ..Roles::default() };
    Arc::new(Memory::new(Acts::hidden(x), inputs, labels, roles))
}

/// The golden's network with its first weights.
fn network(golden: &Value, data: &Memory) -> Model {
    let net = Net::new(3).stage(Stage { row_wise: false, batch_norm: true, ..Stage::new("conv") }, |s| {
        let conv = s.pp("conv").conv2d(2, 3, 3, Conv2dGeometry::padded(1), true)?;
        let bn = s.pp("bn").batch_norm2d(3)?;
        Ok(move |acts: Acts, cx: &mut Ctx| {
            let y = bn.forward(&conv.forward(acts.get(HIDDEN)?)?, cx)?;
            Ok(Acts::hidden(global_avg_pool(&relu(&y)?)?))
        })
    });
    let strategy: Arc<dyn Strategy> = Arc::from(make(Spec::<dyn Strategy>::new("structure")));
    let m = model(net, data, &[("class", classify("class"))], strategy);
    for (name, value) in golden["start"].as_object().unwrap() {
        m.params().set(name, &tensor(value)).unwrap();
    }
    m
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// The model after so many steps over batches of `rows` rows, `accumulate` of them a step.
fn trained(golden: &Value, optimiser: Spec<dyn Optimiser>, steps: u64, (rows, accumulate): (usize, u64)) -> Model {
    let data = data(golden);
    let mut m = network(golden, &data);
    let recipe = Recipe { optimiser: Arc::from(make(optimiser)), accumulate, ..recipe(steps, "sgd", 0.1) };
    let fitted = train(&mut m, &recipe, &Data::target(Loader::train(&data.train(), loader(rows)).unwrap()));
    assert_eq!(fitted.steps, steps);
    m
}

#[test]
fn three_steps_are_those_of_pytorch() {
    let golden = golden();
    for case in golden["cases"].as_array().unwrap() {
        let base = json!({
            "type": "sgd", "lr": 0.1, "momentum": case["momentum"], "weight_decay": case["weight_decay"],
        });
        let sam = Spec::<dyn Optimiser>::new("sam").with("base", base);
        let sam = sam.with("rho", case["rho"].clone()).with("adaptive", case["adaptive"].clone());
        for (steps, after) in (1..).zip(case["after"].as_array().unwrap()) {
            let m = trained(&golden, sam.clone(), steps, (6, 1));
            for (name, wanted) in after.as_object().unwrap() {
                let (ours, wanted) = (values(&m.params().get(name).unwrap().view()), values(&tensor(wanted)));
                let apart = ours.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(apart < 2e-5, "`{name}` after {steps} steps: {ours:?} against {wanted:?}");
            }
        }
    }
}

/// After one step the running statistics are those of plain descent, whose weights saw the same batches.
#[test]
fn statistics_count_once_a_step() {
    let golden = golden();
    let sgd = || json!({ "type": "sgd", "lr": 0.1 });
    for batches in [(6, 1), (3, 2)] {
        let plain = trained(&golden, Spec::new("sgd").with("lr", 0.1), 1, batches);
        let sam = trained(&golden, Spec::new("sam").with("base", sgd()).with("rho", 2.0), 1, batches);
        for statistic in ["running_mean", "running_var"] {
            let of = |m: &Model| values(&m.params().get(&format!("backbone.conv.bn.{statistic}")).unwrap().view());
            assert_eq!(of(&plain), of(&sam), "{statistic} over {} batches", batches.1);
        }
        let weight = |m: &Model| values(&m.params().get("heads.class.weight").unwrap().view());
        assert_ne!(weight(&plain), weight(&sam));
    }
    // With no way uphill it is its base, bit for bit.
    let still = trained(&golden, Spec::new("sam").with("base", sgd()).with("rho", 0.0), 3, (3, 2));
    let plain = trained(&golden, Spec::new("sgd").with("lr", 0.1), 3, (3, 2));
    assert_eq!(still.params().hash(|_| true).unwrap(), plain.params().hash(|_| true).unwrap());
}
