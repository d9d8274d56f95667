//! From one TOML file to trained models and an honest report.
//!
//! [`file::open`] reads a pipeline file in its layers, checks every key and says where each error stands;
//! what comes out are the [`resolved`] types. [`builtin`] is the catalogue of what a file can name, and
//! [`reference`](mod@reference) explains it; [`mod@run`] trains, compares and leaves the run folder behind.
#![forbid(unsafe_code)]

mod catalogue;
/// Run at build time; here for its tests.
#[cfg(test)]
#[path = "../build/code.rs"]
mod code;
#[cfg(test)]
mod fakes;
pub mod file;
pub mod reference;
pub mod resolved;
pub mod run;

pub use catalogue::builtin;

use std::collections::BTreeSet;

use transplant_core::{Error, Invalid};

/// Puts an error at a key of the file; it stays of its kind.
pub(crate) fn at(key: &str) -> impl Fn(Error) -> Error {
    let key = key.to_owned();
    move |e| e.under(&key)
}

/// The text of an error at the key to which it belongs, for whoever knows where that key was written.
pub(crate) fn text_at_key(error: Error) -> Invalid {
    match error {
        Error::Invalid(invalid) => invalid,
        Error::AtKey { key, source } => Invalid::key(&key, source.to_string()),
        Error::In { what, source } => {
            let inner = text_at_key(*source);
            Invalid { message: format!("{what}: {}", inner.message), ..inner }
        }
        other => Invalid::new(other.to_string()),
    }
}

/// The least and the most of some counts, in words: `12`, or `12 to 13`; `0` for none.
pub(crate) fn span(counts: impl IntoIterator<Item = usize>) -> String {
    let counts: BTreeSet<usize> = counts.into_iter().collect();
    match (counts.first(), counts.last()) {
        (Some(least), Some(most)) if least < most => format!("{least} to {most}"),
        (one, _) => one.copied().unwrap_or_default().to_string(),
    }
}

/// A number with its noun, `1 cell` or `2 cells`.
pub(crate) fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// The number as it was written: 0.485, not the nearest f32 with all the digits that it has as an f64.
pub(crate) fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}
