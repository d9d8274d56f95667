//! `cargo xtask bench`: measures the engine.
//!
//! `step` times one network's evaluation forward and whole training step, and prints one JSON object with the keys of
//! `tests/peers/torch_step.py`; with `--against torch` it runs both, one after the other in turns, and prints the ratios of
//! medians. `ops` times single operations: see `benches/ops.rs`.
#![allow(clippy::print_stdout, reason = "a command-line tool talks on its standard streams")]

mod against;
mod network;
mod step;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use transplant_ops::Precision;

#[derive(Parser)]
#[command(name = "cargo xtask bench", about = "Measure the engine", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    step: Step,
}

#[derive(Subcommand)]
enum What {
    /// Time a network's evaluation forward and training step; print one JSON object. What is done without a subcommand
    Step(Step),
    /// Time single operations, those whose name contains a word that is given
    Ops,
}

#[derive(Args)]
struct Step {
    #[command(flatten)]
    case: Case,
    /// Time the same step in another engine, too, in turns, and print the ratios of medians
    #[arg(long, value_enum)]
    against: Option<Peer>,
    /// The Python that has the other engine; without it there, only our side is timed
    #[arg(long, default_value = "python3")]
    python: String,
    /// How often both sides are run
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// An engine to compare with.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Peer {
    Torch,
}

/// What is timed.
#[derive(Args, Clone)]
struct Case {
    /// resnet18, resnet34 or resnet50, or another network that `--help` of the error names
    #[arg(long, default_value = "resnet18")]
    model: String,
    /// Height and width of the images
    #[arg(long, default_value_t = 32)]
    size: usize,
    /// Images in a batch
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Timed repetitions, after one that is not timed
    #[arg(long, default_value_t = 8)]
    repeats: usize,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// What the operands of products are rounded to, here as in PyTorch (autocast): f32 or bf16
    #[arg(long, default_value_t = Precision::F32)]
    precision: Precision,
    /// The last stage of the frozen part
    #[arg(long)]
    freeze: Option<String>,
}

fn main() -> Result<()> {
    transplant_allocator::keep_freed_memory();
    let cli = Cli::parse();
    let step = match cli.what {
        Some(What::Ops) => bail!("`cargo xtask bench ops` runs another program than this one"),
        Some(What::Step(step)) => step,
        None => cli.step,
    };
    match step.against {
        Some(Peer::Torch) => against::run(&step.case, &step.python, step.rounds),
        None => {
            println!("{}", step::run(&step.case)?);
            Ok(())
        }
    }
}
