//! `cargo xtask bench ops`: single operations, their arithmetic, and the share of the processor's peak that they reach.

mod against;
mod cases;
mod timing;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use transplant_kernels::peak::peak_gflops;

use crate::{Engine, Limits, Peer, processor};
use cases::Case;

#[derive(Args, Clone)]
pub(crate) struct Flags {
    /// Only operations whose name or shape contains one of these words, such as `depthwise` or `linear`
    words: Vec<String>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    peer: Peer,
    /// Print a JSON object for each pass instead of a table
    #[arg(long, conflicts_with = "against")]
    json: bool,
}

/// Times the chosen operations on each number of threads. With `--against`, only linear layers.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    flags.limits.apply();
    let mut cases = chosen(&flags.words)?;
    let peak = if flags.json { 0.0 } else { peak_gflops() };
    if !flags.json {
        println!("{}; peak of a thread {peak:.1} GFLOP/s", processor::describe());
    }
    if let Some(Engine::Torch) = flags.peer.against {
        cases.retain(|case| case.name == "linear");
        if cases.is_empty() {
            bail!("only operations named `linear` are compared with PyTorch")
        }
        return flags.limits.threads.iter().try_for_each(|&threads| against::run(flags, &cases, peak, threads));
    }
    for &threads in &flags.limits.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        pool.install(|| cases.iter().try_for_each(|case| print(case, flags.json, threads, peak)))?;
    }
    Ok(())
}

fn chosen(words: &[String]) -> Result<Vec<Case>> {
    let mut cases = cases::all();
    cases.retain(|case| words.is_empty() || words.iter().any(|word| case.to_string().contains(word.as_str())));
    if cases.is_empty() {
        bail!("no operation contains {}; there are:\n{}", words.join(" or "), names(&cases::all()))
    }
    Ok(cases)
}

fn names(cases: &[Case]) -> String {
    cases.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn print(case: &Case, as_json: bool, threads: usize, peak: f64) -> Result<()> {
    for &pass in case.passes() {
        let seconds = timing::seconds(case, pass)?;
        let ms = seconds * 1e3;
        if as_json {
            println!("{}", json!({ "case": case.to_string(), "pass": pass.key(), "ms": ms }));
            continue;
        }
        let gflops = case.flops(pass).map(|flops| flops / seconds / 1e9);
        let arithmetic = gflops.map_or_else(String::new, |g| arithmetic(g, peak, threads));
        println!("{case:<36} {threads} t  {pass:<16} {ms:>9.3} ms {arithmetic}");
    }
    Ok(())
}

/// Such as `104.2 GFLOP/s, 63 %`: the share is that of all threads' peak.
fn arithmetic(gflops: f64, peak: f64, threads: usize) -> String {
    format!("{gflops:>8.1} GFLOP/s, {:.0} %", gflops / peak / threads as f64 * 100.0)
}
