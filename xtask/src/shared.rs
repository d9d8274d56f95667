//! Whether the tests use the dependencies that the runner was built with. A dependency of tests that turns on one more
//! feature of a shared crate has that crate, and all that stand on it, built a second time.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::process;

/// The dependencies of the runner that `cargo xtask test` would build again, with the features they have there.
pub(crate) fn built_twice() -> Result<Vec<String>> {
    let runner = tree(&["--package", "transplant-cli", "--edges", "normal,build"])?;
    let tests = tree(&["--workspace", "--no-default-features", "--edges", "normal,build,dev"])?;
    Ok(missing(&runner, &tests))
}

/// The lines of `runner` that `tests` lacks.
fn missing(runner: &str, tests: &str) -> Vec<String> {
    let lines = |text: &str| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
    lines(runner).difference(&lines(tests)).cloned().collect()
}

/// `cargo tree`, a line for each package with its features.
fn tree(selection: &[&str]) -> Result<String> {
    let mut command = process::cargo("tree");
    command.args(["--prefix", "none", "--no-dedupe", "--format", "{p} {f}"]).args(selection);
    let output = command.output().context("cannot start cargo tree")?;
    ensure!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_set_of_features_is_told() {
        let (runner, tests) = ("a v1 std\nb v2 \nc v1 x\n", "c v1 x\na v1 std,os_rng\nb v2 \nd v1 \n");
        assert_eq!(missing(runner, tests), ["a v1 std"]);
        assert!(missing(runner, runner).is_empty());
    }
}
