//! The one catalogue of everything that comes with Transplant.

use transplant_core::Plugins;

/// All components of the house. Add your own with [`Plugins::with`].
pub fn builtin() -> Plugins {
    Plugins::new()
        .with(transplant_datasets::plugin)
        .with(transplant_backbones::plugin)
        .with(transplant_tasks::plugin)
        .with(transplant_strategies::plugin)
        .with(transplant_trainer::plugin)
        .with(transplant_metrics::plugin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Overrides, SharedSection, open};
    use crate::reference::{list, schema, undescribed};
    use serde_json::{Map, Value};
    use std::collections::BTreeSet;

    #[test]
    fn tags_are_snake_case() {
        for entry in builtin().entries() {
            let tag = entry.tag;
            let fits = tag.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
            assert!(fits && tag.starts_with(|c: char| c.is_ascii_lowercase()), "{}.{tag}", entry.kind);
        }
    }

    #[test]
    fn every_component_and_every_option_is_described() {
        let missing: Vec<String> = builtin().entries().flat_map(undescribed).collect();
        assert!(missing.is_empty(), "without a doc comment that describes them: {}", missing.join(", "));
    }

    #[test]
    fn every_component_has_a_short_sentence_of_its_own() {
        let listed = list(&builtin(), None).unwrap();
        let mut seen = BTreeSet::new();
        for line in listed.lines().filter(|line| line.starts_with("  ")) {
            let (tag, sentence) = line.trim().split_once(' ').unwrap();
            let sentence = sentence.trim();
            // The list cuts at the first full stop, so an abbreviation would end the sentence early.
            let whole = sentence.ends_with('.') && !sentence.ends_with(" al.");
            assert!(whole && sentence.chars().count() <= 110, "{tag}: {sentence}");
            assert!(seen.insert(sentence), "{tag} is described as another is: {sentence}");
        }
    }

    #[test]
    fn defaults_stay_what_they_are() {
        let plugins = builtin();
        for entry in plugins.entries().filter(|e| e.schema["required"].as_array().is_none_or(Vec::is_empty)) {
            let check = |options: &Map<String, Value>| plugins.check_options(entry.kind, entry.tag, options);
            let once = match check(&Map::new()) {
                Ok(options) => options,
                // Some components ask for one of several options, and say so.
                Err(e) if e.help.is_some() => continue,
                Err(e) => panic!("{}.{}: {e}", entry.kind, entry.tag),
            };
            // TOML has no null, so what is left out must come back.
            let written = once.clone().into_iter().filter(|(_, v)| !v.is_null()).collect();
            assert_eq!(Ok(once), check(&written), "{}.{}", entry.kind, entry.tag);
        }
    }

    #[test]
    fn no_source_has_an_option_that_all_data_sets_share() {
        for entry in builtin().entries().filter(|e| e.kind == "dataset") {
            for key in SharedSection::KEYS {
                assert!(entry.schema["properties"].get(key).is_none(), "{}.{key}", entry.tag);
            }
        }
    }

    #[test]
    fn every_shipped_pipeline_opens() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");
        for file in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|f| f.path()) {
            if file.extension().is_some_and(|e| e == "toml") {
                let opened = open(&file, &Overrides::default(), &builtin()).unwrap_or_else(|e| panic!("{e}"));
                let again = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(again.path(), &opened.text).unwrap();
                let again = open(again.path(), &Overrides::default(), &builtin()).unwrap_or_else(|e| panic!("{e}"));
                assert!(again.cells == opened.cells && !again.cells.is_empty(), "{}", file.display());
            }
        }
    }

    #[test]
    fn the_schema_names_every_component() {
        let schema = schema(&builtin()).to_string();
        for entry in builtin().entries() {
            assert!(schema.contains(&format!("\"const\":\"{}\"", entry.tag)), "{}.{}", entry.kind, entry.tag);
        }
    }
}
