//! `predict` from what models are trained from, and which cell of a run answers.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::{Bench, SMALL, copy_of_program, succeeded, summary, transplant};

const TABLE: &str = r#"schema = 1
name = "table"

[datasets.d]
type = "table"
path = "t.csv"
numbers = ["height", "weight"]
categories = ["colour"]
fill = "mean"
label = "kind"
test = 0.25

[steps.net]
type = "train"
dataset = "d"
backbone = "mlp"
strategy = "structure"
trainer = { epochs = 30, batch_size = 16, optimiser = { type = "adamw", lr = 0.01 } }
"#;

const TEXTS: &str = r#"schema = 1
name = "texts"

[datasets.d]
type = "text_table"
path = "t.csv"
text = ["title", "text"]
label = "kind"
test = 0.25

[steps.words]
type = "train"
dataset = "d"
backbone = "raw_text"
strategy = { type = "feature", head = "tfidf_logistic_regression" }
"#;

/// Rows of a table by the names of its columns: of animals, and of what people wrote about them.
fn rows() -> Vec<BTreeMap<&'static str, String>> {
    let row = |i: usize| {
        let (dog, word) = (i % 2 == 1, ["bed", "street", "garden", "lamp", "meal"][i % 5]);
        let weight = if i % 9 == 4 { String::new() } else { (i * 7 % 11 + 5 * usize::from(dog)).to_string() };
        let sound = if dog { "barks loudly in the" } else { "purrs on a" };
        BTreeMap::from([
            ("height", format!("{}.5", 20 + i * 3 % 7 + 9 * usize::from(dog))),
            ("weight", weight),
            ("colour", if i % 7 == 3 { "" } else { ["red", "blue", "green"][i % 3] }.to_owned()),
            ("title", if i.is_multiple_of(4) { "" } else { "an animal" }.to_owned()),
            ("text", format!("it {sound} {}{word}", "quiet ".repeat(i % 6))),
            ("kind", if dog { "dog" } else { "cat" }.to_owned()),
            ("id", format!("k{i}")),
        ])
    };
    (0..60).map(row).collect()
}

/// These columns of all rows, as CSV or with tabs.
fn separated(columns: &[&str], by: &str) -> String {
    let lines = rows().into_iter().map(|row| columns.iter().map(|c| row[c].clone()).collect::<Vec<_>>().join(by));
    std::iter::once(columns.join(by)).chain(lines).map(|line| line + "\n").collect()
}

/// These columns of all rows, an object a line; empty ones are null.
fn jsonl(columns: &[&str]) -> String {
    let value = |text: &String| if text.is_empty() { Value::Null } else { Value::from(text.as_str()) };
    let line = |row: BTreeMap<&str, String>| {
        let object: serde_json::Map<_, _> = columns.iter().map(|c| ((*c).to_owned(), value(&row[c]))).collect();
        Value::Object(object).to_string() + "\n"
    };
    rows().into_iter().map(line).collect()
}

/// A run of a pipeline on a table of all rows.
struct Trained {
    bench: Bench,
    run: PathBuf,
}

impl Trained {
    fn new(text: &str, columns: &[&str]) -> Self {
        let bench = Bench::new(text);
        std::fs::write(bench.out("t.csv"), separated(columns, ",")).unwrap();
        let run = bench.run("run", &[]);
        Self { bench, run }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.bench.out(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn predict(&self, inputs: &[&Path], more: &[&str]) -> Output {
        transplant().arg("predict").arg(&self.run).args(inputs).args(more).output().unwrap()
    }

    /// The answers for a new file of this content.
    fn answers(&self, name: &str, content: impl AsRef<[u8]>) -> Vec<BTreeMap<String, String>> {
        records(&succeeded(&self.predict(&[&self.write(name, content)], &[])))
    }

    /// What is said of a new file that is refused, without any answer.
    fn refused(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        said(&self.predict(&[&self.write(name, content)], &[]), 2)
    }

    /// The scores of the test rows, by row, as the run wrote them.
    fn tested(&self) -> BTreeMap<usize, Vec<String>> {
        let table = records(&std::fs::read_to_string(self.run.join("predictions.csv")).unwrap());
        let test = table.into_iter().filter(|r| r["split"] == "test");
        test.map(|r| (r["row"].parse().unwrap(), scores(&r))).collect()
    }
}

/// Lines of CSV without quotes by the names of their columns.
fn records(csv: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = csv.lines().map(|l| l.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    lines.map(|line| header.iter().cloned().zip(line).collect()).collect()
}

fn scores(record: &BTreeMap<String, String>) -> Vec<String> {
    ["score_cat", "score_dog"].map(|c| record[c].clone()).to_vec()
}

fn said(o: &Output, code: i32) -> String {
    let told = String::from_utf8_lossy(&o.stderr).into_owned();
    assert_eq!(o.status.code(), Some(code), "{told}\n{}", String::from_utf8_lossy(&o.stdout));
    if code == 2 {
        assert!(o.stdout.is_empty(), "{}", String::from_utf8_lossy(&o.stdout));
    }
    told
}

/// Asserts that the test rows have the scores that they had in the run, to the last digit.
fn same_as_tested(trained: &Trained, answers: &[BTreeMap<String, String>], name: &str) {
    let tested = trained.tested();
    assert_eq!((answers.len(), tested.len() > 10), (60, true), "{name}");
    for (row, expected) in &tested {
        assert_eq!(scores(&answers[*row]), *expected, "{name}, row {row}: {:?}", answers[*row]);
    }
}

#[test]
fn a_table_model_predicts_from_tables() {
    let trained = Trained::new(TABLE, &["height", "weight", "colour", "kind"]);
    let answers = trained.answers("same.csv", separated(&["height", "weight", "colour", "kind"], ","));
    same_as_tested(&trained, &answers, "as in the training");
    assert!(answers[4]["input"].ends_with("same.csv:6") && !answers[4].contains_key("id"), "{:?}", answers[4]);

    let other = ["text", "id", "colour", "weight", "height"];
    let csv = separated(&other, ",");
    let answers = trained.answers("other.csv", format!("\u{feff}{}", csv.replace('\n', "\r\n")));
    same_as_tested(&trained, &answers, "another order, no label, more columns, BOM and CRLF");
    assert_eq!((answers[7]["id"].as_str(), answers[59]["id"].as_str()), ("k7", "k59"));
    same_as_tested(&trained, &trained.answers("other.tsv", separated(&other, "\t")), "tabs");
    same_as_tested(&trained, &trained.answers("other.jsonl", jsonl(&other)), "jsonl");

    let through = |content: &str| {
        let mut child = transplant();
        child.arg("predict").arg(&trained.run).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
        records(&succeeded(&child.wait_with_output().unwrap()))
    };
    same_as_tested(&trained, &through(&csv), "CSV through a pipe");
    same_as_tested(&trained, &through(&jsonl(&other)), "JSONL through a pipe");

    // A model of an older version does not say how its tables are read.
    let model = walk(&trained.run).into_iter().find(|p| p.ends_with("model/model.json")).unwrap();
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&model).unwrap()).unwrap();
    assert!(manifest.as_object_mut().unwrap().remove("columns").is_some());
    std::fs::write(&model, manifest.to_string()).unwrap();
    let told = said(&trained.predict(&[&trained.bench.out("same.csv")], &[]), 2);
    assert!(told.contains("does not say from which columns") && told.contains("run the pipeline again"), "{told}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let inside = |path: PathBuf| if path.is_dir() { walk(&path) } else { vec![path] };
    std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).flat_map(inside).collect()
}

#[test]
fn what_is_wrong_with_a_table_is_named() {
    let trained = Trained::new(TABLE, &["height", "weight", "colour", "kind"]);
    let cases: &[(&str, &str, &[&str])] = &[
        ("empty.csv", "", &["empty.csv: is empty"]),
        ("header.csv", "height,weight,colour\n", &["header.csv: has no rows"]),
        ("one.csv", "height\n1\n", &["has no column `weight`", "`height`"]),
        ("near.csv", "height,wieght,colour\n1,2,red\n", &["has no column `weight` (did you mean `wieght`?)"]),
        ("near.jsonl", "{\"height\":1,\"wieght\":2,\"colour\":\"red\"}\n", &["`weight` (did you mean `wieght`?)"]),
        ("twice.csv", "height,weight,colour,weight\n1,2,red,3\n", &["has two columns with the name `weight`"]),
        ("semicolon.csv", "height;weight;colour\n1;2;red\n", &["seem to be separated by `;`"]),
        ("comma.csv", "height,weight,colour\n\"1,5\",2,red\n\"2,5\",2,red\n", &["line 2", "`1,5`", "decimal point"]),
        ("level.csv", "height,weight,colour\n1,2,redd\n", &["line 2", "`redd` is no level", "did you mean `red`?"]),
        ("bare.csv", "31.5,2,red\n32.5,2,red\n", &["has no column `height`"]),
        ("fields.csv", "height,weight,colour\n1,2,red\n1,2\n", &["line 3: 2 fields"]),
        ("open.csv", "height,weight,colour\n1,2,\"red\n", &["line 2: a quoted field that is not closed"]),
        ("note.txt", "a tall one\n", &["`note.txt` is no table"]),
        ("photo.png", "\u{1}", &["photo.png is a picture, and the model takes rows of tables"]),
    ];
    for (name, content, says) in cases {
        let told = trained.refused(name, content);
        says.iter().for_each(|s| assert!(told.contains(s), "{name}: `{s}` is not in {told}"));
    }
    let folder = trained.bench.out("tables");
    std::fs::create_dir(&folder).unwrap();
    assert!(said(&trained.predict(&[&folder], &[]), 2).contains("tables is a folder"));
    assert!(said(&trained.predict(&[&folder.join("none.csv")], &[]), 2).contains("cannot read"));

    // One bad row has an answer that says nothing, and all others theirs.
    let mixed =
        trained.write("mixed.csv", "id,height,weight,colour\na,30.5,4,red\nb,x,4,red\nc,21.5,,\nd,21.5,4,mauve\n");
    let o = trained.predict(&[&mixed], &[]);
    let told = said(&o, 1);
    assert!(told.contains("line 3: column `height`: `x` is no number"), "{told}");
    assert!(told.contains("line 5: column `colour`: `mauve` is no level") && told.contains("2 of 4 inputs"), "{told}");
    let answers = records(&String::from_utf8_lossy(&o.stdout));
    let of = |column: &str| answers.iter().map(|a| a[column].clone()).collect::<Vec<_>>();
    assert_eq!(of("id"), ["a", "b", "c", "d"]);
    assert_eq!(of("class").iter().map(|c| !c.is_empty()).collect::<Vec<_>>(), [true, false, true, false]);
    let lines = trained.predict(&[&mixed], &["--format", "jsonl"]);
    let lines = String::from_utf8_lossy(&lines.stdout).into_owned();
    let lines: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(lines[1]["error"].as_str().unwrap().contains("`x`") && lines[1].get("class").is_none(), "{:?}", lines[1]);
    assert_eq!((lines.len(), lines[2]["id"].as_str()), (4, Some("c")));
}

#[test]
fn a_text_model_predicts_from_texts_and_tables() {
    let trained = Trained::new(TEXTS, &["title", "text", "kind"]);
    let csv = trained.answers("same.csv", separated(&["kind", "text", "title"], ","));
    same_as_tested(&trained, &csv, "csv");
    same_as_tested(&trained, &trained.answers("other.jsonl", jsonl(&["id", "text", "title"])), "jsonl");

    // Lines of several lengths; the order and the company change nothing.
    let lines: String = rows().iter().map(|r| format!("{}\n", r["text"])).collect();
    let answers = trained.answers("lines.txt", &lines);
    assert_eq!(answers.len(), 60);
    let alone = trained.answers("alone.txt", lines.lines().nth(5).unwrap());
    assert_eq!((scores(&alone[0]), alone[0]["input"].ends_with("alone.txt:1")), (scores(&answers[5]), true));
    let without_title = trained.answers("untitled.csv", "title,text\n,it purrs on a street\n");
    let line = trained.answers("untitled.txt", "\u{feff}\r\nit purrs on a street\r\n");
    assert_eq!(scores(&without_title[0]), scores(&line[0]));
    assert!(line[0]["input"].ends_with("untitled.txt:2"));
    let quoted = trained.answers("quoted.csv", "title,text\n\"an\nanimal\",\"it \"\"barks\"\", loudly\"\nx,purrs\n");
    assert_eq!((quoted.len(), quoted[1]["input"].ends_with("quoted.csv:4")), (2, true));
    let huge = trained.answers("huge.txt", "it barks loudly ".repeat(50_000) + "\nit purrs\n");
    assert_eq!((huge[0]["class"].as_str(), huge[1]["class"].as_str()), ("dog", "cat"));

    let told = trained.refused("lines.csv", "it purrs\nit barks\n");
    assert!(told.contains("lines.csv: is a table; it has no column `title`") && told.contains(".txt"), "{told}");
    let told = trained.refused("other.csv", "title,txt\na,b\n");
    assert!(told.contains("is a table; it has no column `text` (did you mean `txt`?)"), "{told}");
    assert!(trained.refused("photo.jpg", "x").contains("photo.jpg is a picture, and the model takes texts"));
    assert!(trained.refused("none.txt", "\n \n").contains("none.txt holds no text"));
    assert!(trained.refused("latin.txt", b"ok\ncaf\xe9\n").contains("latin.txt:2: is not UTF-8"));
    let empty = trained.predict(&[&trained.write("gap.csv", "id,title,text\n1,,it purrs\n2,,\n")], &[]);
    let told = said(&empty, 1);
    assert!(told.contains("line 3: has no text"), "{told}");
    assert_eq!(records(&String::from_utf8_lossy(&empty.stdout)).len(), 2);
}

#[test]
fn the_cell_that_answers_is_named() {
    let swept = format!("{TABLE}\n[steps.net.sweep]\ntrainer.optimiser.lr = [0.000001, 0.01]\n");
    let trained = Trained::new(&swept, &["height", "weight", "colour", "kind"]);
    let new = trained.write("new.csv", "height,weight,colour\n30.5,4,red\n");
    let told = said(&trained.predict(&[&new], &[]), 2);
    let cells: Vec<String> = summary(&trained.run)["steps"].as_array().unwrap().iter().map(cell).collect();
    assert!(told.contains("has 2 finished models, and they have no validation score"), "{told}");
    assert!(
        told.contains("--cell") && cells.iter().all(|c| told.contains(&format!("\n  {c}  test accuracy"))),
        "{told}"
    );
    let named = trained.predict(&[&new], &["--cell", &cells[1]]);
    assert!(said(&named, 0).contains(&format!("model: {}\n", cells[1])));
    assert!(String::from_utf8_lossy(&named.stdout).starts_with("input,task,class,score,score_cat"));
    let export = |more: &[&str]| {
        transplant()
            .arg("export")
            .arg(&trained.run)
            .arg(trained.bench.out("w.safetensors"))
            .args(more)
            .output()
            .unwrap()
    };
    assert!(said(&export(&[]), 2).contains("has 2 finished models"));
    let evaluate = transplant().arg("evaluate").arg(&trained.run).args(["--cell", &cells[0]]).output().unwrap();
    assert!(succeeded(&evaluate).contains(&format!("{}: agrees", cells[0])));

    // With the same validation rows, the best on them answers.
    let chosen = trained.bench.run("chosen", &["--set", "datasets.d.validation=0.2"]);
    let steps = summary(&chosen)["steps"].as_array().unwrap().clone();
    let score = |s: &Value| s["metrics"]["validation"]["accuracy"].as_f64().unwrap();
    assert_ne!(score(&steps[0]), score(&steps[1]), "{steps:?}");
    let best = steps.iter().max_by(|a, b| score(a).total_cmp(&score(b))).map(cell).unwrap();
    let told = said(&transplant().arg("predict").arg(&chosen).arg(&new).output().unwrap(), 0);
    assert!(told.contains(&format!("model: {best} (the best of 2 by validation accuracy, ")), "{told}");

    // Seeds draw other validation rows: their scores are not compared.
    let seeds = ["--set", "datasets.d.validation=0.2", "--set", "steps.net.sweep={seed=[0,1]}"];
    let seeds = trained.bench.run("seeds", &seeds);
    assert_eq!(summary(&seeds)["steps"].as_array().unwrap().len(), 2, "`--set` replaces the table of the sweep");
    let told = said(&transplant().arg("predict").arg(&seeds).arg(&new).output().unwrap(), 2);
    assert!(told.contains("their validation scores are of different rows"), "{told}");
}

fn cell(step: &Value) -> String {
    step["cell"].as_str().unwrap().to_owned()
}

#[test]
fn set_replaces_a_table_of_the_file() {
    let text =
        SMALL.replace("strategy = \"parameter\"", "strategy = { type = \"parameter\", freeze_until = \"block1\" }");
    let bench = Bench::new(&text);
    let check = |set: &[&str], env: &[(&str, &str)]| {
        let mut c = transplant();
        c.current_dir(bench.dir.path()).args(["check", "pipeline.toml"]).args(set).envs(env.iter().copied());
        c.output().unwrap()
    };
    let lora = "{type=\"lora\",rank=4}";
    let set = format!("steps.transfer.strategy={lora}");
    succeeded(&check(&["--set", &set], &[]));
    succeeded(&check(&[], &[("TRANSPLANT_STEPS__TRANSFER__STRATEGY", lora)]));
    let one = check(&["--set", "steps.transfer.strategy.freeze_until=blok1"], &[]);
    assert!(said(&one, 2).contains("`block1`"));
}

#[test]
fn a_runner_of_ones_own_says_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("own_runner");
    copy_of_program(&program);
    let say = |args: &[&str]| succeeded(&Command::new(&program).args(args).output().unwrap());
    let help = say(&["--help"]);
    assert!(help.contains("Usage: own_runner <VERB>") && help.contains("  own_runner check my.toml"), "{help}");
    assert!(!help.contains("transplant "), "{help}");
    assert!(say(&["predict", "--help"]).contains("Usage: own_runner predict"));
    assert!(say(&["--version"]).starts_with("own_runner (transplant "));
}

#[test]
fn log_lines_in_a_pipe_have_no_colours() {
    let weights = "[weights.photographs]\nasset = \"efficientnet_lite0\"\n";
    let bench = Bench::new(
        &SMALL
            .replace("[steps.pretrain]", &format!("{weights}[steps.pretrain]"))
            .replace("from = \"pretrain\"", "from = \"photographs\""),
    );
    let mut check = transplant();
    check.current_dir(bench.dir.path()).args(["check", "pipeline.toml"]).env("TRANSPLANT_LOG", "trace");
    // Where nobody can be asked for the weights, the log says who was.
    let nobody = bench.out("nobody");
    check.env("TRANSPLANT_ASSETS", bench.out("assets")).env("TRANSPLANT_PIP", &nobody).env("HF_HUB_OFFLINE", "1");
    let told = said(&check.output().unwrap(), 2);
    assert!(told.contains("INFO") && told.contains("fetching"), "{told}");
    assert!(!told.contains('\u{1b}'), "{told}");
}
