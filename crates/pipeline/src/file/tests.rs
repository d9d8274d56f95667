//! What a pipeline file comes to mean.

use serde_json::json;

use super::*;
use crate::fakes;

const QUICKSTART: &str = r#"
schema = 1
name = "quickstart"
seed = 7

[datasets.mnist]
type = "mnist_5k"
augment = [{ type = "pad", pixels = 3 }]
[datasets.scans]
type = "folder"
path = "scans"
labels_per_class = 2

[backbones.small]
type = "convnet"

[strategies.gentle]
type = "parameter"
freeze_until = "block1"

[steps.transfer]
type = "train"
dataset = "scans"
from = "pretrain"
strategy = "parameter"
metrics = ["f1", { type = "top_k", k = 3 }]
[steps.transfer.sweep]
strategy = ["parameter", "structure", "gentle"]
seed = [0, 1]
draw = [0, 1]

[steps.pretrain]
type = "train"
dataset = "mnist"
backbone = "small"
strategy = "structure"
trainer = { epochs = 3, optimiser = { type = "sgd", lr = 0.1 }, schedule = "one_cycle" }
"#;

/// Opens a text, with these values for `--set`.
pub(super) fn open_text(text: &str, set: &[&str]) -> Result<Pipeline, FileError> {
    let overrides = Overrides { set: set.iter().map(|&s| s.to_owned()).collect(), ..Overrides::default() };
    open_over(text, &overrides, &[])
}

/// Opens a text with overrides and variables.
pub(super) fn open_over(text: &str, o: &Overrides, variables: &[(&str, &str)]) -> Result<Pipeline, FileError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    std::fs::write(&path, text).unwrap();
    let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    open_with(&path, o, variables, &fakes::plugins())
}

fn ids(p: &Pipeline) -> Vec<&str> {
    p.cells.iter().map(|c| c.id.as_str()).collect()
}

/// A step without anything special, below the given lines.
fn one_step(lines: &str) -> String {
    format!(
        "schema = 1\nname = \"x\"\n[datasets.d]\ntype = \"mnist_5k\"\n[steps.s]\ntype = \"train\"\ndataset = \"d\"\n\
         backbone = \"convnet\"\nstrategy = \"parameter\"\n{lines}\n"
    )
}

#[test]
fn the_quickstart_becomes_cells_that_share_their_source() {
    let p = open_text(QUICKSTART, &[]).unwrap();
    assert_eq!((p.name.as_str(), p.seed, p.device), ("quickstart", 7, crate::resolved::DeviceChoice::Auto));
    assert_eq!(p.datasets["scans"].labels_per_class, Some(2));
    assert_eq!(p.datasets["scans"].source.options["path"], "scans");
    assert_eq!(p.datasets["mnist"].augment[0].options["pixels"], 3);
    assert_eq!(p.datasets["mnist"].validation, 0.0);
    let ids = ids(&p);
    assert_eq!(ids.len(), 2 + 3 * 2 * 2);
    assert_eq!(
        ids[..4],
        ["pretrain-seed0", "pretrain-seed1", "transfer-parameter-seed0-draw0", "transfer-parameter-seed0-draw1"]
    );
    assert_eq!(*ids.last().unwrap(), "transfer-gentle-seed1-draw1");
    let last = p.cells.last().unwrap();
    assert_eq!((last.strategy.as_str(), last.seed, last.draw), ("gentle", 1, 1));
    assert_eq!(last.strategies[0].tag, "parameter");
    assert_eq!(last.strategies[0].options["freeze_until"], "block1");
    assert_eq!(last.strategies[0].options["decay"], 1.0);
    assert_eq!(last.from.as_deref(), Some("pretrain-seed1"));
    assert_eq!(last.backbone.options["width"], 16, "taken over from `pretrain`, defaults filled in");
    assert_eq!(last.tasks.keys().collect::<Vec<_>>(), ["class"]);
    assert_eq!(last.metrics[1].options["k"], 3);
    assert!(!last.tests.is_empty() && last.swept.is_empty());
    let first = &p.cells[0];
    assert!(first.tests.is_empty() && first.from.is_none());
    assert_eq!((first.trainer.epochs, first.trainer.batch_size), (3, 64));
    assert_eq!(first.trainer.schedule.options["rise"], 0.3);
    assert_eq!(last.trainer.epochs, 10);
    assert_eq!(last.trainer.optimiser.options["lr"], 0.05);
}

#[test]
fn the_resolved_text_opens_to_the_same_cells() {
    let nested = r#"
    metrics = ["f1"]
    [steps.s.sweep]
    "trainer.epochs" = [1, 2]
    trainer.optimiser.lr = [0.1, 1]
    strategy = ["feature", ["parameter", "feature"], { type = "parameter", decay = 0.5 }, "parameter"]
    [tasks.digit]
    type = "classification"
    [strategies.both]
    type = "parameter"
    [steps.t]
    type = "train"
    dataset = "d"
    backbone = { type = "convnet", width = 3 }
    strategy = ["both", "structure"]
    test = false
    sweep.backbone.width = [1, 2]
    "#;
    for text in [QUICKSTART.to_owned(), one_step(""), one_step(nested)] {
        let first = open_text(&text, &[]).unwrap();
        let second = open_text(&first.text, &[]).unwrap_or_else(|e| panic!("{e}\n{}", first.text));
        assert!(first.cells == second.cells, "{:#?}\n{:#?}\n{}", first.cells, second.cells, first.text);
        assert_eq!(first.datasets, second.datasets);
        assert_eq!(first.text, second.text);
    }
    let text = open_text(QUICKSTART, &[]).unwrap().text;
    for line in ["[steps.pretrain.trainer]", "batch_size = 64", "[tasks.class]", "decay = 1.0", "device = \"auto\""] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn swept_keys_are_in_the_cells_and_their_names() {
    let p =
        open_text(&one_step("sweep.trainer.epochs = [1, 2]\nsweep.strategy.freeze_until = [\"a/b\"]"), &[]).unwrap();
    assert_eq!(ids(&p), ["s-seed0-epochs1-freeze_untila_b", "s-seed0-epochs2-freeze_untila_b"]);
    assert_eq!(p.cells[1].trainer.epochs, 2);
    assert_eq!(p.cells[1].swept["trainer.epochs"], 2);
    assert_eq!(p.cells[1].strategies[0].options["freeze_until"], "a/b");
    let sweep =
        "sweep.strategy = [\"parameter\", { type = \"parameter\", decay = 0.5 }, [\"parameter\", \"structure\"]]";
    let p = open_text(&one_step(sweep), &[]).unwrap();
    let labels: Vec<&str> = p.cells.iter().map(|c| c.strategy.as_str()).collect();
    assert_eq!(labels, ["parameter(decay=1.0)", "parameter(decay=0.5)", "parameter+structure"]);
    assert_eq!(ids(&p)[1], "s-parameter_decay_0.5-seed0");
    let heads = "sweep.strategy = [\"feature\", {type = \"feature\", head = {type = \"k_nearest\", k = 3}}]";
    let p = open_text(&one_step(heads), &[]).unwrap();
    let labels: Vec<&str> = p.cells.iter().map(|c| c.strategy.as_str()).collect();
    assert_eq!(labels, ["feature(head=linear)", "feature(head=k_nearest)"]);
    let p = open_text(&one_step("sweep.\"trainer.optimiser\" = [{ type = \"sgd\", lr = 1 }, \"sgd\"]"), &[]).unwrap();
    assert_eq!(ids(&p), ["s-seed0-optimisersgd_lr_1.0", "s-seed0-optimisersgd_lr_0.05"]);
}

#[test]
fn folders_differ_even_where_case_does_not_count() {
    let p = open_text(&one_step("[steps.S]\ntype='train'\ndataset='d'\nbackbone='convnet'\nstrategy='feature'"), &[]);
    assert_eq!(ids(&p.unwrap()), ["s-seed0", "S-seed0-2"]);
}

#[test]
fn draws_and_folds_spread_over_chains_on_the_same_rows() {
    let chain = r#"
    schema = 1
    name = "x"
    [datasets]
    d = { type = "mnist_5k", folds = 3 }
    other = { type = "mnist_5k" }
    wide = { type = "mnist_5k", folds = 3, transforms = [{ type = "pad", pixels = 2 }] }
    [steps]
    a = { type = "train", dataset = "other", backbone = "convnet", strategy = "structure" }
    b = { type = "train", dataset = "d", from = "a", strategy = "feature" }
    c = { type = "train", dataset = "d", from = "b", strategy = "parameter", sweep = { fold = [0, 2] } }
    e = { type = "train", dataset = "d", from = "b", strategy = "feature", draw = 1 }
    f = { type = "train", dataset = "wide", from = "b", strategy = "feature", sweep = { fold = [1, 2] } }
    "#;
    let p = open_text(chain, &[]).unwrap();
    let from: Vec<_> = p.cells.iter().map(|c| (c.id.as_str(), c.draw, c.fold, c.from.as_deref())).collect();
    let expected = [
        ("a-seed0", 0, 0, None),
        ("b-seed0-draw0-fold0", 0, 0, Some("a-seed0")),
        ("b-seed0-draw0-fold2", 0, 2, Some("a-seed0")),
        ("b-seed0-draw1-fold0", 1, 0, Some("a-seed0")),
        ("b-seed0-draw0-fold1", 0, 1, Some("a-seed0")),
        ("c-seed0-fold0", 0, 0, Some("b-seed0-draw0-fold0")),
        ("c-seed0-fold2", 0, 2, Some("b-seed0-draw0-fold2")),
        ("e-seed0", 1, 0, Some("b-seed0-draw1-fold0")),
        // The same rows in another size.
        ("f-seed0-fold1", 0, 1, Some("b-seed0-draw0-fold1")),
        ("f-seed0-fold2", 0, 2, Some("b-seed0-draw0-fold2")),
    ];
    assert_eq!(from, expected);
    assert_eq!(open_text(&p.text, &[]).unwrap_or_else(|e| panic!("{e}\n{}", p.text)).cells, p.cells);

    // One that is said holds for the whole chain, and two that differ are refused.
    let said = chain.replace("from = \"a\", strategy = \"feature\"", "from = \"a\", strategy = \"feature\", draw = 1");
    let draws: Vec<u64> = open_text(&said, &[]).unwrap().cells.iter().map(|c| c.draw).collect();
    assert_eq!(draws, [0, 1, 1, 1, 1, 1, 1, 1, 1]);
    let e =
        open_text(&said.replace("\"feature\", draw = 1 }\n    c", "\"feature\", draw = 3 }\n    c"), &[]).unwrap_err();
    assert!(
        e.to_string().contains("steps.e.draw: is 1, and step `b`, which this one builds on, has 3 of the same rows"),
        "{e}"
    );
}

#[test]
fn draws_and_folds_hold_along_a_chain() {
    let chain = r#"
    schema = 1
    name = "x"
    [datasets]
    d = { type = "mnist_5k", folds = 3 }
    other = { type = "mnist_5k" }
    [steps]
    a = { type = "train", dataset = "d", backbone = "convnet", strategy = "structure" }
    b = { type = "train", dataset = "other", from = "a", strategy = "parameter" }
    c = { type = "train", dataset = "d", from = "b", strategy = "parameter", sweep = { fold = [0, 2] } }
    e = { type = "train", dataset = "other", from = "a", strategy = "parameter", draw = 1 }
    "#;
    let p = open_text(chain, &[]).unwrap();
    let from: Vec<_> = p.cells.iter().map(|c| (c.id.as_str(), c.draw, c.fold, c.from.as_deref())).collect();
    let expected = [
        ("a-seed0-fold0", 0, 0, None),
        ("a-seed0-fold2", 0, 2, None),
        ("b-seed0-d_fold0", 0, 0, Some("a-seed0-fold0")),
        ("b-seed0-d_fold2", 0, 0, Some("a-seed0-fold2")),
        ("c-seed0-fold0", 0, 0, Some("b-seed0-d_fold0")),
        ("c-seed0-fold2", 0, 2, Some("b-seed0-d_fold2")),
        // Any run of the step before it will do.
        ("e-seed0", 1, 0, Some("a-seed0-fold0")),
    ];
    assert_eq!(from, expected);
    assert_eq!(open_text(&p.text, &[]).unwrap_or_else(|e| panic!("{e}\n{}", p.text)).cells, p.cells);
    // Two that differ are refused across the other data set, too.
    let said = chain.replace("strategy = \"structure\"", "strategy = \"structure\", fold = 1");
    let e = open_text(&said, &[]).unwrap_err().to_string();
    assert!(
        e.contains("steps.c.sweep.fold.0: is 0, and step `a`, which this one builds on, has 1 of the same rows"),
        "{e}"
    );
}

#[test]
fn seeds_spread_over_chains() {
    let chain = r#"
    [steps.m]
    type = "train"
    dataset = "d"
    from = "s"
    strategy = "parameter"
    [steps.e]
    type = "train"
    dataset = "d"
    from = "m"
    strategy = "parameter"
    "#;
    let cells = |set: &[&str]| ids(&open_text(&one_step(chain), set).unwrap()).join(" ");
    assert_eq!(cells(&[]), "s-seed0 m-seed0 e-seed0");
    assert_eq!(cells(&["seed=5"]), "s-seed5 m-seed5 e-seed5");
    assert_eq!(cells(&["steps.s.sweep.seed=[1,2]"]), "s-seed1 s-seed2 m-seed1 m-seed2 e-seed1 e-seed2");
    assert_eq!(cells(&["steps.e.sweep.seed=[3]"]), "s-seed3 m-seed3 e-seed3");
    assert_eq!(cells(&["steps.s.sweep.seed=[1]", "steps.e.sweep.seed=[3]"]), "s-seed1 s-seed3 m-seed3 e-seed3");
}

#[test]
fn flags_and_variables_lie_over_the_file() {
    let set = [
        "steps.transfer.trainer.epochs=4",
        "steps.pretrain.trainer.schedule.rise=0.5",
        "steps.transfer.trainer.optimiser.lr=0.2",
    ]
    .map(str::to_owned);
    let o = Overrides { set: set.to_vec(), seed: Some(3), device: Some("cuda:1".into()), env: true };
    let variables = [
        ("TRANSPLANT_STEPS__TRANSFER__TRAINER__EPOCHS", "3"),
        ("TRANSPLANT_STEPS__TRANSFER__TRAINER__BATCH_SIZE", "8"),
    ];
    let p = open_over(&QUICKSTART.replace("\nseed = [0, 1]", ""), &o, &variables).unwrap();
    let last = p.cells.last().unwrap();
    assert_eq!((last.trainer.epochs, last.trainer.batch_size), (4, 8));
    assert_eq!(last.trainer.optimiser.options["lr"], 0.2);
    assert_eq!(p.cells[0].trainer.schedule.options, json!({"rise": 0.5}).as_object().unwrap().clone());
    assert_eq!((p.seed, p.device), (3, crate::resolved::DeviceChoice::Cuda(1)));
    let p = open_over(QUICKSTART, &Overrides::default(), &variables).unwrap();
    assert_eq!(p.cells.last().unwrap().trainer.epochs, 10, "variables count only when asked for");
}

#[test]
fn later_errors_are_found_where_their_values_are_written() {
    let text =
        QUICKSTART.replace("\"structure\", \"gentle\"]", "\"structure\", { type = \"feature\", head = \"linear\" }]");
    let p = open_text(&text, &["steps.transfer.trainer.epochs=2"]).unwrap();
    let last = p.cells.last().unwrap();
    let at = |cell: &Cell, key: &str| {
        let shown = p.locate_in(cell, Invalid::key(key, "wrong")).to_string();
        shown.rsplit_once("p.toml:").map_or(shown.clone(), |(_, s)| s.to_owned())
    };
    let line = |what: &str| text[..text.find(what).unwrap()].matches('\n').count() + 1;
    let list = line("strategy = [");
    assert_eq!(at(last, "strategy.0.head"), format!("{list}:66: steps.transfer.sweep.strategy.2.head: wrong"));
    assert_eq!(at(last, "backbone.width"), format!("{}:1: backbones.small.width: wrong", line("[backbones.small]")));
    assert_eq!(at(last, "dataset.path"), format!("{}:8: datasets.scans.path: wrong", line("path =")));
    assert_eq!(at(last, "trainer.epochs"), "--set steps.transfer.trainer.epochs=2: wrong");
    let e = p.locate(Invalid::key("datasets.scans", "wrong")).to_string();
    assert!(e.ends_with(&format!("p.toml:{}:1: datasets.scans: wrong", line("[datasets.scans]"))), "{e}");
    let p = open_text(QUICKSTART, &[]).unwrap();
    let e =
        p.locate_in(p.cells.last().unwrap(), Invalid::key("strategy.0.freeze_until", "matches nothing")).to_string();
    assert!(e.contains("strategies.gentle.freeze_until: matches nothing"), "{e}");
}
