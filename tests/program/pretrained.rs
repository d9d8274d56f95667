//! Real pretrained networks of the catalogue. These tests fetch their weights, so they run only when they are asked for:
//! `cargo xtask test -- --ignored pretrained` (`.ci/run` does).

use candle_core::{DType, Device, Tensor};
use serde_json::Value;
use transplant_assets::{Role, Store, find};
use transplant_backbones::{EfficientNetLite, weights};
use transplant_core::{
    Acts, Architecture, BuildCx, Component, Ctx, Field, HIDDEN, MASK, Origin, Params, Role as ParamRole, Schema, Scope,
    Seeds, Spec, TEXT, TOKENS, Transform, TransformCx,
};
use transplant_tests::parameters;

use super::{Bench, summary};

const GOLDENS: &str = include_str!("../goldens/pretrained.json");
const MINILM: &str = include_str!("../goldens/minilm.json");

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
    let fitted = weights::fit(weights::read(fetched.path(Role::Weights).unwrap(), None).unwrap(), &ours).unwrap();
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
    super::succeeded(&command.output().unwrap());
    let summary = summary(&bench.out("run"));
    let of = |name: &str| {
        let steps = summary["steps"].as_array().unwrap();
        steps.iter().find(|s| s["strategy"] == name).unwrap()["metrics"]["test"]["accuracy"].as_f64().unwrap()
    };
    assert!(of("feature") > of("structure") + 0.1, "{summary}");
}

/// Sentences through a pretrained BERT, from their pieces on and from the text on.
#[test]
#[ignore = "fetches 85 MB"]
fn pretrained_minilm_gives_the_sentence_embeddings_of_transformers() {
    const LENGTH: usize = 64;
    let asset = find("all_minilm_l6_v2").unwrap();
    let store = Store::at(Store::default_folder().unwrap());
    let fetched = store.fetch(asset, &mut |_| {}).unwrap();
    let plugins = transplant_pipeline::builtin();
    let cx = BuildCx { plugins: &plugins, base: std::path::Path::new("."), seeds: Seeds::new(0) };
    let network = cx.make(asset.architecture.as_ref().unwrap()).unwrap();
    let inputs = Schema::from([(TOKENS.to_owned(), Field::Tokens { length: LENGTH, vocabulary: 30522 })]);
    let params = Params::new(&Device::Cpu);
    let scope = Scope::new(&params, Default::default(), Seeds::new(0), DType::F32);
    network.build(&inputs, &scope).unwrap();
    let ours = params.all().into_iter().map(|(n, p)| (n, p.var().dims().to_vec())).collect();
    let fitted = weights::fit(weights::read(fetched.path(Role::Weights).unwrap(), None).unwrap(), &ours).unwrap();
    assert!(fitted.head.is_empty() && fitted.fresh.is_empty() && fitted.changed.is_empty());
    for (name, value) in &fitted.tensors {
        params.set(name, value).unwrap();
    }
    let net = network.build(&inputs, &scope).unwrap();

    let golden: Value = serde_json::from_str(MINILM).unwrap();
    let tokens: Vec<Vec<u32>> = serde_json::from_value(golden["tokens"].clone()).unwrap();
    let (mut filled, mut mask) = (vec![0u32; 3 * LENGTH], vec![0f32; 3 * LENGTH]);
    for (i, row) in tokens.iter().enumerate() {
        filled[i * LENGTH..][..row.len()].copy_from_slice(row);
        mask[i * LENGTH..][..row.len()].fill(1.0);
    }
    let acts = Acts::new()
        .with(TOKENS, Tensor::from_vec(filled, (3, LENGTH), &Device::Cpu).unwrap())
        .with(MASK, Tensor::from_vec(mask, (3, LENGTH), &Device::Cpu).unwrap());
    let sentences: Vec<String> = serde_json::from_value(golden["sentences"].clone()).unwrap();
    let longest = sentences.iter().map(String::len).max().unwrap();
    let bytes = sentences.iter().flat_map(|s| s.bytes().chain(std::iter::repeat(0)).take(longest)).collect();
    let texts = Acts::new().with(TEXT, Tensor::from_vec(bytes, (3, longest), &Device::Cpu).unwrap());
    let spec = Spec::<dyn Transform>::new("tokenise").with("asset", asset.name.as_str()).with("max_tokens", LENGTH);
    let transform = cx.make(&spec).unwrap();
    assert_eq!(transform.schema(&Schema::from([(TEXT.to_owned(), Field::Text)])).unwrap(), inputs);
    let made = transform.apply(texts, &TransformCx { rows: &[0, 1, 2], epoch: 0, seeds: Seeds::new(0) }).unwrap();
    let numbers = |a: &Acts| a.get(TOKENS).unwrap().to_vec2::<u32>().unwrap();
    assert_eq!(numbers(&made), numbers(&acts));
    let out = net.forward(acts, 0..net.stages().len(), &mut Ctx::eval(&[0, 1, 2])).unwrap();
    let features = out.get(HIDDEN).unwrap().to_vec2::<f32>().unwrap();
    let wanted: Vec<Vec<f32>> = serde_json::from_value(golden["features"].clone()).unwrap();
    for (i, (features, wanted)) in features.iter().zip(&wanted).enumerate() {
        assert_eq!(features.len(), wanted.len());
        for (a, b) in features.iter().zip(wanted) {
            assert!((a - b).abs() < 1e-4, "sentence {i}: {a} for {b}");
        }
    }
}

/// scikit-image's photograph of a cat, which its package carries.
const CHELSEA: &str = r#"
[[asset]]
name = "chelsea"
about = "A photograph of a cat."
licence = "CC0-1.0"
[[asset.files]]
role = "archive"
name = "chelsea.png"
bytes = 240512
sha256 = "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"
sources = [{ type = "pip", package = "scikit-image", version = "0.26.0", member = "skimage/data/chelsea.png" }]
"#;

/// From the file on: decoding, scaling, cutting, normalising, network and head.
#[test]
#[ignore = "fetches 80 MB"]
fn pretrained_classifiers_see_in_a_photograph_what_their_own_code_sees() {
    let [chelsea] = &transplant_assets::parse(CHELSEA).unwrap()[..] else { panic!() };
    let store = Store::at(Store::default_folder().unwrap());
    let fetched = store.fetch(chelsea, &mut |_| {}).unwrap();
    let photograph = fetched.path(Role::Archive).unwrap();
    let goldens: Value = serde_json::from_str(include_str!("../goldens/file_in.json")).unwrap();
    for (name, want) in goldens.as_object().unwrap() {
        let artefact =
            transplant_pipeline::run::pretrained(name, &transplant_pipeline::builtin(), &Device::Cpu).unwrap();
        let pixels = transplant_datasets::read_picture(photograph, artefact.manifest.frame.as_ref().unwrap()).unwrap();
        let acts = artefact.transforms.plain(Acts::hidden(pixels.unsqueeze(0).unwrap()), &[0]).unwrap();
        let outputs = artefact.model.predict(acts, &[0]).unwrap();
        let logits: Vec<f32> = outputs["class"].get("logits").unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let mut best: Vec<usize> = (0..logits.len()).collect();
        best.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        let numbers = |key: &str| want[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
        let classes: Vec<f64> = best[..5].iter().map(|c| *c as f64).collect();
        assert_eq!(classes, numbers("classes"), "{name}");
        let ours = best[..5].iter().map(|c| logits[*c]).chain(logits.iter().copied().step_by(50));
        for (ours, theirs) in ours.zip([numbers("logits"), numbers("some")].concat()) {
            assert!((f64::from(ours) - theirs).abs() < 0.05, "{name}: {ours} for {theirs}");
        }
    }
}

/// A classifier of the catalogue is named where a run would be, and its weights go back to the library they came from.
#[test]
#[ignore = "fetches 19 MB"]
fn pretrained_classifiers_predict_and_are_exported_without_a_run() {
    let bench = Bench::new("");
    let picture = bench.out("grey.png");
    image::RgbImage::from_pixel(300, 250, image::Rgb([128; 3])).save(&picture).unwrap();
    let with = |verb: &str| {
        let mut command = super::transplant();
        command.env("TRANSPLANT_ASSETS", Store::default_folder().unwrap()).args([verb, "efficientnet_lite0"]);
        command
    };
    let said = super::succeeded(&with("predict").arg(&picture).output().unwrap());
    assert_eq!(said.lines().next().unwrap().split(',').count(), 4 + 1000);
    let file = bench.out("out.safetensors");
    super::succeeded(&with("export").arg(&file).output().unwrap());
    let (tensors, _) = transplant_core::load_safetensors(&file, &Device::Cpu).unwrap();
    assert_eq!(tensors["classifier.weight"].dims(), [1000, 1280]);
    assert!(tensors.contains_key("blocks.0.0.conv_dw.weight"));
}

/// The shipped pipelines that fetch what they need open, with all their data.
#[test]
#[ignore = "fetches 120 MB"]
fn pretrained_configs_are_valid() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("configs");
    let emoji = ["emoji_probe", "emoji_finetune", "emoji_adaptation"].map(|name| (name, "blocks.6"));
    for (name, stages) in emoji.into_iter().chain([("reviews_minilm", "layer5")]) {
        let mut command = super::transplant();
        command.env("TRANSPLANT_ASSETS", Store::default_folder().unwrap());
        let said = super::succeeded(&command.arg("check").arg(folder.join(format!("{name}.toml"))).output().unwrap());
        assert!(said.contains(stages), "{said}");
    }
}
