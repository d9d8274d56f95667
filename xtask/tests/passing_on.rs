//! xtask as the user meets it: a script stands in for cargo and "builds" another that stands in for the runner.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// Says what it was asked for, then ends as the test wants.
const RUNNER: &str = r#"#!/bin/sh
echo "runner: $*"
case "$END" in
    wait) trap 'echo stopped; exit 43' TERM; echo ready; while :; do sleep 0.05; done ;;
    killed) kill -KILL $$ ;;
    *) exit "$END" ;;
esac
"#;

/// Says what it was asked for, and puts the runner where cargo would.
const CARGO: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "cargo: $*"
[ -n "$BROKEN" ] && exit 101
cp "$here/runner" "$here/transplant.$$" && mv "$here/transplant.$$" "$here/transplant"
"#;

/// A folder with xtask and the scripts. Made once, before any test starts a program: a script that some other thread
/// is writing cannot be started.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("passing_on");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    fs::hard_link(env!("CARGO_BIN_EXE_xtask"), folder.join("xtask")).unwrap();
    for (name, text) in [("cargo", CARGO), ("runner", RUNNER)] {
        fs::write(folder.join(name), text).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(folder.join("light.toml"), "[datasets.a]\ntype = \"mnist_5k\"\n").unwrap();
    fs::write(folder.join("heavy.toml"), "[datasets.a]\ntype = \"mnist_idx\"\n").unwrap();
    fs::write(folder.join("broken.toml"), "[datasets.a\n").unwrap();
    folder
});

fn xtask(args: &str, end: &str) -> Command {
    let folder = &*FOLDER;
    let mut command = Command::new(folder.join("xtask"));
    command.args(args.split(' ')).env("CARGO", folder.join("cargo")).env("END", end).current_dir(folder);
    command
}

fn output(args: &str) -> (Option<i32>, String, String) {
    let output = xtask(args, "0").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn verb_arguments_and_exit_code_are_passed_on() {
    let output = xtask("run light.toml --device cpu --set a.b=c --brand-new x", "7").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("cargo: build --manifest-path"), "{stdout}");
    assert!(stdout.contains("runner: run light.toml --device cpu --set a.b=c --brand-new x\n"), "{stdout}");
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn the_file_decides_the_features() {
    let (_, stdout, _) = output("run light.toml --device cpu");
    assert!(!stdout.contains("candle-datasets"), "{stdout}");
    let (_, stdout, _) = output("check heavy.toml --device cpu");
    assert!(stdout.lines().any(|line| line.contains("--features") && line.contains("candle-datasets")), "{stdout}");
    let (code, stdout, _) = output("run broken.toml --device cpu");
    assert!(code == Some(0) && stdout.contains("runner: run broken.toml"), "the runner reports it: {stdout}");
}

#[test]
fn a_signal_reaches_the_runner() {
    let mut child = xtask("run light.toml --device cpu", "wait").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "ready"));
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(lines.next().as_deref(), Some("stopped"));
    assert_eq!(child.wait().unwrap().code(), Some(43));
}

#[test]
fn a_killed_runner_is_seen_as_killed() {
    assert_eq!(
        xtask("evaluate light.toml", "killed").output().unwrap().status.code(),
        Some(2),
        "that is no run folder"
    );
    assert_eq!(xtask("run light.toml --device cpu", "killed").output().unwrap().status.signal(), Some(9));
}

#[test]
fn what_is_wrong_is_said_before_anything_is_built() {
    for (args, message) in [
        ("run", "<FILE>"),
        ("run nowhere.toml", "nowhere.toml"),
        ("run light.toml --device gpu", "cuda:N"),
        ("evalute light.toml", "'evaluate'"),
        ("lint --fix", "--fix"),
    ] {
        let (code, stdout, stderr) = output(args);
        assert_eq!(code, Some(2), "{args}: {stderr}");
        assert!(stdout.is_empty() && stderr.contains(message), "{args}: {stdout}{stderr}");
    }
}

#[test]
fn a_build_that_fails_is_no_users_error() {
    let output = xtask("list", "0").env("BROKEN", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("could not build transplant"));
}

#[test]
fn help_needs_no_build() {
    let (code, stdout, _) = output("run --help");
    assert_eq!(code, Some(0));
    assert!(stdout.contains("--resume") && !stdout.contains("cargo: build"), "{stdout}");
}
