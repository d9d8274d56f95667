//! What to predict for: pictures named one by one or found in folders, texts line by line.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use transplant_core::{Error, Invalid, Result};
use transplant_datasets::pictures_below;

/// Something to predict for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// What it is called in the answer: a path, for a text with the number of its line.
    pub(super) name: String,
    /// What it is.
    pub(super) content: Content,
}

/// What is predicted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// A picture in a file.
    Picture(PathBuf),
    /// A text.
    Text(String),
}

/// Pictures: files as they were named, and all pictures below folders, in order of their paths.
///
/// # Errors
/// When a folder cannot be read or holds no picture.
pub(super) fn pictures(inputs: &[PathBuf]) -> Result<Vec<Item>> {
    let mut out = Vec::new();
    for input in inputs {
        if !input.is_dir() {
            out.push(input.clone());
            continue;
        }
        let found = pictures_below(input)?;
        if found.is_empty() {
            return Err(Invalid::new(format!("{} holds no picture", input.display())).into());
        }
        out.extend(found);
    }
    let item = |path: PathBuf| Item { name: path.display().to_string(), content: Content::Picture(path) };
    Ok(out.into_iter().map(item).collect())
}

/// Texts: one a line of each file, `-` being the standard input. Empty lines are left out.
///
/// # Errors
/// When a file cannot be read, or is not UTF-8.
pub(super) fn texts(inputs: &[PathBuf]) -> Result<Vec<Item>> {
    let mut out = Vec::new();
    for input in inputs {
        let reader: Box<dyn BufRead> = match input.to_str() {
            Some("-") => Box::new(std::io::stdin().lock()),
            _ => Box::new(BufReader::new(std::fs::File::open(input).map_err(|e| named(input, &e))?)),
        };
        for (line, text) in (1..).zip(reader.lines()) {
            let text = text.map_err(|e| named(input, &e))?;
            if !text.trim().is_empty() {
                out.push(Item { name: format!("{}:{line}", input.display()), content: Content::Text(text) });
            }
        }
    }
    Ok(out)
}

/// A file the user named is the user's to get right.
fn named(path: &Path, e: &std::io::Error) -> Error {
    Invalid::new(format!("cannot read {}: {e}", path.display())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_give_their_pictures_in_order_and_files_are_taken_as_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("b")).unwrap();
        for name in ["b/2.PNG", "b/1.jpg", "a.png", "notes.txt"] {
            std::fs::write(at(name), "").unwrap();
        }
        let found = pictures(&[at("notes.txt"), dir.path().to_owned()]).unwrap();
        let names: Vec<_> = found.iter().map(|i| i.name.strip_prefix(dir.path().to_str().unwrap()).unwrap()).collect();
        assert_eq!(names, ["/notes.txt", "/a.png", "/b/1.jpg", "/b/2.PNG"]);
        std::fs::create_dir(at("empty")).unwrap();
        assert!(pictures(&[at("empty")]).unwrap_err().to_string().ends_with("empty holds no picture"));
    }

    #[test]
    fn texts_are_numbered_by_their_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.txt");
        std::fs::write(&path, "one\n\n  \ntwo, three\n").unwrap();
        let found = texts(std::slice::from_ref(&path)).unwrap();
        let lines: Vec<_> = found.iter().map(|i| i.name.rsplit(':').next().unwrap()).collect();
        assert_eq!(lines, ["1", "4"]);
        assert_eq!(found[1].content, Content::Text("two, three".into()));
        assert!(texts(&[dir.path().join("none")]).unwrap_err().to_string().starts_with("cannot read"));
    }
}
