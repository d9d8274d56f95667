//! Builds the `transplant` binary with the features a request needs, and hands over to it.

use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::clock::Clock;
use crate::features::{self, Device, Tags};
use crate::machine::Machine;
use crate::process;
use crate::request::Request;

/// Builds what `request` needs and lets the runner answer it. On unix the runner *replaces* xtask, as xtask has
/// replaced `cargo run`: signals reach it and its exit code is what the user sees, without anything being forwarded.
pub(crate) fn pass_on(request: &Request) -> Result<ExitCode> {
    let mut command = build(&request.tags()?, request.device)?;
    command.args(&request.args);
    hand_over(command)
}

/// Builds the runner with what `tags` need on `device`; the result starts it.
pub(crate) fn build(tags: &Tags, device: Device) -> Result<Command> {
    let machine = Machine::probe();
    let features = features::choose(tags, device, &machine)?;
    let binary = process::built("transplant")?;
    let mut cargo = process::cargo("build");
    cargo.args(["--release", "--package", "transplant-cli", "--bin", "transplant"]);
    if !features.is_empty() {
        cargo.arg("--features").arg(features.join(","));
    }
    let on_gpu = features.contains(&"cuda");
    if on_gpu {
        cargo.envs(machine.build_variables());
    }
    compile(cargo, &binary, &features)?;
    ensure!(binary.is_file(), "cargo has built transplant, but not as {}", binary.display());
    let mut command = Command::new(binary);
    if on_gpu {
        command.envs(machine.run_variables());
    }
    Ok(command)
}

/// Runs `cargo`. Cargo shows its progress the first time; after that, one line tells that it takes a while. At the
/// end one line tells what it took, if anything was built.
fn compile(mut cargo: Command, binary: &Path, features: &[&str]) -> Result<()> {
    let first = !binary.is_file();
    let with = if features.is_empty() { String::new() } else { format!(" with {}", features.join(", ")) };
    if first {
        eprintln!("building transplant{with}, which takes some minutes the first time");
    }
    if !(first && std::io::stderr().is_terminal()) {
        cargo.arg("--quiet");
    }
    let clock = Clock::start();
    let (done, waiting) = channel::<()>();
    let notice = thread::spawn(move || {
        let long = waiting.recv_timeout(Duration::from_secs(2)) == Err(RecvTimeoutError::Timeout);
        if long && !first {
            eprintln!("building transplant{with}");
        }
    });
    let status = process::run(cargo);
    drop(done);
    notice.join().ok();
    if !status?.success() {
        let hint = if features.contains(&"cuda") { " (`--device cpu` builds without CUDA)" } else { "" };
        anyhow::bail!("cargo could not build transplant{hint}");
    }
    if let Some(line) = account(clock.wall(), clock.cpu_secs(), clock.cpu_secs_before()) {
        eprintln!("{line}");
    }
    Ok(())
}

/// What a build took, unless it took nothing: waiting for another cargo's lock is not building.
fn account(wall: Duration, cpu: Option<f64>, before: Option<f64>) -> Option<String> {
    if wall < Duration::from_secs(1) || cpu.is_some_and(|cpu| cpu < 1.0) {
        return None;
    }
    let cpu = match (cpu, before) {
        (Some(cpu), Some(before)) if before >= 1.0 => {
            format!(" ({cpu:.0} CPU-seconds; {:.0} with xtask itself)", cpu + before)
        }
        (Some(cpu), _) => format!(" ({cpu:.0} CPU-seconds)"),
        (None, _) => String::new(),
    };
    Some(format!("built transplant in {:.0} s{cpu}", wall.as_secs_f64()))
}

#[cfg(unix)]
fn hand_over(mut command: Command) -> Result<ExitCode> {
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    Err(error).with_context(|| format!("cannot start {}", command.get_program().display()))
}

#[cfg(not(unix))]
fn hand_over(command: Command) -> Result<ExitCode> {
    Ok(ExitCode::from(process::exit_code(process::run(command)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_builds_are_accounted_for() {
        let secs = Duration::from_secs;
        assert_eq!(account(Duration::from_millis(300), Some(0.2), Some(0.0)), None);
        assert_eq!(account(secs(40), Some(0.1), None), None, "waited for a lock");
        assert_eq!(account(secs(95), Some(181.2), Some(0.0)).unwrap(), "built transplant in 95 s (181 CPU-seconds)");
        assert_eq!(
            account(secs(95), Some(181.2), Some(9.0)).unwrap(),
            "built transplant in 95 s (181 CPU-seconds; 190 with xtask itself)"
        );
        assert_eq!(account(secs(95), None, None).unwrap(), "built transplant in 95 s");
    }
}
