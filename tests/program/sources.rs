//! What a step starts from: inputs that mean something else than those its source learned from are told or refused, in
//! a chain of steps and from the folder of an earlier run alike.

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde_json::{Value, json};

use super::{Bench, succeeded, summary, transplant};

/// Two data sets and two steps, of which the second starts from the first.
const FILE: &str = r#"schema = 1
name = "sources"

[datasets.one]
ONE
test = 0.25

[datasets.two]
TWO
test = 0.25

[backbones.net]
NET

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

const TABLE: &str = "type = \"table\"\npath = \"rows.csv\"\nlabel = \"y\"\n";
const TEXTS: &str = "type = \"text_table\"\npath = \"texts.csv\"\nlabel = \"y\"\ntext = [\"text\"]\n";
const PICTURES: &str = "type = \"image_folder\"\nfolder = \"pictures\"\nheight = 8\nwidth = 8\n";

fn file(kind: &str, [one, two]: [&str; 2], net: &str) -> String {
    FILE.replace("ONE", &format!("{kind}{one}")).replace("TWO", &format!("{kind}{two}")).replace("NET", net)
}

fn tables(one: &str, two: &str) -> String {
    file(TABLE, [one, two], "type = \"mlp\"\nwidths = [4]")
}

/// A folder with a table, texts, a tokenizer and pictures.
fn bench(text: &str) -> Bench {
    let bench = Bench::new(text);
    let number = |i: usize, by: usize| (i * by % 97) as f64 / 97.0;
    let (mut rows, mut texts) = ("a,b,c,d,y\n".to_owned(), "text,y\n".to_owned());
    for i in 1..=80 {
        let (y, c, d) = (["u", "v"][i % 2], ["red", "blue"][i / 2 % 2], ["red", "green"][i / 2 % 2]);
        rows.push_str(&format!("{},{},{c},{d},{y}\n", number(i, 31), number(i, 57)));
        texts.push_str(&format!("the {} cat sat on mat {i},{y}\n", ["another", "learning"][i % 2]));
    }
    std::fs::write(bench.out("rows.csv"), rows).unwrap();
    std::fs::write(bench.out("texts.csv"), texts).unwrap();
    std::fs::write(bench.out("tokenizer.json"), tokenizer().to_string()).unwrap();
    for (f, class) in (0u32..).zip(["across", "upright"]) {
        let folder = bench.out("pictures").join(class);
        std::fs::create_dir_all(&folder).unwrap();
        for i in 0..12u32 {
            let pixel = |x: u32, y: u32| image::Rgb([(f * 40) as u8, (i * 9 + x * 3) as u8, (x * y * (i + 1)) as u8]);
            RgbImage::from_fn(8, 8, pixel).save(folder.join(format!("{i:02}.png"))).unwrap();
        }
    }
    bench
}

fn tokenizer() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/datasets/tests/tokens/tokenizer.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The model of the first step, after a run of that step alone.
fn first_model(bench: &Bench, text: &str) -> PathBuf {
    let alone = text.split("[steps.second]").next().unwrap();
    std::fs::write(bench.file(), alone).unwrap();
    let run = bench.run("earlier", &[]);
    std::fs::write(bench.file(), text).unwrap();
    run.join("cells/first-seed0/model")
}

/// The same file with the folder of the first step's model in place of the step.
fn from_folder(text: &str) -> String {
    let (before, rest) = text.split_once("[steps.first]").unwrap();
    let second = rest.split_once("[steps.second]").unwrap().1;
    let second = second.replace("from = \"first\"", "from = \"first\"\nbackbone = \"net\"");
    format!("{before}[weights.first]\npath = \"earlier/cells/first-seed0/model\"\n\n[steps.second]{second}")
}

/// Both ways to start from the first step: in one file, and from the folder of an earlier run.
fn both_ways(bench: &Bench, text: &str) -> [String; 2] {
    first_model(bench, text);
    [text.to_owned(), from_folder(text)]
}

/// What `check` says of this file.
fn checked(bench: &Bench, text: &str) -> String {
    std::fs::write(bench.file(), text).unwrap();
    succeeded(&transplant().current_dir(bench.dir.path()).args(["check", "pipeline.toml"]).output().unwrap())
}

/// Runs the file, and asks for the sentence wherever findings are shown.
fn told(bench: &Bench, text: &str, sentence: &str) {
    let check = checked(bench, text);
    let out = bench.out("out");
    let _ = std::fs::remove_dir_all(&out);
    let run = bench.command("out", &[]).output().unwrap();
    succeeded(&run);
    let run = String::from_utf8_lossy(&run.stderr).into_owned();
    let report = std::fs::read_to_string(out.join("report.md")).unwrap();
    let findings = summary(&out)["findings"].to_string().replace("\\\"", "\"");
    for (place, text) in [("check", check), ("run", run), ("report", report), ("summary", findings)] {
        assert!(text.contains(sentence), "{place} does not say `{sentence}`:\n{text}");
    }
}

fn refused(bench: &Bench, text: &str, says: &[&str]) {
    std::fs::write(bench.file(), text).unwrap();
    let check = transplant().current_dir(bench.dir.path()).args(["check", "pipeline.toml"]).output().unwrap();
    for out in [check, bench.command("never", &[]).output().unwrap()] {
        let message = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{message}");
        says.iter().for_each(|s| assert!(message.contains(s), "`{s}` is not in:\n{message}"));
    }
    assert!(!bench.out("never").exists());
}

#[test]
fn columns_in_another_order_are_refused() {
    let text = tables("numbers = [\"a\", \"b\"]", "numbers = [\"b\", \"a\"]");
    let bench = bench(&text);
    for text in both_ways(&bench, &text) {
        let columns = "`b` stands where it has `a`, `a` stands where it has `b`";
        refused(&bench, &text, &["steps.second.from", "in another order", columns]);
        // What takes nothing from there is not refused.
        let control = text.replace("\"parameter\"", "\"structure\"");
        assert!(!checked(&bench, &control).contains("warning"), "{}", checked(&bench, &control));
    }
}

#[test]
fn other_columns_and_levels_are_told() {
    for (one, two, sentence) in [
        ("numbers = [\"a\"]", "numbers = [\"b\"]", "`b` stands where it has `a`"),
        (
            "categories = [\"c\"]",
            "categories = [\"d\"]",
            "`d = green` stands where it has `c = blue`, `d = red` stands where it has `c = red`",
        ),
    ] {
        let text = tables(one, two);
        let bench = bench(&text);
        for text in both_ways(&bench, &text) {
            told(&bench, &text, sentence);
        }
    }
    // Of one column, other levels.
    let text = tables("categories = [\"c\"]", "categories = [\"c\"]").replacen("rows.csv", "one.csv", 1);
    let bench = bench(&text);
    let rows = std::fs::read_to_string(bench.out("rows.csv")).unwrap();
    std::fs::write(bench.out("one.csv"), rows.replace("red", "amber")).unwrap();
    for text in both_ways(&bench, &text) {
        told(&bench, &text, "`c = blue` stands where it has `c = amber`, `c = red` stands where it has `c = blue`");
    }
}

#[test]
fn other_scales_of_numbers_are_told() {
    let text = tables("numbers = [\"a\"]\ntransforms = [\"standardise\"]", "numbers = [\"a\"]");
    let bench = bench(&text);
    for text in both_ways(&bench, &text) {
        let sentence = "learned from numbers after `standardise`: give both the same `transforms`";
        told(&bench, &text, sentence);
        let same = text.replacen("[datasets.two]", "[datasets.two]\ntransforms = [\"standardise\"]", 1);
        assert!(!checked(&bench, &same).contains("standardise`"), "{}", checked(&bench, &same));
    }
}

#[test]
fn other_scales_of_pixels_are_told() {
    let normalised = "transforms = [{ type = \"normalise\", mean = [0.5], std = [0.2] }]";
    let text = file(PICTURES, [normalised, ""], "type = \"convnet\"\nwidths = [4]");
    let bench = bench(&text);
    let [chain, folder] = both_ways(&bench, &text);
    let sentence = "its pixels are as they are, 0 to 1, and step `first` learned from pixels less 0.5, divided by 0.2";
    told(&bench, &chain, sentence);
    // A folder of a run says how its pixels were normalised, and they are.
    let check = checked(&bench, &folder);
    assert!(!check.contains("does not say") && !check.contains("its pixels"), "{check}");
    let run = bench.run("again", &[]);
    let manifest = std::fs::read(run.join("cells/second-seed0/model/model.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["transforms"][0]["mean"], json!([0.5]));
    let other = "[datasets.two]\ntransforms = [{ type = \"normalise\", mean = [0.4], std = [0.3] }]";
    let sentence = "its pixels are less 0.4, divided by 0.3, and `first` learned from pixels less 0.5, divided by 0.2";
    told(&bench, &folder.replace("[datasets.two]", other), sentence);
}

#[test]
fn another_vocabulary_is_refused() {
    let tokens = |file: &str| format!("transforms = [{{ type = \"tokenise\", path = \"{file}\", max_tokens = 12 }}]");
    let text = |two: &str| file(TEXTS, [&tokens("tokenizer.json"), two], "type = \"word_bag\"");
    let bench = bench(&text(""));
    let (mut turned, mut cased) = (tokenizer(), tokenizer());
    let vocabulary = turned["model"]["vocab"].as_object_mut().unwrap();
    let last = vocabulary.len() as u64 - 1;
    for number in vocabulary.values_mut() {
        // The last two pieces change places.
        let turned = match number.as_u64().unwrap() {
            n if n == last => last - 1,
            n if n == last - 1 => last,
            n => n,
        };
        *number = turned.into();
    }
    cased["normalizer"] = Value::Null;
    std::fs::write(bench.out("turned.json"), turned.to_string()).unwrap();
    std::fs::write(bench.out("cased.json"), cased.to_string()).unwrap();
    std::fs::copy(bench.out("tokenizer.json"), bench.out("same.json")).unwrap();
    let [chain, folder] = both_ways(&bench, &text(&tokens("turned.json")));
    for (text, of) in [(chain, "step `first`"), (folder, "`first`")] {
        let says = format!("the embedding of {of} is of no use here");
        refused(&bench, &text, &["steps.second.from", "the numbers stand for other pieces", &says]);
        let same = checked(&bench, &text.replace("turned.json", "same.json"));
        assert!(!same.contains("its tokens"), "{same}");
        told(&bench, &text.replace("turned.json", "cased.json"), "the pieces are the same, and other rules make them");
        checked(&bench, &text.replace("\"parameter\"", "\"structure\""));
    }
    // A folder of a run tells how texts become tokens.
    let check = checked(&bench, &from_folder(&text("")));
    assert!(check.contains("up to 12 of") && !check.contains("its tokens"), "{check}");
}

#[test]
fn a_run_s_model_keeps_its_head() {
    let text = tables("numbers = [\"a\", \"b\"]", "numbers = [\"a\", \"b\"]");
    let bench = bench(&text);
    let model = first_model(&bench, &text);
    let kept = "strategy = { type = \"parameter\", head = \"keep\" }";
    std::fs::write(bench.file(), from_folder(&text).replace("strategy = \"parameter\"", kept)).unwrap();
    let ledger = std::fs::read_to_string(bench.run("kept", &[]).join("ledger.md")).unwrap();
    let head = ledger.lines().find(|l| l.contains("`heads.class.weight`")).unwrap();
    assert!(head.contains("loaded from `first`"), "{head}");
    // Weights that are not those which `model.json` describes.
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(model.join("model.json")).unwrap()).unwrap();
    manifest["sha256"] = "0".repeat(64).into();
    std::fs::write(model.join("model.json"), manifest.to_string()).unwrap();
    refused(&bench, &from_folder(&text), &["weights.first.path", "describes other weights"]);
}

#[test]
fn wrong_class_weights_stand_at_their_key() {
    let text = tables("numbers = [\"a\"]", "numbers = [\"a\"]")
        + "[tasks.class]\ntype = \"classification\"\nclass_weights = [1.0, 2.0, 3.0]\n";
    let says = ["tasks.class.class_weights: has 3 weights for 2 classes", "pipeline.toml:"];
    refused(&bench(&text), &text, &says);
}

#[test]
fn a_missing_test_part_can_be_left_out() {
    let text = tables("numbers = [\"a\"]", "numbers = [\"a\"]").replace("test = 0.25\n", "");
    refused(&bench(&text), &text, &["has no test part of its own", "`test = false`"]);
}

#[test]
fn the_first_task_judges_the_step() {
    let text = tables("numbers = [\"a\"]", "numbers = [\"a\"]")
        .replace("backbone = \"net\"", "backbone = \"net\"\ntasks = [\"z\", \"b\"]")
        + "[tasks.b]\ntype = \"classification\"\n\n[tasks.z]\ntype = \"classification\"\nmetrics = [\"balanced_accuracy\"]\n";
    let report = std::fs::read_to_string(bench(&text).run("out", &[]).join("report.md")).unwrap();
    assert!(report.contains("## second: z.balanced_accuracy"), "{report}");
    assert!(report.contains("| judged by | z.balanced_accuracy; `z` is the first of the step's tasks |"), "{report}");
}

#[test]
fn folders_that_lack_a_file_say_which() {
    let text = tables("numbers = [\"a\"]", "numbers = [\"a\"]");
    let bench = bench(&text);
    let run = bench.run("out", &[]);
    let says = |path: &Path, words: &[&str]| {
        let out = transplant().arg("predict").arg(path).arg(bench.out("rows.csv")).output().unwrap();
        let message = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{message}");
        words.iter().for_each(|w| assert!(message.contains(w), "`{w}` is not in:\n{message}"));
    };
    let cell = run.join("cells/second-seed0");
    std::fs::remove_file(cell.join("model/model.json")).unwrap();
    says(&cell, &["holds a cell of a run that did not end", "`model/model.json` is missing"]);
    says(&cell.join("model"), &["holds weights that nothing describes", "`model.json` is missing"]);
    std::fs::remove_file(run.join("summary.json")).unwrap();
    says(&run, &["holds a run that did not end", "`summary.json` is missing", "--resume"]);
    let export = bench.out("export");
    std::fs::create_dir(&export).unwrap();
    std::fs::write(export.join("config.json"), "{}").unwrap();
    says(&export, &["holds an export that did not end", "`model.safetensors` is missing"]);
    std::fs::write(export.join("model.safetensors"), b"\x10\x27\x00\x00\x00\x00\x00\x00{\"a\":").unwrap();
    says(&export, &["model.safetensors", "its header is said to have 10000 bytes"]);
    says(&bench.out("nothing"), &["is not the folder of a run"]);
}
