//! [`Damaged`]: what is done about pictures that cannot be decoded, and how they are told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pictures::Picture;

/// So many damaged pictures are named in an error.
const NAMED: usize = 5;

/// What is done about pictures that cannot be decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Damaged {
    /// The data set is refused; the error names the first of them and how many there are.
    #[default]
    Refuse,
    /// They are left out of all roles; a warning names them.
    Skip,
}

/// Why the picture of a row is damaged, where it is; `damaged` is in the order of the rows.
pub(super) fn why_damaged(damaged: &[(u64, String)], row: u64) -> Option<&str> {
    damaged.binary_search_by_key(&row, |(row, _)| *row).ok().map(|i| damaged[i].1.as_str())
}

/// Which pictures are damaged, and why.
pub(super) fn told(damaged: &[(u64, String)], pictures: &[Picture]) -> String {
    let named = damaged.iter().take(NAMED).map(|(row, why)| format!("\n  {}: {why}", pictures[*row as usize].name()));
    let named = named.collect::<String>();
    let more = damaged.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    format!("{} of {} pictures cannot be decoded:{named}{more}", damaged.len(), pictures.len())
}
