//! Pictures in folders, from the files to an artefact that classifies new ones on its own.

use std::path::Path;
use std::process::Output;
use std::time::Instant;

use image::RgbImage;
use serde_json::Value;

use super::{Bench, copy_of_program, succeeded, summary, transplant};

const FILE: &str = r#"schema = 1
name = "colours"

[datasets.colours]
type = "image_folder"
folder = "pictures"
height = 16
width = 16
test = 0.25

[backbones.net]
type = "convnet"
widths = [4, 8]

[steps.train]
type = "train"
dataset = "colours"
backbone = "net"
strategy = "structure"
trainer = { epochs = 6, batch_size = 8, optimiser = { type = "sgd", lr = 0.05 } }
"#;

/// A picture that is mostly red or mostly blue, no two alike.
fn picture(red: bool, seed: u32) -> RgbImage {
    RgbImage::from_fn(20 + seed % 5, 24, |x, y| {
        let noise = ((x * 31 + y * 17 + seed * 101) * 2_654_435_761u32.wrapping_shr(seed % 7)) % 60;
        let (more, less) = (190 + noise as u8, noise as u8);
        image::Rgb(if red { [more, less, less] } else { [less, less, more] })
    })
}

/// Twelve pictures of each colour, in folders of those names.
fn bench(file: &str) -> Bench {
    let bench = Bench::new(file);
    for (name, red) in [("blue", false), ("red", true)] {
        std::fs::create_dir_all(bench.out("pictures").join(name)).unwrap();
        for seed in 0..12 {
            let ending = if seed % 2 == 0 { "png" } else { "jpg" };
            picture(red, seed).save(bench.out("pictures").join(name).join(format!("{seed:02}.{ending}"))).unwrap();
        }
    }
    bench
}

fn predict(run: &Path, inputs: &[&Path], more: &[&str]) -> Output {
    transplant().arg("predict").arg(run).args(inputs).args(more).output().unwrap()
}

fn classes(csv: &str) -> Vec<String> {
    csv.lines().skip(1).map(|l| l.split(',').nth(2).unwrap().to_owned()).collect()
}

#[test]
fn a_folder_is_learned_and_the_model_classifies_new_pictures_without_it() {
    let bench = bench(FILE);
    let run = bench.run("out", &[]);
    let summary = summary(&run);
    assert_eq!(summary["steps"][0]["metrics"]["test"]["accuracy"], 1.0, "{summary}");

    // Elsewhere: only the model's folder, and new pictures.
    let cells: Vec<_> = std::fs::read_dir(run.join("cells")).unwrap().collect();
    let model = bench.out("deployed");
    std::fs::rename(cells.into_iter().next().unwrap().unwrap().path().join("model"), &model).unwrap();
    std::fs::remove_dir_all(bench.out("pictures")).unwrap();
    let new = bench.out("new");
    std::fs::create_dir_all(new.join("deeper")).unwrap();
    for (name, red) in [("a.png", true), ("b.bmp", false), ("deeper/c.gif", true)] {
        picture(red, 99).save(new.join(name)).unwrap();
    }
    let started = Instant::now();
    let one = succeeded(&predict(&model, &[&new.join("b.bmp")], &[]));
    assert!(started.elapsed().as_secs_f64() < 3.0, "{:?}", started.elapsed());
    assert_eq!(classes(&one), ["blue"]);
    assert_eq!(classes(&succeeded(&predict(&model, &[&new], &[]))), ["red", "blue", "red"]);

    let lines = succeeded(&predict(&model, &[&new], &["--format", "jsonl"]));
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((first["class"].as_str(), first["task"].as_str()), (Some("red"), Some("class")));
    let sum: f64 = first["scores"].as_object().unwrap().values().map(|v| v.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{first}");

    // A file that cannot be read is named and left out; all others are answered, in the file that was asked for.
    std::fs::write(new.join("broken.png"), b"\x89PNG\r\n\x1a\n and then nothing").unwrap();
    let answer = bench.out("answer.csv");
    let said = predict(&model, &[&new], &["--output", answer.to_str().unwrap()]);
    assert_eq!(said.status.code(), Some(1));
    let told = String::from_utf8_lossy(&said.stderr);
    assert!(told.contains("broken.png") && told.contains("1 of 4 inputs"), "{told}");
    assert_eq!(classes(&std::fs::read_to_string(&answer).unwrap()).len(), 3);
    let alone = predict(&model, &[&new.join("broken.png")], &["--output", bench.out("none.csv").to_str().unwrap()]);
    assert_eq!(alone.status.code(), Some(2));
    assert!(!bench.out("none.csv").exists() && !bench.out("none.csv.part").exists());
}

#[cfg(unix)]
#[test]
fn what_may_not_be_read_or_written_is_named() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;

    let bench = bench(FILE);
    let allow = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let program = bench.out("program");
    copy_of_program(&program);
    allow(&program, 0o755);
    allow(bench.dir.path(), 0o755);
    let run = |code: i32| {
        let mut c = bench.command("out", &[]);
        let arguments: Vec<_> = c.get_args().map(|a| a.to_owned()).collect();
        c = std::process::Command::new(&program);
        c.args(arguments).current_dir(bench.dir.path()).env("HOME", bench.dir.path());
        // To who may do everything nothing is forbidden.
        if bench.dir.path().metadata().unwrap().uid() == 0 {
            c.uid(65534).gid(65534);
        }
        let said = c.output().unwrap();
        assert_eq!(said.status.code(), Some(code), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stderr).into_owned()
    };
    let secret = bench.out("pictures/red/01.jpg");
    allow(&secret, 0o000);
    let e = run(2);
    assert!(e.contains("01.jpg: Permission denied"), "{e}");
    allow(&secret, 0o644);
    allow(bench.dir.path(), 0o555);
    let e = run(4);
    assert!(e.contains("Permission denied") && e.contains("out"), "{e}");
    allow(bench.dir.path(), 0o755);

    // A device that has no room says so, and is still a device.
    let full = Path::new("/dev/full");
    if full.metadata().is_ok_and(|m| m.file_type().is_char_device()) {
        let model = bench.run("run", &[]);
        let said = predict(&model, &[&secret], &["--output", "/dev/full"]);
        let told = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.code() == Some(4) && told.contains("No space left"), "{told}");
        assert!(full.metadata().unwrap().file_type().is_char_device());
    }
}

#[test]
fn a_broken_picture_stops_a_run_before_it_begins_or_is_skipped_and_counted() {
    let bench = bench(FILE);
    let whole = std::fs::read(bench.out("pictures/red/01.jpg")).unwrap();
    std::fs::write(bench.out("pictures/red/cut.jpg"), &whole[..whole.len() / 3]).unwrap();
    std::fs::write(bench.out("pictures/red/empty.png"), b"").unwrap();
    let said = bench.command("out", &[]).output().unwrap();
    assert_eq!(said.status.code(), Some(2));
    let told = String::from_utf8_lossy(&said.stderr);
    assert!(told.contains("cut.jpg") && told.contains("empty.png"), "{told}");
    assert!(told.contains("`damaged = \"skip\"` leaves them out"), "{told}");
    assert!(!bench.out("out").exists());
    let said = bench.command("out", &["--set", "datasets.colours.damaged=skip"]).output().unwrap();
    succeeded(&said);
    let told = String::from_utf8_lossy(&said.stderr);
    assert!(told.contains("cut.jpg") && told.contains("empty.png"), "{told}");
    assert_eq!(summary(&bench.out("out"))["steps"][0]["metrics"]["test"]["accuracy"], 1.0);
}

#[test]
fn data_tells_classes_parts_and_what_is_there_twice_and_paints_a_sheet() {
    let bench = bench(FILE);
    let data = |bench: &Bench| {
        let mut command = transplant();
        command.current_dir(bench.dir.path()).args(["data", "pipeline.toml", "--out", "shown"]);
        succeeded(&command.output().unwrap())
    };
    let said = data(&bench);
    for words in ["colours", "train", "test", "blue", "red"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("LEAK"), "{said}");
    let sheet = image::open(bench.out("shown/colours.png")).unwrap();
    assert!(sheet.width() > 16 * 8 && sheet.height() > 16 * 2);
    // The same picture under nine names: it cannot but stand on both sides.
    for i in 0..9 {
        // Other files, since copies of one file stay together.
        let mut file = std::fs::read(bench.out("pictures/red/02.png")).unwrap();
        file.push(i);
        std::fs::write(bench.out(&format!("pictures/red/copy{i}.png")), file).unwrap();
    }
    let said = data(&bench);
    assert!(said.contains("LEAK") && said.contains("more than once"), "{said}");
    let run = bench.command("out", &[]).output().unwrap();
    assert!(String::from_utf8_lossy(&run.stderr).contains("test rows of `colours` are training"), "{run:?}");
}

#[test]
fn what_an_earlier_step_learned_is_told_when_it_is_tested() {
    let larger = r#"
        [datasets.larger]
        type = "image_folder"
        folder = "./pictures"
        height = 24
        width = 24
        folds = 2
        licence = "mine"
        [steps.again]
        type = "train"
        dataset = "larger"
        from = "train"
        strategy = { type = "feature", head = "logistic_regression" }
        fold = 1
    "#;
    let bench = bench(&(FILE.replace("test = 0.25", "folds = 3") + larger));
    let said = bench.command("out", &[]).output().unwrap();
    succeeded(&said);
    let leaked = summary(&bench.out("out"))["comparison"][0]["leaked"].as_u64().unwrap();
    let words = &format!(
        "{leaked} of the 12 test rows of `larger` in fold 1 are training or validation rows of step `train`, which the network starts \
         from"
    );
    let (stderr, report) =
        (String::from_utf8_lossy(&said.stderr), std::fs::read_to_string(bench.out("out/report.md")).unwrap());
    assert!(stderr.contains(words) && report.contains(&format!("| leaks | {words}")), "{stderr}\n{report}");
    assert!(leaked >= 6 && report.contains(&format!("| had learned {leaked} test rows")), "{report}");
    // Sections that only differ in how pictures look, or how their folder is written, have the same folds, and the
    // first step follows.
    let run = bench.run("both", &["--set", "datasets.larger.folds=3"]);
    let report = std::fs::read_to_string(run.join("report.md")).unwrap();
    assert!(report.contains("| leaks | none"), "{report}");
    assert_eq!(summary(&run)["comparison"][0]["leaked"], 0);
}

#[test]
fn folds_test_every_row_once_and_are_read_as_one() {
    let again = r#"
        [steps.again]
        type = "train"
        dataset = "colours"
        from = "train"
        strategy = { type = "feature", head = "logistic_regression" }
        sweep.fold = [0, 1, 2]
    "#;
    let bench = bench(&(FILE.replace("test = 0.25", "folds = 3") + again));
    for seed in 12..16 {
        picture(true, seed).save(bench.out(&format!("pictures/red/{seed}.png"))).unwrap();
    }
    let run = bench.run("out", &[]);
    let summary = summary(&run);
    assert_eq!(summary["comparison"][0]["runs"], 3);
    // The step before it goes through the folds, too: none of its runs saw what is tested.
    let cells: Vec<_> = summary["steps"].as_array().unwrap().iter().map(|s| s["cell"].as_str().unwrap()).collect();
    assert_eq!(cells[..4], ["train-seed0-fold0", "train-seed0-fold1", "train-seed0-fold2", "again-seed0-fold0"]);
    // Peers are judged by all rows together, as strategies are: always red is right for 16 of 28, folds having 10, 9 and 9.
    let majority = summary["baselines"]["again"]["majority class"]["accuracy"].as_f64().unwrap();
    assert!((majority - 16.0 / 28.0).abs() < 1e-9, "{majority}");
    let table = std::fs::read_to_string(run.join("predictions.csv")).unwrap();
    let at = |name: &str| table.lines().next().unwrap().split(',').position(|h| h == name).unwrap();
    let (split, row) = (at("split"), at("row"));
    let mut rows: Vec<u64> = table
        .lines()
        .skip(1)
        .map(|l| l.split(',').collect::<Vec<_>>())
        .filter(|c| c[split] == "test")
        .map(|c| c[row].parse().unwrap())
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, (0..28).collect::<Vec<_>>());
    // A fold that is not there, and folds beside a share.
    for (set, words) in [("steps.again.sweep.fold=[0,3]", "fold"), ("datasets.colours.test=0.5", "folds")] {
        let said = bench.command("never", &["--set", set]).output().unwrap();
        assert_eq!(said.status.code(), Some(2), "{set}");
        assert!(String::from_utf8_lossy(&said.stderr).contains(words), "{said:?}");
    }
}
