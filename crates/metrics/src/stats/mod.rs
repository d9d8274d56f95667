//! The statistics of comparing runs: intervals over every source of chance, a test of a difference, and its correction for
//! several comparisons.

mod bootstrap;
mod holm;
mod paired_t;
mod resample;
mod student;

pub use bootstrap::{Cell, FEWEST_FOR_INTERVAL, FEWEST_TO_TRUST, bootstrap, paired_bootstrap};
pub use holm::holm;
pub use paired_t::{PairedT, corrected_paired_t};

use serde::Serialize;

/// An estimate and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The estimate.
    pub mean: f64,
    /// Lower end; NaN where there is no interval.
    pub low: f64,
    /// Upper end; NaN where there is no interval.
    pub high: f64,
}
