//! Weights of a repository of the model hub, from a server that answers as the hub does.

#[path = "../../crates/assets/tests/common/hub.rs"]
#[allow(dead_code, reason = "tests of the catalogue ask for the commit")]
mod serve;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use candle_core::Device;
use transplant_core::load_safetensors;

use serve::serve;

use super::weights::{FILE, bench, cell, weights};
use super::{Bench, succeeded};

const CONFIG: &str = r#"{"architecture": "mobilenetv2_100", "pretrained_cfg": {"input_size": [3, 32, 32],
    "interpolation": "bicubic", "mean": [0.4, 0.5, 0.6], "std": [0.25, 0.25, 0.25]}}"#;

fn run(bench: &Bench, endpoint: &str, more: &[&str]) -> Output {
    let mut command = bench.command("run", more);
    command.env("HF_ENDPOINT", endpoint).env("HF_HOME", bench.out("hub")).env_remove("HF_HUB_OFFLINE").output().unwrap()
}

fn refused(out: &Output) -> String {
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{said}");
    said
}

#[test]
#[cfg_attr(not(feature = "hub"), ignore = "needs the cargo feature `hub`")]
fn a_repository_is_fetched_once_and_tells_how_pixels_are_normalised() {
    let path = "path = \"mobilenet_v2.safetensors\"";
    let bench = bench(&FILE.replace(path, "hub = \"us/thing\""), &weights());
    let file = fs::read(bench.out("mobilenet_v2.safetensors")).unwrap();
    let files = BTreeMap::from([("model.safetensors", file), ("config.json", CONFIG.as_bytes().to_vec())]);
    let endpoint = serve(files);
    succeeded(&run(&bench, &endpoint, &[]));

    let folder = cell(&bench.out("run")).join("model");
    let (ours, _) = load_safetensors(&folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let values = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let name = "features.3.conv.1.1.bias";
    assert_eq!(values(&ours[&format!("backbone.{name}")]), values(&weights()[name]));
    let model: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("model.json")).unwrap()).unwrap();
    let last = model["transforms"].as_array().unwrap().last().unwrap();
    // The mean of the three channels, since the scans are grey.
    assert_eq!((&last["type"], &last["mean"][0], &last["std"][0]), (&"normalise".into(), &0.5.into(), &0.25.into()));

    // What is there needs nobody to answer.
    let nobody = "http://127.0.0.1:1";
    fs::remove_dir_all(bench.out("run")).unwrap();
    succeeded(&run(&bench, nobody, &[]));
    fs::remove_dir_all(bench.out("run")).unwrap();
    let sum = "0".repeat(64);
    let e = refused(&run(&bench, nobody, &["--set", &format!("weights.photographs.sha256={sum:?}")]));
    assert!(e.contains("weights.photographs.sha256") && e.contains("has the SHA-256"), "{e}");
    assert!(!Path::new(&bench.out("run")).exists());
    let e = refused(&run(&bench, nobody, &["--set", "weights.photographs.file=other.safetensors"]));
    assert!(e.contains("weights.photographs.hub") && e.contains("hub us/thing: `other.safetensors`"), "{e}");
}

#[test]
#[cfg_attr(not(feature = "hub"), ignore = "needs the cargo feature `hub`")]
fn keys_of_a_repository_are_checked() {
    let of = |keys: &str| {
        let bench = Bench::new(&FILE.replace("path = \"mobilenet_v2.safetensors\"", keys));
        refused(&bench.command("run", &[]).output().unwrap())
    };
    assert!(of("path = \"a\"\nrevision = \"main\"").contains("weights.photographs.revision: belongs to a repository"));
    assert!(of("path = \"a\"\nhub = \"us/thing\"").contains("stands instead of `asset` and `path`"));
    assert!(of("hub = \"us/thing\"\nsha256 = \"12\"").contains("must be 64 hexadecimal digits"));
    assert!(of("hub = \"../thing\"").contains("weights.photographs.hub"), "{}", of("hub = \"../thing\""));
}
