//! Columns of a table that nobody meant as they are: copies of the label, numbers too fine, levels that are no categories.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

use transplant_core::{Finding, FindingKind};

use super::{counted, listed, quoted};

/// In fewer labelled rows than this a column may follow the labels by chance.
const ROWS_FOR_A_COPY: usize = 10;

/// In fewer rows than this levels may well be as many as rows.
const ROWS_FOR_LEVELS: usize = 20;

/// Numbers that differ by a smaller share of their size are one number, rounded in two ways.
const ROUNDING: f64 = 1e-12;

/// Tells of a column whose value is the label under another name: each value has one class, each class one value.
/// `values` has the value of every row; a missing one is a value, too.
pub(crate) fn label_copy<V: Hash + Eq + Clone>(
    column: &str,
    values: &[Option<V>],
    labels: &[Option<u32>],
) -> Option<Finding> {
    let labelled: Vec<(Option<V>, u32)> =
        values.iter().zip(labels).filter_map(|(value, label)| Some((value.clone(), (*label)?))).collect();
    let (mut class_of, mut value_of) = (HashMap::new(), HashMap::new());
    for (value, class) in &labelled {
        if class_of.insert(value, class).is_some_and(|other| other != class)
            || value_of.insert(class, value).is_some_and(|other| other != value)
        {
            return None;
        }
    }
    // As many rows as classes twice over: else a name of each row is a copy of a label of each row.
    let classes = value_of.len();
    if classes < 2 || labelled.len() < ROWS_FOR_A_COPY.max(2 * classes) {
        return None;
    }
    let message = format!(
        "column `{column}` says the label: in all {} each of its {classes} values goes with one class and each class with one value; \
         if it is the label, or known only after it, leave it out of the inputs",
        counted(labelled.len(), "labelled row")
    );
    Some(Finding::new(FindingKind::ColumnSaysLabel, message))
}

/// Tells of a column whose numbers need more digits than single precision has: half of its rows, or more, have a number
/// that another one becomes, too.
pub(crate) fn too_fine(column: &str, numbers: &[Option<f64>]) -> Option<Finding> {
    let mut rounded: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for number in numbers.iter().flatten() {
        // Adding zero makes -0 the same as 0.
        rounded.entry((*number as f32 + 0.).to_bits()).or_default().push(*number);
    }
    let is_lossy = |values: &&Vec<f64>| {
        let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        high - low > ROUNDING * high.abs().max(low.abs())
    };
    let there = numbers.iter().flatten().count();
    let lossy: usize = rounded.values().filter(is_lossy).map(Vec::len).sum();
    if lossy == 0 || 2 * lossy < there {
        return None;
    }
    let different: HashSet<u64> = numbers.iter().flatten().map(|n| (n + 0.).to_bits()).collect();
    let message = format!(
        "column `{column}`: its {} become {} in single precision, which has about 7 digits, so that {lossy} of {there} rows have \
         one that stands for several; in the file, subtract a start (of times the first, in days or hours) or bring it to another unit",
        counted(different.len(), "different number"),
        rounded.len()
    );
    Some(Finding::new(FindingKind::NumbersTooFine, message))
}

/// Tells of a category most of whose rows have a level of their own: `rows` of them have a value, of so many `levels`.
pub(crate) fn level_a_row(column: &str, levels: usize, rows: usize) -> Option<Finding> {
    if rows < ROWS_FOR_LEVELS || 10 * levels < 9 * rows {
        return None;
    }
    let message = format!(
        "column `{column}`: {} in {}: nothing can be learned of a level that one row has; names, dates and numbers are no \
         categories",
        counted(levels, "level"),
        counted(rows, "row")
    );
    Some(Finding::new(FindingKind::LevelForEachRow, message))
}

/// Tells of levels whose name usually means that the value is missing. `are_words`: the file is of words, some of which
/// `missing` says to be missing values.
pub(crate) fn missing_levels(column: &str, levels: &[String], are_words: bool) -> Option<Finding> {
    let found: Vec<&String> = levels.iter().filter(|level| super::means_missing(level)).collect();
    if found.is_empty() {
        return None;
    }
    let help = match are_words {
        true => {
            format!("add {} to `missing`", found.iter().map(|l| format!("{l:?}")).collect::<Vec<_>>().join(", "))
        }
        false => "write null instead".to_owned(),
    };
    let shown = listed(&found.iter().map(|level| quoted(level)).collect::<Vec<_>>());
    let verb =
        if found.len() == 1 { "is a level whose name usually means" } else { "are levels whose names usually mean" };
    let message = format!("column `{column}`: {shown} {verb} that the value is missing; if so, {help}");
    Some(Finding::new(FindingKind::MissingValueAsLevel, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_label_is_told() {
        let labels: Vec<Option<u32>> = (0..12).map(|i| (i != 3).then_some(i % 3)).collect();
        let values: Vec<Option<u32>> =
            (0..12).map(|i| if i == 3 { Some(9) } else { [None, Some(7), Some(5)][i % 3] }).collect();
        let found = label_copy("code", &values, &labels).unwrap();
        assert_eq!(found.kind, FindingKind::ColumnSaysLabel);
        assert_eq!(
            found.message,
            "column `code` says the label: in all 11 labelled rows each of its 3 values goes with one class and each class with one \
             value; if it is the label, or known only after it, leave it out of the inputs"
        );
        let mut other = values.clone();
        other[0] = Some(1);
        assert_eq!(label_copy("code", &other, &labels), None, "a class with two values");
        other[0] = Some(7);
        assert_eq!(label_copy("code", &other, &labels), None, "a value with two classes");
        assert_eq!(label_copy("code", &values[..9], &labels[..9]), None, "few rows");
        let each: Vec<Option<u32>> = (0..40).map(Some).collect();
        assert_eq!(label_copy("id", &each, &each), None, "a class a row");
        assert_eq!(label_copy("one", &[Some(1); 20], &[Some(0); 20]), None, "one class");
    }

    #[test]
    fn numbers_that_single_precision_merges_are_told() {
        // Near 1.7e12 single precision has a step of 2^17 = 131072.
        let times: Vec<Option<f64>> = (0..100).map(|i| Some(1.7e12 + f64::from(i) * 60_000.)).collect();
        let found = too_fine("t", &times).unwrap();
        assert_eq!(found.kind, FindingKind::NumbersTooFine);
        let held: HashSet<u32> = times.iter().flatten().map(|t| (*t as f32).to_bits()).collect();
        let says = format!("column `t`: its 100 different numbers become {} in single precision", held.len());
        assert!(held.len() < 50 && found.message.starts_with(&says), "{}", found.message);
        let small: Vec<Option<f64>> = (1..20).map(|i| Some(f64::from(i) * 1e-50)).collect();
        assert!(too_fine("t", &small).is_some(), "all are 0");
        let rounding: Vec<Option<f64>> = (0..20).map(|i| Some([0.3, 0.1 + 0.2][i % 2])).collect();
        let plain: Vec<Option<f64>> = (0..1000).map(|i| Some((f64::from(i) * 0.618).fract())).collect();
        for fine in [rounding, plain, vec![None, Some(0.), Some(-0.)], Vec::new()] {
            assert_eq!(too_fine("t", &fine), None);
        }
    }

    #[test]
    fn levels_that_are_no_categories_are_told() {
        assert_eq!(level_a_row("day", 17, 20), None);
        assert_eq!(level_a_row("day", 19, 19), None);
        let found = level_a_row("day", 18, 20).unwrap();
        assert!(found.message.starts_with("column `day`: 18 levels in 20 rows: nothing"), "{}", found.message);
        let levels = ["", "NA", "red"].map(str::to_owned);
        let found = missing_levels("c", &levels, true).unwrap();
        assert_eq!(
            found.message,
            "column `c`: ``, `NA` are levels whose names usually mean that the value is missing; if so, add \"\", \"NA\" to `missing`"
        );
        assert!(missing_levels("c", &levels[1..], false).unwrap().message.ends_with("if so, write null instead"));
        assert_eq!(missing_levels("c", &levels[2..], true), None);
    }
}
