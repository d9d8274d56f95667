//! [`Plan`]: what a phase does with each tensor of the model.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Adapter, Pattern, Result};

/// What happens to one weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Use {
    /// Handed out untracked: no gradient is computed for it and no byte of it changes.
    Frozen,
    /// Updated by the optimiser.
    Trained {
        /// Factor on the learning rate.
        lr_scale: f64,
        /// Whether weight decay applies.
        decay: bool,
    },
}

impl Use {
    /// Trained at the full rate, with decay.
    pub const TRAINED: Self = Self::Trained { lr_scale: 1.0, decay: true };
}

/// How the normalisation layers of a stage behave while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NormPolicy {
    /// Normalise by the batch and update the running statistics.
    #[default]
    Batch,
    /// Normalise by the running statistics and leave them.
    Frozen,
}

/// What a phase does with the model. Weights that [`uses`](Self::uses) does not name are trained.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// By full parameter name.
    pub uses: BTreeMap<String, Use>,
    /// Adapters and where they attach; an adapted weight's own use still decides whether it is trained.
    pub adapters: Vec<(Pattern, Arc<dyn Adapter>)>,
    /// Layers to whose weights their adapters have been added ([`Finish::merge`](crate::Finish)): none is attached
    /// there.
    pub merged: Vec<Pattern>,
    /// By stage name; stages not named use [`NormPolicy::Batch`], wholly frozen ones [`NormPolicy::Frozen`].
    pub norms: BTreeMap<String, NormPolicy>,
    /// Parameters drawn afresh when the phase begins.
    pub resets: Vec<Pattern>,
}

impl Plan {
    /// What happens to the weight of this name.
    pub fn use_of(&self, name: &str) -> Use {
        self.uses.get(name).copied().unwrap_or(Use::TRAINED)
    }

    /// How the normalisation layers of a stage behave: as the plan says, or frozen when all of the stage's weights are.
    pub fn norm_of(&self, stage: &str, weights: impl IntoIterator<Item = impl AsRef<str>>) -> NormPolicy {
        let mut uses = weights.into_iter().map(|name| self.use_of(name.as_ref())).peekable();
        let frozen = uses.peek().is_some() && uses.all(|u| u == Use::Frozen);
        let default = if frozen { NormPolicy::Frozen } else { NormPolicy::Batch };
        self.norms.get(stage).copied().unwrap_or(default)
    }

    /// A plan in which every one of `names` is frozen.
    pub fn frozen<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { uses: names.into_iter().map(|n| (n.to_owned(), Use::Frozen)).collect(), ..Self::default() }
    }

    /// Merges another plan into this one, as when strategies compose.
    ///
    /// # Errors
    /// When both say something different about one weight or stage; the error names it and both owners.
    pub fn merge(&mut self, other: Self, mine: &str, theirs: &str) -> Result<()> {
        let clash = |what: &str, name: &str| {
            let what = format!("strategies `{mine}` and `{theirs}` disagree about the {what} of `{name}`");
            crate::Error::from(crate::Invalid::new(what))
        };
        for (name, u) in other.uses {
            if self.uses.insert(name.clone(), u).is_some_and(|old| old != u) {
                return Err(clash("use", &name));
            }
        }
        for (stage, n) in other.norms {
            if self.norms.insert(stage.clone(), n).is_some_and(|old| old != n) {
                return Err(clash("normalisation", &stage));
            }
        }
        self.adapters.extend(other.adapters);
        self.merged.extend(other.merged);
        self.resets.extend(other.resets);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_names_both_sides_of_a_conflict() {
        let mut a = Plan::frozen(["w"]);
        assert!(a.merge(Plan::frozen(["w", "v"]), "a", "b").is_ok());
        let trained = Plan { uses: BTreeMap::from([("w".to_owned(), Use::TRAINED)]), ..Plan::default() };
        let e = a.merge(trained, "lora", "probe").unwrap_err().to_string();
        assert!(e.contains("`lora`") && e.contains("`probe`") && e.contains("`w`"), "{e}");
    }
}
