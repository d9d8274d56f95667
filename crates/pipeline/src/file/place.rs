//! [`FileError`] and where it stands: a line of the file, a variable or a flag.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml_edit::{Array, ArrayOfTables, Document, Item, Table, TableLike, Value};
use transplant_core::{Class, Invalid};

/// Something in a pipeline file, or in what was laid over it, that cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}{}{message}{}", self.shown_key(), self.help.as_ref().map(|h| format!(" ({h})")).unwrap_or_default())]
pub struct FileError {
    /// Where it was written.
    pub place: Place,
    /// The key path with dots; empty when the whole file is meant.
    pub key: String,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Whose fault it is: not the file's, when what a key names cannot be read, for instance.
    pub class: Class,
}

impl FileError {
    pub(crate) fn new(place: Place, error: Invalid) -> Self {
        Self { place, key: error.dotted(), message: error.message, help: error.help, class: Class::Input }
    }

    /// The key, unless the place shows it already.
    fn shown_key(&self) -> String {
        let shown = matches!(&self.place, Place::Flag(flag) if flag.starts_with(&format!("--set {}=", self.key)));
        if shown || self.key.is_empty() { String::new() } else { format!("{}: ", self.key) }
    }
}

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the pipeline file.
    File(Box<FilePlace>),
    /// In the environment variable of this name.
    Env(String),
    /// In this flag, as it was given.
    Flag(String),
    /// Nowhere: the file cannot be read at all.
    Unread(PathBuf),
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlace {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The bytes of `text` that are meant.
    pub span: Range<usize>,
    /// The whole file.
    pub text: Arc<str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(at) => write!(f, "{}:{}:{}: ", at.path.display(), at.line, at.column),
            Self::Env(name) => write!(f, "environment variable {name}: "),
            Self::Flag(flag) => write!(f, "{flag}: "),
            Self::Unread(path) => write!(f, "{}: ", path.display()),
        }
    }
}

/// The place of these bytes.
pub(crate) fn in_file(path: &Path, text: &Arc<str>, span: Range<usize>) -> Place {
    // A span may lie one past the end, when the file stops too early.
    let start = (0..=span.start.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    let before = &text[..start];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let span = start..span.end.clamp(start, text.len());
    Place::File(Box::new(FilePlace { path: path.to_owned(), line, column, span, text: text.clone() }))
}

/// The bytes of a key path: its value, or its key when `key` is set. Where the path leads nowhere, the header or the
/// value of the innermost table that is there.
pub(crate) fn span_of(document: &Document<Arc<str>>, path: &[String], key: bool) -> Range<usize> {
    walk(Node::Table(document.as_table()), path, key).unwrap_or(0..0)
}

/// Something with parts.
enum Node<'a> {
    Table(&'a dyn TableLike),
    Tables(&'a ArrayOfTables),
    List(&'a Array),
    Leaf,
}

/// A part of a node and where its name and its value stand.
struct Part<'a> {
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    node: Node<'a>,
}

impl<'a> Node<'a> {
    fn of_item(item: &'a Item) -> Self {
        match item {
            Item::Table(table) => Self::Table(table),
            Item::ArrayOfTables(tables) => Self::Tables(tables),
            Item::Value(value) => Self::of_value(value),
            Item::None => Self::Leaf,
        }
    }

    fn of_value(value: &'a Value) -> Self {
        match value {
            Value::InlineTable(table) => Self::Table(table),
            Value::Array(list) => Self::List(list),
            _ => Self::Leaf,
        }
    }

    fn part(&self, name: &str) -> Option<Part<'a>> {
        let index = || name.parse::<usize>().ok();
        match self {
            Self::Table(table) => {
                let (key, item) = table.get_key_value(name)?;
                // The table of a dotted key spans from its first key to its last value.
                let dotted = item.as_table().is_some_and(Table::is_dotted);
                Some(Part { key: key.span(), value: item.span().filter(|_| !dotted), node: Self::of_item(item) })
            }
            Self::Tables(tables) => {
                let table = tables.get(index()?)?;
                Some(Part { key: None, value: table.span(), node: Self::Table(table) })
            }
            Self::List(list) => {
                let value = list.get(index()?)?;
                Some(Part { key: None, value: value.span(), node: Self::of_value(value) })
            }
            Self::Leaf => None,
        }
    }
}

fn walk(node: Node<'_>, path: &[String], key: bool) -> Option<Range<usize>> {
    let (name, rest) = path.split_first()?;
    let part = node.part(name)?;
    let own = if key && rest.is_empty() { part.key.or(part.value) } else { part.value.or(part.key) };
    walk(part.node, rest, key).or(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"name = "x"
[steps.one]
strategy = { type = "parameter", freeze = 3 }
trainer.epochs = 5
metrics = [
    "f1",
    { type = "top_k", k = 0 },
]
[[datasets.scans.transforms]]
type = "pad"
[[datasets.scans.transforms]]
type = "résize"
"a.b" = 1
"#;

    #[test]
    fn every_way_to_write_a_key_is_found() {
        let text: Arc<str> = TEXT.into();
        let document = Document::parse(text.clone()).unwrap();
        let at = |path: &str, key: bool| {
            let path: Vec<String> = path.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect();
            match in_file(Path::new("p.toml"), &text, span_of(&document, &path, key)) {
                Place::File(f) => format!("{}:{} {}", f.line, f.column, &f.text[f.span.clone()]),
                _ => unreachable!(),
            }
        };
        assert_eq!(at("", false), "1:1 ");
        assert_eq!(at("name", false), "1:8 \"x\"");
        assert_eq!(at("name", true), "1:1 name");
        assert_eq!(at("steps/one", false), "2:1 [steps.one]");
        assert_eq!(at("steps/one", true), "2:8 one");
        assert_eq!(at("steps/one/dataset", false), "2:1 [steps.one]");
        assert_eq!(at("steps/two", false), "2:2 steps");
        assert_eq!(at("steps/one/strategy/type", false), "3:21 \"parameter\"");
        assert_eq!(at("steps/one/strategy/freeze", true), "3:34 freeze");
        assert_eq!(at("steps/one/trainer/epochs", false), "4:18 5");
        assert_eq!(at("steps/one/trainer/clip", false), "4:1 trainer");
        assert_eq!(at("steps/one/metrics/0", false), "6:5 \"f1\"");
        assert_eq!(at("steps/one/metrics/1/k", false), "7:27 0");
        assert_eq!(at("steps/one/metrics/1/n", false), "7:5 { type = \"top_k\", k = 0 }");
        assert_eq!(at("datasets/scans/transforms/1/type", false), "12:8 \"résize\"");
        assert_eq!(at("datasets/scans/transforms/1", false), "11:1 [[datasets.scans.transforms]]");
        assert_eq!(at("datasets/scans/transforms/1/a.b", true), "13:1 \"a.b\"");
    }
}
