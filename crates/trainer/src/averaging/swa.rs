//! The mean of the weights at the ends of the last epochs.
//!
//! Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization". Meant for a rate that stays high to
//! the end: after a schedule that falls to zero the last epochs hardly differ.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Averaging, BuildCx, Component, Invalid, Plugins, Progress, Result};

use crate::optimisers::below_one;

/// The mean of the weights at the ends of the last epochs.
///
/// Statistics of batch normalisation are averaged alike, not taken anew. Use it with a rate that does not fall to zero;
/// Izmailov et al. 2018.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SwaOptions {
    /// Share of the epochs after which the mean begins, at least 0 and below 1.
    pub from: f64,
}

impl Default for SwaOptions {
    fn default() -> Self {
        Self { from: 0.75 }
    }
}

/// See [`SwaOptions`].
#[derive(Debug, Clone)]
pub struct Swa(pub SwaOptions);

impl Averaging for Swa {
    fn share(&self, at: Progress) -> f64 {
        let an_epoch = at.steps_per_epoch.max(1);
        if at.step == 0 || !at.step.is_multiple_of(an_epoch) {
            return 0.0;
        }
        let (epoch, epochs) = (at.step / an_epoch, at.steps / an_epoch);
        let before = ((epochs as f64 * self.0.from) as u64).min(epochs.saturating_sub(1));
        1.0 / epoch.saturating_sub(before).max(1) as f64
    }
}

impl Component<dyn Averaging> for Swa {
    const TYPE: &'static str = "swa";
    type Options = SwaOptions;

    fn check(o: &SwaOptions, _: &Plugins) -> Result<(), Invalid> {
        below_one("from", o.from)
    }

    fn build(o: SwaOptions, _: &BuildCx<'_>) -> Result<Box<dyn Averaging>> {
        Ok(Box::new(Self(o)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_epochs_count_alike() {
        let swa = Swa(SwaOptions { from: 0.6 });
        let share = |step| swa.share(Progress { step, steps: 50, steps_per_epoch: 10 });
        assert_eq!([share(5), share(10), share(30), share(40), share(50)], [0.0, 1.0, 1.0, 1.0, 0.5]);
        let one = Progress { step: 10, steps: 10, steps_per_epoch: 10 };
        assert_eq!(swa.share(one), 1.0);
    }
}
