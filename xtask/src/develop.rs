//! The verbs for people who work on Transplant: `test`, `bench` and `docs`. For `lint` see lint.rs.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::ArgMatches;

use crate::features::{Device, Tags};
use crate::{process, runner};

/// `cargo xtask test`: the tests of the workspace, in the one profile that runs use too.
pub(crate) fn test(flags: &ArgMatches) -> Result<ExitCode> {
    let args: Vec<&String> = flags.get_many("args").unwrap_or_default().collect();
    let packages: Vec<&String> = flags.get_many("package").unwrap_or_default().collect();
    let test = |command: &mut Command| command.arg("--release").arg("--").args(&args).status();

    let mut first = process::cargo("test");
    if packages.is_empty() {
        first.arg("--workspace");
    }
    for package in packages {
        first.arg("--package").arg(package);
    }
    let mut code = process::exit_code(test(&mut first)?);
    if code == 0 && flags.get_flag("full") {
        let mut gated = process::cargo("test");
        gated.args(["--package", "transplant-datasets", "--package", "transplant-tests"]);
        gated.args(["--features", "transplant-tests/candle-datasets", "--lib", "--test", "program", "--release", "--"]);
        code = process::exit_code(gated.args(["sources", "cifar10"]).status()?);
    }
    Ok(ExitCode::from(code))
}

/// `cargo xtask bench`: the bench program, built as runs are, so that it shares their artefacts.
pub(crate) fn bench(flags: &ArgMatches) -> Result<ExitCode> {
    let args: Vec<&String> = flags.get_many("args").unwrap_or_default().collect();
    let mut bench = process::cargo("run");
    bench.args(["--quiet", "--release", "--package", "transplant-bench", "--"]).args(&args);
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
