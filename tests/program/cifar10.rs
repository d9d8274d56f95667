//! The worked example, `configs/cifar10_resnet18.toml`, on files of the real layouts: CIFAR-10 in binary, and weights as
//! torchvision names them, in safetensors and as `torch.save` writes them. Most of the 60,000 images are black, so what is
//! tested is the road and not the accuracy.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use rand::Rng;
use serde_json::Value;
use sha2::{Digest, Sha256};
use transplant_backbones::{ResNet, ResNetOptions};
use transplant_core::{Seeds, load_safetensors, save_safetensors};
use transplant_tests::{parameters, save_torch};

use super::{results, succeeded, summary, transplant};

const RECORD: usize = 1 + 3 * 32 * 32;
/// The file of weights, twice.
const SAFETENSORS: &str = "resnet18.safetensors";
const PTH: &str = "resnet18.pth";

/// Six files of 10,000 records, of which the first hundred are noise of ten classes.
fn cifar10(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let mut rng = Seeds::new(1).stream("pixels", &[]);
    let names = (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".to_owned()]);
    for name in names {
        let mut file = File::create(folder.join(name)).unwrap();
        for i in 0..100 {
            let record: Vec<u8> = std::iter::once(i % 10).chain((1..RECORD).map(|_| rng.random())).collect();
            file.write_all(&record).unwrap();
        }
        file.set_len(10_000 * RECORD as u64).unwrap();
    }
}

/// ResNet-18 as torchvision names its tensors, with its counters of batches and its thousand classes.
fn resnet18() -> BTreeMap<String, Tensor> {
    let (params, _) = parameters(&ResNet::new(ResNetOptions::default()), 3, 32);
    let mut all = BTreeMap::new();
    for (name, p) in params.all() {
        if let Some(layer) = name.strip_suffix(".running_var") {
            all.insert(format!("{layer}.num_batches_tracked"), Tensor::new(1i64, &Device::Cpu).unwrap());
        }
        all.insert(name, p.view());
    }
    all.insert("fc.weight".to_owned(), Tensor::zeros((1000, 512), DType::F32, &Device::Cpu).unwrap());
    all.insert("fc.bias".to_owned(), Tensor::zeros(1000, DType::F32, &Device::Cpu).unwrap());
    all
}

fn shipped(config: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(format!("configs/{config}.toml"))
}

/// What a shipped pipeline is told: the files in a folder, a few labels and one epoch.
fn sets(dir: &Path, weights: &str, test: bool) -> Vec<String> {
    let shown = |name: &str| dir.join(name).display().to_string();
    let set = |key: &str, value: &str| ["--set".to_owned(), format!("{key}={value}")];
    [
        set("datasets.cifar10.folder", &shown("cifar")),
        set("weights.imagenet.path", &shown(weights)),
        set("datasets.cifar10.labels_per_class", "12"),
        set("steps.finetune.trainer.epochs", "1"),
        set("steps.finetune.test", if test { "true" } else { "false" }),
    ]
    .concat()
}

/// Runs a shipped pipeline, and says where.
fn run(dir: &Path, config: &str, weights: &str, test: bool) -> PathBuf {
    let out = dir.join(format!("{config}-{weights}"));
    let mut command = transplant();
    command.arg("run").arg(shipped(config)).args(sets(dir, weights, test)).arg("--out").arg(&out);
    succeeded(&command.env("TRANSPLANT_CACHE", dir.join("cache")).output().unwrap());
    out
}

#[test]
#[cfg_attr(not(feature = "candle-datasets"), ignore = "needs the cargo feature `candle-datasets`")]
fn the_worked_example_runs_on_files_of_its_layouts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let source = resnet18();
    cifar10(&dir.join("cifar"));
    save_safetensors(&dir.join(SAFETENSORS), &source, &BTreeMap::new()).unwrap();
    save_torch(&dir.join(PTH), &source);
    let [plain, _] = ["cifar10_resnet18", "cifar10_resnet18_recommended"].map(|config| {
        let test = config.ends_with("18");
        let mut check = transplant();
        check.arg("check").arg(shipped(config)).args(sets(dir, SAFETENSORS, test));
        let said = succeeded(&check.output().unwrap());
        assert!(said.contains("from imagenet") && said.contains("layer4"), "{said}");
        let out = run(dir, config, SAFETENSORS, test);
        let summary = summary(&out);
        let step = &summary["steps"][0];
        assert_eq!((&summary["status"], &step["name"]), (&"finished".into(), &"finetune".into()));
        assert!(step["metrics"]["validation"]["accuracy"].is_number(), "{step}");
        assert_eq!(step["metrics"]["test"]["accuracy"].is_number(), test, "{step}");
        // The head has ten classes, and what was taken has been trained a little.
        let cell = std::fs::read_dir(out.join("cells")).unwrap().next().unwrap().unwrap().path();
        let (model, _) = load_safetensors(&cell.join("model/model.safetensors"), &Device::Cpu).unwrap();
        assert_eq!(model["heads.class.weight"].dims(), [10, 512]);
        let (now, before) = (&model["backbone.layer4.1.conv2.weight"], &source["layer4.1.conv2.weight"]);
        let moved = (now - before).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(moved > 0.0 && moved < 0.1, "{moved}");
        let manifest = std::fs::read_to_string(cell.join("model/model.json")).unwrap();
        assert!(manifest.contains("BSD-3-Clause"), "{manifest}");
        out
    });
    // The same values give the same network, bit by bit, whichever way they are packed; the lock tells the files apart.
    let packed = run(dir, "cifar10_resnet18", PTH, false);
    let validation = |out: &Path| summary(out)["steps"][0]["metrics"]["validation"].clone();
    assert_eq!(validation(&packed), validation(&plain));
    assert!(results(&packed).0 == results(&plain).0, "the two files give different models");
    for (out, file) in [(&plain, SAFETENSORS), (&packed, PTH)] {
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
        let lock: Value = serde_json::from_str(&read(out.join("lock.json"))).unwrap();
        let hash = Sha256::digest(std::fs::read(dir.join(file)).unwrap());
        let hash: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(lock["pretrained"]["imagenet"], hash, "{file}");
        assert!(read(out.join("pipeline.toml")).contains(file), "{file}");
        let (ledger, row) = (read(out.join("ledger.md")), "`backbone.layer4.1.conv2.weight` | 512×512×3×3 | weight");
        assert!(ledger.contains(&format!("| {row} | loaded from `imagenet` |")), "{ledger}");
    }
}
