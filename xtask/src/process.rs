//! Starting cargo and other programs, and what their end means.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// The cargo that runs xtask, with `verb`, on this workspace. It starts in the user's folder, so that a relative
/// `CARGO_TARGET_DIR` means the same to it as to the cargo that built xtask.
pub(crate) fn cargo(verb: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells a program about its own package is not meant for another cargo: build scripts that watch
    // these would run again whenever xtask and a plain `cargo build` take turns.
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(key);
        }
    }
    command.arg(verb);
    if verb != "fmt" {
        command.arg("--manifest-path").arg(root().join("Cargo.toml"));
    }
    command
}

/// Where cargo puts the binary `name`: beside xtask, which the same cargo built into the same folder with the same profile.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let xtask = std::env::current_exe().context("cannot tell where xtask itself is")?;
    Ok(xtask.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}

/// Whether cargo has the subcommand `name`.
pub(crate) fn has_subcommand(name: &str) -> bool {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([name, "--version"]).output().is_ok_and(|output| output.status.success())
}

/// Runs `command` to its end, on the same standard streams.
pub(crate) fn run(mut command: Command) -> Result<ExitStatus> {
    command.status().with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// The exit code that passes `status` on: 128 + its number for a signal, as shells have it.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_and_signals_are_passed_on() {
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            assert_eq!(exit_code(run(command).unwrap()), code, "{script}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(Command::new("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }

    #[test]
    fn the_root_is_the_workspace() {
        assert!(root().join("xtask").is_dir());
    }
}
