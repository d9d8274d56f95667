//! Wrong input is met at the door: exit code 2, the place named, nothing written.

use std::path::Path;

use super::{Bench, SMALL};

/// Replaces part of the small pipeline, runs it, and asks for everything in `says`. The line that is at fault is the one that
/// holds `at` after the change.
fn refused(from: &str, to: &str, at: &str, says: &[&str]) {
    assert!(SMALL.contains(from), "{from}");
    let text = SMALL.replacen(from, to, 1);
    let line = 1 + text.lines().position(|l| l.contains(at)).unwrap_or_else(|| panic!("{at} is in no line"));
    let place = format!("pipeline.toml:{line}:");
    refused_text(&text, &[], &[], &[&[place.as_str()], says].concat());
}

fn refused_text(text: &str, args: &[&str], env: &[(&str, &str)], says: &[&str]) {
    let bench = Bench::new(text);
    refused_in(&bench, args, env, says);
}

fn refused_in(bench: &Bench, args: &[&str], env: &[(&str, &str)], says: &[&str]) {
    let before = count(bench.dir.path());
    let o = bench.command("out", args).envs(env.iter().copied()).output().unwrap();
    let message = String::from_utf8_lossy(&o.stderr).into_owned();
    assert_eq!(o.status.code(), Some(2), "{message}");
    for s in says {
        assert!(message.contains(s), "`{s}` is not in:\n{message}");
    }
    assert_eq!(count(bench.dir.path()), before, "something was written");
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| 1 + if e.path().is_dir() { count(&e.path()) } else { 0 })
        .sum()
}

#[test]
fn unknown_keys_and_tags_offer_the_nearest() {
    refused("epochs = 2", "epoch = 2", "epoch = 2", &["epoch", "`epochs`"]);
    refused("type = \"optdigits\"", "type = \"optdigit\"", "optdigit", &["`optdigit`", "`optdigits`"]);
    refused("strategy = \"parameter\"", "strategy = \"paramter\"", "paramter", &["`paramter`", "`parameter`"]);
    refused("lr = 0.05", "lrr = 0.05", "lrr", &["lrr", "`lr`"]);
    refused("widths = [4, 8]", "width = [4, 8]", "width = [", &["width", "`widths`"]);
    refused("name = \"small\"", "name = \"small\"\nsed = 3", "sed = 3", &["sed", "`seed`"]);
}

#[test]
fn wrong_types_and_values_out_of_range() {
    refused("epochs = 2", "epochs = \"two\"", "epochs = \"two\"", &["epochs", "invalid type"]);
    refused("lr = 0.05", "lr = -1.0", "lr = -1.0", &["lr", "at least 0"]);
    refused("batch_size = 16", "batch_size = 0", "batch_size = 0", &["batch_size"]);
    refused("epochs = 2", "epochs = 2, views = 0", "views = 0", &["views", "at least 1"]);
    let cache = |line: &str| format!("name = \"small\"\n[cache]\n{line}");
    refused("name = \"small\"", &cache("memory_mb = -1"), "memory_mb", &["cache.memory_mb", "whole number"]);
    refused("name = \"small\"", &cache("disk_gb = 1"), "disk_gb", &["disk_gb", "`disk_mb`"]);
    refused("name = \"small\"", &cache("folder = \"\""), "folder", &["cache.folder", "empty"]);
    refused("schema = 1", "schema = 2", "schema = 2", &["schema"]);
    refused("labels_per_class = 2", "labels_per_class = 0", "labels_per_class = 0", &["labels_per_class"]);
}

#[test]
fn names_that_lead_nowhere() {
    refused("dataset = \"scans\"", "dataset = \"scan\"", "dataset = \"scan\"", &["`scan`", "`scans`"]);
    refused("from = \"pretrain\"", "from = \"pretran\"", "from = \"pretran\"", &["`pretran`", "`pretrain`"]);
    refused("backbone = \"net\"", "backbone = \"nett\"", "backbone = \"nett\"", &["`nett`", "`net`"]);
    refused("backbone = \"net\"", "from = \"transfer\"", "from = \"pretrain\"", &["circle", "pretrain", "transfer"]);
}

#[test]
fn a_freeze_pattern_that_matches_nothing() {
    let to = "strategy = { type = \"parameter\", freeze = [\"backbone.blok1\"] }";
    refused("strategy = \"parameter\"", to, "blok1", &["backbone.blok1", "block1"]);
    let to = "strategy = { type = \"parameter\", freeze_until = \"blok1\" }";
    refused("strategy = \"parameter\"", to, "blok1", &["`blok1`", "`block1`"]);
}

#[test]
fn a_class_with_too_few_rows() {
    refused("labels_per_class = 2", "labels_per_class = 5000", "labels_per_class = 5000", &["class", "5000"]);
}

#[test]
fn the_environment_and_flags_are_named() {
    let env = [("TRANSPLANT_STEPS__TRANSFER__TRAINER__EPOCHS", "many")];
    refused_text(SMALL, &[], &env, &["TRANSPLANT_STEPS__TRANSFER__TRAINER__EPOCHS", "invalid type"]);
    refused_text(SMALL, &["--set", "steps.transfer.trainer.epocs=3"], &[], &["--set", "epocs", "`epochs`"]);
    refused_text(SMALL, &["--set", "steps.transfer.trainer.epochs=-3"], &[], &["--set", "epochs"]);
    refused_text(SMALL, &["--device", "gpu"], &[], &["--device", "gpu"]);
    refused_text("schema = 1\nname = \"x\"\n[steps", &[], &[], &["pipeline.toml:3:"]);
}

#[test]
fn files_that_are_missing_or_not_what_they_say() {
    let with =
        |folder: &str| SMALL.replace("type = \"optdigits\"", &format!("type = \"mnist_idx\"\nfolder = \"{folder}\""));
    refused_text(&with("nowhere"), &[], &[], &["nowhere", "pipeline.toml:"]);

    let idx = |bench: &Bench, images: &[u8], labels: &[u8]| {
        let folder = bench.out("digits");
        std::fs::create_dir(&folder).unwrap();
        for part in ["train", "t10k"] {
            std::fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
            std::fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
        }
    };
    let header = |n: u32, dims: &[u32]| {
        let words = [0x800 + dims.len() as u32 + 1, n].into_iter().chain(dims.iter().copied());
        words.flat_map(u32::to_be_bytes).collect::<Vec<u8>>()
    };
    let labels = |last: u8| [header(20, &[]), (0..19u8).map(|i| i % 10).chain([last]).collect()].concat();
    let images = [header(20, &[28, 28]), vec![0; 20 * 784]].concat();

    let bench = Bench::new(&with("digits"));
    idx(&bench, &images[..images.len() - 5], &labels(9));
    refused_in(&bench, &[], &[], &["images-idx3-ubyte"]);
    let bench = Bench::new(&with("digits"));
    idx(&bench, &images, &labels(10));
    refused_in(&bench, &[], &[], &["labels-idx1-ubyte", "19", "10"]);
}

#[test]
fn a_folder_that_cannot_be_written() {
    let bench = Bench::new(SMALL);
    std::fs::write(bench.out("out"), "a file stands here").unwrap();
    refused_in(&bench, &[], &[], &["out"]);
}

#[test]
fn a_missing_pipeline_file() {
    let o = super::transplant().args(["run", "nowhere.toml"]).output().unwrap();
    assert_eq!(o.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&o.stderr).contains("nowhere.toml"));
}
