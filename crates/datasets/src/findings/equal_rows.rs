//! Equal rows with different labels: nothing can learn both.

use std::collections::HashMap;
use std::hash::Hash;

use transplant_core::{Finding, FindingKind};

use super::{counted, first_of, quoted};

/// So many pairs of rows are named in a message.
const PAIRS: usize = 3;

/// Tells of equal rows that have different labels. `keys` are equal where rows are, `None` for a row that is compared with none;
/// `name` says how a row is called.
pub(crate) fn contradictions<K: Hash + Eq>(
    keys: impl IntoIterator<Item = Option<K>>,
    labels: &[Option<u32>],
    classes: &[String],
    name: &dyn Fn(usize) -> String,
) -> Option<Finding> {
    let mut groups: HashMap<K, Vec<usize>> = HashMap::new();
    for (row, key) in keys.into_iter().enumerate() {
        if let (Some(key), Some(Some(_))) = (key, labels.get(row)) {
            groups.entry(key).or_default().push(row);
        }
    }
    let other = |rows: &Vec<usize>| rows.iter().copied().find(|row| labels[*row] != labels[rows[0]]);
    let mut pairs: Vec<(usize, usize, usize)> =
        groups.values().filter_map(|rows| Some((rows[0], other(rows)?, rows.len()))).collect();
    pairs.sort_unstable();
    let rows: usize = pairs.iter().map(|(.., n)| n).sum();
    if rows == 0 {
        return None;
    }
    let class = |row: usize| labels[row].and_then(|c| classes.get(c as usize)).map_or_else(String::new, |c| quoted(c));
    // Commas stand within a pair.
    let pair =
        |(a, b, _): &(usize, usize, usize)| format!("({} is {}, {} is {})", name(*a), class(*a), name(*b), class(*b));
    let message = format!(
        "{} equal another one that has a different label, of which nothing can learn both: {}",
        counted(rows, "row"),
        first_of(&pairs.iter().map(pair).collect::<Vec<_>>(), PAIRS)
    );
    Some(Finding::new(FindingKind::ContradictingLabels, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_of_two_classes_are_counted_and_named() {
        let classes = ["no".to_owned(), "yes".to_owned()];
        let labels = [Some(0), Some(1), Some(0), None, Some(1), Some(1)];
        let keys = ["a", "a", "b", "b", "c", "a"].map(Some);
        let found = contradictions(keys, &labels, &classes, &|row| format!("row {row}")).unwrap();
        assert_eq!(found.kind, FindingKind::ContradictingLabels);
        assert_eq!(
            found.message,
            "3 rows equal another one that has a different label, of which nothing can learn both: (row 0 is `no`, row 1 is `yes`)"
        );
        let apart = contradictions(["a", "b", "c", "d", "e", "e"].map(Some), &labels, &classes, &|_| String::new());
        assert_eq!(apart, None);
        assert_eq!(contradictions([None::<u8>; 6], &labels, &classes, &|_| String::new()), None);
    }
}
