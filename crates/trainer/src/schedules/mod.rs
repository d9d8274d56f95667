//! Learning-rate schedules, one file each: factors on the base rate as functions of progress.

mod constant;
mod cosine;
mod one_cycle;
mod step;
mod warmup;

pub use constant::{Constant, ConstantOptions};
pub use cosine::{Cosine, CosineOptions};
pub use one_cycle::{OneCycle, OneCycleOptions};
pub use step::{StepDecay, StepDecayOptions};
pub use warmup::{Warmup, WarmupOptions};

use transplant_core::{Plugins, Schedule};

pub(crate) fn plugin(p: &mut Plugins) {
    p.add::<dyn Schedule, Constant>();
    p.add::<dyn Schedule, StepDecay>();
    p.add::<dyn Schedule, Cosine>();
    p.add::<dyn Schedule, OneCycle>();
    p.add::<dyn Schedule, Warmup>();
}

/// Half a cosine from `from` at 0 to `to` at 1.
fn half_cosine(from: f64, to: f64, t: f64) -> f64 {
    to + (from - to) * (1.0 + (std::f64::consts::PI * t).cos()) / 2.0
}
