//! The reference: what components there are and what their options mean, from the doc comments of `Options`. It comes as
//! text for a terminal, as pages for the book and as a JSON schema for editors.

mod schema;
mod words;

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;
use transplant_core::{Entry, Invalid, Plugins, nearest};

pub use schema::schema;
use words::{Row, one_line, paragraphs, rows};

/// The kinds and what each is for, in the order of a run.
const KINDS: [(&str, &str); 12] = [
    ("dataset", "where rows come from"),
    ("sampler", "which rows of a stream an epoch shows, and how often"),
    ("transform", "changes of inputs between the data set and the network"),
    ("backbone", "networks as lists of named stages"),
    ("task", "what is to be predicted: head, loss, decoding, metrics"),
    ("strategy", "how what one network learned is moved to a new task"),
    ("head", "heads that are fitted in one go instead of step by step"),
    ("optimiser", "how gradients become updates"),
    ("schedule", "the learning rate's course"),
    ("averaging", "how the weights of many steps become those of one model"),
    ("policy", "what happens after an epoch, as the validation part says"),
    ("metric", "numbers computed from predictions and labels"),
];

/// All kinds there are, those of the house first.
fn kinds(plugins: &Plugins) -> Vec<(&str, &str)> {
    let mut kinds: Vec<(&str, &str)> = KINDS.to_vec();
    for entry in plugins.entries() {
        if !kinds.iter().any(|(kind, _)| *kind == entry.kind) {
            kinds.push((entry.kind, "a kind of a plugin"));
        }
    }
    kinds.retain(|(kind, _)| plugins.entries().any(|e| e.kind == *kind));
    kinds
}

fn of_kind<'a>(plugins: &'a Plugins, kind: &'a str) -> impl Iterator<Item = &'a Entry> {
    plugins.entries().filter(move |e| e.kind == kind)
}

fn about(entry: &Entry) -> &str {
    entry.schema["description"].as_str().unwrap_or_default()
}

/// Kinds and tags with a line on each; with `kind`, that kind alone.
///
/// # Errors
/// When there is no such kind; the nearest is offered.
pub fn list(plugins: &Plugins, kind: Option<&str>) -> Result<String, Invalid> {
    let mut kinds = kinds(plugins);
    if let Some(wanted) = kind {
        let names: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
        kinds.retain(|(kind, _)| *kind == wanted);
        if kinds.is_empty() {
            return Err(not_there("kind", wanted, &names));
        }
    }
    let width = plugins.entries().map(|e| e.tag.len()).max().unwrap_or_default();
    let mut out = String::new();
    for (i, (kind, purpose)) in kinds.iter().enumerate() {
        let _ = writeln!(out, "{}{kind}: {purpose}", if i > 0 { "\n" } else { "" });
        for entry in of_kind(plugins, kind) {
            let _ = writeln!(out, "  {:width$}  {}", entry.tag, one_line(about(entry)));
        }
    }
    Ok(out)
}

/// What a component is and what its options mean. `name` is `kind.tag`, or a tag that only one kind has.
///
/// # Errors
/// When there is no such component; the nearest is offered.
pub fn explain(plugins: &Plugins, name: &str) -> Result<String, Invalid> {
    let entry = find(plugins, name)?;
    let mut out = format!("{}.{}\n", entry.kind, entry.tag);
    for paragraph in paragraphs(about(entry)) {
        let _ = write!(out, "\n{}\n", wrapped(&paragraph, 100, ""));
    }
    let rows = rows(&entry.schema);
    if rows.is_empty() {
        out += "\nIt has no options.\n";
        return Ok(out);
    }
    let width = |cell: fn(&Row) -> &str| rows.iter().map(|r| cell(r).chars().count()).max().unwrap_or_default();
    let (name, kind) = (width(|r| &r.name), width(|r| &r.kind));
    out += "\nOptions\n";
    for row in &rows {
        let default = if row.default == "required" { row.default.clone() } else { format!("default {}", row.default) };
        let default = if row.default.is_empty() { "may be left out".to_owned() } else { default };
        let _ = writeln!(out, "\n  {:name$}  {:kind$}  {default}", row.name, row.kind);
        let _ = writeln!(out, "{}", wrapped(&row.about, 96, "      "));
    }
    Ok(out)
}

fn find<'a>(plugins: &'a Plugins, name: &str) -> Result<&'a Entry, Invalid> {
    let full = |e: &&Entry| format!("{}.{}", e.kind, e.tag);
    if let Some(entry) = plugins.entries().find(|e| full(e) == name) {
        return Ok(entry);
    }
    let same: Vec<&Entry> = plugins.entries().filter(|e| e.tag == name).collect();
    match same.as_slice() {
        [only] => return Ok(only),
        [] => {}
        several => {
            let names: Vec<String> = several.iter().map(full).collect();
            return Err(Invalid::new(format!("several kinds have a `{name}`")).help(names.join(", ")));
        }
    }
    let names: Vec<String> = plugins.entries().map(|e| full(&e)).collect();
    let tags: Vec<&str> = plugins.entries().map(|e| e.tag).collect();
    let known: Vec<&str> = if name.contains('.') { names.iter().map(String::as_str).collect() } else { tags };
    let e = Invalid::new(format!("there is no component `{name}`"));
    Err(match nearest(name, known) {
        Some(near) => e.help(format!("did you mean `{near}`?")),
        None => e.help("`list` shows what there is"),
    })
}

fn not_there(what: &str, name: &str, known: &[&str]) -> Invalid {
    let e = Invalid::new(format!("there is no {what} `{name}`"));
    match nearest(name, known.iter().copied()) {
        Some(near) => e.help(format!("did you mean `{near}`?")),
        None => e.help(format!("there are: {}", known.join(", "))),
    }
}

/// Breaks a paragraph into lines.
fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + word.chars().count() >= width {
            lines.push(word.to_owned());
        } else {
            let space = if lines[last].is_empty() { "" } else { " " };
            lines[last] = format!("{}{space}{word}", lines[last]);
        }
    }
    lines.iter().map(|l| format!("{indent}{l}")).collect::<Vec<_>>().join("\n")
}

/// The pages of the reference by file name: one for the pipeline file, one for each kind, and an index.
pub fn pages(plugins: &Plugins) -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    let mut index = "# Reference\n\nMade from the doc comments of the code; a test fails when it is stale.\n\n\
                     - [The pipeline file](pipeline_file.md)\n"
        .to_owned();
    for (kind, purpose) in kinds(plugins) {
        let _ = writeln!(index, "- [{kind}]({kind}.md): {purpose}");
        let mut page = format!("# {kind}\n\nThe kind `{kind}`: {purpose}.\n");
        for entry in of_kind(plugins, kind) {
            let _ = write!(page, "\n## `{}`\n", entry.tag);
            for paragraph in paragraphs(about(entry)) {
                let _ = write!(page, "\n{paragraph}\n");
            }
            let _ = write!(page, "\n{}", table(&rows(&entry.schema)));
            let _ = write!(page, "\nCode: `{}`\n", entry.path);
        }
        pages.insert(format!("{kind}.md"), page);
    }
    pages.insert("index.md".to_owned(), index);
    pages.insert("pipeline_file.md".to_owned(), file_page());
    pages
}

fn file_page() -> String {
    let mut page = "# The pipeline file\n\nLater layers win: defaults, the file, variables such as \
                    `TRANSPLANT_STEPS__TRANSFER__DRAW=1`, `--set steps.transfer.draw=1`.\n"
        .to_owned();
    for (title, section) in schema::sections() {
        let _ = write!(page, "\n## {title}\n\n{}", table(&rows(&section)));
    }
    page
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "It has no options.\n".to_owned();
    }
    let mut out = "| option | type | default | meaning |\n|---|---|---|---|\n".to_owned();
    let cell = |text: &str| text.replace('|', "\\|");
    for row in rows {
        let default = match row.default.as_str() {
            "" => "–".to_owned(),
            "required" => "required".to_owned(),
            value => format!("`{value}`"),
        };
        let _ = writeln!(out, "| `{}` | {} | {} | {} |", row.name, cell(&row.kind), cell(&default), cell(&row.about));
    }
    out
}

/// What is missing in an entry's schema for a good reference: descriptions of the component or of an option.
pub fn undescribed(entry: &Entry) -> Vec<String> {
    let name = format!("{}.{}", entry.kind, entry.tag);
    let own = (!describes(about(entry))).then(|| name.clone());
    let options = entry.schema["properties"].as_object().into_iter().flatten();
    let bare = |schema: &Value| !describes(schema["description"].as_str().unwrap_or_default());
    let options = options.filter(|(_, schema)| bare(schema)).map(|(key, _)| format!("{name}.{key}"));
    own.into_iter().chain(options).collect()
}

/// Whether a doc comment tells those who read it on the command line something: neither a link that only rustdoc follows,
/// nor a phrase that only says whose options these are.
fn describes(text: &str) -> bool {
    let empty_phrases = ["What may be set", "Options of"];
    let text = text.trim();
    !text.is_empty() && !text.contains("[`") && !empty_phrases.iter().any(|phrase| text.starts_with(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes;

    #[test]
    fn kinds_and_tags_are_listed() {
        let plugins = fakes::plugins();
        let all = list(&plugins, None).unwrap();
        assert!(all.starts_with("dataset: where rows come from\n  folder          Images in a folder.\n"), "{all}");
        let one = list(&plugins, Some("strategy")).unwrap();
        assert_eq!(one.lines().count(), 4, "{one}");
        let error = list(&plugins, Some("stratgy")).unwrap_err().to_string();
        assert_eq!(error, "there is no kind `stratgy` (did you mean `strategy`?)");
    }

    #[test]
    fn a_component_is_explained() {
        let plugins = fakes::plugins();
        let expected = "strategy.parameter

Starts from the source's weights.

All of them move.

Options

  freeze_until  text    may be left out
      The last stage that is frozen; left out: none.

  decay         number  default 1.0
      Factor on the rate from stage to stage, from 0 to 1.
";
        assert_eq!(explain(&plugins, "strategy.parameter").unwrap(), expected);
        assert_eq!(explain(&plugins, "parameter").unwrap(), expected);
        let folder = explain(&plugins, "folder").unwrap();
        assert!(folder.contains("  path   text          required\n"), "{folder}");
        assert!(explain(&plugins, "f1").unwrap().contains("one of `macro`, `micro`  default \"macro\""));
        assert!(explain(&plugins, "feature").unwrap().contains("head  head  default \"linear\""));
        assert!(explain(&plugins, "structure").unwrap().ends_with("It has no options.\n"));
        let error = explain(&plugins, "strategy.paramter").unwrap_err().to_string();
        assert_eq!(error, "there is no component `strategy.paramter` (did you mean `strategy.parameter`?)");
    }

    #[test]
    fn a_description_says_more_than_whose_options_these_are() {
        for none in ["", " \n", "What may be set of it.", "Options of it.", "As [`Structure`] has it."] {
            assert!(!describes(none), "{none}");
        }
        assert!(describes("Starts from the source's weights, all but those of the `head`."));
    }

    #[test]
    fn there_is_a_page_for_each_kind() {
        let pages = pages(&fakes::plugins());
        assert!(pages["index.md"].contains("- [metric](metric.md): numbers"));
        assert!(pages["metric.md"].contains("| `k` | whole number | `5` | How many count, at least 1. |"));
        let file = &pages["pipeline_file.md"];
        for row in [
            "| `labels_per_class` | whole number | – |",
            "| `labels_in_all` | whole number | – |",
            "| `epochs` | whole number | `10` |",
            "| `dataset` | text | – |",
        ] {
            assert!(file.contains(row), "{row}\n{file}");
        }
    }
}
