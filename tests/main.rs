//! The tests that need more than one crate, as one program: linking it takes longer than compiling a module of it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod contracts;
mod program;
mod trainer;
mod width;
