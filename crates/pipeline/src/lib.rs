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

use transplant_core::{Error, Invalid};

/// Turns whatever was met at the door into an error at a key.
pub(crate) fn at(key: &str) -> impl Fn(Error) -> Invalid {
    let key = key.to_owned();
    move |e| match e {
        Error::Invalid(i) => i.under(&key),
        other => Invalid::key(&key, other.to_string()),
    }
}

/// The number as it was written: 0.485, not the nearest f32 with all the digits that it has as an f64.
pub(crate) fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}
