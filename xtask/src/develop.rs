//! The verbs for people who work on Transplant: `bench` and `docs`. For `test` see test.rs, for `lint` lint.rs.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::ArgMatches;

use crate::features::{Device, Tags};
use crate::{process, runner};

/// `cargo xtask bench`: the bench program, built as a member of the whole workspace. Built alone it would choose fewer
/// features of the dependencies than the runner, and so build them all again.
pub(crate) fn bench(flags: &ArgMatches) -> Result<ExitCode> {
    let args: Vec<&String> = flags.get_many("args").unwrap_or_default().collect();
    let mut build = process::cargo("build");
    build.args(["--quiet", "--release", "--workspace", "--no-default-features", "--bin", "transplant-bench"]);
    let status = process::run(build)?;
    if !status.success() {
        return Ok(ExitCode::from(process::exit_code(status)));
    }
    let mut bench = Command::new(process::built("transplant-bench")?);
    bench.args(&args);
    Ok(ExitCode::from(process::exit_code(process::run(bench)?)))
}

/// `cargo xtask docs`: the API documentation with warnings denied; with `--write` the generated reference pages first.
pub(crate) fn docs(flags: &ArgMatches) -> Result<ExitCode> {
    if flags.get_flag("write") {
        let mut runner = runner::build(&Tags::default(), Device::Auto)?;
        runner.arg("reference").arg(process::root().join("docs").join("reference"));
        let status = process::run(runner)?;
        if !status.success() {
            return Ok(ExitCode::from(process::exit_code(status)));
        }
    }
    let mut doc = process::cargo("doc");
    doc.args(["--workspace", "--no-deps", "--release"]).env("RUSTDOCFLAGS", "-D warnings");
    if flags.get_flag("open") {
        doc.arg("--open");
    }
    Ok(ExitCode::from(process::exit_code(process::run(doc)?)))
}
