//! `cargo xtask test`: which tests run, and what was left out.
//!
//! The reason of `#[ignore = "…"]` decides, and nothing else: no list of names, no prefix. [`KINDS`] says which reasons
//! there are. A plain `test` runs what is not ignored, with the features of a plain runner, so that it shares what runs
//! have built. `--full` turns on all features and then runs the ignored tests of the kind `long`, too.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::ArgMatches;

use crate::process;

/// A kind of ignored tests.
struct Kind {
    /// How the reason of such a test starts.
    reason: &'static str,
    /// What such tests do.
    what: &'static str,
    /// The command that runs them.
    command: &'static str,
}

/// The reason of tests that `--full` runs although they are ignored.
const LONG: &str = "long";

/// Every kind of ignored tests.
const KINDS: &[Kind] = &[
    Kind { reason: LONG, what: "take long", command: "cargo xtask test --full" },
    Kind { reason: "needs the cargo feature", what: "need a cargo feature", command: "cargo xtask test --full" },
    Kind { reason: "needs a build without", what: "need a build without a cargo feature", command: "cargo xtask test" },
    Kind {
        reason: "fetches",
        what: "fetch from the network",
        command: "cargo xtask test -- --ignored pretrained, or the name of another",
    },
    Kind {
        reason: "needs Python",
        what: "need Python with other libraries",
        command: "PYTHON=THAT_PYTHON cargo xtask test -- --ignored exports",
    },
    Kind { reason: "a measurement", what: "measure", command: "cargo xtask test -- --ignored NAME --nocapture" },
];

/// The cargo features of `--full`.
const FEATURES: [&str; 3] = ["candle-datasets", "hub", "parquet"];

/// The crate of the runner. Tests of one crate are built beside it: alone, the crate would choose fewer features of the
/// dependencies than the runner, and so build them all again.
const RUNNER: &str = "transplant-cli";

/// The crate of the tests that need several crates. It has the features of the runner.
const TESTS: &str = "transplant-tests";

/// Runs the tests; see the head of this file.
pub(crate) fn test(flags: &ArgMatches) -> Result<ExitCode> {
    let start = Instant::now();
    let args: Vec<&str> = flags.get_many("args").unwrap_or_default().map(String::as_str).collect();
    let packages: Vec<&str> = flags.get_many("package").unwrap_or_default().map(String::as_str).collect();
    let full = flags.get_flag("full");
    // Whoever asks for ignored tests may ask for some that need a feature.
    let with_features = full || args.iter().any(|arg| ["--ignored", "--include-ignored"].contains(arg));

    let mut all = run(&packages, with_features, &[], &args)?;
    if all.code == 0 && full {
        ensure!(
            all.ignored.len() == all.ignored_count,
            "--full needs the list of the ignored tests, and with these arguments the test programs do not print it"
        );
        let (long, left): (Vec<_>, Vec<_>) = all.ignored.into_iter().partition(|test| test.reason.starts_with(LONG));
        all.ignored = left;
        if !long.is_empty() {
            let mut exactly: Vec<&str> = args.iter().copied().filter(|arg| *arg != "--exact").collect();
            exactly.extend(["--ignored", "--exact"]);
            exactly.extend(long.iter().map(|test| test.name.as_str()));
            let second = run(&packages, true, &["--lib", "--bins", "--tests"], &exactly)?;
            all.passed += second.passed;
            all.code = second.code;
        }
    }
    if all.code == 0 {
        println!("{} tests passed in {:.0} s", all.passed, start.elapsed().as_secs_f64());
        left_out(&all.ignored).iter().for_each(|line| println!("{line}"));
    }
    Ok(ExitCode::from(all.code))
}

/// What the test programs have told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The exit code of cargo.
    code: u8,
    /// Number of tests that passed.
    passed: usize,
    /// Number of ignored tests.
    ignored_count: usize,
    /// The ignored tests, as far as they were printed.
    ignored: Vec<Ignored>,
}

/// A test that was not run.
#[derive(Debug, PartialEq, Eq)]
struct Ignored {
    name: String,
    reason: String,
}

impl Outcome {
    /// Reads a line of a test program.
    fn read(&mut self, line: &str) {
        if let Some((name, reason)) = line.strip_prefix("test ").and_then(|test| test.split_once(" ... ignored")) {
            let reason = reason.trim_start_matches(", ").to_owned();
            self.ignored.push(Ignored { name: name.to_owned(), reason });
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let count = |of: &str| {
                let before = result.split(of).next().unwrap_or_default().trim_end();
                before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
            };
            self.passed += count("passed");
            self.ignored_count += count("ignored");
        }
    }
}

/// Builds the tests of `packages`, or of all, and runs them; shows what they print and reads it.
fn run(packages: &[&str], with_features: bool, targets: &[&str], args: &[&str]) -> Result<Outcome> {
    let mut command = cargo(packages, with_features);
    command.args(targets).arg("--").args(args).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start cargo")?;
    let mut outcome = Outcome::default();
    let mut shown = std::io::stdout();
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).split(b'\n') {
        let line = line.context("cannot read what the tests print")?;
        outcome.read(String::from_utf8_lossy(&line).trim_end());
        shown.write_all(&line)?;
        shown.write_all(b"\n")?;
    }
    outcome.code = process::exit_code(child.wait()?);
    Ok(outcome)
}

/// `cargo test` of `packages`, or of all, without the arguments of the test programs.
fn cargo(packages: &[&str], with_features: bool) -> Command {
    let mut command = process::cargo("test");
    command.args(["--release", "--no-default-features"]);
    if packages.is_empty() {
        command.arg("--workspace");
    } else {
        packages.iter().chain([&RUNNER]).for_each(|package| {
            command.args(["--package", package]);
        });
    }
    if with_features {
        let of = if packages.is_empty() || packages.contains(&TESTS) { TESTS } else { RUNNER };
        command.arg("--features").arg(FEATURES.map(|feature| format!("{of}/{feature}")).join(","));
    }
    command
}

/// A line for each kind of `ignored` tests: how many there are, and the command that runs them.
fn left_out(ignored: &[Ignored]) -> Vec<String> {
    let of = |kind: &Kind| ignored.iter().filter(|test| test.reason.starts_with(kind.reason)).count();
    let counts: Vec<_> = KINDS.iter().map(|kind| (of(kind), kind)).filter(|(count, _)| *count > 0).collect();
    let mut lines: Vec<_> =
        counts.iter().map(|(count, kind)| format!("left out: {count} that {} ({})", kind.what, kind.command)).collect();
    let rest = ignored.len() - counts.iter().map(|(count, _)| count).sum::<usize>();
    if rest > 0 {
        lines.push(format!("left out: {rest} that are ignored for another reason (cargo xtask test -- --ignored)"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_ignored_tests_are_read() {
        let mut outcome = Outcome::default();
        for line in [
            "running 4 tests",
            "test a::b ... ok",
            "test a::c ... ignored, long: a kill at every step",
            "test d ... ignored",
            "test result: ok. 12 passed; 0 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.21s",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ] {
            outcome.read(line);
        }
        let ignored = |name: &str, reason: &str| Ignored { name: name.into(), reason: reason.into() };
        let wanted = vec![ignored("a::c", "long: a kill at every step"), ignored("d", "")];
        assert_eq!(outcome, Outcome { code: 0, passed: 15, ignored_count: 2, ignored: wanted });
        assert_eq!(
            left_out(&outcome.ignored),
            [
                "left out: 1 that take long (cargo xtask test --full)",
                "left out: 1 that are ignored for another reason (cargo xtask test -- --ignored)"
            ]
        );
    }

    #[test]
    fn one_crate_is_tested_beside_the_runner() {
        let args = |packages: &[&str], full| -> Vec<String> {
            let command = cargo(packages, full);
            command.get_args().skip(3).map(|arg| arg.to_string_lossy().into_owned()).collect()
        };
        let plain = ["--release", "--no-default-features"];
        assert_eq!(args(&[], false), [&plain[..], &["--workspace"]].concat());
        let both = ["--package", "transplant-ops", "--package", RUNNER];
        assert_eq!(args(&["transplant-ops"], false), [&plain[..], &both].concat());
        let features = "transplant-cli/candle-datasets,transplant-cli/hub,transplant-cli/parquet";
        assert_eq!(args(&["transplant-ops"], true), [&plain[..], &both, &["--features", features]].concat());
        assert!(args(&[TESTS], true).contains(&features.replace(RUNNER, TESTS)));
    }
}
