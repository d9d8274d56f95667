//! Real pretrained networks of the catalogue. These tests fetch their weights, so they run only when they are asked for:
//! `cargo xtask test -- --ignored pretrained` (`.ci/run` does).

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use transplant_assets::{Role, Store, find};
use transplant_backbones::{EfficientNetLite, weights};
use transplant_core::{Acts, Architecture, BuildCx, Component, Ctx, HIDDEN, Origin, Role as ParamRole, Scope, Seeds};
use transplant_tests::parameters;

use crate::{Bench, summary};

const GOLDENS: &str = include_str!("../goldens/pretrained.json");

/// The features of an asset's network for the input of the goldens, in single precision.
fn features(name: &str) -> Vec<f64> {
    let asset = find(name).unwrap();
    let store = Store::at(Store::default_folder().unwrap());
    let fetched = store.fetch(asset, &mut |_| {}).unwrap();
    let options = asset.architecture.clone().unwrap().options;
    let plugins = transplant_pipeline::builtin();
    let cx = BuildCx { plugins: &plugins, base: std::path::Path::new("."), seeds: Seeds::new(0) };
    let options = serde_json::from_value(Value::Object(options)).unwrap();
    let network = <EfficientNetLite as Component<dyn Architecture>>::build(options, &cx).unwrap();

    let size = asset.image.as_ref().unwrap().size;
    let (params, inputs) = parameters(&*network, 3, size);
    let ours = params.all().into_iter().map(|(n, p)| (n, p.var().dims().to_vec())).collect();
    let fitted = weights::fit(weights::read(fetched.path(Role::Weights).unwrap()).unwrap(), &ours).unwrap();
    assert_eq!((fitted.head["weight"].dims(), fitted.head["bias"].dims()), (&[1000, 1280][..], &[1000][..]));
    for (name, value) in &fitted.tensors {
        params.insert(name, value, ParamRole::Buffer, Origin::Fresh).unwrap();
    }
    let scope = Scope::new(&params, Default::default(), Seeds::new(0), DType::F32);
    let built = network.build(&inputs, &scope).unwrap();
    let x: Vec<f32> = (0..3 * size * size).map(|i| (i as f64 * 0.37).sin() as f32).collect();
    let x = Tensor::from_vec(x, (1, 3, size, size), &Device::Cpu).unwrap();
    let out = built.forward(Acts::hidden(x), 0..built.stages().len(), &mut Ctx::eval(&[0])).unwrap();
    out.get(HIDDEN).unwrap().to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
#[ignore = "fetches 65 MB"]
fn pretrained_efficientnets_give_the_features_of_their_own_code() {
    let goldens: Value = serde_json::from_str(GOLDENS).unwrap();
    for (name, want) in goldens.as_object().unwrap() {
        let features = features(name);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-4 * b.abs().max(1.0);
        let (sum, squares): (f64, f64) = (features.iter().sum(), features.iter().map(|v| v * v).sum());
        assert!(near(sum, want["sum"].as_f64().unwrap()), "{name}: {sum}");
        assert!(near(squares, want["squares"].as_f64().unwrap()), "{name}: {squares}");
        let some = features.iter().step_by(40);
        let wanted = want["some"].as_array().unwrap();
        assert_eq!(some.clone().count(), wanted.len());
        for (a, b) in some.zip(wanted) {
            assert!(near(*a, b.as_f64().unwrap()), "{name}: {a} for {b}");
        }
    }
}

/// What ImageNet taught is worth something even for scanned digits of 8 x 8 pixels.
#[test]
#[ignore = "fetches 19 MB"]
fn pretrained_weights_are_named_in_a_file_and_beat_random_ones() {
    let bench = Bench::new(
        r#"schema = 1
name = "digits"
[datasets.scans]
type = "optdigits"
labels_per_class = 5
transforms = [{ type = "resize", height = 48, width = 48 }]
[weights.imagenet]
asset = "efficientnet_lite0"
[steps.probe]
type = "train"
dataset = "scans"
from = "imagenet"
strategy = "feature"
trainer = { batch_size = 32 }
[steps.probe.sweep]
strategy = ["feature", "structure"]
"#,
    );
    let mut command = bench.command("run", &[]);
    command.env("TRANSPLANT_ASSETS", Store::default_folder().unwrap());
    crate::succeeded(&command.output().unwrap());
    let summary = summary(&bench.out("run"));
    let of = |name: &str| {
        let steps = summary["steps"].as_array().unwrap();
        steps.iter().find(|s| s["strategy"] == name).unwrap()["metrics"]["test"]["accuracy"].as_f64().unwrap()
    };
    assert!(of("feature") > of("structure") + 0.1, "{summary}");
}
