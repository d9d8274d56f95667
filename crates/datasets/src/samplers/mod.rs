//! Samplers: which rows of a stream an epoch shows, and how often each.
//!
//! | sampler | rows come from | when |
//! |---|---|---|
//! | [`ClassBalanced`] | each class alike, or nearly | classes have very different numbers of rows |
//! | [`DomainBalanced`] | each domain alike, or nearly | several domains are learned from, of different sizes |
//!
//! Without one, every row comes once an epoch.

mod class_balanced;
mod domain_balanced;

pub use class_balanced::{ClassBalanced, ClassBalancedOptions};
pub use domain_balanced::{DomainBalanced, DomainBalancedOptions};

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use transplant_core::{Invalid, Plugins, Sampler, Stream};

pub(crate) fn plugin(p: &mut Plugins) {
    p.add::<dyn Sampler, ClassBalanced>();
    p.add::<dyn Sampler, DomainBalanced>();
}

/// Checks that a balance is from 0 to 1.
pub(crate) fn check_balance(key: &str, balance: f64) -> Result<(), Invalid> {
    match (0. ..=1.).contains(&balance) {
        true => Ok(()),
        false => Err(Invalid::key(key, format!("must be from 0 to 1, not {balance}"))),
    }
}

/// As many rows as there are, brought towards the same number from each kind: a kind of n rows is drawn from in
/// proportion to n to the power of 1 less `balance`. Rows of a kind come in whole rounds, in each of which every row
/// comes once.
fn balanced(rows: &[u64], kind: impl Fn(u64) -> Option<u32>, balance: f64, rng: &mut Stream) -> Vec<u64> {
    let mut of_kind = BTreeMap::<Option<u32>, Vec<u64>>::new();
    for row in rows {
        of_kind.entry(kind(*row)).or_default().push(*row);
    }
    let weight = |n: usize| (n as f64).powf(1. - balance);
    let sum: f64 = of_kind.values().map(|rows| weight(rows.len())).sum();
    // Rounded so that all of them together are the rows: each takes what the sum up to it has grown by.
    let (mut so_far, mut given, mut out) = (0., 0, Vec::with_capacity(rows.len()));
    for mut round in of_kind.into_values() {
        so_far += weight(round.len());
        let upto = (so_far / sum * rows.len() as f64).round() as usize;
        let mut left = upto - given;
        given = upto;
        while left > 0 {
            round.shuffle(rng);
            out.extend(&round[..left.min(round.len())]);
            left = left.saturating_sub(round.len());
        }
    }
    out.shuffle(rng);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use transplant_core::Seeds;

    #[test]
    fn kinds_are_brought_together() {
        let rows: Vec<u64> = (0..100).collect();
        let kind = |row: u64| Some(u32::from(row >= 80));
        let counts = |balance| {
            let mut rng = Seeds::new(1).stream("epoch", &[]);
            let drawn = balanced(&rows, kind, balance, &mut rng);
            let mut of_row = BTreeMap::<u64, usize>::new();
            drawn.iter().for_each(|row| *of_row.entry(*row).or_default() += 1);
            let few = drawn.iter().filter(|row| **row >= 80).count();
            (drawn.len(), few, of_row.values().copied().max().unwrap())
        };
        assert_eq!(counts(0.), (100, 20, 1));
        // 50 of 20 rows: two rounds and a half.
        assert_eq!(counts(1.), (100, 50, 3));
        // 100 · √20 / (√80 + √20) = 33.3.
        assert_eq!(counts(0.5).1, 33);
    }
}
