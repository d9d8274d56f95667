//! Linear layers beside PyTorch's, forward and both gradients, in turns.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::cases::{Case, Pass};
use super::{Flags, arithmetic};
use crate::{median, torch};

/// Milliseconds of each round, by case and pass.
type Times = BTreeMap<(String, String), Vec<f64>>;

/// Runs both sides in turns and prints a table of medians in Markdown.
pub(crate) fn run(flags: &Flags, cases: &[Case], peak: f64, threads: usize) -> Result<()> {
    let rounds = flags.peer.rounds.max(1);
    let version = torch::version(&flags.peer)?;
    println!("\nPyTorch {version}, {}, medians of {rounds} rounds:\n", crate::count_threads(threads));
    println!("| rows x inputs, outputs x inputs | pass | ours | PyTorch | ratio of times |");
    println!("|---|---|---|---|---|");
    let (mut ours, mut theirs) = (Times::new(), Times::new());
    for _ in 0..rounds {
        for case in cases {
            let mut own = torch::own("ops", &flags.limits, threads)?;
            collect(&mut ours, own.arg("--json").arg(case.to_string()))?;
            let [rows, inputs, outputs] =
                [case.shapes[0][0], case.shapes[0][1], case.shapes[1][0]].map(|n| n.to_string());
            let mut script = torch::script(&flags.peer, torch::LINEAR, &flags.limits, threads);
            script.args(["--rows", &rows, "--inputs", &inputs, "--outputs", &outputs, "--case", &case.to_string()]);
            collect(&mut theirs, &mut script)?;
        }
    }
    for case in cases {
        for &pass in case.passes() {
            let key = (case.to_string(), pass.key().to_owned());
            let ms = |times: &mut Times| median(times.remove(&key).unwrap_or_default());
            let (ours, theirs) =
                (ms(&mut ours).context("no time of ours")?, ms(&mut theirs).context("no time of PyTorch's")?);
            let side =
                |ms: f64| format!("{ms:.3} ms, {}", arithmetic(gflops(case, pass, ms), peak, threads).trim_start());
            println!("| {case} | {pass} | {} | {} | {:.3} |", side(ours), side(theirs), ours / theirs);
        }
    }
    Ok(())
}

fn gflops(case: &Case, pass: Pass, ms: f64) -> f64 {
    case.flops(pass).unwrap_or_default() / ms / 1e6
}

/// Adds the times that a process prints, one pass a line.
fn collect(times: &mut Times, command: &mut std::process::Command) -> Result<()> {
    for found in torch::objects(command)? {
        let text = |key: &str| Some(found[key].as_str()?.to_owned());
        let key = text("case").zip(text("pass")).with_context(|| format!("{found} names no case or pass"))?;
        times.entry(key).or_default().push(found["ms"].as_f64().with_context(|| format!("{found} has no time"))?);
    }
    Ok(())
}
