//! [`Sides`]: which rows a draw has taken for training and for validation, and which side their groups stand on.

use std::collections::BTreeMap;
use std::fmt;

use rand::seq::SliceRandom;
use transplant_core::{Dataset, Error, Result, Stream};

/// What a row was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Train,
    Validation,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Train { "training" } else { "validation" })
    }
}

/// Rows and groups by side. A group takes the side of the first of its rows that is taken, and keeps it.
pub(crate) struct Sides<'a> {
    groups: Option<&'a [u64]>,
    side_of: BTreeMap<u64, Side>,
    taken: BTreeMap<u64, Side>,
}

impl<'a> Sides<'a> {
    /// Nothing taken yet, of a data set of so many rows.
    ///
    /// # Errors
    /// When the data set breaks its contract: not one group a row, or a group in two of its roles.
    pub(crate) fn new(dataset: &'a dyn Dataset, rows: usize) -> Result<Self> {
        let groups = dataset.groups();
        if let Some(groups) = groups {
            if groups.len() != rows {
                return Err(Error::contract(format!("the data set has {rows} rows and {} groups", groups.len())));
            }
            let roles = dataset.roles();
            let mut role_of = BTreeMap::new();
            for (role, of_role) in [("pool", &roles.pool), ("validation", &roles.validation), ("test", &roles.test)] {
                for row in of_role {
                    let group = groups.get(*row as usize);
                    let group =
                        *group.ok_or_else(|| Error::contract(format!("the {role} part names row {row} of {rows}")))?;
                    let first = *role_of.entry(group).or_insert(role);
                    if first != role {
                        let message =
                            format!("row {row}: its group {group} is in the {role} part and in the {first} part");
                        return Err(Error::contract(message));
                    }
                }
            }
        }
        Ok(Self { groups, side_of: BTreeMap::new(), taken: BTreeMap::new() })
    }

    /// The rows by group, groups and rows in the order of this stream.
    pub(crate) fn shuffled(&self, rows: &[u64], stream: &mut Stream) -> Vec<Vec<u64>> {
        let mut groups: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for row in rows {
            groups.entry(self.group(*row)).or_default().push(*row);
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.iter_mut().for_each(|rows| rows.shuffle(stream));
        groups.shuffle(stream);
        groups
    }

    /// Takes the first `wanted` of these rows that are free and whose group may stand on this side; says how many.
    pub(crate) fn take(&mut self, side: Side, rows: impl IntoIterator<Item = u64>, wanted: usize) -> usize {
        let mut got = 0;
        for row in rows {
            if got == wanted {
                break;
            }
            let group = self.group(row);
            if !self.taken.contains_key(&row) && *self.side_of.entry(group).or_insert(side) == side {
                self.taken.insert(row, side);
                got += 1;
            }
        }
        got
    }

    /// Gives validation enough of these groups (of one class, with its rows) for `wanted` rows, never more unless a single
    /// group holds more, and never the last one; all others go to training.
    pub(crate) fn set_groups_aside(&mut self, groups: &[Vec<u64>], wanted: usize) {
        let side = |s: &Self, g: &Vec<u64>| g.first().and_then(|r| s.side_of.get(&s.group(*r)).copied());
        let mut aside: usize = groups.iter().filter(|g| side(self, g) == Some(Side::Validation)).map(Vec::len).sum();
        let free: Vec<_> = groups.iter().filter(|g| side(self, g).is_none()).collect();
        let mut spare = groups.iter().filter(|g| side(self, g) != Some(Side::Validation)).count().saturating_sub(1);
        for group in &free {
            let fits = spare > 0 && aside + group.len() <= wanted;
            self.put(group, if fits { Side::Validation } else { Side::Train });
            if fits {
                aside += group.len();
                spare -= 1;
            }
        }
        if let Some(smallest) = free.iter().min_by_key(|g| g.len()).filter(|_| aside == 0 && wanted > 0 && spare > 0) {
            self.put(smallest, Side::Validation);
        }
    }

    fn put(&mut self, group: &[u64], side: Side) {
        self.side_of.extend(group.first().map(|r| (self.group(*r), side)));
    }

    /// The rows taken for this side, in order.
    pub(crate) fn rows(&self, side: Side) -> Vec<u64> {
        self.taken.iter().filter(|(_, s)| **s == side).map(|(row, _)| *row).collect()
    }

    /// The rows that were not taken and share no group with a validation row.
    pub(crate) fn unused(&self, rows: &[u64]) -> Vec<u64> {
        let free =
            |r: &&u64| !self.taken.contains_key(r) && self.side_of.get(&self.group(**r)) != Some(&Side::Validation);
        rows.iter().filter(free).copied().collect()
    }

    fn group(&self, row: u64) -> u64 {
        self.groups.map_or(row, |g| g[row as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Images, Layout};
    use transplant_core::Roles;

    #[test]
    fn a_data_set_whose_groups_cross_its_roles_is_refused() {
        let layout = Layout { name: "t".into(), shape: [1, 1, 1], highest: 1, classes: vec!["a".into()] };
        let roles = Roles { pool: vec![0, 1], test: vec![2], ..Roles::default() };
        let images = Images::new(layout, vec![Some(0); 3], vec![0; 3], roles).unwrap().grouped(vec![4, 5, 5]).unwrap();
        let e = Sides::new(&images, 3).err().unwrap().to_string();
        assert_eq!(e, "row 2: its group 5 is in the test part and in the pool part");
        assert!(Sides::new(&images, 4).is_err());
    }

    #[test]
    fn the_last_group_is_never_set_aside() {
        let mut sides = Sides { groups: None, side_of: BTreeMap::new(), taken: BTreeMap::new() };
        sides.set_groups_aside(&[vec![0], vec![1], vec![2]], 3);
        assert_eq!(sides.take(Side::Train, 0..3, 3), 1);
        assert_eq!(sides.take(Side::Validation, 0..3, 3), 2);
        assert!(sides.unused(&[0, 1, 2]).is_empty());
    }
}
