//! Chains of steps: none is judged by what the network has learned from, or the report says so.

use super::{Bench, succeeded, summary, transplant};

/// One table read in two ways, and another one; each step divides as its test says.
const FILE: &str = r#"schema = 1
name = "chain"

[datasets.one]
type = "table"
path = "rows.csv"
numbers = ["a", "b"]
label = "y"
DIVIDE

[datasets.two]
type = "table"
path = "./rows.csv"
numbers = ["c", "d"]
label = "y"
folds = 4

[datasets.other]
type = "table"
path = "other.csv"
numbers = ["a", "b"]
label = "y"

[backbones.net]
type = "mlp"
widths = [4]

[steps.first]
type = "train"
dataset = "one"
backbone = "net"
strategy = "structure"
trainer = { epochs = 1, batch_size = 32 }

[steps.second]
type = "train"
dataset = "two"
from = "first"
strategy = "parameter"
trainer = { epochs = 1, batch_size = 32 }
"#;

/// Rows of which no two are alike.
fn rows(n: u32) -> String {
    let number = |i: u32, by: u32| f64::from((i * by) % 997) / 997.0;
    let row = |i| {
        format!(
            "{},{},{},{},{}\n",
            number(i, 31),
            number(i, 77),
            number(i, 5),
            number(i, 411),
            ["u", "v"][i as usize % 2]
        )
    };
    format!("a,b,c,d,y\n{}", (1..=n).map(row).collect::<String>())
}

fn bench(text: &str) -> Bench {
    let bench = Bench::new(text);
    std::fs::write(bench.out("rows.csv"), rows(120)).unwrap();
    std::fs::write(bench.out("other.csv"), rows(240).replace("0.", "1.")).unwrap();
    bench
}

/// What a run prints beside its tables, and its report.
fn run(bench: &Bench, out: &str, more: &[&str]) -> (String, String) {
    let said = bench.command(out, more).output().unwrap();
    succeeded(&said);
    let report = std::fs::read_to_string(bench.out(out).join("report.md")).unwrap();
    (String::from_utf8_lossy(&said.stderr).into_owned(), report)
}

fn verb(bench: &Bench, verb: &str) -> String {
    let said = transplant().current_dir(bench.dir.path()).args([verb, "pipeline.toml"]).output().unwrap();
    succeeded(&said)
}

#[test]
fn records_are_known_by_other_columns() {
    // The same records, divided otherwise.
    let bench = bench(&FILE.replace("DIVIDE", "test = 0.5"));
    let (stderr, report) = run(&bench, "out", &[]);
    let leaked = summary(&bench.out("out"))["comparison"][0]["leaked"].as_u64().unwrap();
    assert!((5..=25).contains(&leaked), "{leaked} of 30 rows, of which half were learned");
    let words =
        format!("{leaked} of the 30 test rows of `two` in fold 0 are training or validation rows of step `first`");
    let remedy = "`two` and `one` divide the same records in different ways";
    for said in [stderr, report, verb(&bench, "check"), verb(&bench, "data")] {
        assert!(said.contains(&words) && said.contains(remedy), "{words}\n{said}");
    }
}

#[test]
fn one_division_holds_for_both_sections() {
    let bench = bench(&FILE.replace("DIVIDE", "folds = 4"));
    let (stderr, report) = run(&bench, "out", &["--set", "steps.second.fold=2"]);
    assert!(report.contains("| leaks | none") && !stderr.contains("training or validation rows"), "{report}\n{stderr}");
    assert!(!verb(&bench, "data").contains("LEAK"));
}

#[test]
fn folds_hold_across_other_data() {
    let third = "[steps.third]\ntype = \"train\"\ndataset = \"one\"\nfrom = \"second\"\nstrategy = \"parameter\"\nsweep.fold = [1, 3]\n\
                 trainer = { epochs = 1, batch_size = 32 }\n";
    let file = FILE.replace("DIVIDE", "folds = 4").replace("dataset = \"two\"", "dataset = \"other\"") + third;
    let bench = bench(&file);
    let (_, report) = run(&bench, "out", &[]);
    assert!(report.contains("| leaks | none") && report.contains("first-seed0-fold3"), "{report}");
    assert_eq!(summary(&bench.out("out"))["comparison"][0]["leaked"], 0);
    let refused = bench.command("never", &["--set", "steps.first.fold=0"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(2) && stderr.contains("step `first`, which this one builds on, has 0"),
        "{stderr}"
    );
}

#[test]
fn what_takes_nothing_leaks_nothing() {
    let bench = bench(&FILE.replace("DIVIDE", "test = 0.5").replace("\"parameter\"", "\"structure\""));
    let (stderr, report) = run(&bench, "out", &[]);
    assert!(
        report.contains("| leaks | none") && !stderr.contains("training or validation rows of step"),
        "{report}\n{stderr}"
    );
    assert!(!report.contains("; before it"), "{report}");
}

#[test]
fn labels_are_counted_over_the_chain() {
    let file = FILE
        .replace("DIVIDE", "folds = 4")
        .replace("numbers = [\"c\", \"d\"]", "labels_per_class = 2\nnumbers = [\"c\", \"d\"]");
    let bench = bench(&file);
    let (_, report) = run(&bench, "out", &[]);
    let words = "2 a class, 4 in all; before it 90 of `one`, the same records, in step `first`";
    assert!(report.contains(words), "{report}");
    assert!(verb(&bench, "check").contains("labels before it 90 of `one`, the same records"));
}

#[test]
fn few_categories_are_no_copies() {
    let levels = (0..200u32).map(|i| {
        format!("{},{},{}\n", ["good", "fine", "poor"][i as usize % 3], (i / 3) % 4, ["u", "v"][(i % 5 > 2) as usize])
    });
    let table = "type = \"table\"\npath = \"levels.csv\"\ncategories = [\"p\", \"q\"]\nlabel = \"y\"\ntest = 0.25\n";
    let text = "type = \"text_table\"\npath = \"levels.csv\"\ntext = [\"p\"]\ntransforms = [\"hash_words\"]\nlabel = \"y\"\ntest = 0.25\n";
    for (data, net) in [(table, "type = \"mlp\"\nwidths = [4]"), (text, "type = \"word_bag\"")] {
        let file = format!(
            "schema = 1\nname = \"few\"\n[datasets.d]\n{data}[backbones.net]\n{net}\n[steps.s]\ntype = \"train\"\ndataset = \"d\"\n\
             backbone = \"net\"\nstrategy = \"structure\"\ntrainer = {{ epochs = 1, batch_size = 32 }}\n"
        );
        let bench = Bench::new(&file);
        std::fs::write(bench.out("levels.csv"), format!("p,q,y\n{}", levels.clone().collect::<String>())).unwrap();
        let (stderr, report) = run(&bench, "out", &[]);
        assert!(report.contains("| leaks | none") && report.contains("not counted as learned"), "{report}");
        assert!(!stderr.contains("memory") && !report.contains("had learned"), "{stderr}");
    }
}

#[test]
fn copies_in_a_table_are_told() {
    let bench = bench(
        &FILE
            .replace("DIVIDE", "test = 0.5")
            .replace("from = \"first\"", "backbone = \"net\"")
            .replace("\"parameter\"", "\"structure\""),
    );
    let twice = rows(60);
    std::fs::write(bench.out("rows.csv"), format!("{twice}{}", &twice["a,b,c,d,y\n".len()..])).unwrap();
    let (stderr, report) = run(&bench, "out", &[]);
    assert!(stderr.contains("have the inputs of training or validation rows"), "{stderr}");
    assert!(report.contains("had learned") && report.contains("more than chance explains"), "{report}");
}

#[test]
fn weights_of_an_earlier_run_are_looked_through() {
    let bench = bench(&FILE.replace("DIVIDE", "test = 0.5"));
    bench.run("out", &[]);
    // The network alone, beside the model and elsewhere.
    let model = bench.out("out/cells/first-seed0/model");
    let all = candle_core::safetensors::load(model.join("model.safetensors"), &candle_core::Device::Cpu).unwrap();
    let strip = |(name, t): (String, _)| Some((name.strip_prefix("backbone.")?.to_owned(), t));
    let network = all.into_iter().filter_map(strip).collect();
    candle_core::safetensors::save(&network, model.join("network.safetensors")).unwrap();
    candle_core::safetensors::save(&network, bench.out("alone.safetensors")).unwrap();
    let step = FILE.find("[steps.first]").unwrap()..FILE.find("[steps.second]").unwrap();
    let from = |path: &str| {
        let file = FILE.replace(&FILE[step.clone()], &format!("[weights.w]\npath = \"{path}\"\n\n"));
        let file = file.replace("DIVIDE", "").replace("from = \"first\"", "from = \"w\"\nbackbone = \"net\"");
        std::fs::write(bench.file(), file).unwrap();
    };
    from("out/cells/first-seed0/model/network.safetensors");
    let (stderr, report) = run(&bench, "again", &[]);
    let words = "training or validation rows of step `first` of the run that left the weights `w`";
    assert!(stderr.contains(words) && report.contains(words) && report.contains("had learned"), "{stderr}\n{report}");
    // Alone the file does not say what it learned from.
    from("alone.safetensors");
    let (_, report) = run(&bench, "alone", &[]);
    assert!(report.contains("not looked for: the rows that the weights `w` learned from"), "{report}");
}

#[test]
fn other_test_parts_are_compared_apart() {
    let bench = bench(&FILE.replace("DIVIDE", "test = 0.5"));
    let third = "[datasets.third]\ntype = \"table\"\npath = \"rows.csv\"\nnumbers = [\"a\", \"b\"]\nlabel = \"y\"\ntest = 0.25\n";
    let file = FILE.replace("DIVIDE", "test = 0.5").replace("[backbones.net]", &format!("{third}\n[backbones.net]"));
    let first = file.split("[steps.second]").next().unwrap();
    std::fs::write(bench.file(), format!("{first}[steps.first.sweep]\ndataset = [\"one\", \"third\"]\n")).unwrap();
    let (_, report) = run(&bench, "out", &[]);
    assert!(report.contains("dataset = third") && report.contains("majority class, dataset = one"), "{report}");
}

#[test]
fn negative_transfer_is_told_against_a_control() {
    let file = FILE.replace("DIVIDE", "folds = 4") + "[steps.second.sweep]\nstrategy = [\"parameter\", \"feature\"]\n";
    let (_, report) = run(&bench(&file), "out", &[]);
    assert!(report.contains("nothing is flagged as negative transfer"), "{report}");
    let scratch = "[strategies.scratch]\ntype = \"structure\"\n\n[steps.first]";
    let file = file.replace("[steps.first]", scratch).replace("\"feature\"]", "\"scratch\"]");
    let (_, report) = run(&bench(&file), "out", &[]);
    assert!(report.contains("difference to scratch") && report.contains("takes nothing from the source"), "{report}");
}
