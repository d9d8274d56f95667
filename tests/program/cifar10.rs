//! The worked example, `configs/cifar10_resnet18.toml`, on files of the real layouts: CIFAR-10 in binary, and weights as
//! torchvision names them. Most of the 60,000 images are black, so what is tested is the road and not the accuracy.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use rand::Rng;
use transplant_backbones::{ResNet, ResNetOptions};
use transplant_core::{Seeds, load_safetensors, save_safetensors};
use transplant_tests::parameters;

use crate::{succeeded, summary, transplant};

const RECORD: usize = 1 + 3 * 32 * 32;

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

/// ResNet-18 as torchvision names its tensors, with its thousand classes.
fn resnet18(path: &Path) -> BTreeMap<String, Tensor> {
    let (params, _) = parameters(&ResNet::new(ResNetOptions::default()), 3, 32);
    let mut all: BTreeMap<String, Tensor> = params.all().into_iter().map(|(n, p)| (n, p.view())).collect();
    all.insert("bn1.num_batches_tracked".to_owned(), Tensor::new(&[1i64], &Device::Cpu).unwrap());
    all.insert("fc.weight".to_owned(), Tensor::zeros((1000, 512), DType::F32, &Device::Cpu).unwrap());
    all.insert("fc.bias".to_owned(), Tensor::zeros(1000, DType::F32, &Device::Cpu).unwrap());
    save_safetensors(path, &all, &BTreeMap::new()).unwrap();
    all
}

#[test]
fn the_worked_example_runs_on_files_of_its_layouts() {
    let dir = tempfile::tempdir().unwrap();
    let (data, weights) = (dir.path().join("cifar"), dir.path().join("resnet18.safetensors"));
    cifar10(&data);
    let source = resnet18(&weights);
    for config in ["cifar10_resnet18", "cifar10_resnet18_recommended"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(format!("configs/{config}.toml"));
        let out = dir.path().join(config);
        let set = |key: &str, value: &str| ["--set".to_owned(), format!("{key}={value}")];
        let sets = [
            set("datasets.cifar10.folder", &data.display().to_string()),
            set("weights.imagenet.path", &weights.display().to_string()),
            set("datasets.cifar10.labels_per_class", "12"),
            set("steps.finetune.trainer.epochs", "1"),
            set("steps.finetune.test", if config.ends_with("18") { "true" } else { "false" }),
        ];
        let said = succeeded(&transplant().arg("check").arg(&file).args(sets.concat()).output().unwrap());
        assert!(said.contains("from imagenet") && said.contains("layer4"), "{said}");
        let mut command = transplant();
        command.arg("run").arg(&file).args(sets.concat()).arg("--out").arg(&out);
        succeeded(&command.env("TRANSPLANT_CACHE", dir.path().join("cache")).output().unwrap());
        let summary = summary(&out);
        let step = &summary["steps"][0];
        assert_eq!((&summary["status"], &step["name"]), (&"finished".into(), &"finetune".into()));
        assert!(step["metrics"]["validation"]["accuracy"].is_number(), "{step}");
        assert_eq!(step["metrics"]["test"]["accuracy"].is_number(), config.ends_with("18"), "{step}");
        // The head has ten classes, and what was taken has been trained a little.
        let cell = std::fs::read_dir(out.join("cells")).unwrap().next().unwrap().unwrap().path();
        let (model, _) = load_safetensors(&cell.join("model/model.safetensors"), &Device::Cpu).unwrap();
        assert_eq!(model["heads.class.weight"].dims(), [10, 512]);
        let (now, before) = (&model["backbone.layer4.1.conv2.weight"], &source["layer4.1.conv2.weight"]);
        let moved = (now - before).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(moved > 0.0 && moved < 0.1, "{moved}");
        let manifest = std::fs::read_to_string(cell.join("model/model.json")).unwrap();
        assert!(manifest.contains("BSD-3-Clause"), "{manifest}");
    }
}
