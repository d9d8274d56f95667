//! [`Dropped`]: rows of a table of texts that are left out, for they hold no text, or one that is there already.

use std::collections::HashMap;

use transplant_core::{Finding, FindingKind};

use super::labelling::Marks;
use crate::findings::counted;

/// How many rows of the file are not rows of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Those without text.
    pub empty: usize,
    /// Those whose text is there already.
    pub duplicates: usize,
}

impl Dropped {
    /// Tells of them.
    pub(super) fn finding(self) -> Option<Finding> {
        let Self { empty, duplicates } = self;
        let (empty_rows, copies) = (counted(empty, "row") + " without text", counted(duplicates, "duplicate"));
        let left_out = match (empty, duplicates) {
            (0, 0) => return None,
            (_, 0) => empty_rows,
            (0, _) => copies,
            _ => format!("{empty_rows} and {copies}"),
        };
        Some(Finding::new(FindingKind::UnusedRows, format!("left out: {left_out}")))
    }
}

/// Drops what is not kept from both, and says how much that is.
pub(super) fn retain(texts: &mut Vec<String>, marks: &mut Marks<'_>, kept: &[bool]) -> usize {
    let before = texts.len();
    let mut next = kept.iter();
    texts.retain(|_| next.next().copied().unwrap_or(true));
    marks.retain(kept);
    before - texts.len()
}

/// Of rows with one text the most worthy, and of those the first.
pub(super) fn first_of_each(texts: &[String], marks: &Marks<'_>) -> Vec<bool> {
    let mut best: HashMap<&str, usize> = HashMap::new();
    for (row, text) in texts.iter().enumerate() {
        let held = best.entry(text).or_insert(row);
        if marks.worth(row) > marks.worth(*held) {
            *held = row;
        }
    }
    texts.iter().enumerate().map(|(row, text)| best.get(text.as_str()) == Some(&row)).collect()
}
