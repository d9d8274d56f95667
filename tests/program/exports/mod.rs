//! Exports: opened here again with head, classes and preprocessing, or refused with a way on.

mod libraries;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use transplant_core::{load_safetensors, save_safetensors};
use transplant_tests::save_torch;

use super::{Bench, succeeded, transplant};

const NORMALISE: &str =
    r#"transforms = [{ type = "normalise", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }]"#;

/// A pipeline whose data are the pictures of [`bench`].
fn file(data: &str, rest: &str) -> String {
    format!(
        r#"schema = 1
name = "own"
[datasets.d]
type = "image_folder"
folder = "pictures"
height = 32
width = 32
test = 0.25
{data}
{rest}"#
    )
}

fn step(name: &str, keys: &str) -> String {
    format!(
        "[steps.{name}]\ntype = \"train\"\ndataset = \"d\"\n\
         trainer = {{ epochs = 1, batch_size = 12, optimiser = {{ type = \"sgd\", lr = 0.01 }} }}\n{keys}\n"
    )
}

fn first() -> String {
    file(NORMALISE, &step("first", "backbone = \"mobilenet_v2\"\nstrategy = \"structure\""))
}

/// Twelve pictures of each class.
fn bench(file: &str, classes: &[&str]) -> Bench {
    let bench = Bench::new(file);
    for (i, class) in classes.iter().enumerate() {
        let folder = bench.out("pictures").join(class);
        fs::create_dir_all(&folder).unwrap();
        for seed in 0..12u32 {
            let pixel = |x: u32, y: u32| {
                let along = if i % 2 == 0 { x } else { y };
                let noise = (x * 31 + y * 17 + seed * 101 + i as u32 * 7) % 60;
                image::Rgb([along as u8 * 5 + noise as u8, noise as u8 * 3, 200 - along as u8 * 4])
            };
            image::RgbImage::from_fn(32, 32, pixel).save(folder.join(format!("{seed:02}.png"))).unwrap();
        }
    }
    bench
}

fn export(run: &Path, to: &Path, more: &[&str]) -> std::process::Output {
    transplant().arg("export").arg(run).arg(to).args(more).output().unwrap()
}

fn exported(run: &Path, to: &Path) -> String {
    succeeded(&export(run, to, &[]))
}

fn refused(out: &std::process::Output) -> String {
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{said}");
    said
}

fn predictions(model: &Path, input: &Path) -> String {
    succeeded(&transplant().arg("predict").arg(model).arg(input).output().unwrap())
}

/// Runs another pipeline beside the first.
fn run(bench: &Bench, text: &str, out: &str) -> PathBuf {
    fs::write(bench.file(), text).unwrap();
    bench.run(out, &[])
}

fn model(run: &Path, cell: &str) -> PathBuf {
    run.join("cells").join(cell).join("model")
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn tensors(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let (all, _) = load_safetensors(path, &Device::Cpu).unwrap();
    all.into_iter().map(|(n, t)| (n, t.flatten_all().unwrap().to_vec1::<f32>().unwrap())).collect()
}

/// A second pipeline that starts from an export and keeps its head. Nothing of it moves: it predicts as the first does.
fn second(path: &str, data: &str) -> String {
    let keys = "backbone = \"mobilenet_v2\"\nfrom = \"own\"\n\
                strategy = { type = \"parameter\", head = \"keep\", norm = \"frozen\", freeze_until = \"pool\" }";
    let weights = format!("[weights.own]\npath = \"{path}\"\n");
    file(data, &(weights + &step("second", keys))).replace("lr = 0.01", "lr = 1e-30")
}

#[test]
fn exports_open_with_head_and_preprocessing() {
    let bench = bench(&first(), &["across", "upright"]);
    let before = bench.run("first", &[]);
    let said = exported(&before, &bench.out("own.safetensors"));
    assert!(said.contains("the model of `first-seed0`") && said.contains("torchvision.models.mobilenet_v2"), "{said}");
    exported(&before, &bench.out("own"));
    let pictures = bench.out("pictures");
    let wanted = predictions(&before, &pictures);
    for path in ["own.safetensors", "own", "own/model.safetensors"] {
        // An export predicts by itself, as the run does.
        assert_eq!(predictions(&bench.out(path), &pictures), wanted, "{path}");
        let out = format!("second-{}", path.replace('/', "-"));
        let after = run(&bench, &second(path, ""), &out);
        let ledger = fs::read_to_string(after.join("ledger.md")).unwrap();
        let of_head = ledger.lines().find(|l| l.contains("`heads.class.weight`")).unwrap();
        assert!(of_head.contains("loaded from `own`"), "{of_head}");
        let manifest = json_of(&model(&after, "second-seed0").join("model.json"));
        assert_eq!(manifest["transforms"][0]["mean"], json!([0.485, 0.456, 0.406]));
        let events = fs::read_to_string(after.join("events.jsonl")).unwrap();
        assert!(!events.contains("learned from") && !events.contains("does not say"), "{events}");
        assert_eq!(predictions(&after, &pictures), wanted, "{path}");
    }
    // With pixels on another scale it is told.
    let plain = second("own", r#"transforms = [{ type = "normalise", mean = [0.1], std = [1.0] }]"#);
    fs::write(bench.file(), plain).unwrap();
    let said = succeeded(&transplant().arg("check").arg(bench.file()).output().unwrap());
    assert!(said.contains("`own` learned from pixels less 0.485, 0.456, 0.406"), "{said}");
    // And pictures of another frame.
    fs::write(bench.file(), second("own", "fit = \"stretch\"").replace("width = 32", "width = 48")).unwrap();
    let said = succeeded(&transplant().arg("check").arg(bench.file()).output().unwrap());
    assert!(
        said.contains("learned from pictures of 32 × 32 (`crop`, `bilinear`)") && said.contains("32 × 48"),
        "{said}"
    );
}

#[test]
fn other_classes_get_fresh_heads() {
    let bench = bench(&first(), &["across", "upright"]);
    exported(&bench.run("first", &[]), &bench.out("own"));
    // Three classes, two of which are known, in another order.
    for class in ["upright", "across"] {
        let from = bench.out("pictures").join(class);
        fs::create_dir_all(bench.out("more").join(class)).unwrap();
        for file in fs::read_dir(from).unwrap().flatten() {
            fs::copy(file.path(), bench.out("more").join(class).join(file.file_name())).unwrap();
        }
    }
    fs::create_dir_all(bench.out("more/between")).unwrap();
    for file in fs::read_dir(bench.out("pictures/across")).unwrap().flatten() {
        fs::copy(file.path(), bench.out("more/between").join(file.file_name())).unwrap();
    }
    let text = second("own", "").replace("folder = \"pictures\"", "folder = \"more\"");
    fs::write(bench.file(), &text).unwrap();
    let said = refused(&bench.command("never", &[]).output().unwrap());
    assert!(said.contains("the head of task `class` cannot be kept"), "{said}");
    let after = run(&bench, &text.replace("\"keep\"", "\"auto\""), "auto");
    let ledger = fs::read_to_string(after.join("ledger.md")).unwrap();
    assert!(ledger.contains("loaded from `own (rows of across, upright; others fresh)`"), "{ledger}");
}

#[test]
fn class_order_and_odd_names_are_kept() {
    let names = ["a b", "a_b", "\"é\" 0, ☃"];
    let bench = bench(&first(), &names);
    let before = bench.run("first", &[]);
    exported(&before, &bench.out("own"));
    let config = json_of(&bench.out("own/config.json"));
    let manifest = json_of(&model(&before, "first-seed0").join("model.json"));
    assert_eq!(config["label_names"], manifest["targets"]["class"]["names"], "{manifest}");
    let after = run(&bench, &second("own", ""), "second");
    let pictures = bench.out("pictures");
    assert_eq!(predictions(&after, &pictures), predictions(&before, &pictures));
    // The same classes in another order, as a file of someone else names them.
    let (mut all, _) = load_safetensors(&bench.out("own/model.safetensors"), &Device::Cpu).unwrap();
    let turned = Tensor::new(&[2u32, 0, 1], &Device::Cpu).unwrap();
    for name in ["classifier.1.weight", "classifier.1.bias"] {
        let rows = all[name].index_select(&turned, 0).unwrap();
        all.insert(name.to_owned(), rows);
    }
    fs::create_dir(bench.out("theirs")).unwrap();
    save_safetensors(&bench.out("theirs/model.safetensors"), &all, &BTreeMap::new()).unwrap();
    let mut config = config;
    let names: Vec<Value> = [2, 0, 1].map(|i| config["label_names"][i].clone()).to_vec();
    config["label_names"] = names.into();
    fs::write(bench.out("theirs/config.json"), config.to_string()).unwrap();
    let theirs = run(&bench, &second("theirs/", ""), "theirs-out");
    assert_eq!(predictions(&theirs, &pictures), predictions(&before, &pictures));
}

#[test]
fn weights_without_description_are_told() {
    let bench = bench(&first(), &["across", "upright"]);
    exported(&bench.run("first", &[]), &bench.out("own"));
    let (all, _) = load_safetensors(&bench.out("own/model.safetensors"), &Device::Cpu).unwrap();
    save_torch(&bench.out("plain.pth"), &all);
    let said = |text: &str| {
        fs::write(bench.file(), text).unwrap();
        succeeded(&transplant().arg("check").arg(bench.file()).output().unwrap())
    };
    let auto = |data: &str| second("plain.pth", data).replace("\"keep\"", "\"auto\"");
    let told = said(&auto(""));
    assert!(told.contains("does not say how pixels were normalised") && told.contains("0.485, 0.456, 0.406"), "{told}");
    assert!(!said(&auto(NORMALISE)).contains("does not say"), "{}", said(&auto(NORMALISE)));
    fs::create_dir(bench.out("empty")).unwrap();
    fs::write(bench.file(), second("empty", "")).unwrap();
    let e = refused(&bench.command("never", &[]).output().unwrap());
    assert!(e.contains("has no weights") && e.contains("`model.safetensors`"), "{e}");
}

#[test]
fn folders_hold_configuration_and_spare_others() {
    let bench = bench(&first(), &["across", "upright"]);
    let before = bench.run("first", &[]);
    let folder = bench.out("own");
    exported(&before, &folder);
    let config = json_of(&folder.join("config.json"));
    assert_eq!((&config["architecture"], &config["num_classes"]), (&json!("mobilenet_v2"), &json!(2)));
    assert_eq!(config["label_names"], json!(["across", "upright"]));
    let prepared = &config["pretrained_cfg"];
    assert_eq!((&prepared["input_size"], &prepared["crop_mode"]), (&json!([3, 32, 32]), &json!("center")));
    assert_eq!((&prepared["mean"][0], &prepared["std"][0]), (&json!(0.485), &json!(0.229)));
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(readme.contains("torchvision.models.mobilenet_v2(num_classes=2)"), "{readme}");
    let weights = tensors(&folder.join("model.safetensors"));
    assert_eq!(weights["classifier.1.bias"].len(), 2);
    // An export is written over, something else is not.
    exported(&before, &folder);
    let e = refused(&export(&before, &bench.out("pictures"), &[]));
    assert!(e.contains("holds something else than an export") && bench.out("pictures/across/00.png").exists(), "{e}");
    let e = refused(&export(&before, &bench.out("own.pth"), &[]));
    assert!(e.contains("ends in `.safetensors`") && !bench.out("own.pth").exists(), "{e}");
    let e = refused(&transplant().args(["predict"]).arg(&folder).arg(&folder).args(["--cell", "x"]).output().unwrap());
    assert!(e.contains("is an export"), "{e}");
}

#[test]
fn fitted_heads_are_kept_and_exported() {
    let feature = |head: &str| format!("from = \"first\"\nstrategy = {{ type = \"feature\", head = {head} }}");
    let keep = "from = \"probe\"\nstrategy = { type = \"parameter\", head = \"keep\" }";
    let steps = |head: &str, last: &str| {
        let first = step("first", "backbone = \"mobilenet_v2\"\nstrategy = \"structure\"");
        let last = if last.is_empty() { String::new() } else { step("tuned", last) };
        file(NORMALISE, &(first + &step("probe", &feature(head)) + &last))
    };
    let bench = bench(&steps("\"logistic_regression\"", keep), &["across", "upright"]);
    let run_folder = bench.run("kept", &[]);
    let ledger = fs::read_to_string(run_folder.join("ledger.md")).unwrap();
    assert!(ledger.contains("`heads.class.weight` | 2×1280 | weight | loaded from `probe`"), "{ledger}");
    // A head of another form cannot be kept, and it is said at the door.
    fs::write(bench.file(), steps("{ type = \"knn\", k = 1 }", keep)).unwrap();
    let e = refused(&bench.command("never", &[]).output().unwrap());
    assert!(e.contains("the source has none of this form for the same labels"), "{e}");
    let heads = [
        ("\"logistic_regression\"", true),
        ("{ type = \"nearest_prototype\", distance = \"euclidean\", temperature = 10 }", true),
        ("\"nearest_prototype\"", false),
        ("{ type = \"knn\", k = 1 }", false),
    ];
    for (i, (head, is_linear)) in heads.into_iter().enumerate() {
        let probed = run(&bench, &steps(head, ""), &format!("run{i}"));
        let to = bench.out(&format!("export{i}"));
        if !is_linear {
            let e = refused(&export(&probed, &to, &[]));
            assert!(e.contains("its head is no linear layer") && e.contains("`parameter`") && !to.exists(), "{e}");
            continue;
        }
        exported(&probed, &to);
        let numbers = |csv: String| -> Vec<f64> {
            let rows = csv.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
            rows.iter().flat_map(|l| l.split(',').filter_map(|v| v.parse().ok()).collect::<Vec<f64>>()).collect()
        };
        let pictures = bench.out("pictures");
        let (here, there) = (numbers(predictions(&probed, &pictures)), numbers(predictions(&to, &pictures)));
        assert!(here.len() == there.len() && here.len() >= 48);
        assert!(here.iter().zip(&there).all(|(a, b)| (a - b).abs() < 1e-4), "{head}");
    }
}

#[test]
fn what_no_library_knows_is_refused() {
    let small = step("first", "backbone = { type = \"convnet\", widths = [4] }\nstrategy = \"structure\"");
    let bench = bench(&file("", &small), &["across", "upright"]);
    let e = refused(&export(&bench.run("first", &[]), &bench.out("own"), &[]));
    assert!(e.contains("no other library knows the network `convnet`") && !bench.out("own").exists(), "{e}");
    let e = refused(&export(&bench.out("nothing"), &bench.out("own"), &[]));
    assert!(e.contains("is not the folder of a run"), "{e}");
    texts(&bench);
    let hashed = text_file("[{ type = \"hash_words\" }]", &text_step("t", "bert", "mean"));
    let hashed = run(&bench, &hashed, "hashed");
    let e = refused(&export(&hashed, &bench.out("own"), &[]));
    assert!(e.contains("its tokens are made by no `tokenise`"), "{e}");
}

/// Rows of text in a table, and the tokenizer of the tests.
fn texts(bench: &Bench) {
    let mut table = "text,label\n".to_owned();
    for row in 0..96usize {
        table.push_str(&format!("{},{}\n", sentence(row), ["good", "bad"][row % 2]));
    }
    fs::write(bench.out("texts.csv"), table).unwrap();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/datasets/tests/tokens/tokenizer.json");
    fs::copy(rules, bench.out("tokenizer.json")).unwrap();
}

/// Sentences of one to thirty words, some longer than a row.
fn sentence(row: usize) -> String {
    let words =
        ["the", "cat", "sat", "on", "mat", "task", "learning", "transfer", "Café", "3.50", "isn't", "☃", "another"];
    let word = |i: usize| words[(row * 5 + i * (row % 7 + 1)) % words.len()];
    (0..=row * 11 % 30).map(word).collect::<Vec<_>>().join(" ")
}

fn text_file(transforms: &str, steps: &str) -> String {
    format!(
        "schema = 1\nname = \"own\"\n[datasets.d]\ntype = \"text_table\"\npath = \"texts.csv\"\ntext = [\"text\"]\n\
         label = \"label\"\ntest = 0.25\ntransforms = {transforms}\n{steps}"
    )
}

const TOKENISE: &str = "[{ type = \"tokenise\", path = \"tokenizer.json\", max_tokens = 20 }]";

fn text_step(name: &str, network: &str, pooling: &str) -> String {
    let backbone =
        format!("{{ type = \"{network}\", width = 32, intermediate = 48, heads = 4, pooling = \"{pooling}\" }}");
    step(name, &format!("backbone = {backbone}\nstrategy = \"structure\"")).replace("lr = 0.01", "lr = 0.3")
}

#[test]
fn texts_open_with_tokenizer_and_pooling() {
    let bench = Bench::new("");
    texts(&bench);
    let before = run(&bench, &text_file(TOKENISE, &text_step("t", "bert", "mean")), "first");
    let said = exported(&before, &bench.out("own"));
    assert!(said.contains("AutoModelForSequenceClassification") && said.contains("trust_remote_code=True"), "{said}");
    fs::create_dir(bench.out("alone")).unwrap();
    let alone = bench.out("alone/own.safetensors");
    let said = exported(&before, &alone);
    assert!(said.contains("note: a file holds no configuration and no tokenizer"), "{said}");
    let config = json_of(&bench.out("own/config.json"));
    assert_eq!((&config["id2label"], &config["num_attention_heads"]), (&json!({"0": "bad", "1": "good"}), &json!(4)));
    let rows = bench.out("rows.txt");
    fs::write(&rows, (0..20).map(|r| sentence(r) + "\n").collect::<String>()).unwrap();
    let wanted = predictions(&before, &rows);
    assert_eq!(predictions(&bench.out("own"), &rows), wanted);
    let e = refused(&transplant().arg("predict").arg(&alone).arg(&rows).output().unwrap());
    assert!(e.contains("has no `tokenizer.json` beside it"), "{e}");
    fs::write(bench.out("alone/tokenizer.json"), fs::read_to_string(bench.out("tokenizer.json")).unwrap() + " ")
        .unwrap();
    let e = refused(&transplant().arg("predict").arg(&alone).arg(&rows).output().unwrap());
    assert!(e.contains("is not the file that was exported"), "{e}");
    // Started from here: tokenizer, length and head are its own.
    let again = |pooling: &str, heads: usize, keep: &str| {
        let step = text_step("again", "bert", pooling).replace("heads = 4", &format!("heads = {heads}"));
        let strategy = format!("from = \"own\"\nstrategy = {{ type = \"parameter\", head = \"{keep}\" }}");
        let step = step.replace("strategy = \"structure\"", &strategy).replace("lr = 0.3", "lr = 1e-30");
        text_file("[]", &format!("[weights.own]\npath = \"own\"\n{step}"))
    };
    let after = run(&bench, &again("mean", 4, "keep"), "second");
    assert_eq!(predictions(&after, &rows), wanted);
    // A head that learned from the mean reads no other pooling, and no shape tells of the number of heads.
    fs::write(bench.file(), again("cls", 4, "keep")).unwrap();
    assert!(refused(&bench.command("never", &[]).output().unwrap()).contains("cannot be kept"));
    fs::write(bench.file(), again("cls", 2, "auto")).unwrap();
    let said = succeeded(&transplant().arg("check").arg(bench.file()).output().unwrap());
    assert!(said.contains("trained with `heads = 4` of the network, and here it is 2"), "{said}");
    assert!(said.contains("trained with `pooling = \"mean\"`"), "{said}");
}
