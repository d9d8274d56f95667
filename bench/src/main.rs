//! `cargo xtask bench`: measures the engine.
//!
//! `step` times one network's evaluation forward and whole training step, and prints one JSON object with the keys of
//! `tests/peers/torch_step.py`. `against` runs both, one after the other in turns, and prints the ratios of medians.
#![allow(clippy::print_stdout, reason = "a command-line tool talks on its standard streams")]

mod against;
mod network;
mod step;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use transplant_ops::Precision;

#[derive(Parser)]
#[command(name = "cargo xtask bench", about = "Measure the engine")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Time a network's evaluation forward and training step; print one JSON object
    Step(Case),
    /// Time the same step here and in a Python that has PyTorch, in turns; print the ratios of medians
    Against {
        #[command(flatten)]
        case: Case,
        /// The Python to run; without PyTorch in it, only our side is timed
        #[arg(long, default_value = "python3")]
        python: String,
        /// How often both sides are run
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
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
    match Cli::parse().what {
        What::Step(case) => {
            println!("{}", step::run(&case)?);
            Ok(())
        }
        What::Against { case, python, rounds } => against::run(&case, &python, rounds),
    }
}
