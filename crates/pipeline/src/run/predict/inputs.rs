//! What to predict for: pictures named one by one or found in folders, texts line by line, rows of tables.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use transplant_codecs::text::utf8;
use transplant_core::{Acts, Columns, Error, Field, HIDDEN, Invalid, Result, TEXT};
use transplant_datasets::{NewRows, Table, is_picture_name, pictures_below};

use super::super::artefact::Artefact;
use crate::counted;

/// What a model predicts for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Takes {
    /// Pictures.
    Pictures {
        /// The input's name.
        input: String,
        /// Its colour channels.
        channels: usize,
    },
    /// Texts; of a table those in these columns.
    Texts(Option<Columns>),
    /// Rows of tables.
    Rows(Columns),
}

impl Takes {
    /// What a model predicts for, as its artefact says.
    ///
    /// # Errors
    /// When it is none of these, or the artefact does not say how its tables are read.
    pub(super) fn of(a: &Artefact) -> Result<Self> {
        let (raw, columns) = (&a.manifest.raw_inputs, a.manifest.columns.clone());
        if raw.contains_key(TEXT) {
            return Ok(Self::Texts(columns));
        }
        if let Some(columns) = columns {
            return Ok(Self::Rows(columns));
        }
        let image = raw.iter().find_map(|(name, f)| match f {
            Field::Image { channels, .. } => Some(Self::Pictures { input: name.clone(), channels: *channels }),
            _ => None,
        });
        let what = match raw.get(HIDDEN) {
            Some(Field::Vector { .. }) => "rows of numbers",
            _ => "neither pictures nor texts nor rows of tables",
        };
        Ok(image.ok_or_else(|| undescribed(&format!("this model is given {what}")))?)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Pictures { .. } => "pictures",
            Self::Texts(_) => "texts",
            Self::Rows(_) => "rows of tables",
        }
    }
}

/// An artefact without columns: an old one, or that of a data set that does not say how its rows were read.
fn undescribed(what: &str) -> Invalid {
    let e = Invalid::new(format!("{what}, and its artefact does not say from which columns of a table they are made"));
    e.help("an older version of Transplant saved it, or its data set is not one of those that say so; run the pipeline again")
}

/// Something to predict for.
#[derive(Debug)]
pub(super) struct Item {
    /// What it is called in the answer: a path, for a text or row with its line.
    pub(super) name: String,
    /// The word in the column `id` of its table.
    pub(super) id: Option<String>,
    /// What it is.
    pub(super) content: Content,
}

/// What is predicted for.
#[derive(Debug)]
pub(super) enum Content {
    /// A picture in a file.
    Picture(PathBuf),
    /// A text or a row of a table, as it is before the transforms; or what is wrong with it.
    Row(Result<Acts>),
}

/// All there is to predict for.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// In their order.
    pub(super) items: Vec<Item>,
    /// What was left out without being wrong.
    pub(super) notes: Vec<String>,
}

impl Items {
    /// Finds what to predict for: pictures, texts or rows.
    ///
    /// # Errors
    /// When a file or folder cannot be read, is of another kind than the model takes, or holds nothing to predict for.
    pub(super) fn find(takes: &Takes, inputs: &[PathBuf]) -> Result<Self> {
        let mut found = Self::default();
        for input in inputs {
            match takes {
                Takes::Pictures { .. } => found.pictures(input, takes)?,
                _ if input.is_dir() => {
                    let e =
                        Invalid::new(format!("{} is a folder, and the model takes {}", input.display(), takes.name()));
                    return Err(e.help("name the files in it").into());
                }
                _ if is_picture_name(input) => return Err(other_kind(input, "a picture", takes)),
                Takes::Rows(columns) => found.rows(input, columns)?,
                Takes::Texts(Some(columns)) if Table::is_named(input) => found.rows(input, columns)?,
                Takes::Texts(None) if Table::is_named(input) => {
                    return Err(undescribed(&format!("{} is a table, the model takes texts", input.display())).into());
                }
                Takes::Texts(_) => found.lines(input)?,
            }
        }
        Ok(found)
    }

    /// A file as it was named, or all pictures below a folder, in order of their paths.
    fn pictures(&mut self, input: &Path, takes: &Takes) -> Result<()> {
        let picture =
            |path: PathBuf| Item { name: path.display().to_string(), id: None, content: Content::Picture(path) };
        if !input.is_dir() {
            if Table::is_named(input) {
                return Err(other_kind(input, "a table", takes));
            }
            self.items.push(picture(input.to_owned()));
            return Ok(());
        }
        let found = pictures_below(input)?;
        let left_out = [
            (found.others, "file is no picture by its ending", "files are no pictures by their endings"),
            (found.hidden, "picture is hidden, and left out", "pictures are hidden, and left out"),
        ];
        let left_out = left_out.into_iter().filter(|(n, ..)| *n > 0);
        let left_out = left_out.map(|(n, one, several)| format!("{n} {}", if n == 1 { one } else { several }));
        let left_out: Vec<String> = left_out.collect();
        if found.pictures.is_empty() {
            let e = Invalid::new(format!("{} holds no picture", input.display()));
            return Err(if left_out.is_empty() { e } else { e.help(left_out.join("; ")) }.into());
        }
        self.notes.extend(left_out.iter().map(|note| format!("{}: {note}", input.display())));
        self.items.extend(found.pictures.into_iter().map(picture));
        Ok(())
    }

    /// The rows of a table. When none can be read, the first of them says why.
    fn rows(&mut self, input: &Path, columns: &Columns) -> Result<()> {
        let mut rows = NewRows::read(input, columns)?.rows;
        if rows.iter().all(|row| row.inputs.is_err()) {
            let first = rows.swap_remove(0);
            return first.inputs.map(drop);
        }
        let item =
            |row: transplant_datasets::NewRow| Item { name: row.place, id: row.id, content: Content::Row(row.inputs) };
        self.items.extend(rows.into_iter().map(item));
        Ok(())
    }

    /// Texts: one a line of a file, `-` being the standard input. Empty lines are left out.
    fn lines(&mut self, input: &Path) -> Result<()> {
        let mut reader: Box<dyn BufRead> = match input.to_str() {
            Some("-") => Box::new(std::io::stdin().lock()),
            _ => Box::new(BufReader::new(std::fs::File::open(input).map_err(|e| named(input, &e))?)),
        };
        let (before, mut empty, mut content) = (self.items.len(), 0, Vec::new());
        for line in 1.. {
            content.clear();
            if reader.read_until(b'\n', &mut content).map_err(|e| named(input, &e))? == 0 {
                break;
            }
            let text = if line == 1 { content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&content) } else { &content };
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if text.trim_ascii().is_empty() {
                empty += 1;
                continue;
            }
            let name = format!("{}:{line}", input.display());
            let text = check_text(text).map_err(|e| Invalid::new(format!("{name}: {e}")))?;
            let acts = Acts::new().with(TEXT, Tensor::from_slice(text, (1, text.len()), &Device::Cpu)?);
            self.items.push(Item { name, id: None, content: Content::Row(Ok(acts)) });
        }
        if self.items.len() == before {
            return Err(Invalid::new(format!("{} holds no text", input.display())).into());
        }
        if empty > 0 {
            let (lines, verb) = (counted(empty, "empty line"), if empty == 1 { "has" } else { "have" });
            self.notes.push(format!("{}: {lines} {verb} no answer", input.display()));
        }
        Ok(())
    }
}

/// That a line is a text as in the training.
fn check_text(text: &[u8]) -> Result<&[u8], String> {
    utf8(text)?;
    match text.contains(&0) {
        true => Err("the text holds a zero byte, which marks the end of one".to_owned()),
        false => Ok(text),
    }
}

fn other_kind(path: &Path, what: &str, takes: &Takes) -> Error {
    Invalid::new(format!("{} is {what}, and the model takes {}", path.display(), takes.name())).into()
}

/// A file the user named is the user's to get right.
fn named(path: &Path, e: &std::io::Error) -> Error {
    Invalid::new(format!("cannot read {}: {e}", path.display())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURES: Takes = Takes::Pictures { input: String::new(), channels: 3 };

    fn names(found: &Items, folder: &Path) -> Vec<String> {
        found.items.iter().map(|i| i.name.strip_prefix(folder.to_str().unwrap()).unwrap().to_owned()).collect()
    }

    #[test]
    fn folders_give_their_pictures_in_order_and_files_are_taken_as_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("b")).unwrap();
        for name in ["b/2.PNG", "b/1.jpg", "a.png", "notes.txt", ".hidden", "b/.3.png", "b/._1.jpg"] {
            std::fs::write(at(name), "").unwrap();
        }
        let found = Items::find(&PICTURES, &[at("notes.txt"), dir.path().to_owned()]).unwrap();
        assert_eq!(names(&found, dir.path()), ["/notes.txt", "/a.png", "/b/1.jpg", "/b/2.PNG"]);
        let notes: Vec<&str> = found.notes.iter().map(|note| note.rsplit(": ").next().unwrap()).collect();
        assert_eq!(notes, ["1 file is no picture by its ending", "1 picture is hidden, and left out"]);
        std::fs::create_dir(at("empty")).unwrap();
        assert!(Items::find(&PICTURES, &[at("empty")]).unwrap_err().to_string().ends_with("empty holds no picture"));
        std::fs::write(at("empty/.a.png"), "").unwrap();
        let e = Items::find(&PICTURES, &[at("empty")]).unwrap_err().to_string();
        assert!(e.ends_with("empty holds no picture (1 picture is hidden, and left out)"), "{e}");
    }

    #[test]
    fn texts_are_numbered_by_their_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.txt");
        let found = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            Items::find(&Takes::Texts(None), std::slice::from_ref(&path))
        };
        let lines = found(b"\xef\xbb\xbfone\r\n\n  \ntwo, three").unwrap();
        assert_eq!(names(&lines, &path), [":1", ":4"]);
        let text = |i: usize| match &lines.items[i].content {
            Content::Row(Ok(acts)) => acts.get(TEXT).unwrap().to_vec2::<u8>().unwrap()[0].clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!((text(0), text(1)), (b"one".to_vec(), b"two, three".to_vec()));
        assert!(lines.notes[0].ends_with("t.txt: 2 empty lines have no answer"), "{:?}", lines.notes);
        assert!(found(b"\n").unwrap_err().to_string().ends_with("holds no text"));
        assert!(found(b"a\n\xff\n").unwrap_err().to_string().contains("t.txt:2: is not UTF-8"));
        assert!(found(b"a\0b\n").unwrap_err().to_string().contains("t.txt:1: the text holds a zero byte"));
        let none = Items::find(&Takes::Texts(None), &[dir.path().join("none")]).unwrap_err();
        assert!(none.to_string().starts_with("cannot read"), "{none}");
    }

    #[test]
    fn other_kinds_of_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |takes: &Takes, name: &str| {
            let path = dir.path().join(name);
            Items::find(takes, std::slice::from_ref(&path)).unwrap_err().to_string()
        };
        let texts = Takes::Texts(None);
        assert!(refused(&texts, "a.png").ends_with("a.png is a picture, and the model takes texts"));
        assert!(refused(&texts, "a.csv").contains("does not say from which columns"));
        assert!(refused(&texts, "").contains("is a folder, and the model takes texts (name the files in it)"));
        assert!(refused(&PICTURES, "a.jsonl").ends_with("a.jsonl is a table, and the model takes pictures"));
        let rows = Takes::Rows(Columns::Text { columns: vec!["a".to_owned()], missing: Vec::new() });
        assert!(refused(&rows, "a.png").ends_with("a.png is a picture, and the model takes rows of tables"));
        assert!(refused(&rows, "a.txt").contains("`a.txt` is no table"));
    }
}
