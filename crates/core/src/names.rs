//! Patterns over tensor and stage names, and the nearest name for an error.

use serde::{Deserialize, Serialize};

/// A pattern over dotted names: `backbone.block1` matches that name and everything below it; `*` matches any run of
/// characters, so `*.bias` matches every bias.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern from its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` matches, or lies below a name that does.
    pub fn matches(&self, name: &str) -> bool {
        let ends = name.char_indices().filter(|(_, c)| *c == '.').map(|(i, _)| i).chain([name.len()]);
        ends.into_iter().any(|end| glob(self.0.as_bytes(), &name.as_bytes()[..end]))
    }
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|i| glob(rest, &text[i..])),
        Some((c, rest)) => text.first() == Some(c) && glob(rest, &text[1..]),
    }
}

/// The candidate most like `name`, when one is near enough to be what was meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(name, c), c))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_itself_and_what_is_below() {
        let p = |t: &str, n: &str| Pattern::new(t).matches(n);
        assert!(p("backbone.block1", "backbone.block1"));
        assert!(p("backbone.block1", "backbone.block1.conv.weight"));
        assert!(!p("backbone.block1", "backbone.block10.conv.weight"));
        assert!(p("*.bias", "head.fc.bias"));
        assert!(p("*.block*.conv", "backbone.block2.conv.weight"));
        assert!(!p("*.bias", "head.fc.weight"));
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_near() {
        assert_eq!(nearest("paramter", ["parameter", "feature"]), Some("parameter"));
        assert_eq!(nearest("zzz", ["parameter", "feature"]), None);
    }
}
