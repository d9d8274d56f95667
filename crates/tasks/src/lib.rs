//! What is learned on top of a backbone.
//!
//! A [`Task`] owns a head, its loss per row, how outputs are read and by which metrics they are
//! judged: [`Classification`] of classes, [`Regression`] of numbers. [`heads`] are fitted in closed form or to convergence on frozen features,
//! instead of being trained step by step.
#![forbid(unsafe_code)]

mod classification;
pub mod heads;
mod regression;

pub use classification::{Classification, ClassificationOptions};
pub use regression::{Regression, RegressionOptions};

use transplant_core::{HeadFit, Plugins, Task};

/// Registers all tasks and fitted heads.
pub fn plugin(p: &mut Plugins) {
    p.add::<dyn Task, Classification>();
    p.add::<dyn Task, Regression>();
    p.add::<dyn HeadFit, heads::LogisticRegression>();
    p.add::<dyn HeadFit, heads::Knn>();
    p.add::<dyn HeadFit, heads::NearestPrototype>();
    p.add::<dyn HeadFit, heads::Ridge>();
    p.add::<dyn HeadFit, heads::TfidfLogisticRegression>();
}
