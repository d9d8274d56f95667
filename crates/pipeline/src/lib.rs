//! From one TOML file to trained models and an honest report.
//!
//! [`file::open`] reads a pipeline file in its layers, checks every key and says where each error stands;
//! what comes out are the [`resolved`] types. [`builtin`] is the catalogue of what a file can name, and [`reference`](mod@reference)
//! explains it; [`mod@run`] trains, compares and leaves the run folder behind.
#![forbid(unsafe_code)]

mod catalogue;
#[cfg(test)]
mod fakes;
pub mod file;
pub mod reference;
pub mod resolved;
pub mod run;

pub use catalogue::builtin;
