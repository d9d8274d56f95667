//! `cargo xtask lint`: everything is checked, then everything that is wrong is named.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::{house, layers, process, shared};

/// Runs all checks, the quick ones first; fails when one does.
pub(crate) fn lint() -> Result<ExitCode> {
    let mut failed = Vec::new();

    let crates = house::read_crates(&process::root().join("crates")).context("cannot read the crates")?;
    println!("sizes: {}", house::sizes(&crates));
    let mut wrong = layers::violations(&crates);
    wrong.extend(layers::heavy_xtask(include_str!("../Cargo.toml")));
    wrong.extend(house::violations(&crates));
    for violation in &wrong {
        println!("house: {violation}");
    }
    record(&mut failed, "house rules", wrong.is_empty());

    let twice = shared::built_twice()?;
    for package in &twice {
        println!("built a second time for the tests, with other features: {package}");
    }
    record(&mut failed, "shared dependencies", twice.is_empty());

    let mut fmt = process::cargo("fmt");
    fmt.args(["--all", "--check"]).current_dir(process::root());
    step(&mut failed, "cargo fmt", fmt)?;

    if process::has_subcommand("deny") {
        let mut deny = process::cargo("deny");
        deny.arg("check");
        step(&mut failed, "cargo deny", deny)?;
    } else {
        println!("cargo deny: skipped, it is not installed (`cargo install cargo-deny`)");
    }

    let mut clippy = process::cargo("clippy");
    clippy.args(["--workspace", "--all-targets", "--release", "--", "-D", "warnings"]);
    step(&mut failed, "cargo clippy", clippy)?;

    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("error: {} failed", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn step(failed: &mut Vec<&'static str>, name: &'static str, command: Command) -> Result<()> {
    let status = process::run(command)?;
    record(failed, name, status.success());
    Ok(())
}

fn record(failed: &mut Vec<&'static str>, name: &'static str, good: bool) {
    println!("{name}: {}", if good { "ok" } else { "FAILED" });
    if !good {
        failed.push(name);
    }
}
