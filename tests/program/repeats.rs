//! Runs that predict exactly what others do are no evidence, and the tables say so.

use super::{Bench, summary};

/// Draws without a budget of labels: each learns from the same rows. `SWEEP` stands for what changes.
const FILE: &str = r#"schema = 1
name = "repeats"

[datasets.d]
type = "table"
path = "d.csv"
numbers = ["a", "b"]
label = "y"
test = 0.3

[backbones.net]
type = "mlp"
widths = [4]

[steps.first]
type = "train"
dataset = "d"
backbone = "net"
strategy = "structure"
trainer = { epochs = 1, batch_size = 16 }

[steps.second]
type = "train"
dataset = "d"
from = "first"
strategy = "parameter"
trainer = { epochs = 2, batch_size = 16 }

[steps.second.sweep]
strategy = [{ type = "feature", head = "knn" }, { type = "feature", head = "logistic_regression" }]
SWEEP
"#;

/// The second strategy of the comparison, and the text of the report.
fn compared(sweep: &str) -> (serde_json::Value, String) {
    let bench = Bench::new(&FILE.replace("SWEEP", sweep));
    let row = |i: u32| {
        let number = |by: u32| f64::from((i * by) % 97) / 97.0;
        format!("{},{},{}\n", number(31), number(57), if (i * 31) % 97 > 48 { "u" } else { "v" })
    };
    std::fs::write(bench.out("d.csv"), "a,b,y\n".to_owned() + &(0..90).map(row).collect::<String>()).unwrap();
    let run = bench.run("out", &[]);
    let of_summary = summary(&run)["comparison"].clone();
    let lines = of_summary.as_array().unwrap();
    let line = lines.iter().find(|line| !line["paired"].is_null()).unwrap().clone();
    (line, std::fs::read_to_string(run.join("report.md")).unwrap())
}

#[test]
fn runs_all_alike_have_no_p() {
    let (line, report) = compared("draw = [0, 1, 2, 3, 4, 5]");
    assert_eq!((&line["repetitions"], &line["repeated"]), (&6.into(), &5.into()));
    assert!(line["paired"]["p"].is_null() && line["paired"]["p_holm"].is_null(), "{line}");
    assert!(report.contains("all runs alike |") && report.contains("They count once in p"), "{report}");
}

#[test]
fn repeated_pairs_count_once() {
    let (line, report) = compared("seed = [0, 1, 2]\ndraw = [0, 1, 2, 3]");
    assert_eq!((&line["repetitions"], &line["repeated"]), (&12.into(), &9.into()));
    assert!(report.contains("9 of 12 repetitions equal another"), "{report}");
    let (few, _) = compared("seed = [0, 1, 2]");
    assert_eq!(few["repeated"], 0);
    assert_eq!(line["paired"]["p"], few["paired"]["p"], "{line} beside {few}");
}
