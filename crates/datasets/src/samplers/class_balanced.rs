//! Brings the classes of a stream to the same number of rows: He & Garcia 2009, "Learning from Imbalanced Data".

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Invalid, Plugins, Result, Sampler, SamplerCx, Stream};

use super::{balanced, check_balance};

/// Draws rows of each class alike, however many there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClassBalancedOptions {
    /// How far classes are brought to the same number of rows in an epoch, from 0 (each row once) to 1 (each alike): one of n
    /// rows is drawn from in proportion to n to the power of 1 less this.
    pub balance: f64,
}

impl Default for ClassBalancedOptions {
    fn default() -> Self {
        Self { balance: 1. }
    }
}

/// See [`ClassBalancedOptions`].
#[derive(Debug, Clone, Default)]
pub struct ClassBalanced(pub ClassBalancedOptions);

impl Component<dyn Sampler> for ClassBalanced {
    const TYPE: &'static str = "class_balanced";
    type Options = ClassBalancedOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        check_balance("balance", o.balance)
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Sampler>> {
        Ok(Box::new(Self(o)))
    }
}

impl Sampler for ClassBalanced {
    fn check(&self, cx: &SamplerCx<'_>) -> Result<(), Invalid> {
        match cx.classes {
            Some(_) => Ok(()),
            None => Err(Invalid::new("the stream has no classes that could be balanced")),
        }
    }

    fn epoch(&self, cx: &SamplerCx<'_>, rng: &mut Stream) -> Vec<u64> {
        let class = |row: u64| cx.classes.and_then(|of| of.get(row as usize).copied().flatten());
        balanced(cx.rows, class, self.0.balance, rng)
    }
}
