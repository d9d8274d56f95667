//! [`Categories`]: a column of words, each of which is a level.

use std::collections::{BTreeMap, BTreeSet};

use transplant_core::{Finding, FindingKind, Result};

use super::labelling::Marks;
use super::new_rows::category_of;
use crate::findings::{listed, quoted};
use crate::table::Cell;

/// A column of categories.
pub(super) struct Categories {
    pub(super) name: String,
    /// All words that are there, sorted.
    pub(super) words: Vec<String>,
    /// The place of each row's word among them.
    pub(super) of: Vec<Option<usize>>,
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
        Ok(Self { name: name.to_owned(), words, of })
    }

    /// Tells of words that hardly differ.
    pub(super) fn finding(&self) -> Option<Finding> {
        let alike = nearly_alike(&self.words)?;
        let message = format!("column `{}`: {alike}, and each is a level of its own", self.name);
        Some(Finding::new(FindingKind::SimilarCategories, message))
    }
}

/// Which words differ in white space and case alone.
fn nearly_alike(words: &[String]) -> Option<String> {
    let mut alike = BTreeMap::<String, Vec<&String>>::new();
    for word in words {
        alike.entry(word.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()).or_default().push(word);
    }
    let shown = |words: Vec<&String>| words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" and ");
    let found: Vec<String> = alike.into_values().filter(|words| words.len() > 1).map(shown).collect();
    (!found.is_empty()).then(|| format!("{} differ in white space or case alone", listed(&found)))
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
}
