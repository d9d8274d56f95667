//! Optimisers, one file each.

mod adamw;
mod sgd;

pub use adamw::{AdamW, AdamWOptions};
pub use sgd::{Sgd, SgdOptions};

use transplant_core::{Invalid, Optimiser, Plugins};

pub(crate) fn plugin(p: &mut Plugins) {
    p.add::<dyn Optimiser, Sgd>();
    p.add::<dyn Optimiser, AdamW>();
}

/// `value` is a finite number of at least 0.
fn not_negative(key: &str, value: f64) -> Result<(), Invalid> {
    if value.is_finite() && value >= 0.0 {
        Ok(())
    } else {
        Err(Invalid::key(key, format!("must be at least 0, and is {value}")))
    }
}

/// `value` lies in 0..1.
fn below_one(key: &str, value: f64) -> Result<(), Invalid> {
    if (0.0..1.0).contains(&value) {
        Ok(())
    } else {
        Err(Invalid::key(key, format!("must be at least 0 and below 1, and is {value}")))
    }
}
