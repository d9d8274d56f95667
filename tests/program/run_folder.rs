//! What a run folder keeps, whatever is done to it: nothing that was trained is lost unsaid, and two runs never share
//! it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::{Bench, succeeded, summary, transplant};

const PIPELINE: &str = r#"schema = 1
name = "kinds"

[datasets.d]
type = "text_table"
path = "t.csv"
text = ["title"]
label = "kind"
transforms = [{ type = "hash_words", buckets = 1000, max_words = 8 }]
test = 0.5

[steps.bag]
type = "train"
dataset = "d"
backbone = "word_bag"
strategy = "structure"
trainer = { epochs = 2, batch_size = 4, optimiser = { type = "adamw", lr = 0.01 } }
"#;
const WOOD: [&str; 8] =
    ["oak stool", "oak bench", "pine shelf", "pine table", "elm bed", "ash box", "teak desk", "yew bow"];
const STEEL: [&str; 8] =
    ["iron nail", "iron bolt", "steel rod", "steel pipe", "tin can", "zinc tub", "lead pipe", "wire net"];

fn bench() -> Bench {
    texts(&WOOD, &STEEL)
}

/// The pipeline with these texts of two kinds.
fn texts(first: &[&str], second: &[&str]) -> Bench {
    let bench = Bench::new(PIPELINE);
    let line = |kind: &'static str| move |text: &&str| format!("{text},{kind}\n");
    let lines: String = first.iter().map(line("a")).chain(second.iter().map(line("b"))).collect();
    std::fs::write(bench.out("t.csv"), format!("title,kind\n{lines}")).unwrap();
    bench
}

fn told(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(here) = folders.pop() {
        for path in std::fs::read_dir(&here).unwrap().map(|e| e.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found
}

#[test]
fn of_many_started_together_one_runs() {
    let bench = bench();
    for round in 0..20 {
        let out = format!("run{round}");
        let start = |_| bench.command(&out, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let all: Vec<_> = (0..4).map(start).collect();
        let all: Vec<Output> = all.into_iter().map(|c| c.wait_with_output().unwrap()).collect();
        for one in all.iter().filter(|o| !o.status.success()) {
            assert!(one.status.code() == Some(2) && told(one).contains("another run is writing"), "{}", told(one));
        }
        assert!(all.iter().any(|o| o.status.success()), "round {round}: nobody ran");
        assert_eq!(summary(&bench.out(&out))["status"], "finished");
    }
}

#[cfg(unix)]
#[test]
fn two_names_of_a_folder_are_one() {
    let bench = bench();
    std::fs::create_dir(bench.out("real")).unwrap();
    std::os::unix::fs::symlink(bench.out("real"), bench.out("link")).unwrap();
    let both = ["real", "link"].map(|out| bench.command(out, &[]).stderr(Stdio::piped()).spawn().unwrap());
    for one in both.map(|c| c.wait_with_output().unwrap()) {
        assert!(one.status.success() || told(&one).contains("another run is writing"), "{}", told(&one));
    }
    assert_eq!(summary(&bench.out("link"))["status"], "finished");
}

#[test]
fn superseded_cells_are_set_aside() {
    let bench = bench();
    let run = bench.run("run", &[]);
    let before = std::fs::read(run.join("cells/bag-seed0/model/model.safetensors")).unwrap();
    let report = std::fs::read(run.join("report.md")).unwrap();
    let changed = bench.command("run", &["--resume", "--set", "steps.bag.trainer.optimiser.lr=0.1"]).output().unwrap();
    succeeded(&changed);
    let told = told(&changed);
    assert!(
        told.contains("bag-seed0 begins anew: it was finished with other `trainer`; what was there now lies in"),
        "{told}"
    );
    assert!(told.contains("superseded/1/cells/bag-seed0") && told.contains("; remove "), "{told}");
    let aside = run.join("superseded/1");
    assert_eq!(std::fs::read(aside.join("cells/bag-seed0/model/model.safetensors")).unwrap(), before);
    assert_eq!(std::fs::read(aside.join("report.md")).unwrap(), report);
    assert!(aside.join("events.jsonl").is_file() && aside.join("summary.json").is_file());
    // What was set aside is a run folder of its own.
    std::fs::write(bench.out("new.txt"), "oak bench\n").unwrap();
    let predict = |run: &Path| transplant().arg("predict").arg(run).arg(bench.out("new.txt")).output().unwrap();
    succeeded(&predict(&aside));
    // Under the first options again: the others are kept as well.
    bench.run("run", &[]);
    assert_eq!(std::fs::read(run.join("cells/bag-seed0/model/model.safetensors")).unwrap(), before);
    assert!(run.join("superseded/2/cells/bag-seed0/cell.json").is_file());
}

#[test]
fn a_cell_that_is_not_whole_is_told() {
    let bench = bench();
    let run = bench.run("run", &[]);
    let record = run.join("cells/bag-seed0/cell.json");
    let text = std::fs::read_to_string(&record).unwrap();
    let cases: [(&str, Option<String>, &str); 4] = [
        ("newer", Some(text.replacen("\"schema\": 2", "\"schema\": 99", 1)), "version 99"),
        ("cut off", Some(text[..text.len() / 2].to_owned()), "cell.json: "),
        ("half deleted", None, "cell.json: No such file"),
        ("empty", Some(String::new()), "cell.json: EOF"),
    ];
    for (i, (case, content, why)) in cases.into_iter().enumerate() {
        match content {
            Some(content) => std::fs::write(&record, content).unwrap(),
            None => std::fs::remove_file(&record).unwrap(),
        }
        let again = bench.command("run", &[]).output().unwrap();
        succeeded(&again);
        let told = told(&again);
        assert!(told.contains("bag-seed0 begins anew: it is not whole: ") && told.contains(why), "{case}: {told}");
        assert!(run.join(format!("superseded/{}/cells/bag-seed0/model/model.safetensors", i + 1)).is_file(), "{case}");
    }
}

#[test]
fn an_unfinished_cell_is_set_aside_without_resume() {
    let bench = bench();
    let long = ["--set", "steps.bag.trainer.epochs=100000", "--set", "steps.bag.trainer.checkpoint_every_secs=0"];
    let mut run = bench.command("run", &long).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let checkpoints = bench.out("run/cells/bag-seed0/checkpoints");
    for _ in 0..600 {
        // One that is being written has another name.
        let whole = |e: std::io::Result<std::fs::DirEntry>| {
            e.is_ok_and(|e| e.path().extension().is_some_and(|x| x == "safetensors"))
        };
        if std::fs::read_dir(&checkpoints).is_ok_and(|entries| entries.into_iter().any(whole)) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let other = bench.command("run", &[]).output().unwrap();
    succeeded(&other);
    let told = told(&other);
    assert!(told.contains("bag-seed0 begins anew: it was begun with other options"), "{told}");
    assert!(bench.out("run/superseded/1/cells/bag-seed0/checkpoints").is_dir());
    assert!(!files(&bench.out("run")).iter().any(|f| !f.starts_with("superseded") && f.contains("checkpoints")));
}

#[test]
fn a_damaged_summary_is_named_and_costs_nothing() {
    let bench = bench();
    let run = bench.run("run", &[]);
    for (content, why) in [("{", "summary.json: EOF"), ("{}", "`schema`"), ("{\"schema\": 99}", "version 99")] {
        std::fs::write(run.join("summary.json"), content).unwrap();
        let checked = transplant().arg("evaluate").arg(&run).output().unwrap();
        assert!(checked.status.code() == Some(2) && told(&checked).contains(why), "{}", told(&checked));
    }
    let again = bench.command("run", &[]).output().unwrap();
    succeeded(&again);
    assert!(!told(&again).contains("begins anew"), "{}", told(&again));
    succeeded(&transplant().arg("evaluate").arg(&run).output().unwrap());
}

#[test]
fn a_folder_copied_elsewhere_is_the_same_run() {
    let bench = bench();
    let run = bench.run("run", &[]);
    let copy = bench.out("copy");
    for file in files(&run) {
        let to = copy.join(&file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(run.join(&file), to).unwrap();
    }
    std::fs::remove_dir_all(&run).unwrap();
    succeeded(&transplant().arg("evaluate").arg(&copy).output().unwrap());
    let again = bench.command("copy", &["--resume"]).output().unwrap();
    succeeded(&again);
    assert!(!told(&again).contains("begins anew") && !copy.join("superseded").exists());
}

#[test]
fn a_run_goes_to_no_file_and_no_foreign_folder() {
    let bench = bench();
    std::fs::write(bench.out("note"), "mine").unwrap();
    let said = bench.command("note", &[]).output().unwrap();
    assert!(said.status.code() == Some(2) && told(&said).contains("note is not a folder"), "{}", told(&said));
    std::fs::create_dir(bench.out("photos")).unwrap();
    std::fs::write(bench.out("photos/a.txt"), "mine").unwrap();
    let said = bench.command("photos", &[]).output().unwrap();
    assert!(said.status.code() == Some(2) && told(&said).contains("not the folder of a run"), "{}", told(&said));
    assert_eq!(files(&bench.out("photos")).len(), 1);
}

#[test]
fn every_file_of_a_run_is_documented() {
    let bench = bench();
    let run = bench.run("run", &[]);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/run_folder.md");
    let page = std::fs::read_to_string(page).unwrap();
    for file in files(&run) {
        let shown = file.replace("bag-seed0", "CELL");
        assert!(page.contains(&format!("`{shown}`")), "docs/run_folder.md lacks `{shown}`");
    }
    let event = std::fs::read_to_string(run.join("events.jsonl")).unwrap();
    for line in event.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()) {
        let name = line["event"].as_str().unwrap();
        assert!(page.contains(&format!("`{name}`")), "docs/run_folder.md lacks the event `{name}`");
    }
    for file in ["summary.json", "lock.json", "cells/bag-seed0/cell.json", "cells/bag-seed0/model/model.json"] {
        let value: Value = serde_json::from_str(&std::fs::read_to_string(run.join(file)).unwrap()).unwrap();
        assert!(value["schema"].is_u64(), "{file} has no version");
        for key in value.as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{key}`")), "docs/run_folder.md lacks `{key}` of {file}");
        }
    }
}

#[test]
fn baselines_fit_short_unspaced_and_wordless_texts() {
    let zh = (
        ["好吃的面", "真好吃", "很好吃", "好香啊", "好喝的汤", "好吃"],
        ["太难吃了", "难吃", "真难吃", "难喝", "很难看", "难闻"],
    );
    let signs = (["!!", "!", "!!!", "!!", "!", "!!"], ["??", "?", "???", "?", "??", "??"]);
    for (first, second) in [zh, signs] {
        let bench = texts(&first, &second);
        let run = summary(&bench.run("run", &[]));
        let score = run["baselines"]["bag"]["TF-IDF + logistic regression"]["accuracy"].as_f64().unwrap();
        assert!(score > 0.8, "{first:?}: {run}");
    }
    let few = texts(&WOOD, &STEEL);
    let run = summary(&few.run("run", &["--set", "datasets.d.labels_per_class=2"]));
    assert!(run["baselines"]["bag"]["TF-IDF + logistic regression"]["accuracy"].is_f64(), "{run}");
}

#[test]
fn a_baseline_without_a_fit_is_a_row() {
    let bench = texts(&["\u{200b}"; 6], &["_"; 6]);
    let out = bench.command("run", &[]).output().unwrap();
    let table = succeeded(&out);
    let why = "not fitted: texts: none of the 6 labelled ones has a word or sign";
    assert!(table.contains("TF-IDF + logistic regression") && table.contains(why), "{table}");
    let report = std::fs::read_to_string(bench.out("run/report.md")).unwrap();
    assert!(report.contains(why), "{report}");
    let run = summary(&bench.out("run"));
    assert_eq!(run["status"], "finished");
    assert!(run["baselines_not_fitted"]["bag"]["TF-IDF + logistic regression"].is_string(), "{run}");
}

#[test]
fn no_backtrace_reaches_a_user() {
    let bench = bench();
    let mut run = bench.command("run", &["--set", "steps.bag.trainer.optimiser.lr=1e38"]);
    let said = run.env("RUST_BACKTRACE", "1").output().unwrap();
    let told = told(&said);
    assert!(!told.contains("stack backtrace") && !told.contains("   0: "), "{told}");
    assert!(said.status.success() || said.status.code() == Some(3), "{told}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_goes_on() {
    let bench = bench();
    std::fs::create_dir(bench.out("small")).unwrap();
    let mount = |what: &[&str]| std::process::Command::new(what[0]).args(&what[1..]).arg(bench.out("small")).status();
    if !mount(&["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs"]).is_ok_and(|s| s.success()) {
        // Only who may mount can make a disk that is full.
        return;
    }
    let said = bench.command("small/run", &[]).output().unwrap();
    let grown = mount(&["mount", "-o", "remount,size=64m"]).unwrap();
    let again = bench.command("small/run", &["--resume"]).output().unwrap();
    let status = summary(&bench.out("small/run"))["status"].clone();
    mount(&["umount", "-l"]).unwrap();
    assert!(said.status.code() == Some(4) && told(&said).contains("the disk is full"), "{}", told(&said));
    assert!(grown.success() && again.status.success(), "{}", told(&again));
    assert_eq!(status, "finished");
}
