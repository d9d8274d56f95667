//! The activation cache through the program: a second run finds what the first one computed, nothing else changes, and
//! `cache` lists and clears it.

use std::path::Path;

use serde_json::Value;

use super::{Bench, SMALL, results, succeeded, transplant};

/// The small pipeline with a frozen block, and a cache for however little.
fn frozen() -> String {
    let frozen = "strategy = { type = \"parameter\", freeze_until = \"block1\" }";
    let small = SMALL.replace("strategy = \"parameter\"", frozen);
    small.replacen("\n[datasets", "\n[cache]\ndisk_min_work = 0\n\n[datasets", 1)
}

/// Rows that were computed and reused, and where they were kept.
fn kept(run: &Path) -> Vec<(u64, u64, String)> {
    let text = std::fs::read_to_string(run.join("events.jsonl")).unwrap();
    let events = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let kept = events.filter(|e| e["event"] == "prefix_kept");
    let of = |e: Value| {
        let number = |key: &str| e[key].as_u64().unwrap();
        assert_eq!(number("rows"), number("computed") + number("reused"));
        (number("computed"), number("reused"), e["from"].as_str().unwrap().to_owned())
    };
    kept.map(of).collect()
}

#[test]
fn a_second_run_finds_what_the_first_one_computed() {
    let bench = Bench::new(&frozen());
    let first = bench.run("first", &[]);
    assert_eq!(kept(&first), [(20, 0, "memory".to_owned())]);
    let expected = results(&first);
    let same = |run: &Path, what: &str| {
        let (models, summary) = results(run);
        assert!(models == expected.0 && summary == expected.1, "{what}");
    };
    let second = bench.run("second", &[]);
    assert_eq!(kept(&second), [(0, 20, "memory".to_owned())]);
    same(&second, "from the cache");
    let file = bench.run("file", &["--set", "cache.memory_mb=0"]);
    assert_eq!(kept(&file), [(0, 20, "file".to_owned())]);
    same(&file, "from the file");
    let off = bench.command("off", &[]).env("TRANSPLANT_CACHE__ENABLED", "false").output().unwrap();
    succeeded(&off);
    assert!(kept(&bench.out("off")).is_empty());
    same(&bench.out("off"), "without it");
    // Where things are kept does not make it another run.
    let again = bench.run("first", &["--set", "cache.enabled=false"]);
    assert!(std::fs::read_to_string(again.join("events.jsonl")).unwrap().contains("cell_reused"));
    // Neither does it for little work: by default so small a network leaves no file.
    let bench = Bench::new(&frozen().replace("disk_min_work = 0", "folder = \"elsewhere\""));
    bench.run("out", &[]);
    assert!(!bench.cache().exists() && !bench.out("elsewhere").exists());
}

#[test]
fn the_cache_is_listed_and_cleared() {
    let bench = Bench::new(&frozen());
    bench.run("out", &[]);
    let cache = |args: &[&str]| transplant().arg("cache").args(args).env("TRANSPLANT_CACHE", bench.cache()).output();
    let said = |args: &[&str]| succeeded(&cache(args).unwrap());
    let listed = said(&[]);
    assert_eq!(listed, said(&["list"]));
    assert!(
        listed.contains("20 rows") && listed.contains("convnet: block1") && listed.contains("1 entries"),
        "{listed}"
    );
    let folder = bench.cache().display().to_string();
    assert_eq!(listed, succeeded(&transplant().args(["cache", "list", "--folder", &folder]).output().unwrap()));
    let wrong = cache(&["clear", "nothing"]).unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no entry `nothing`"));
    let key = listed.split(' ').next().unwrap();
    assert!(said(&["clear", key]).contains("1 entries"));
    assert!(said(&["list"]).starts_with("0 entries"));
    bench.run("again", &[]);
    assert!(said(&["clear"]).contains("1 entries") && said(&["clear"]).contains("0 entries"));
}

#[test]
fn check_says_what_will_be_computed_once() {
    let check = |text: &str, more: &[&str]| {
        let bench = Bench::new(text);
        let mut c = transplant();
        c.current_dir(bench.dir.path()).args(["check", "pipeline.toml"]).args(more);
        succeeded(&c.env("TRANSPLANT_CACHE", bench.cache()).output().unwrap())
    };
    let augmented = frozen().replace("type = \"optdigits\"", "type = \"optdigits\"\naugment = [\"affine\"]");
    let views = augmented.replace("epochs = 3", "epochs = 3, views = 2");
    for (text, more, says) in [
        (&frozen(), "cache.memory_mb=7", "computed once and kept for later runs: block1"),
        (&frozen(), "cache.memory_mb=7", "cache of frozen stages: 7 MB of memory, 10240 MB of files in "),
        (&frozen(), "cache.disk_mb=0", "computed once: block1"),
        (&frozen(), "cache.disk_mb=0", "MB of memory, no files"),
        (&frozen(), "cache.disk_min_work=1_000_000", "computed once: block1"),
        (&frozen(), "cache.enabled=false", "computed in each epoch (the cache is off): block1"),
        (&frozen(), "cache.enabled=false", "cache of frozen stages: off"),
        (&augmented, "seed=1", "computed in each epoch (random transforms without `trainer.views`): block1"),
        (&views, "seed=1", "computed once for each of 2 views and kept for later runs: block1"),
    ] {
        let said = check(text, &["--set", more]);
        assert!(said.contains(says), "{more}: `{says}` is not in\n{said}");
    }
}

#[test]
fn views_change_the_result_and_the_cache_does_not() {
    let text = frozen().replace(
        "type = \"optdigits\"",
        "type = \"optdigits\"\naugment = [{ type = \"affine\", rotate_degrees = 20 }]",
    );
    let bench = Bench::new(&text);
    let run = |out: &str, set: &[&str]| {
        let set: Vec<&str> = set.iter().flat_map(|s| ["--set", *s]).collect();
        results(&bench.run(out, &set))
    };
    let views = "steps.transfer.trainer.views=2";
    let kept_views = run("views", &[views]);
    assert_eq!(kept(&bench.out("views")), [(40, 0, "memory".to_owned())]);
    assert!(kept_views.0 == run("off", &[views, "cache.enabled=false"]).0);
    assert!(kept_views.0 != run("endless", &[]).0);
}
