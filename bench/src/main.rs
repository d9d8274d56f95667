//! `cargo xtask bench`: measures the engine, by itself or beside PyTorch.
//!
//! `step` times one network's evaluation forward and whole training step, and prints one JSON object for each number of
//! threads; `table` runs the six networks of docs/performance.md and prints rows of Markdown; `ops` times single operations.
//! With `--against torch` both sides run in turns, each measurement in a process of its own.
#![allow(clippy::print_stdout, reason = "a command-line tool talks on its standard streams")]

mod against;
mod network;
mod ops;
mod processor;
mod step;
mod table;
mod torch;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use transplant_kernels::simd::{self, Level};
use transplant_ops::Precision;

#[derive(Parser)]
#[command(name = "cargo xtask bench", about = "Measure the engine", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    step: step::Flags,
}

#[derive(Subcommand)]
enum What {
    /// Time a network's evaluation forward and training step; print JSON. What is done without a subcommand
    Step(step::Flags),
    /// Time the six networks of docs/performance.md; print a table in Markdown
    Table(table::Flags),
    /// Time single operations and compare their arithmetic with the processor's peak
    Ops(ops::Flags),
}

/// What may be used of the machine.
#[derive(Args, Clone)]
struct Limits {
    /// Numbers of threads, one after the other, such as 1,2
    #[arg(long, value_delimiter = ',', default_value = "1")]
    threads: Vec<usize>,
    /// Cap on the vector instructions of both sides: portable, avx2 or avx512 [default: all that the processor has]
    #[arg(long)]
    simd: Option<Level>,
}

impl Limits {
    /// Caps this process.
    fn apply(&self) {
        if let Some(level) = self.simd {
            simd::limit(level);
        }
    }
}

/// How each side is timed.
#[derive(Args, Clone)]
struct Timing {
    /// Timed repetitions in a process, after two that are not timed
    #[arg(long, default_value_t = 8)]
    repeats: usize,
    /// What the operands of products are rounded to, here as in PyTorch (autocast): f32 or bf16
    #[arg(long, default_value_t = Precision::F32)]
    precision: Precision,
}

/// The other engine.
#[derive(Args, Clone)]
struct Peer {
    /// Time the same in another engine, too, in turns
    #[arg(long, value_enum)]
    against: Option<Engine>,
    /// The Python that has the other engine
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// How often both sides are run; medians over rounds count
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// PyTorch's settings to try, of which the best counts [default: all]
    #[arg(long, value_delimiter = ',')]
    settings: Vec<String>,
}

/// An engine to compare with.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Engine {
    Torch,
}

fn main() -> Result<()> {
    transplant_allocator::keep_freed_memory();
    let cli = Cli::parse();
    match cli.what.unwrap_or(What::Step(cli.step)) {
        What::Step(flags) => step::run(&flags),
        What::Table(flags) => table::run(&flags),
        What::Ops(flags) => ops::run(&flags),
    }
}

/// The median of some figures.
fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures.len().checked_sub(1)? / 2, figures.len() / 2);
    Some((figures[low] + figures[high]) / 2.0)
}

/// Such as `2 threads`.
fn count_threads(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}
