//! Pretrained weights from a file: what is taken from it, what is said of it, and what is refused.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use transplant_backbones::{ConvNet, ConvNetOptions};
use transplant_core::{Params, Seeds, load_safetensors, save_safetensors};
use transplant_tests::{normal, parameters};

use super::{Bench, succeeded, summary};

pub(crate) const FILE: &str = r#"
schema = 1
name = "grey"
[datasets.scans]
type = "optdigits"
labels_per_class = 2
transforms = [{ type = "resize", height = 32, width = 32 }]
[weights.photographs]
path = "mobilenet_v2.safetensors"
licence = "BSD-3-Clause"
[steps.transfer]
type = "train"
dataset = "scans"
from = "photographs"
backbone = "mobilenet_v2"
strategy = "feature"
test = false
"#;

/// Weights of the network as torchvision names them: three colour channels, counters of batches, a thousand classes.
fn as_torchvision(params: &Params) -> BTreeMap<String, Tensor> {
    let mut rng = Seeds::new(3).stream("weights", &[]);
    let mut random = |dims: &[usize], spread: f32| {
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| 0.5 + spread * normal(&mut rng)).collect();
        Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
    };
    let mut out = BTreeMap::new();
    for (name, p) in params.all() {
        let mut dims = p.var().dims().to_vec();
        if name == "features.0.0.weight" {
            dims[1] = 3;
        }
        out.insert(name.clone(), random(&dims, 0.05));
        if let Some(layer) = name.strip_suffix(".running_var") {
            out.insert(format!("{layer}.num_batches_tracked"), Tensor::new(&[7i64], &Device::Cpu).unwrap());
        }
    }
    out.insert("classifier.1.weight".to_owned(), random(&[1000, 1280], 0.05));
    out.insert("classifier.1.bias".to_owned(), random(&[1000], 0.05));
    out
}

pub(crate) fn weights() -> BTreeMap<String, Tensor> {
    as_torchvision(&parameters(&transplant_backbones::MobileNetV2::new(Default::default()), 1, 32).0)
}

pub(crate) fn bench(file: &str, weights: &BTreeMap<String, Tensor>) -> Bench {
    let bench = Bench::new(file);
    save_safetensors(&bench.out("mobilenet_v2.safetensors"), weights, &BTreeMap::new()).unwrap();
    bench
}

/// What it says, and that it wrote nothing.
fn refused(bench: &Bench, more: &[&str]) -> String {
    let out = bench.command("never", more).output().unwrap();
    assert_eq!(out.status.code(), Some(2), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(!bench.out("never").exists());
    String::from_utf8_lossy(&out.stderr).into_owned()
}

pub(crate) fn cell(run: &Path) -> std::path::PathBuf {
    std::fs::read_dir(run.join("cells")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn a_file_of_torchvision_is_taken_tensor_by_tensor() {
    let weights = weights();
    let bench = bench(FILE, &weights);
    let run = bench.run("run", &[]);
    assert_eq!(summary(&run)["status"], "finished");
    let (model, _) = load_safetensors(&cell(&run).join("model/model.safetensors"), &Device::Cpu).unwrap();
    let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (name, t) in &weights {
        let Some(ours) = model.get(&format!("backbone.{name}")) else {
            assert!(name.contains("num_batches") || name.starts_with("classifier."), "{name} was not taken");
            continue;
        };
        // A grey image gives what it gave in three equal channels.
        let want = if name == "features.0.0.weight" { t.sum_keepdim(1).unwrap() } else { t.clone() };
        assert_eq!(values(ours), values(&want), "{name}");
    }
    let ledger = std::fs::read_to_string(run.join("ledger.md")).unwrap();
    assert!(ledger.contains("photographs (input channels 3 -> 1)"), "{ledger}");
    let manifest = std::fs::read_to_string(cell(&run).join("model/model.json")).unwrap();
    assert!(manifest.contains("BSD-3-Clause"));
    let lock = std::fs::read_to_string(run.join("lock.json")).unwrap();
    assert!(lock.contains("\"photographs\""), "{lock}");

    // Nothing runs twice, but other weights are other cells.
    let again = String::from_utf8(bench.command("run", &[]).output().unwrap().stdout).unwrap();
    assert!(!again.contains("[1/1] transfer-seed0: 0"), "{again}");
    let before = std::fs::read(cell(&run).join("model/model.safetensors")).unwrap();
    let mut other = weights.clone();
    other.insert("features.0.1.bias".to_owned(), (&weights["features.0.1.bias"] + 1.0).unwrap());
    save_safetensors(&bench.out("mobilenet_v2.safetensors"), &other, &BTreeMap::new()).unwrap();
    bench.run("run", &[]);
    assert_ne!(std::fs::read(cell(&run).join("model/model.safetensors")).unwrap(), before);
    let said = succeeded(&super::transplant().arg("check").arg(bench.file()).output().unwrap());
    assert!(said.contains("1 cell, from photographs"), "{said}");
}

#[test]
fn weights_that_do_not_fit_are_refused_at_their_line() {
    let weights = weights();
    let edited = |edit: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut w = weights.clone();
        edit(&mut w);
        refused(&bench(FILE, &w), &[])
    };
    let e = edited(&|w| drop(w.remove("features.3.conv.1.1.bias")));
    assert!(e.contains("pipeline.toml:14") && e.contains("no tensor for `features.3.conv.1.1.bias`"), "{e}");
    let e = edited(&|w| drop(w.insert("features.99.weight".to_owned(), w["features.0.0.weight"].clone())));
    assert!(e.contains("has `features.99.weight`, which this network has no place for"), "{e}");
    let e = edited(&|w| drop(w.insert("features.0.1.bias".to_owned(), w["features.1.conv.1.weight"].clone())));
    assert!(e.contains("`features.0.1.bias` is [16, 32, 1, 1] in the file"), "{e}");
    let nan = |t: &Tensor| (t * f64::NAN).unwrap();
    let e = edited(&|w| drop(w.insert("features.0.1.bias".to_owned(), nan(&w["features.0.1.bias"]))));
    assert!(e.contains("pipeline.toml:14") && e.contains("`features.0.1.bias` in the file is not finite"), "{e}");
    let all = bench(FILE, &weights);
    let e = refused(&all, &["--set", "steps.transfer.backbone=resnet"]);
    assert!(e.contains("the file has no tensor for"), "{e}");
    let e = refused(&all, &["--set", "weights.photographs.path=missing.pth"]);
    assert!(e.contains("missing.pth") && e.contains("weights.photographs.path"), "{e}");
    let e = refused(&all, &["--set", "steps.transfer.from=photograph"]);
    assert!(e.contains("`photographs`"), "{e}");
    std::fs::write(all.out("cut.safetensors"), b"\x10\x27\x00\x00\x00\x00\x00\x00{\"a\":").unwrap();
    let e = refused(&all, &["--set", "weights.photographs.path=cut.safetensors"]);
    assert!(e.contains("cut.safetensors"), "{e}");
    let twice = FILE
        .replace("[weights.photographs]", "[weights.transfer]")
        .replace("from = \"photographs\"", "from = \"transfer\"");
    assert!(refused(&bench(&twice, &weights), &[]).contains("is the name of a step, too"));
    let without = FILE.replace("backbone = \"mobilenet_v2\"\n", "");
    assert!(refused(&bench(&without, &weights), &[]).contains("missing key `backbone`"));
}

#[test]
fn what_was_taken_of_a_file_is_told() {
    let options = ConvNetOptions { widths: vec![4, 8] };
    let (params, _) = parameters(&ConvNet::new(options).unwrap(), 1, 32);
    let with = |prefix: &str, plus: f64| -> Vec<(String, Tensor)> {
        params.all().into_iter().map(|(n, p)| (format!("{prefix}{n}"), (p.view() + plus).unwrap())).collect()
    };
    let both = with("model.", 0.0).into_iter().chain(with("model_ema.", 0.5)).collect();
    let file = FILE.replace("\"mobilenet_v2\"\nstrategy", "{ type = \"convnet\", widths = [4, 8] }\nstrategy");
    let bench = bench(&file, &both);
    let run = |more: &[&str]| {
        let run = bench.run("run", more);
        let model = std::fs::read(cell(&run).join("model/model.safetensors")).unwrap();
        let [ledger, events] = ["ledger.md", "events.jsonl"].map(|f| std::fs::read_to_string(run.join(f)).unwrap());
        (model, ledger, events)
    };
    let (plain, ledger, events) = run(&[]);
    let checked = succeeded(&super::transplant().arg("check").arg(bench.file()).output().unwrap());
    for text in [&ledger, &events, &checked] {
        assert!(text.contains("weights photographs: names taken without `model.`"), "{text}");
        assert!(text.contains("tensors beside them left out: `model_ema."), "{text}");
    }
    let (averaged, ledger, _) = run(&["--set", "weights.photographs.key=model_ema"]);
    assert!(
        averaged != plain && ledger.contains("weights photographs: taken from `model_ema` of the file"),
        "{ledger}"
    );
    let e = refused(&bench, &["--set", "weights.photographs.key=model_em"]);
    assert!(e.contains("weights.photographs") && e.contains("the nearest is `model_ema`"), "{e}");
}

#[test]
fn assets_are_listed_and_what_cannot_be_fetched_is_said_at_its_line() {
    let named = |asset: &str| {
        let text = FILE.replace("path = \"mobilenet_v2.safetensors\"\nlicence = \"BSD-3-Clause\"\n", asset);
        Bench::new(&text.replace("backbone = \"mobilenet_v2\"\n", ""))
    };
    let e = refused(&named("asset = \"efficientnet_lite9\"\n"), &[]);
    assert!(e.contains("pipeline.toml:9") && e.contains("`efficientnet_lite"), "{e}");
    let e = refused(&named("asset = \"resnet18\"\nlicence = \"MIT\"\n"), &[]);
    assert!(e.contains("weights.photographs.licence"), "{e}");
    let e = refused(&named(""), &[]);
    assert!(e.contains("missing key `asset`"), "{e}");
    let bench = named("asset = \"efficientnet_lite0\"\n");
    let assets = bench.out("assets");
    let out =
        bench.command("never", &[]).env("TRANSPLANT_ASSETS", &assets).env("TRANSPLANT_OFFLINE", "1").output().unwrap();
    let e = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{e}");
    assert!(e.contains("weights.photographs.asset") && e.contains("efficientnet-lite0-57934424.pth"), "{e}");
    let verb = |args: &[&str]| {
        let out = super::transplant().arg("assets").args(args).arg("--folder").arg(&assets).output().unwrap();
        (out.status.code(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
    };
    let (code, said) = verb(&["list"]);
    assert!(code == Some(0) && said.contains("efficientnet_lite0") && said.contains("not fetched"), "{said}");
    assert_eq!(verb(&["verify", "efficientnet_lite0"]), (Some(0), "efficientnet_lite0: not fetched\n".to_owned()));
    let place = assets.join("efficientnet_lite0");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("efficientnet-lite0-57934424.pth"), b"something else").unwrap();
    let (code, said) = verb(&["verify"]);
    assert!(code == Some(2) && said.contains("damaged"), "{code:?} {said}");
}

#[test]
fn pixels_are_brought_to_the_scale_of_the_weights_and_another_one_is_told() {
    let network = transplant_backbones::EfficientNetLite::new(Default::default());
    let (params, _) = parameters(&network, 1, 32);
    let file: BTreeMap<String, Tensor> = params.all().into_iter().map(|(name, p)| (name, p.view())).collect();
    let text = FILE.replace("licence = \"BSD-3-Clause\"", "asset = \"efficientnet_lite0\"");
    let text = text.replace("backbone = \"mobilenet_v2\"\n", "");
    let said = |text: &str| {
        let bench = bench(text, &file);
        bench.run("run", &[]);
        let checked = succeeded(&super::transplant().arg("check").arg(bench.file()).output().unwrap());
        let events = std::fs::read_to_string(bench.out("run").join("events.jsonl")).unwrap();
        let tells = |text: &str| text.contains("`photographs` learned from pixels less 0.498, divided by 0.502");
        assert_eq!(tells(&checked), tells(&events), "{checked}");
        tells(&events)
    };
    let normalised = |mean: f64| {
        let resize = "{ type = \"resize\", height = 32, width = 32 }";
        text.replace(resize, &format!("{resize}, {{ type = \"normalise\", mean = [{mean}], std = [0.502] }}"))
    };
    assert!(said(&normalised(0.4)) && !said(&normalised(0.498)));
    // Where the file says nothing, the weights' own numbers are taken, and stay with the model.
    assert!(!said(&text));
    let bench = bench(&text, &file);
    let model = cell(&bench.run("run", &[])).join("model/model.json");
    let model: serde_json::Value = serde_json::from_slice(&std::fs::read(model).unwrap()).unwrap();
    let last = model["transforms"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["type"], &last["mean"][0], &last["std"][0]), (&"normalise".into(), &0.498.into(), &0.502.into()));
}
