//! [`joined`]: groups of rows that are copies of one another become one group.

use std::collections::{BTreeMap, HashMap};

use transplant_core::Fingerprint;

/// The groups, those of `rows` with the same hash joined under the smallest of their numbers; `None` when no two of the
/// rows are copies of different groups.
pub(super) fn joined(groups: Vec<u64>, rows: &[u64], hash: impl Fn(u64) -> Fingerprint) -> Option<Vec<u64>> {
    let mut first = HashMap::new();
    let mut below = BTreeMap::<u64, u64>::new();
    for row in rows {
        let group = groups[*row as usize];
        let other = root(&below, *first.entry(hash(*row)).or_insert(group));
        let own = root(&below, group);
        if own != other {
            below.insert(own.max(other), own.min(other));
        }
    }
    (!below.is_empty()).then(|| groups.iter().map(|group| root(&below, *group)).collect())
}

fn root(below: &BTreeMap<u64, u64>, mut group: u64) -> u64 {
    while let Some(lower) = below.get(&group) {
        group = *lower;
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_join_their_groups() {
        let hash = |of: &'static [u8]| move |row: u64| [of[row as usize]; 32];
        assert_eq!(joined(vec![0, 1, 2], &[0, 1, 2], hash(b"abc")), None);
        assert_eq!(joined(vec![0, 0, 2], &[0, 1, 2], hash(b"aab")), None, "they are one group already");
        // 0 = 3, 1 = 4 = 2: what is joined later takes along what was joined before.
        assert_eq!(joined((0..5).collect(), &[0, 1, 2, 3, 4], hash(b"abbab")), Some(vec![0, 1, 1, 0, 1]));
        assert_eq!(joined(vec![7, 5, 5, 3], &[0, 1, 2, 3], hash(b"abac")), Some(vec![5, 5, 5, 3]));
        assert_eq!(joined(vec![0, 1, 2], &[0, 1], hash(b"aba")), None, "row 2 is not asked about");
    }
}
