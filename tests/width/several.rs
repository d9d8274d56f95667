//! Streams and tests of several data sets in one step: what is prepared alike, what is refused, what is told.

use std::process::Command;

use serde_json::Value;

use super::points;
use crate::program::{Bench, succeeded, summary};

/// Two tables of one kind, `near.csv` and `far.csv`, with what each section and the step say beside.
fn bench(near: &str, far: &str, step: &str) -> Bench {
    let section = |name: &str, more: &str| {
        let common = "label = \"class\"\nid = \"id\"\ntest = 0.3\ndivide = \"hashed\"\n";
        format!("[datasets.{name}]\ntype = \"table\"\npath = \"{name}.csv\"\n{common}{more}\n")
    };
    let text = format!(
        "schema = 1\nname = \"several\"\n{}{}[steps.one]\ntype = \"train\"\nbackbone = \"mlp\"\n\
         strategy = \"structure\"\ntrainer = {{ epochs = 3, batch_size = 32 }}\n{step}\n",
        section("near", near),
        section("far", far)
    );
    let bench = Bench::new(&text);
    let all = points(|_, _| false);
    for domain in ["near", "far"] {
        let lines = all.lines().filter(|l| l.starts_with("id,") || l.split(',').nth(1) == Some(domain));
        let table: String = lines.map(|l| format!("{l}\n")).collect();
        std::fs::write(bench.file().with_file_name(format!("{domain}.csv")), table).unwrap();
    }
    bench
}

const NUMBERS: &str = "numbers = [\"first\", \"second\"]\ntransforms = [\"standardise\"]";

fn refused(bench: &Bench, says: &[&str]) {
    for verb in ["check", "run"] {
        let out = bench.command_of(verb, &[]).output().unwrap();
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && says.iter().all(|s| told.contains(s)), "{verb}: {told}");
    }
}

/// `predict` says of a table's rows what the run's test says of them.
#[test]
fn all_data_sets_are_prepared_as_the_main_one() {
    for step in [
        "streams.far = \"far\"\ntests.far = \"far\"\ntests.near = \"near\"",
        "streams.far = \"far\"\nstreams.near = \"near\"\ntests.near = \"near\"",
    ] {
        let bench = bench(NUMBERS, NUMBERS, step);
        let run = bench.run("run", &[]);
        let mut predict = Command::new(bench.command_of("predict", &[]).get_program());
        predict.current_dir(bench.file().parent().unwrap()).args(["predict", "run", "near.csv", "-o", "near.jsonl"]);
        succeeded(&predict.output().unwrap());
        let said = std::fs::read_to_string(bench.file().with_file_name("near.jsonl")).unwrap();
        let said: Vec<Value> = said.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let table = std::fs::read_to_string(run.join("predictions.csv")).unwrap();
        let tested = table.lines().filter(|l| l.split(',').nth(3) == Some("near")).count();
        let of = summary(&run);
        let accuracy = of["steps"][0]["metrics"]["near"]["accuracy"].as_f64().unwrap();
        let mut right = 0;
        for line in table.lines().filter(|l| l.split(',').nth(3) == Some("near")) {
            let cells: Vec<&str> = line.split(',').collect();
            let answer = said.iter().find(|a| a["id"].as_str() == Some(cells[2])).unwrap();
            right += usize::from(answer["class"].as_str() == Some(cells[6]));
        }
        assert!((right as f64 / tested as f64 - accuracy).abs() < 1e-9, "{right} of {tested}, {accuracy}: {}", said[0]);
    }
}

#[test]
fn inputs_that_mean_something_else_are_refused() {
    let both = "streams.far = \"far\"\nstreams.near = \"near\"\ntests.far = \"far\"";
    let turned = "numbers = [\"second\", \"first\"]\ntransforms = [\"standardise\"]";
    refused(&bench(turned, NUMBERS, both), &["streams.near", "in another order", "`far`"]);
    let plain = "numbers = [\"first\", \"second\"]";
    refused(&bench(plain, NUMBERS, both), &["streams.near", "give both the same `transforms`"]);
    let tested = "streams.far = \"far\"\ntests.near = \"near\"";
    refused(&bench(turned, NUMBERS, tested), &["tests.near", "in another order"]);
}

#[test]
fn tests_have_names_of_their_own() {
    let named = "streams.far = \"far\"\ntests.validation = \"far\"";
    refused(&bench(NUMBERS, NUMBERS, named), &["tests.validation", "is the name of other rows"]);
}

#[test]
fn streams_that_nobody_reads_are_refused() {
    let idle = "streams.far = \"far\"\nstreams.near = { dataset = \"near\", labels = false }\ntests.far = \"far\"";
    refused(&bench(NUMBERS, NUMBERS, idle), &["streams.near", "the strategy does not read it"]);
}

#[test]
fn test_rows_among_rows_without_labels_are_told() {
    // The second section is the same file, without a division.
    let text = "schema = 1\nname = \"shown\"\n[datasets.near]\ntype = \"table\"\npath = \"points.csv\"\n\
         numbers = [\"first\", \"second\"]\nlabel = \"class\"\ngroup = \"id\"\ntest = 0.3\n\
         [datasets.all]\ntype = \"table\"\npath = \"points.csv\"\nnumbers = [\"first\", \"second\"]\nlabel = \"class\"\n\
         [steps.one]\ntype = \"train\"\nbackbone = \"mlp\"\nstrategy = [\"structure\", \"deep_coral\"]\n\
         streams.source = \"near\"\nstreams.target = { dataset = \"all\", labels = false }\ntests.near = \"near\"\n\
         trainer = { epochs = 1, batch_size = 32 }\n";
    let bench = super::bench(text, &points(|_, _| false));
    let run = bench.run("run", &[]);
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    let line = report.lines().find(|l| l.contains("transduction")).unwrap();
    assert!(line.contains("rows without labels, ") && line.contains(" test rows among them"), "{line}");
    assert!(report.contains("near: accuracy "), "the table of cells: {report}");
}

#[test]
fn a_held_out_domain_that_was_learned_from_is_told() {
    let text = "schema = 1\nname = \"held\"\n[datasets.points]\ntype = \"table\"\npath = \"points.csv\"\n\
         numbers = [\"first\", \"second\"]\nlabel = \"class\"\ngroup = \"id\"\ndomain = \"domain\"\n\
         parts = { learn = 0.7, test = 0.3 }\n\
         [steps.pre]\ntype = \"train\"\nbackbone = \"mlp\"\nstrategy = \"structure\"\ndataset = \"points\"\n\
         trainer = { epochs = 1 }\n\
         [steps.one]\ntype = \"train\"\nfrom = \"pre\"\nstrategy = \"parameter\"\ndataset = \"points\"\ntrainer = { epochs = 1 }\n\
         sweep.held_out = [\"near\", \"far\"]\n";
    let bench = super::bench(text, &points(|_, _| false));
    let told = succeeded(&bench.command_of("check", &[]).output().unwrap());
    assert!(told.contains("its network has learned from rows of it in step `pre`"), "{told}");
    assert!(told.contains("held out: near"), "{told}");
    let run = bench.run("run", &[]);
    let of = summary(&run);
    // Each held-out domain has baselines of its own.
    let baselines: Vec<&String> = of["baselines"]["one"].as_object().unwrap().keys().collect();
    assert!(
        baselines.iter().any(|b| b.contains("held_out = near"))
            && baselines.iter().any(|b| b.contains("held_out = far")),
        "{baselines:?}"
    );
}
