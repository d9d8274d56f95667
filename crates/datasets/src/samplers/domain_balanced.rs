//! Brings the domains of a stream to the same number of rows, as DomainBed does with a batch of each: Gulrajani & Lopez-Paz 2021.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, DOMAIN, Invalid, Plugins, Result, Sampler, SamplerCx, Stream};

use super::{balanced, check_balance};

/// Draws rows of each domain alike, however many there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DomainBalancedOptions {
    /// How far domains are brought to the same number of rows in an epoch, from 0 (each row once) to 1 (each alike): one of n
    /// rows is drawn from in proportion to n to the power of 1 less this.
    pub balance: f64,
}

impl Default for DomainBalancedOptions {
    fn default() -> Self {
        Self { balance: 1. }
    }
}

/// See [`DomainBalancedOptions`].
#[derive(Debug, Clone, Default)]
pub struct DomainBalanced(pub DomainBalancedOptions);

impl Component<dyn Sampler> for DomainBalanced {
    const TYPE: &'static str = "domain_balanced";
    type Options = DomainBalancedOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        check_balance("balance", o.balance)
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Sampler>> {
        Ok(Box::new(Self(o)))
    }
}

impl Sampler for DomainBalanced {
    fn check(&self, cx: &SamplerCx<'_>) -> Result<(), Invalid> {
        match (cx.fact)(DOMAIN) {
            Some(_) => Ok(()),
            None => {
                let e = Invalid::new("the data set does not say which domain a row is of");
                Err(e.help("an option `domain` of the data set names the column that says so"))
            }
        }
    }

    fn epoch(&self, cx: &SamplerCx<'_>, rng: &mut Stream) -> Vec<u64> {
        let domains = (cx.fact)(DOMAIN);
        let domain = |row: u64| domains.and_then(|fact| fact.of.get(row as usize).copied().flatten());
        balanced(cx.rows, domain, self.0.balance, rng)
    }
}
