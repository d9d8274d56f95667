//! B: several tasks, of one data set and of two; J: numbers as labels, in two domains.

use std::fmt::Write as _;

use rand::Rng;
use serde_json::Value;
use transplant_core::Seeds;
use transplant_tests::normal;

use crate::program::{Bench, succeeded, summary, transplant};

/// The value of a metric of a step's only cell, or of the cell whose strategy has this name.
fn metric(summary: &Value, step: &str, strategy: &str, test: &str, metric: &str) -> f64 {
    let steps = summary["steps"].as_array().unwrap();
    let of_step = |s: &&Value| s["name"] == step && s["cell"].as_str().unwrap().contains(strategy);
    let step = steps.iter().find(of_step).unwrap_or_else(|| panic!("{step} {strategy}: {summary:#}"));
    step["metrics"][test][metric].as_f64().unwrap_or_else(|| panic!("{metric} of {test}: {step:#}"))
}

/// 1000 houses a region. Prices are far from 0, and the second column counts the other way in the north.
fn homes() -> String {
    let mut rng = Seeds::new(6).stream("homes", &[]);
    let mut csv = String::from("id,region,first,second,Price\n");
    for id in 0..2000 {
        let (region, sign) = if id % 2 == 0 { ("south", 1.0) } else { ("north", -1.0) };
        let (first, second) = (normal(&mut rng), 100.0 * normal(&mut rng));
        let bent = if first > 0.5 { 30_000.0 } else { 0.0 };
        let price = 200_000.0 + 40_000.0 * first + 200.0 * sign * second + bent + 8_000.0 * normal(&mut rng);
        // Every tenth price is not known.
        let price = if id % 20 < 2 { String::new() } else { format!("{price:.0}") };
        let _ = writeln!(csv, "{id},{region},{first},{second},{price}");
    }
    csv
}

#[test]
fn numbers_are_learned_across_domains() {
    let bench = Bench::new(include_str!("j_regression.toml"));
    std::fs::write(bench.file().with_file_name("homes.csv"), homes()).unwrap();
    let checked = succeeded(&bench.command_of("check", &[]).output().unwrap());
    for line in ["targets: price (a number)", "200 labels used", "200 of 2000 rows have no label"] {
        assert!(checked.contains(line), "{line}: {checked}");
    }
    let data = succeeded(&bench.command_of("data", &[]).output().unwrap());
    assert!(data.contains("train rows have a number, "), "{data}");
    let run = bench.run("run", &[]);
    let of = summary(&run);
    let r2 = |step: &str, strategy: &str, test: &str| metric(&of, step, strategy, test, "r2");
    let (source, target, pooled) =
        (r2("source", "", "target"), r2("target_only", "", "target"), r2("pooled", "", "target"));
    let (moved, ridge) = (r2("moved", "parameter", "target"), r2("moved", "feature", "target"));
    assert!(r2("source", "", "source") > 0.9 && source < 0.7, "{source}");
    assert!(target > 0.8 && moved > 0.8 && ridge > source && pooled > source, "{target} {moved} {ridge} {pooled}");
    // 8000 is the deviation of the noise, 6400 its mean distance.
    let mae = metric(&of, "moved", "parameter", "target", "mae");
    assert!((5_000.0..16_000.0).contains(&mae), "{mae}");
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    for says in [
        "## moved: r2 on test `target`",
        "mean of labels",
        "ridge regression on inputs",
        "200 in all",
        "### All metrics, means over runs",
    ] {
        assert!(report.contains(says), "{says}: {report}");
    }
    assert!(!report.contains("majority class") && !report.contains("not fitted"), "{report}");
    let table = std::fs::read_to_string(run.join("predictions.csv")).unwrap();
    assert!(table.starts_with("cell,row,name,split,group,task,label,score_value\n"), "{}", &table[..80]);

    // What a saved model says of new rows is in the unit of the target.
    let rows = bench.file().with_file_name("new.csv");
    std::fs::write(&rows, "first,second\n0,0\n2,0\n").unwrap();
    let cells = of["steps"].as_array().unwrap().iter().map(|s| s["cell"].as_str().unwrap());
    let moved: Vec<_> = cells.filter(|cell| cell.starts_with("moved")).collect();
    assert_eq!(moved.len(), 2);
    for cell in moved {
        let said = transplant().arg("predict").arg(&run).arg(&rows).args(["--cell", cell]).output().unwrap();
        let said = succeeded(&said);
        assert!(said.starts_with("input,task,value,score\n"), "{said}");
        let values: Vec<f64> = said.lines().skip(1).map(|l| l.split(',').nth(2).unwrap().parse().unwrap()).collect();
        assert!(values.len() == 2 && values[0] > 170_000.0 && values[1] > values[0] + 50_000.0, "{said}");
    }
}

/// 900 rows with a number and a class, each missing in a third of them.
fn reviews() -> String {
    let mut rng = Seeds::new(7).stream("reviews", &[]);
    let mut csv = String::from("first,second,Rating,Department\n");
    for i in 0..900 {
        let (first, second) = (normal(&mut rng), normal(&mut rng));
        let rating = 3.0 + first - second + 0.2 * normal(&mut rng);
        let department =
            ["coats", "shirts", "shoes"][if first + second > 0.7 { 0 } else { usize::from(first < second) + 1 }];
        let rating = if i % 3 == 0 { String::new() } else { rating.to_string() };
        let department = if i % 3 == 1 { "" } else { department };
        let _ = writeln!(csv, "{first},{second},{rating},{department}");
    }
    csv
}

fn packages() -> String {
    let mut rng = Seeds::new(8).stream("packages", &[]);
    let mut csv = String::from("first,second,Section\n");
    for _ in 0..400 {
        let (first, second) = (normal(&mut rng), normal(&mut rng));
        let section = if first + second + 0.1 * rng.random_range(0.0..1.0) > 0.0 { "libs" } else { "games" };
        let _ = writeln!(csv, "{first},{second},{section}");
    }
    csv
}

#[test]
fn a_number_and_a_class_are_learned_together() {
    let bench = Bench::new(include_str!("b_tasks.toml"));
    std::fs::write(bench.file().with_file_name("reviews.csv"), reviews()).unwrap();
    let checked = succeeded(&bench.command_of("check", &[]).output().unwrap());
    assert!(checked.contains("240 train, 60 validation") && checked.contains("300 in all"), "{checked}");
    assert!(!checked.contains("are not learned from"), "{checked}");
    let run = bench.run("run", &[]);
    let of = summary(&run);
    let metric = |name: &str| metric(&of, "joint", "", "test", name);
    assert!(metric("rating.r2") > 0.85 && metric("department.accuracy") > 0.85, "{of:#}");
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    assert!(report.contains("joint: rating.r2 on test"), "{report}");
    for baseline in ["mean of labels", "majority class", "ridge regression on inputs", "logistic regression on inputs"]
    {
        assert!(report.contains(baseline) || summary_has(&of, baseline), "{baseline}: {report}");
    }
}

fn summary_has(summary: &Value, baseline: &str) -> bool {
    summary["baselines"]["joint"].get(baseline).is_some()
}

#[test]
fn budgets_of_classes_need_classes() {
    let bench = Bench::new(include_str!("b_tasks.toml"));
    std::fs::write(bench.file().with_file_name("reviews.csv"), reviews()).unwrap();
    let said = |set: &[&str]| {
        let out = bench.command_of("check", set).output().unwrap();
        assert!(!out.status.success());
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let e = said(&["--set", "datasets.reviews.labels_per_class=5"]);
    assert!(e.contains("datasets.reviews.labels_in_all: says how many labels are used"), "{e}");
    let text = include_str!("b_tasks.toml").replace("labels_in_all = 300", "labels_per_class = 5");
    std::fs::write(bench.file(), text.replace("tasks = [\"rating\", \"department\"]", "tasks = [\"rating\"]")).unwrap();
    let e = said(&[]);
    assert!(e.contains("labels_per_class: counts labels of classes, and `rating` has none"), "{e}");
    assert!(e.contains("`labels_in_all` counts rows"), "{e}");
}

#[test]
fn data_sets_have_targets_of_their_own() {
    let bench = Bench::new(include_str!("b_datasets.toml"));
    std::fs::write(bench.file().with_file_name("reviews.csv"), reviews()).unwrap();
    std::fs::write(bench.file().with_file_name("packages.csv"), packages()).unwrap();
    let run = bench.run("run", &[]);
    let of = summary(&run);
    let metric = |test: &str, name: &str| metric(&of, "joint", "", test, name);
    assert!(metric("reviews", "rating.r2") > 0.85 && metric("packages", "section.accuracy") > 0.85, "{of:#}");
}
