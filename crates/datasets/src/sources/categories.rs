//! [`Categories`]: a column of words, each of which is a level.

use std::collections::{BTreeMap, BTreeSet};

use transplant_core::{Finding, FindingKind, Result};

use super::class_names::Decimal;
use super::labelling::Marks;
use super::new_rows::category_of;
use crate::findings::{level_a_row, listed, missing_levels, quoted};
use crate::table::Cell;

/// A column of categories.
pub(super) struct Categories {
    pub(super) name: String,
    /// All words that are there, sorted.
    pub(super) words: Vec<String>,
    /// The place of each row's word among them.
    pub(super) of: Vec<Option<usize>>,
    /// Whether they stand in a file of words, some of which mean that a value is missing.
    are_words: bool,
}

impl Categories {
    /// Reads a column.
    ///
    /// # Errors
    /// [`transplant_core::Error::Data`] with file and row when a cell is no word.
    pub(super) fn read(name: &str, marks: &Marks<'_>) -> Result<Self> {
        let mut read = Vec::with_capacity(marks.len());
        for (table, row) in marks.places() {
            let word = |cell: &Cell| category_of(cell).map_err(|e| table.fault(row, format!("column `{name}`: {e}")));
            read.push(table.column(name)?[row].as_ref().map(word).transpose()?);
        }
        let words: Vec<String> = read.iter().flatten().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let place = |word: String| words.binary_search(&word).ok();
        let of = read.into_iter().map(|word| word.and_then(place)).collect();
        let are_words = marks.places().all(|(table, _)| table.has_words());
        Ok(Self { name: name.to_owned(), words, of, are_words })
    }

    /// Tells of words that hardly differ, that mean no value, and that are as many as rows.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let alike = [nearly_alike(&self.words), one_number(&self.words)].into_iter().flatten();
        let own_level = |alike| format!("column `{}`: {alike}, and each is a level of its own", self.name);
        let alike = alike.map(|alike| Finding::new(FindingKind::SimilarCategories, own_level(alike)));
        let missing = missing_levels(&self.name, &self.words, self.are_words);
        let rows = self.of.iter().flatten().count();
        alike.chain(missing).chain(level_a_row(&self.name, self.words.len(), rows)).collect()
    }
}

/// Which words differ in white space and case alone.
fn nearly_alike(words: &[String]) -> Option<String> {
    let mut alike = BTreeMap::<String, Vec<&String>>::new();
    for word in words {
        alike.entry(word.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()).or_default().push(word);
    }
    let found = together(alike.into_values());
    (!found.is_empty()).then(|| format!("{} differ in white space or case alone", listed(&found)))
}

/// Which words are one number, written in several ways.
fn one_number(words: &[String]) -> Option<String> {
    let mut alike: Vec<(Decimal, Vec<&String>)> = Vec::new();
    let mut numbers: Vec<(Decimal, &String)> =
        words.iter().filter_map(|word| Some((Decimal::parse(word.trim())?, word))).collect();
    numbers.sort_by(|a, b| a.0.cmp(&b.0));
    for (number, word) in numbers {
        match alike.last_mut() {
            Some((last, same)) if *last == number => same.push(word),
            _ => alike.push((number, vec![word])),
        }
    }
    // Words that differ in white space are told as such.
    let differ = |words: &Vec<&String>| words.iter().any(|word| word.trim() != words[0].trim());
    let found = together(alike.into_iter().map(|(_, words)| words).filter(differ));
    (!found.is_empty()).then(|| format!("{} are one number, written in several ways", listed(&found)))
}

/// The sets of several words, each set in one text.
fn together<'a>(sets: impl Iterator<Item = Vec<&'a String>>) -> Vec<String> {
    let shown = |words: Vec<&String>| words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" and ");
    sets.filter(|words| words.len() > 1).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_differ_in_white_space_are_told() {
        let words = |words: &[&str]| nearly_alike(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["x", "x ", "y"]).unwrap(), "`x` and `x ` differ in white space or case alone");
        assert_eq!(words(&["New  York", "Yes", "new york", "yes"]).unwrap().matches(" and ").count(), 2);
        assert_eq!(words(&["x", "y", "xy"]), None);
    }

    #[test]
    fn levels_that_are_one_number_are_told() {
        let words = |words: &[&str]| one_number(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        let said = words(&["01", "1", "1.0", "2", "red"]).unwrap();
        assert_eq!(said, "`01` and `1` and `1.0` are one number, written in several ways");
        assert_eq!(words(&["1", "1 ", "2", "10", "red"]), None);
    }
}
