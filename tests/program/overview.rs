//! What `check` says of cells, and what it refuses, before anything is trained.

use super::{Bench, succeeded};

const FILE: &str = r#"schema = 1
name = "overview"

[datasets.d]
type = "table"
path = "d.csv"
numbers = ["a", "b"]
label = "y"
DIVIDE

[backbones.net]
type = "mlp"
widths = [4]

[steps.first]
type = "train"
dataset = "d"
backbone = "net"
strategy = "structure"
trainer = { epochs = 1, batch_size = 4 }
"#;

const SECOND: &str = r#"
[datasets.e]
type = "table"
path = "d.csv"
numbers = ["a", "b"]
label = "y"
classes = ["v", "u"]
test = 0.25

[steps.second]
type = "train"
dataset = "e"
from = "first"
strategy = "STRATEGY"
trainer = { epochs = 1, batch_size = 4 }
"#;

fn bench(file: &str, rows: u32) -> Bench {
    let bench = Bench::new(file);
    let row = |i: u32| format!("{},{},{}\n", (i * 31) % 97, (i * 57) % 97, ["u", "v"][i as usize % 2]);
    std::fs::write(bench.out("d.csv"), "a,b,y\n".to_owned() + &(0..rows).map(row).collect::<String>()).unwrap();
    bench
}

#[test]
fn rows_of_folds_are_a_span() {
    let bench = bench(
        &(FILE.replace("DIVIDE", "folds = 10") + "[steps.first.sweep]\nfold = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n"),
        12,
    );
    let check = succeeded(&bench.command_of("check", &[]).output().unwrap());
    assert!(check.contains("10 to 11 train, 0 validation, 0 unlabelled, 1 to 2 test rows"), "{check}");
    assert!(check.contains("10 to 11 labels used"), "{check}");
}

#[test]
fn another_class_order_is_told() {
    let says =
        "step `second`: the classes of `class` are those of step `first` in another order, so its head begins afresh";
    for (strategy, is_told) in [("parameter", true), ("feature", false), ("structure", false)] {
        let file = FILE.replace("DIVIDE", "test = 0.25") + &SECOND.replace("STRATEGY", strategy);
        let bench = bench(&file, 40);
        let run = bench.run("out", &[]);
        let read = |name: &str| std::fs::read_to_string(run.join(name)).unwrap();
        assert_eq!(read("report.md").contains(says), is_told, "{strategy}");
        let why = "fresh, because the classes stand in another order";
        assert!(!is_told || read("ledger.md").contains(why), "{}", read("ledger.md"));
        assert!(!read("ledger.md").contains("the labels differ"), "{strategy}");
    }
}

#[test]
fn image_transforms_are_refused_for_tables() {
    for transforms in [
        "transforms = [{ type = \"normalise\", mean = [120.0], std = [60.0] }]",
        "transforms = [{ type = \"normalise\", mean = [0.5], std = [0.5] }]",
        "augment = [{ type = \"flip\" }]",
    ] {
        let bench = bench(&FILE.replace("DIVIDE", &format!("test = 0.25\n{transforms}")), 40);
        let o = bench.command_of("check", &[]).output().unwrap();
        let said = String::from_utf8_lossy(&o.stderr).into_owned();
        assert_eq!(o.status.code(), Some(2), "{said}");
        assert!(said.contains("needs images, and the data set has rows of 2 numbers"), "{said}");
    }
}
