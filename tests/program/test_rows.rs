//! What is learned does not depend on test rows, whatever is fitted, drawn, divided or balanced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Bench, succeeded, summary, transplant};

/// One data set of each kind, and a step for each.
const FILE: &str = r#"schema = 1
name = "test_rows"

[datasets.shares]
type = "table"
path = "shares.csv"
numbers = ["a", "b"]
categories = ["c"]
label = "y"
id = "id"
fill = "mean"
test = 0.25
validation = 0.2
transforms = ["standardise"]

[datasets.folds]
type = "table"
path = "folds.csv"
numbers = ["a", "b"]
categories = ["c"]
label = "y"
id = "id"
fill = "mean"
folds = 3
labels_per_class = 8

[datasets.hashed]
type = "table"
path = "hashed.csv"
numbers = ["a", "b"]
label = "y"
id = "id"
fill = "mean"
test = 0.3
divide = "hashed"
transforms = ["standardise"]

[datasets.own]
type = "table"
path = "own.csv"
numbers = ["a"]
categories = ["c"]
label = "y"
id = "id"
split = "s"
fill = "mean"
transforms = ["standardise"]

[datasets.texts]
type = "text_table"
path = "texts.csv"
text = ["text"]
label = "y"
id = "id"
test = 0.25
transforms = [{ type = "hash_words", buckets = 64, max_words = 16 }]

[datasets.manifest]
type = "image_manifest"
path = "manifest.csv"
picture = "file"
label = "y"
group = "g"
height = 8
width = 8
channels = 1
test = 0.25
augment = ["flip"]

[datasets.folder]
type = "image_folder"
folder = "pictures-folder"
height = 8
width = 8
channels = 1
test = 0.25

[backbones.numbers]
type = "mlp"
widths = [6]

[backbones.pictures]
type = "convnet"
widths = [4]

[backbones.words]
type = "word_bag"
width = 8
hidden = 8

[steps.shares]
type = "train"
dataset = "shares"
backbone = "numbers"
strategy = "structure"
test = true
trainer = { epochs = 3, batch_size = 8, class_balance = 1.0, optimiser = { type = "sgd", lr = 0.05 }, policies = ["best_checkpoint"] }

[steps.folds]
type = "train"
dataset = "folds"
backbone = "numbers"
strategy = "structure"
test = true
trainer = { epochs = 2, batch_size = 8, optimiser = { type = "sgd", lr = 1e-4 } }
sweep = { fold = [0, 1, 2] }

[steps.hashed]
type = "train"
dataset = "hashed"
backbone = "numbers"
strategy = "structure"
test = true
trainer = { epochs = 2, batch_size = 8, optimiser = { type = "sgd", lr = 0.05 } }

[steps.own]
type = "train"
dataset = "own"
backbone = "numbers"
strategy = "structure"
test = true
trainer = { epochs = 2, batch_size = 8, optimiser = { type = "sgd", lr = 0.05 } }

[steps.texts]
type = "train"
dataset = "texts"
backbone = "words"
strategy = "structure"
test = true
trainer = { epochs = 2, batch_size = 8, optimiser = { type = "sgd", lr = 0.05 } }

[steps.manifest]
type = "train"
dataset = "manifest"
backbone = "pictures"
strategy = "structure"
test = true
trainer = { epochs = 2, batch_size = 8, optimiser = { type = "sgd", lr = 0.05 } }

[steps.folder]
type = "train"
dataset = "folder"
backbone = "pictures"
strategy = "structure"
test = true
trainer = { epochs = 2, batch_size = 8, optimiser = { type = "sgd", lr = 0.05 } }
"#;

const ROWS: usize = 60;

/// The data sets by the names of their files.
const SETS: [&str; 7] = ["shares", "folds", "hashed", "own", "texts", "manifest", "folder"];

/// Rows by data set.
type Rows = BTreeMap<String, BTreeSet<usize>>;

/// The files, those of the rows in `changed` with inputs far off: numbers, missing ones, levels, words and pixels of
/// their own.
fn write(bench: &Bench, changed: &Rows) {
    for set in SETS {
        let mut lines = "id,g,file,a,b,c,text,s,y\n".to_owned();
        for row in 0..ROWS {
            let far = changed.get(set).is_some_and(|rows| rows.contains(&row));
            let (class, group) = (row % 2, row / 2);
            let near = if row % 5 == 3 { String::new() } else { format!("{}", row % 11) };
            let a = if far { "1e6".to_owned() } else { near };
            let b = if far { String::new() } else { format!("{}", 40_000 + row * 100 + class * 900) };
            let level = if far { format!("new{row}") } else { ["red", "blue", "green"][row % 3].to_owned() };
            let text = if far { format!("nothing like it {row}") } else { format!("word{} of{class}", row % 7) };
            let part = if row % 5 == 1 { "test" } else { "train" };
            let label = ["no", "yes"][class];
            lines +=
                &format!("{row},{group},pictures-{set}/{label}/p{row}.pgm,{a},{b},{level},{text},{part},{label}\n");
            let grey = if far { 255 - row } else { row * 2 + class * 60 } as u8;
            let pixels: Vec<u8> = (0..64).map(|i| grey.wrapping_add(i * 3)).collect();
            let folder = bench.out(&format!("pictures-{set}/{label}"));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(format!("p{row}.pgm")), [b"P5 8 8 255\n".as_slice(), &pixels].concat()).unwrap();
        }
        std::fs::write(bench.out(&format!("{set}.csv")), lines).unwrap();
    }
}

/// The numbers in the names of the test rows of a cell.
fn tested(run: &Path, cell: &str) -> BTreeSet<usize> {
    let table = std::fs::read_to_string(run.join("predictions.csv")).unwrap();
    let head: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    let at = |name: &str| head.iter().position(|h| *h == name).unwrap();
    let (of, name, split) = (at("cell"), at("name"), at("split"));
    let lines = table.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    let number =
        |name: &str| name.rsplit('/').next().unwrap().trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
    lines.filter(|l| l[of] == cell && l[split] == "test").map(|l| number(l[name])).collect()
}

/// Every file of a model.
fn model(run: &Path, cell: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = run.join("cells").join(cell).join("model");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect();
    files.iter_mut().for_each(|(path, _)| *path = path.file_name().unwrap().into());
    files.sort();
    files
}

#[test]
fn test_rows_change_no_model() {
    let bench = Bench::new(FILE);
    write(&bench, &Rows::new());
    let before = bench.run("before", &[]);
    // Of the folds, the test rows of the first are changed: the others learn from them.
    let cell = |set: &str| format!("{set}-seed0{}", if set == "folds" { "-fold0" } else { "" });
    let changed: Rows = SETS.iter().map(|set| ((*set).to_owned(), tested(&before, &cell(set)))).collect();
    write(&bench, &changed);
    let after = bench.run("after", &[]);
    for set in SETS {
        let (cell, rows) = (cell(set), &changed[set]);
        assert!((8..=30).contains(&rows.len()), "{cell}: {rows:?}");
        assert_eq!(tested(&after, &cell), *rows, "{cell}");
        let (first, second) = (model(&before, &cell), model(&after, &cell));
        let differ: Vec<_> = first.iter().zip(&second).filter(|(a, b)| a != b).map(|(a, _)| &a.0).collect();
        assert!(differ.is_empty() && first.len() == second.len(), "{cell}: {differ:?} differ");
        let losses = [&before, &after].map(|run| {
            let summary = summary(run);
            let of_cell = summary["steps"].as_array().unwrap().iter().find(|s| s["cell"] == cell.as_str()).unwrap();
            of_cell["metrics"]["test"]["log_loss"].clone()
        });
        assert_ne!(losses[0], losses[1], "{cell}: what was changed is tested");
    }
    assert_ne!(
        model(&before, "folds-seed0-fold1"),
        model(&after, "folds-seed0-fold1"),
        "it learned from what was changed"
    );
    // What was fitted goes with the model, and `evaluate` fits the same again.
    let scaled = std::fs::read_to_string(after.join("cells/shares-seed0/model/standardise.csv")).unwrap();
    assert_eq!(scaled.lines().count(), 1 + 2 + 2 + 3, "{scaled}");
    let said = transplant().current_dir(bench.dir.path()).arg("evaluate").arg(&after).output().unwrap();
    assert!(!succeeded(&said).contains("DIFFERS"));
}

#[test]
fn intervals_count_groups() {
    let bench = Bench::new(FILE);
    write(&bench, &Rows::new());
    let run = bench.run("out", &[]);
    let summary = summary(&run);
    let of = |step: &str| summary["comparison"].as_array().unwrap().iter().find(|c| c["step"] == step).unwrap().clone();
    let groups = tested(&run, "manifest-seed0").into_iter().map(|row| row / 2).collect::<BTreeSet<_>>().len();
    assert_eq!(of("manifest")["groups"], groups);
    assert!(of("folds").get("groups").is_none());
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    assert!(report.contains(&format!("intervals over {groups} groups")), "{report}");
    assert_eq!(report.matches("source seed, draw and test row;").count(), 6, "{report}");
}

#[test]
fn columns_of_other_scales_are_told() {
    let file = FILE.split("[steps.folds]").next().unwrap();
    let bench = Bench::new(file);
    write(&bench, &Rows::new());
    let told = |out: &str, more: &[&str]| {
        let out = bench.command(out, more).output().unwrap();
        succeeded(&out);
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    assert!(!told("scaled", &[]).contains("one scale"));
    let said = told("raw", &["--set", "datasets.shares.transforms=[]"]);
    assert!(said.contains("data set `shares`: column `b` reaches ") && said.contains("standardise"), "{said}");
}
