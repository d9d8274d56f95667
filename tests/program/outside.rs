//! Crates outside the workspace: a strategy of one's own in a runner of three lines, and crates used alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{succeeded, summary};

/// Builds the crates in `tests/outside` into the target folder of this workspace, with its lock file and its profiles: so
/// they share the dependencies that are built.
fn build() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let outside = here.join("outside");
    std::fs::copy(here.join("../Cargo.lock"), outside.join("Cargo.lock")).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_transplant-under-test"));
    let target = binary.parent().and_then(Path::parent).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--release", "--manifest-path"])
        .arg(outside.join("Cargo.toml"))
        .arg("--config")
        .arg(here.join("../Cargo.toml"))
        .arg("--target-dir")
        .arg(target);
    succeeded(&cargo.output().unwrap());
    target.join("release")
}

#[test]
#[ignore = "long: builds all crates again, outside of the workspace"]
fn a_strategy_and_single_crates_work_outside() {
    let bin = build();

    // The pipeline of that crate names only parts of its own.
    let out = tempfile::tempdir().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("outside/own_parts/own_parts.toml");
    let mut runner = Command::new(bin.join("own_parts"));
    succeeded(&runner.arg("run").arg(file).arg("--out").arg(out.path().join("run")).output().unwrap());
    let run = summary(&out.path().join("run"));
    let of = |name: &str| run["steps"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap().clone();
    let (pretrain, transfer) = (of("pretrain"), of("transfer"));
    assert_eq!(transfer["strategy"], "bitfit");
    assert!(transfer["trainable_parameters"].as_u64() < pretrain["trainable_parameters"].as_u64(), "{run}");
    assert!(transfer["metrics"]["test"]["cohen_kappa"].as_f64().unwrap() > 0.8, "{run}");

    let said = succeeded(&Command::new(bin.join("datasets_alone")).output().unwrap());
    assert!(said.contains("[13, 1, 8, 8] [13]") || said.contains("[12, 1, 8, 8] [12]"), "{said}");

    let said = succeeded(&Command::new(bin.join("without_pipeline")).output().unwrap());
    let accuracy: f64 = said.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(accuracy > 0.9, "{said}");
}
