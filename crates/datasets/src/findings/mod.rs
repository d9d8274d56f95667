//! What there is to tell about a data set before anything is trained on it: [`Finding`](transplant_core::Finding)s about classes, about
//! columns, names of groups and rows, about equal rows, and about a split.

mod classes;
mod columns;
mod equal_rows;
mod names;
mod split;

pub(crate) use classes::{Naming, class_findings, help_for_missing, means_missing, unlabelled_rows};
pub(crate) use columns::{label_copy, level_a_row, missing_levels, too_fine};
pub(crate) use equal_rows::contradictions;
pub(crate) use names::{repeated_ids, similar_groups};
pub use split::split_findings;

/// So many names are written out in a message.
const NAMED: usize = 5;

/// The first few of these, and how many more there are.
pub(crate) fn listed(all: &[String]) -> String {
    first_of(all, NAMED)
}

/// The first `n` of these, and how many more there are.
fn first_of(all: &[String], n: usize) -> String {
    let more = all.len().saturating_sub(n);
    let shown = all[..all.len() - more].join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// A name in quotes, with characters that cannot be seen escaped.
pub(crate) fn quoted(name: &str) -> String {
    let shown = |c: char| if c.is_control() || is_unseen(c) { c.escape_default().to_string() } else { c.to_string() };
    format!("`{}`", name.chars().map(shown).collect::<String>())
}

/// Whether a character has no width.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}')
}

/// A number with its noun, `1 row` or `2 rows`.
pub(crate) fn counted(n: usize, noun: &str) -> String {
    let ending = match n {
        1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{n} {noun}{ending}")
}
