//! A: two streams of one data set with domains; C: each domain left out in turn.

use std::collections::BTreeSet;

use super::{bench, points};
use crate::program::{results, succeeded, summary};

const ADAPTATION: &str = include_str!("a_adaptation.toml");

fn accuracy(summary: &serde_json::Value, step: &str, test: &str) -> f64 {
    let steps = summary["steps"].as_array().unwrap();
    let step = steps.iter().find(|s| s["name"] == step).unwrap();
    step["metrics"][test]["accuracy"].as_f64().unwrap()
}

#[test]
fn a_target_without_labels_is_adapted_to() {
    let bench = bench(ADAPTATION, &points(|_, _| false));
    let checked = succeeded(&bench.command_of("check", &[]).output().unwrap());
    for line in [
        "stream source: data set points, part learn of near, ",
        "stream target: data set points, part adapt of far, ",
        " rows without labels",
        "test target: data set points, ",
    ] {
        assert!(checked.contains(line), "{line}: {checked}");
    }
    let run = bench.run("run", &[]);
    let of = summary(&run);
    assert!(accuracy(&of, "source_only", "source") > 0.95, "{of}");
    let (plain, dann, coral) =
        (accuracy(&of, "source_only", "target"), accuracy(&of, "adapt", "target"), accuracy(&of, "coral", "target"));
    assert!(plain < 0.75 && dann > plain + 0.1 && coral > plain + 0.1, "{plain} {dann} {coral}");
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    assert!(
        report.contains("## adapt: accuracy on test `target`")
            && report.contains("## adapt: accuracy on test `source`")
    );
    assert!(report.contains("stream target: data set points, part adapt of far, without labels"), "{report}");
    // No point is on two sides: the ids of the rows that are tested.
    let table = std::fs::read_to_string(run.join("predictions.csv")).unwrap();
    let groups = |test: &str| -> BTreeSet<String> {
        let of_test = |line: &&str| line.split(',').nth(3) == Some(test);
        table.lines().filter(of_test).map(|l| l.split(',').nth(4).unwrap().to_owned()).collect()
    };
    assert!(groups("target") == groups("source") && groups("target").len() > 60);
}

#[test]
fn labels_of_an_unlabelled_stream_change_no_byte() {
    let one = bench(ADAPTATION, &points(|_, _| false));
    let first = one.run("run", &[]);
    // Wrong labels for every point of the target domain that is not tested.
    let table = std::fs::read_to_string(first.join("predictions.csv")).unwrap();
    // Groups are numbered as their names come, and these are numbers from 0.
    let tested: BTreeSet<String> = table.lines().map(|l| l.split(',').nth(4).unwrap().to_owned()).collect();
    let wrong = points(|domain, id| domain == "far" && !tested.contains(id));
    assert_ne!(wrong, points(|_, _| false));
    let two = bench(ADAPTATION, &wrong);
    let second = two.run("run", &[]);
    assert_eq!(results(&first).0, results(&second).0);
}

#[test]
fn each_domain_is_left_out_in_turn() {
    let bench = bench(include_str!("c_held_out.toml"), &points(|_, _| false));
    let run = bench.run("run", &[]);
    let of = summary(&run);
    assert_eq!(of["steps"].as_array().unwrap().len(), 3, "{of}");
    let table = std::fs::read_to_string(run.join("predictions.csv")).unwrap();
    assert!(table.lines().count() > 150);
    let classes = [
        "--set",
        "steps.balanced.streams.all.labels=false",
        "--set",
        "steps.balanced.streams.all.sampler=class_balanced",
    ];
    let told = bench.command("no", &classes).output().unwrap();
    assert!(!told.status.success(), "{told:?}");
    let e = bench.command("no", &["--set", "steps.general.sweep.held_out=[\"nowhere\"]"]).output().unwrap();
    let told = String::from_utf8_lossy(&e.stderr).into_owned();
    assert!(!e.status.success() && told.contains("has no domain `nowhere`") && told.contains("held_out"), "{told}");
}
