//! [`Division`]: a test part for a data set that has none of its own: a share of its rows, or one of several folds.
//!
//! Which rows are tested is a function of the data set alone, never of seed, draw or label budget. No group stands on both
//! sides, and every class is spread over the parts as evenly as its groups allow (groups are placed greedily, those whose
//! classes are spread least evenly first, as scikit-learn's `StratifiedGroupKFold` does).

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use transplant_core::{
    Batch, Columns, Dataset, Error, Fact, Finding, Fingerprint, Frame, Invalid, Result, Roles, Schema, Seeds, Stream,
};

use crate::findings::counted;
use crate::prints::contents;

/// The fact of a divided data set that says which part a row stands in.
pub const PART: &str = "part";
/// The part that is tested.
pub const TEST_PART: &str = "test";

/// How a data set is divided.
#[derive(Debug, Clone, PartialEq)]
pub enum Division {
    /// This share of the rows is tested, above 0 and below 1.
    Share(f64),
    /// As [`Share`](Self::Share), each group by a hash of its name, each row without a group by one of its own name
    /// ([`Dataset::group_key`]), otherwise by one of what it was read from (its file, its cells), never by its number:
    /// rows that are added, wherever that is, move none that was there. A row with a name stays where it is whatever
    /// its cells become; without one, a row that is changed is another row, and copies of a row stand on its side.
    /// Classes are spread as chance has it.
    Hashed(f64),
    /// Parts by name and share, which sum up to 1, hashed as with [`Hashed`](Self::Hashed): two data sets whose groups
    /// have the same names put each into the same part. The part [`TEST_PART`] is tested, where there is one; which
    /// part a row stands in is its fact [`PART`].
    Parts(BTreeMap<String, f64>),
    /// Of `folds` parts of about the same size, number `fold` is tested.
    Fold {
        /// How many parts, at least 2.
        folds: u64,
        /// Which one is tested, from 0.
        fold: u64,
    },
}

impl Division {
    /// Checks the numbers by themselves.
    ///
    /// # Errors
    /// Names the key that is out of range: `test`, `folds` or `fold`.
    pub fn check(&self) -> Result<(), Invalid> {
        match *self {
            Self::Parts(ref shares) => check_shares(shares),
            Self::Share(share) | Self::Hashed(share) if !(share > 0. && share < 1.) => {
                Err(Invalid::key("test", format!("must be above 0 and below 1, not {share}")))
            }
            Self::Fold { folds: 0 | 1, .. } => Err(Invalid::key("folds", "must be at least 2")),
            Self::Fold { folds, fold } if fold >= folds => {
                Err(Invalid::key("fold", format!("is {fold}, and {folds} folds are counted from 0")))
            }
            _ => Ok(()),
        }
    }

    /// The data set with a test part, balanced over the classes of `target` where there is one.
    ///
    /// # Errors
    /// [`Error::Invalid`] under `test` or `folds` when the data set has a test part of its own, or too few groups.
    pub fn of(&self, dataset: &Arc<dyn Dataset>, target: Option<&str>) -> Result<Arc<dyn Dataset>> {
        self.check()?;
        let key = match self {
            Self::Fold { .. } => "folds",
            Self::Parts(_) => "parts",
            Self::Share(_) | Self::Hashed(_) => "test",
        };
        let roles = dataset.roles();
        if !roles.test.is_empty() {
            let message = format!("the data set has a test part of its own, of {} rows", roles.test.len());
            return Err(Invalid::key(key, message).help("leave this key out").into());
        }
        let groups = by_group(dataset.as_ref())?;
        let labels = target.map(|t| dataset.classes_of(t)).transpose()?;
        if let Self::Parts(shares) = self {
            return in_parts(dataset, &groups, shares);
        }
        let tested = match *self {
            Self::Parts(_) => Vec::new(),
            Self::Hashed(share) => keys(dataset.as_ref(), &groups)?.iter().map(|key| hashed(key) < share).collect(),
            Self::Share(share) => {
                spread(&groups, labels.as_deref(), &[share, 1. - share]).iter().map(|p| *p == 0).collect()
            }
            Self::Fold { folds, fold } => {
                let shares = vec![1. / folds as f64; folds as usize];
                spread(&groups, labels.as_deref(), &shares).iter().map(|p| *p as u64 == fold).collect::<Vec<_>>()
            }
        };
        let of = |side: bool| {
            let rows = groups.iter().zip(&tested).filter(|(_, t)| **t == side).flat_map(|((_, rows), _)| rows);
            let mut rows: Vec<u64> = rows.copied().collect();
            rows.sort_unstable();
            rows
        };
        let (pool, test) = (of(false), of(true));
        if pool.is_empty() || test.is_empty() {
            let side = if test.is_empty() { "nothing to test on" } else { "nothing to train on" };
            let rows = counted(roles.pool.len(), "row");
            let apart = match (dataset.groups(), groups.len()) {
                (None, 1) => "1 row".to_owned(),
                (None, _) => format!("{rows}, each of which stands alone"),
                (Some(_), n) => format!("{rows} in {}", counted(n, "group")),
            };
            let message = format!("leaves {side}: all there is to divide is {apart}");
            return Err(Invalid::key(key, message).into());
        }
        let roles = Roles { pool, test, validation: roles.validation.clone() };
        Ok(Arc::new(Divided { dataset: dataset.clone(), roles, part: None }))
    }
}

/// The groups of the pool and their rows, in order; without groups each row is one.
fn by_group(dataset: &dyn Dataset) -> Result<Vec<(u64, Vec<u64>)>> {
    let mut out = BTreeMap::<u64, Vec<u64>>::new();
    for row in &dataset.roles().pool {
        let group = match dataset.groups() {
            None => *row,
            Some(groups) => *groups.get(*row as usize).ok_or_else(|| {
                Error::contract(format!("the pool names row {row}, and there are {} groups", groups.len()))
            })?,
        };
        out.entry(group).or_default().push(*row);
    }
    Ok(out.into_iter().collect())
}

fn seeds() -> Seeds {
    Seeds::new(0).child("division")
}

/// Shares of named parts are above 0 and sum up to 1.
fn check_shares(shares: &BTreeMap<String, f64>) -> Result<(), Invalid> {
    if let Some((name, share)) = shares.iter().find(|(_, share)| !(**share > 0. && **share <= 1.)) {
        let message = format!("must be above 0 and at most 1, not {share}");
        return Err(Invalid::key(&format!("parts.{name}"), message));
    }
    let sum: f64 = shares.values().sum();
    if (sum - 1.).abs() > 1e-9 {
        let listed: Vec<String> = shares.iter().map(|(name, share)| format!("{name} {share}")).collect();
        return Err(Invalid::key("parts", format!("shares must sum up to 1, and {} is {sum}", listed.join(" + "))));
    }
    Ok(())
}

/// A data set in named parts, each group in the part that its key falls into.
fn in_parts(
    dataset: &Arc<dyn Dataset>,
    groups: &[(u64, Vec<u64>)],
    shares: &BTreeMap<String, f64>,
) -> Result<Arc<dyn Dataset>> {
    let names: Vec<String> = shares.keys().cloned().collect();
    let mut roles = Roles { validation: dataset.roles().validation.clone(), ..Roles::default() };
    let rows = dataset.roles().pool.iter().max().map_or(0, |most| *most as usize + 1);
    let mut of = vec![None; rows];
    for ((_, rows), key) in groups.iter().zip(keys(dataset.as_ref(), groups)?) {
        let (at, mut below) = (hashed(&key), 0.);
        // Rounding may leave the sum of all shares below the largest number there is.
        let part = shares.values().position(|share| {
            below += share;
            at < below
        });
        let part = part.unwrap_or(names.len() - 1);
        rows.iter().for_each(|row| of[*row as usize] = Some(part as u32));
        if names[part] == TEST_PART { &mut roles.test } else { &mut roles.pool }.extend(rows);
    }
    roles.pool.sort_unstable();
    roles.test.sort_unstable();
    if let Some((_, name)) = (0u32..).zip(&names).find(|(number, _)| !of.contains(&Some(*number))) {
        let message = format!("leaves `{name}` empty: there are {rows} rows in {} groups", groups.len());
        return Err(Invalid::key(&format!("parts.{name}"), message).into());
    }
    Ok(Arc::new(Divided { dataset: dataset.clone(), roles, part: Some(Fact { names, of }) }))
}

/// What tells each group from others, whatever its number is.
fn keys(dataset: &dyn Dataset, groups: &[(u64, Vec<u64>)]) -> Result<Vec<Fingerprint>> {
    // Groups that copies have joined go by the smallest of their keys.
    let named = |(_, rows): &(u64, Vec<u64>)| {
        rows.iter().map(|row| dataset.group_key(*row)).collect::<Option<Vec<_>>>()?.into_iter().min()
    };
    if let Some(keys) = groups.iter().map(named).collect() {
        return Ok(keys);
    }
    if dataset.groups().is_some() {
        return Ok(groups.iter().map(|(group, _)| Sha256::digest(group.to_le_bytes()).into()).collect());
    }
    let rows: Vec<u64> = groups.iter().flat_map(|(_, rows)| rows.iter().copied()).collect();
    contents(dataset, &rows)
}

/// Where a group of this key stands between 0 and 1.
fn hashed(key: &Fingerprint) -> f64 {
    Stream::from_seed(Sha256::new_with_prefix("division").chain_update(key).finalize().into()).random()
}

/// The part of each group, so that each part gets its share of every class, rows without a label being a class too.
fn spread(groups: &[(u64, Vec<u64>)], labels: Option<&[Option<u32>]>, shares: &[f64]) -> Vec<usize> {
    let class = |row: &u64| labels.and_then(|l| l.get(*row as usize).copied().flatten()).map_or(0, |c| c as usize + 1);
    let counted: Vec<BTreeMap<usize, f64>> = groups
        .iter()
        .map(|(_, rows)| {
            let mut counts = BTreeMap::new();
            rows.iter().for_each(|r| *counts.entry(class(r)).or_insert(0.) += 1.);
            counts
        })
        .collect();
    let classes = counted.iter().filter_map(|c| c.keys().last()).max().map_or(0, |c| c + 1);
    let mut totals = vec![0.; classes];
    counted.iter().flatten().for_each(|(c, n)| totals[*c] += n);
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.shuffle(&mut seeds().stream("order", &[]));
    // The sum of squares of a group's counts grows with its size and with how few classes it holds.
    let uneven = |i: &usize| counted[*i].values().map(|n| n * n).sum::<f64>();
    order.sort_by(|a, b| uneven(b).total_cmp(&uneven(a)));
    // What of each class is there, over what should be in the end: 1 when a part is full.
    let mut full = vec![vec![0.; classes]; shares.len()];
    let mut rows = vec![0.; shares.len()];
    let mut part_of = vec![0; groups.len()];
    for i in order {
        let cost = |part: usize| {
            let share = shares[part];
            let of_class = |(c, n): (&usize, &f64)| {
                let (now, more) = (full[part][*c], n / (totals[*c] * share));
                share * ((now + more) * (now + more) - now * now)
            };
            counted[i].iter().map(of_class).sum::<f64>()
        };
        let better = |a: &usize, b: &usize| {
            let filled = |p: usize| rows[p] / shares[p];
            cost(*a).total_cmp(&cost(*b)).then(filled(*a).total_cmp(&filled(*b)))
        };
        let part = (0..shares.len()).min_by(better).unwrap_or_default();
        for (c, n) in &counted[i] {
            full[part][*c] += n / (totals[*c] * shares[part]);
            rows[part] += n;
        }
        part_of[i] = part;
    }
    part_of
}

/// A data set with other roles.
pub(crate) struct Divided {
    pub(crate) dataset: Arc<dyn Dataset>,
    pub(crate) roles: Roles,
    /// The named part of each row, where there are any.
    pub(crate) part: Option<Fact>,
}

impl Dataset for Divided {
    fn inputs(&self) -> &Schema {
        self.dataset.inputs()
    }

    fn targets(&self) -> &Schema {
        self.dataset.targets()
    }

    fn roles(&self) -> &Roles {
        &self.roles
    }

    fn classes_of(&self, target: &str) -> Result<Vec<Option<u32>>> {
        self.dataset.classes_of(target)
    }

    fn numbers_of(&self, target: &str) -> Result<Vec<Option<f32>>> {
        self.dataset.numbers_of(target)
    }

    fn groups(&self) -> Option<&[u64]> {
        self.dataset.groups()
    }

    fn fact(&self, name: &str) -> Option<&Fact> {
        self.part.as_ref().filter(|_| name == PART).or_else(|| self.dataset.fact(name))
    }

    fn batch(&self, rows: &[u64]) -> Result<Batch> {
        self.dataset.batch(rows)
    }

    fn row_name(&self, row: u64) -> Option<String> {
        self.dataset.row_name(row)
    }

    fn group_key(&self, row: u64) -> Option<Fingerprint> {
        self.dataset.group_key(row)
    }

    fn column_names(&self) -> &[String] {
        self.dataset.column_names()
    }

    fn fitted(&self, pool: &[u64], learned: &[u64]) -> Result<Option<Arc<dyn Dataset>>> {
        let Some(dataset) = self.dataset.fitted(pool, learned)? else { return Ok(None) };
        Ok(Some(Arc::new(Self { dataset, roles: self.roles.clone(), part: self.part.clone() })))
    }

    fn content_hash(&self) -> String {
        self.dataset.content_hash()
    }

    fn fingerprint(&self, row: u64) -> Option<Fingerprint> {
        self.dataset.fingerprint(row)
    }

    fn file_hash(&self, row: u64) -> Option<Fingerprint> {
        self.dataset.file_hash(row)
    }

    fn findings(&self) -> Vec<Finding> {
        self.dataset.findings()
    }

    fn record_hash(&self, row: u64) -> Option<Fingerprint> {
        self.dataset.record_hash(row)
    }

    fn licence(&self) -> Option<String> {
        self.dataset.licence()
    }

    fn columns(&self) -> Option<Columns> {
        self.dataset.columns()
    }

    fn frame(&self) -> Option<Frame> {
        self.dataset.frame()
    }
}

#[cfg(test)]
mod hashed;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CLASS, Images, Layout};
    use std::collections::BTreeSet;

    /// Rows of classes in turns, `sizes[c]` of class c, in groups of `group` neighbours; 0: each stands alone.
    fn toy(sizes: &[usize], group: u64) -> Arc<dyn Dataset> {
        let most = sizes.iter().max().copied().unwrap_or(0);
        let turns = (0..most).flat_map(|i| (0..sizes.len()).filter(move |c| i < sizes[*c]));
        let labels: Vec<_> = turns.map(|c| Some(c as u32)).collect();
        let rows = labels.len() as u64;
        let classes = (0..sizes.len()).map(|c| format!("c{c}")).collect();
        let layout = Layout { name: "toy".into(), shape: [1, 1, 1], highest: 1, classes };
        let roles = Roles { pool: (0..rows).collect(), ..Roles::default() };
        let images = Images::new(layout, labels, vec![0; rows as usize], roles).unwrap();
        match group {
            0 => Arc::new(images),
            _ => Arc::new(images.grouped((0..rows).map(|r| r / group).collect()).unwrap()),
        }
    }

    fn counts(d: &dyn Dataset, rows: &[u64]) -> Vec<usize> {
        let labels = d.classes_of(CLASS).unwrap();
        let mut n = vec![0; 3];
        rows.iter().for_each(|r| n[labels[*r as usize].unwrap() as usize] += 1);
        n
    }

    #[test]
    fn folds_are_disjoint_complete_even_and_keep_groups_together() -> Result<()> {
        for group in [1, 3, 7] {
            let d = toy(&[100, 60, 40], group);
            let mut seen = Vec::new();
            for fold in 0..5 {
                let one = Division::Fold { folds: 5, fold }.of(&d, Some(CLASS))?;
                let (pool, test) = (&one.roles().pool, &one.roles().test);
                assert_eq!(pool.len() + test.len(), 200);
                let groups = |rows: &[u64]| rows.iter().map(|r| r / group).collect::<BTreeSet<_>>();
                assert!(groups(pool).is_disjoint(&groups(test)));
                for (n, wanted) in counts(&*d, test).into_iter().zip([20usize, 12, 8]) {
                    assert!(n.abs_diff(wanted) <= if group == 1 { 0 } else { group as usize }, "{group}: {n} {wanted}");
                }
                seen.extend(test.clone());
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..200).collect::<Vec<_>>());
        }
        Ok(())
    }

    #[test]
    fn a_share_has_its_size_in_every_class() -> Result<()> {
        let d = toy(&[100, 60, 40], 1);
        let one = Division::Share(0.25).of(&d, Some(CLASS))?;
        assert_eq!(counts(&*d, &one.roles().test), [25, 15, 10]);
        assert_eq!(one.roles(), Division::Share(0.25).of(&d, Some(CLASS))?.roles());
        assert_eq!(Division::Share(0.25).of(&d, None)?.roles().test.len(), 50);
        Ok(())
    }

    #[test]
    fn what_was_hashed_stays_on_its_side_when_rows_are_added() -> Result<()> {
        let (small, large) = (toy(&[40, 40, 40], 2), toy(&[80, 80, 80], 2));
        let test = |d| Division::Hashed(0.3).of(d, Some(CLASS)).map(|d| d.roles().test.clone());
        let (a, b) = (test(&small)?, test(&large)?);
        assert_eq!(a, b.iter().copied().filter(|r| *r < 120).collect::<Vec<_>>());
        assert!((40..=104).contains(&b.len()), "{}", b.len());
        Ok(())
    }

    #[test]
    fn what_cannot_be_divided_names_the_key() {
        let d = toy(&[4, 4], 8);
        let says = |division: Division, d: &Arc<dyn Dataset>| division.of(d, Some(CLASS)).err().unwrap().to_string();
        assert_eq!(
            says(Division::Share(0.5), &d),
            "test: leaves nothing to train on: all there is to divide is 8 rows in 1 group"
        );
        let alone = "test: leaves nothing to test on: all there is to divide is 2 rows, each of which stands alone";
        assert_eq!(says(Division::Share(0.01), &toy(&[1, 1], 0)), alone);
        assert!(says(Division::Share(1.), &d).starts_with("test: must be above 0"));
        assert!(says(Division::Fold { folds: 1, fold: 0 }, &d).starts_with("folds: must be"));
        assert!(says(Division::Fold { folds: 3, fold: 3 }, &d).starts_with("fold: is 3, and 3 folds"));
        let own = Division::Fold { folds: 2, fold: 0 }.of(&toy(&[4, 4], 1), None).unwrap();
        assert!(
            says(Division::Share(0.5), &own).starts_with("test: the data set has a test part of its own, of 4 rows")
        );
    }
}
