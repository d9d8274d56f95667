//! Operations against PyTorch, on random shapes, and in bfloat16.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod goldens;
mod precision;
mod shapes;
