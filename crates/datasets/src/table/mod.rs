//! [`Table`]: rows and named columns from a file of CSV, TSV, JSONL or Parquet, one kind of file a file of this folder.
//!
//! Only the columns that are asked for are kept. What counts as missing is declared, not guessed: in CSV and TSV a list of
//! words, in JSONL and Parquet `null` (a key that is not there, a float that is NaN).

mod cell;
mod jsonl;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "parquet")]
mod parquet_out;
mod separated;

use std::path::{Path, PathBuf};

use transplant_core::{Error, Invalid, Result, nearest};

pub use cell::Cell;
#[cfg(feature = "parquet")]
pub use parquet_out::{ParquetWriter, Values};

/// The values of one column, a row each.
pub(crate) type Column = Vec<Option<Cell>>;

/// Some columns of a file, in memory.
#[derive(Debug, Clone)]
pub struct Table {
    file: PathBuf,
    names: Vec<String>,
    columns: Vec<Column>,
    rows: usize,
    /// The line on which each row begins, counted from 1, in kinds of files that have lines.
    lines: Option<Vec<u64>>,
}

/// What a reader gives: the columns in the order asked, and the lines.
struct Read {
    columns: Vec<Column>,
    lines: Option<Vec<u64>>,
}

/// The kinds of files, known by the end of their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Separated(u8),
    Jsonl,
    Parquet,
}

const ENDINGS: [(&str, Format); 7] = [
    (".csv", Format::Separated(b',')),
    (".tsv", Format::Separated(b'\t')),
    (".tab", Format::Separated(b'\t')),
    (".jsonl", Format::Jsonl),
    (".ndjson", Format::Jsonl),
    (".parquet", Format::Parquet),
    // The codec stands in the file itself; some name it in the file's name as well.
    (".parquet.brotli", Format::Parquet),
];

impl Format {
    /// The kind of this file.
    ///
    /// # Errors
    /// When the end of its name is none of those that are known.
    pub(crate) fn of(file: &Path) -> Result<Self, Invalid> {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let found = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, format)| *format);
        found.ok_or_else(|| {
            let known: Vec<_> = ENDINGS.iter().map(|(ending, _)| *ending).collect();
            Invalid::new(format!("`{name}` is no table: its name should end in one of {}", known.join(", ")))
        })
    }

    /// Checks that this build reads such files.
    ///
    /// # Errors
    /// When it lacks the cargo feature.
    pub(crate) fn readable(self, file: &Path) -> Result<(), Invalid> {
        if self != Self::Parquet || cfg!(feature = "parquet") {
            return Ok(());
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let message = format!("`{name}` needs the cargo feature `parquet`, and this binary was built without it");
        Err(Invalid::new(message).help("`cargo xtask run` turns it on for a pipeline file that names such a file"))
    }
}

impl Table {
    /// Reads the `wanted` columns of a file, whose kind is told by the end of its name: `.csv`, `.tsv`, `.tab`, `.jsonl`,
    /// `.ndjson`, `.parquet`, `.parquet.brotli`. A cell of CSV or TSV that is one of the words in `missing` is missing.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the kind is not known or this build lacks the cargo feature `parquet`; [`Error::Io`] when the
    /// file cannot be read; [`Error::Data`], with the line where there is one, when it is damaged, two columns have one name
    /// or a wanted one is not there.
    pub fn read(file: &Path, wanted: &[&str], missing: &[String]) -> Result<Self> {
        let format = Format::of(file)?;
        format.readable(file)?;
        let mut names: Vec<String> = Vec::new();
        for name in wanted {
            if !names.iter().any(|n| n == name) {
                names.push((*name).to_owned());
            }
        }
        let Read { columns, lines } = match format {
            Format::Separated(delimiter) => separated::read(file, delimiter, &names, missing)?,
            Format::Jsonl => jsonl::read(file, &names)?,
            Format::Parquet => parquet_columns(file, &names)?,
        };
        let rows = columns.first().map_or(0, Vec::len);
        if rows == 0 {
            return Err(Error::data(file, None, "has no rows"));
        }
        Ok(Self { file: file.to_owned(), names, columns, rows, lines })
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// How many rows there are; at least one.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The values of a column.
    ///
    /// # Errors
    /// [`Error::Contract`] when it was not asked for.
    pub fn column(&self, name: &str) -> Result<&[Option<Cell>]> {
        let column = self.names.iter().zip(&self.columns).find(|(n, _)| *n == name);
        column.map(|(_, c)| c.as_slice()).ok_or_else(|| Error::contract(format!("column `{name}` was not read")))
    }

    /// An error about a row, with its line where the file has lines.
    pub fn fault(&self, row: usize, message: impl AsRef<str>) -> Error {
        let line = self.lines.as_ref().and_then(|lines| lines.get(row));
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        Error::data(&self.file, Some(row as u64), format!("{line}{}", message.as_ref()))
    }
}

#[cfg(feature = "parquet")]
fn parquet_columns(file: &Path, names: &[String]) -> Result<Read> {
    Ok(Read { columns: parquet::read(file, names)?, lines: None })
}

#[cfg(not(feature = "parquet"))]
fn parquet_columns(file: &Path, _: &[String]) -> Result<Read> {
    Format::Parquet.readable(file)?;
    Err(Error::contract("a build without the feature `parquet` reads no Parquet"))
}

/// Where each of the `wanted` columns stands in a file with the columns `there`.
fn places(file: &Path, wanted: &[String], there: &[&str]) -> Result<Vec<usize>> {
    for (i, name) in there.iter().enumerate() {
        // Index columns are often written without a name; they cannot be asked for, so they may be there twice.
        if !name.is_empty() && there[..i].contains(name) {
            return Err(Error::data(file, None, format!("has two columns with the name `{name}`")));
        }
    }
    wanted.iter().map(|name| there.iter().position(|t| t == name).ok_or_else(|| absent(file, name, there))).collect()
}

fn absent(file: &Path, name: &str, there: &[&str]) -> Error {
    let help = match nearest(name, there.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", there.iter().map(|t| format!("`{t}`")).collect::<Vec<_>>().join(", ")),
    };
    Error::data(file, None, format!("has no column `{name}` ({help})"))
}

#[cfg(test)]
mod tests;
