//! Learning and choosing without labels: SHOT, pseudo-labels, and validators in place of a validation part.

use super::{bench, points};
use crate::program::{results, succeeded, summary};

const SOURCE_FREE: &str = include_str!("a_source_free.toml");

fn step<'s>(summary: &'s serde_json::Value, name: &str) -> &'s serde_json::Value {
    summary["steps"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap()
}

fn accuracy(summary: &serde_json::Value, name: &str, test: &str) -> f64 {
    step(summary, name)["metrics"][test]["accuracy"].as_f64().unwrap()
}

#[test]
fn a_source_adapts_without_its_data() {
    let bench = bench(SOURCE_FREE, &points(|_, _| false));
    let run = bench.run("run", &[]);
    let of = summary(&run);
    let [plain, shot, oracle] = ["source_only", "shot", "oracle"].map(|s| accuracy(&of, s, "target"));
    assert!(plain < 0.75 && shot > plain + 0.1 && oracle > 0.95, "{plain} {shot} {oracle}");
    // The validator that chose is told, and those that did not.
    let validators = &step(&of, "shot")["validators"];
    assert_eq!(step(&of, "shot")["selected_by"], "information_maximisation");
    for name in ["information_maximisation", "entropy", "snd on target"] {
        assert!(validators[name].is_f64(), "{name}: {of}");
    }
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    assert!(report.contains("best_checkpoint by the validator `information_maximisation`"), "{report}");
    assert!(report.contains("| information_maximisation (chose) |"), "{report}");
    // What it remembered is no part of the model.
    let model = run.join("cells").join(step(&of, "shot")["cell"].as_str().unwrap()).join("model/model.json");
    assert!(!std::fs::read_to_string(model).unwrap().contains("modules.shot"));
}

#[test]
fn validators_see_no_label() {
    let one = bench(SOURCE_FREE, &points(|_, _| false));
    let first = one.run("run", &[]);
    // Wrong labels for every point of the target domain that is not tested.
    let table = std::fs::read_to_string(first.join("predictions.csv")).unwrap();
    let tested: std::collections::BTreeSet<String> =
        table.lines().map(|l| l.split(',').nth(4).unwrap().to_owned()).collect();
    let two = bench(SOURCE_FREE, &points(|domain, id| domain == "far" && !tested.contains(id)));
    let second = two.run("run", &[]);
    let of = |run: &std::path::Path| {
        let (models, summary) = results(run);
        let shot = models.into_iter().filter(|(path, _)| path.to_string_lossy().contains("shot")).collect::<Vec<_>>();
        (shot, step(&summary, "shot")["validators"].clone())
    };
    assert_eq!(of(&first), of(&second));
}

#[test]
fn few_labels_and_pseudo_labels() {
    let bench = bench(include_str!("a_pseudo_labels.toml"), &points(|_, _| false));
    let of = summary(&bench.run("run", &[]));
    let [few, more] = ["few", "more"].map(|s| accuracy(&of, s, "far"));
    assert!(more > 0.9 && more >= few, "{few} {more}");
    // Told, and nothing chosen by it.
    assert!(step(&of, "more")["validators"]["entropy"].is_f64() && step(&of, "more")["selected_by"].is_null(), "{of}");
}

#[test]
fn validators_that_cannot_be_are_refused() {
    let bench = bench(SOURCE_FREE, &points(|_, _| false));
    let refused = |set: &str| {
        let o = bench.command_of("check", &["--set", set]).output().unwrap();
        assert!(!o.status.success(), "{set}: {}", succeeded(&o));
        String::from_utf8_lossy(&o.stderr).into_owned()
    };
    for (set, says) in [
        ("steps.shot.select={ type = \"entropy\", on = \"source\" }", "no stream without labels has this name"),
        ("steps.oracle.validators=[\"entropy\"]", "looks at a stream without labels, and the step has none"),
        ("steps.shot.trainer.policies=[]", "the step has none that chooses by one"),
        ("steps.shot.validators=[\"entropy\", \"entropy\"]", "`entropy` is there with other options, or twice"),
        ("steps.shot.validators=[\"accuracy\"]", "there is no validator `accuracy`"),
        ("steps.shot.streams.target.labels=true", "needs the stream `target` without labels"),
    ] {
        let e = refused(set);
        assert!(e.contains(says), "{set}: {e}");
    }
}
