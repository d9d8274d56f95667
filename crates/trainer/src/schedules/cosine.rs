//! Half a cosine down to a floor.
//!
//! Loshchilov & Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", without restarts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Invalid, Plugins, Progress, Result, Schedule};

use super::half_cosine;

/// Half a cosine from the base rate down to a floor at the end of the phase.
///
/// Loshchilov and Hutter 2017, without restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CosineOptions {
    /// The last factor, from 0 to 1.
    pub floor: f64,
}

/// See [`CosineOptions`].
#[derive(Debug, Clone)]
pub struct Cosine(pub CosineOptions);

impl Schedule for Cosine {
    fn factor(&self, at: Progress) -> f64 {
        half_cosine(1.0, self.0.floor, at.fraction())
    }
}

impl Component<dyn Schedule> for Cosine {
    const TYPE: &'static str = "cosine";
    type Options = CosineOptions;

    fn check(o: &CosineOptions, _: &Plugins) -> Result<(), Invalid> {
        if (0.0..=1.0).contains(&o.floor) { Ok(()) } else { Err(Invalid::key("floor", "must lie between 0 and 1")) }
    }

    fn build(o: CosineOptions, _: &BuildCx<'_>) -> Result<Box<dyn Schedule>> {
        Ok(Box::new(Self(o)))
    }
}
