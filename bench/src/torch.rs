//! Starts measuring processes: this program's own, and PyTorch's by the scripts in `tests/peers`.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{Limits, Peer};

/// The script that times a network in each setting of PyTorch.
pub(crate) const STEP: &str = "torch_step.py";
/// The script that times linear layers.
pub(crate) const LINEAR: &str = "torch_linear.py";

/// Fails when `peer` names a Python without torch; else torch's version.
pub(crate) fn version(peer: &Peer) -> Result<String> {
    let python = peer.python.display();
    let mut command = Command::new(&peer.python);
    let out = command.args(["-c", "import torch; print(torch.__version__)"]).output();
    let out = out.with_context(|| format!("cannot start {python}; name a Python that has torch with --python"))?;
    if !out.status.success() {
        bail!("{python} has no torch; name a Python that has it with --python")
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// A script of `tests/peers`, limited as our side is.
pub(crate) fn script(peer: &Peer, name: &str, limits: &Limits, threads: usize) -> Command {
    let mut command = Command::new(&peer.python);
    command.arg(format!("{}/../tests/peers/{name}", env!("CARGO_MANIFEST_DIR")));
    limited(command, limits, threads)
}

/// A verb of this program in a process of its own, so that its peak of memory is its own.
pub(crate) fn own(verb: &str, limits: &Limits, threads: usize) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(verb);
    Ok(limited(command, limits, threads))
}

fn limited(mut command: Command, limits: &Limits, threads: usize) -> Command {
    command.args(["--threads", &threads.to_string()]);
    if let Some(level) = limits.simd {
        command.args(["--simd", &level.to_string()]);
    }
    command
}

/// Runs a command to its end and reads the JSON objects that it printed, one a line.
pub(crate) fn objects(command: &mut Command) -> Result<Vec<Value>> {
    let out = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !out.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&out.stderr))
    }
    let text = String::from_utf8_lossy(&out.stdout);
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).with_context(|| format!("{command:?} printed {line}"))).collect()
}
