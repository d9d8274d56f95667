//! Networks against PyTorch and transformers, and files of weights.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and may say how near it came")]

mod common;
mod goldens;
mod others;
mod texts;
mod weights;
