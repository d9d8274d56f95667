//! Exports in torchvision, timm and transformers: the same answers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use candle_core::{Device, Tensor};
use serde_json::json;
use transplant_core::{Acts, Field, HIDDEN, Seeds, TEXT, save_safetensors};
use transplant_pipeline::run::{Artefact, load_artefact};
use transplant_tests::normal;
use transplant_trainer::Model;

use super::{NORMALISE, TOKENISE, bench, file, model, run, sentence, step, text_file, text_step, texts};

/// The networks for pictures: a name, the table of the network, and the channels.
const NETWORKS: [(&str, &str, usize); 11] = [
    ("resnet18", "{ type = \"resnet\" }", 3),
    ("resnet34", "{ type = \"resnet\", depth = \"34\" }", 3),
    ("resnet50", "{ type = \"resnet\", depth = \"50\" }", 3),
    ("resnet_cifar", "{ type = \"resnet\", stem = \"cifar\" }", 3),
    ("resnet_grey", "{ type = \"resnet\" }", 1),
    ("lite0", "\"efficientnet_lite\"", 3),
    ("lite2_symmetric", "{ type = \"efficientnet_lite\", variant = \"2\", padding = \"symmetric\" }", 3),
    ("mobilenet", "\"mobilenet_v2\"", 3),
    ("mobilenet_grey", "\"mobilenet_v2\"", 1),
    ("convnext", "\"convnext\"", 3),
    ("vit", "{ type = \"vit\", patch = 8, depth = 3 }", 3),
];

const POOLINGS: [(&str, &str); 7] = [
    ("bert", "mean"),
    ("bert", "cls"),
    ("bert", "cls_pooler"),
    ("bert", "attention"),
    ("distilbert", "mean"),
    ("distilbert", "cls"),
    ("distilbert", "attention"),
];

/// Names the Python that has torch, torchvision, timm and transformers.
const PYTHON: &str = "PYTHON";

#[test]
#[ignore = "needs Python with torch, torchvision, timm and transformers, named in PYTHON"]
fn exports_answer_alike_in_their_libraries() {
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned());
    let bench = bench("", &["across", "upright", "neither"]);
    texts(&bench);
    let of = |channels: usize| {
        let all = NETWORKS.iter().filter(|n| n.2 == channels);
        all.map(|(name, network, _)| step(name, &format!("backbone = {network}\nstrategy = \"structure\"")))
            .collect::<String>()
    };
    let grey = "channels = 1\ntransforms = [{ type = \"normalise\", mean = [0.45], std = [0.23] }]";
    let all: Vec<String> = POOLINGS.iter().map(|(n, p)| text_step(&format!("{n}_{p}"), n, p)).collect();
    let runs = [
        run(&bench, &file(NORMALISE, &of(3)), "colours"),
        run(&bench, &file(grey, &of(1)), "greys"),
        run(&bench, &text_file(TOKENISE, &all.concat()), "texts"),
    ];
    let root = bench.out("exports");
    for run in &runs {
        for cell in fs::read_dir(run.join("cells")).unwrap().flatten().map(|e| e.file_name().into_string().unwrap()) {
            let place = root.join(&cell);
            fs::create_dir_all(&place).unwrap();
            let mut artefact =
                load_artefact(&model(run, &cell), &transplant_pipeline::builtin(), &Device::Cpu).unwrap();
            scatter(&mut artefact.model);
            transplant_pipeline::run::export(&artefact, &place.join("export")).unwrap();
            answers(&artefact, &place);
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/open_exports.py");
    let out = Command::new(python).arg(script).arg(&root).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    println!("{said}");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    // Residual networks open in timm and in torchvision, but for that of small pictures.
    assert_eq!(said.matches("\"ok\": true").count(), NETWORKS.len() + 4 + POOLINGS.len(), "{said}");
}

/// Replaces all tensors by random ones, so that each counts and rows differ: a few steps leave most as they were drawn.
fn scatter(model: &mut Model) {
    let mut rng = Seeds::new(9).stream("weights", &[]);
    let params = model.params().clone();
    for (name, param) in params.all() {
        let dims = param.var().dims().to_vec();
        let table = ["embeddings", "pos_embed", "cls_token"].iter().any(|t| name.contains(t));
        let (mean, std) = match (name.rsplit('.').next().unwrap(), dims.len()) {
            ("running_mean" | "bias", _) => (0.0, 0.1),
            ("weight" | "gamma" | "running_var", 1) => (0.7, 0.1),
            _ if table => (0.0, 0.5),
            _ => (0.0, (1.5 / dims[1..].iter().product::<usize>() as f32).sqrt()),
        };
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| mean + std * normal(&mut rng)).collect();
        params.set(&name, &Tensor::from_vec(values, dims, &Device::Cpu).unwrap()).unwrap();
    }
    model.rebuild().unwrap();
}

/// Eighty rows and what a model says of them.
fn answers(artefact: &Artefact, place: &Path) {
    const ROWS: usize = 80;
    let mut out = BTreeMap::new();
    let numbers: Vec<u64> = (0..ROWS as u64).collect();
    let inputs = if artefact.manifest.raw_inputs.contains_key(TEXT) {
        let texts: Vec<String> = (0..ROWS).map(|row| sentence(row + 500)).collect();
        fs::write(place.join("texts.json"), json!(texts).to_string()).unwrap();
        let longest = texts.iter().map(String::len).max().unwrap();
        let bytes = texts.iter().flat_map(|t| t.bytes().chain(std::iter::repeat(0)).take(longest)).collect();
        Acts::new().with(TEXT, Tensor::from_vec(bytes, (ROWS, longest), &Device::Cpu).unwrap())
    } else {
        let channels = artefact.manifest.frame.as_ref().unwrap().channels;
        let mut rng = Seeds::new(5).stream("pixels", &[]);
        let values: Vec<f32> =
            (0..ROWS * channels * 32 * 32).map(|_| (0.5 + 0.25 * normal(&mut rng)).clamp(0.0, 1.0)).collect();
        let pixels = Tensor::from_vec(values, (ROWS, channels, 32, 32), &Device::Cpu).unwrap();
        out.insert("pixels".to_owned(), pixels.clone());
        Acts::new().with(HIDDEN, pixels)
    };
    let inputs = artefact.transforms.plain(inputs, &numbers).unwrap();
    let outputs = artefact.model.predict(inputs, &numbers).unwrap();
    let (task, output) = outputs.first_key_value().unwrap();
    out.insert("logits".to_owned(), output.get("logits").unwrap().clone());
    save_safetensors(&place.join("rows.safetensors"), &out, &BTreeMap::new()).unwrap();
    let fields = artefact.model.info().tasks;
    let Field::Class { names } = &fields[task] else { panic!("{task} is no class") };
    fs::write(place.join("classes.json"), json!(names).to_string()).unwrap();
}
