//! Our side and PyTorch's in turns, so that both see the same moods of the machine.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::Case;

/// The keys that are compared.
const KEYS: [&str; 3] = ["forward_ms", "train_step_ms", "peak_rss_mb"];

/// Runs both sides `rounds` times and prints medians and ratios.
pub(crate) fn run(case: &Case, python: &str, rounds: usize) -> Result<()> {
    let torch = has_torch(python);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(1) {
        ours.push(our_side(case)?);
        if torch {
            theirs.push(their_side(case, python)?);
        }
    }
    let mut out = Map::new();
    let ours = medians(&ours);
    out.insert("ours".to_owned(), json!(ours));
    if torch {
        let theirs = medians(&theirs);
        let ratio = |k: &str| Some((k.to_owned(), json!(((ours.get(k)? / theirs.get(k)?) * 1e3).round() / 1e3)));
        out.insert("torch".to_owned(), json!(theirs));
        out.insert("ratio".to_owned(), Value::Object(KEYS.iter().filter_map(|k| ratio(k)).collect()));
    } else {
        out.insert("torch".to_owned(), Value::Null);
    }
    println!("{}", Value::Object(out));
    Ok(())
}

fn has_torch(python: &str) -> bool {
    Command::new(python).args(["-c", "import torch"]).output().is_ok_and(|o| o.status.success())
}

/// A process of its own for each measurement, so that its peak of memory is its own.
fn our_side(case: &Case) -> Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("step").args(["--model", &case.model]);
    for (flag, value) in
        [("--size", case.size), ("--batch", case.batch), ("--repeats", case.repeats), ("--threads", case.threads)]
    {
        command.args([flag, &value.to_string()]);
    }
    command.args(["--precision", &case.precision.to_string()]);
    if let Some(stage) = &case.freeze {
        command.args(["--freeze", stage]);
    }
    parsed(&mut command)
}

fn their_side(case: &Case, python: &str) -> Result<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peers/torch_step.py");
    let numbers = [case.size, case.batch, case.repeats].map(|n| n.to_string());
    parsed(Command::new(python).arg(script).args(numbers).args([
        &case.model,
        &case.threads.to_string(),
        &case.precision.to_string(),
    ]))
}

fn parsed(command: &mut Command) -> Result<Value> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    if !out.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&out.stderr))
    }
    let text = String::from_utf8_lossy(&out.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).with_context(|| format!("{command:?} printed {text}"))
}

fn medians(runs: &[Value]) -> std::collections::BTreeMap<String, f64> {
    let of = |key: &str| {
        let mut all: Vec<f64> = runs.iter().filter_map(|r| r[key].as_f64()).collect();
        all.sort_by(f64::total_cmp);
        Some((key.to_owned(), *all.get(all.len() / 2)?))
    };
    KEYS.iter().filter_map(|k| of(k)).collect()
}
