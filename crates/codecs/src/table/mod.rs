//! [`Table`]: rows and named columns from a file of CSV, TSV, JSONL or Parquet, one kind of file a file of this folder.
//!
//! Only the columns that are asked for are kept. What counts as missing is declared, not guessed: in CSV and TSV a list
//! of words, in JSONL and Parquet `null` (a key that is not there, a float that is NaN).

mod cell;
mod jsonl;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "parquet")]
mod parquet_out;
mod separated;
mod stray_quotes;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use crate::{Error, Result, Unsupported};

pub use cell::Cell;
#[cfg(feature = "parquet")]
pub use parquet_out::{ParquetWriter, Values};
pub use stray_quotes::RowsInQuotes;

/// The values of one column, a row each.
type Column = Vec<Option<Cell>>;

/// Some columns of a file, in memory.
#[derive(Debug, Clone)]
pub struct Table {
    file: PathBuf,
    names: Vec<String>,
    columns: Vec<Column>,
    rows: usize,
    /// The line on which each row begins, counted from 1, in kinds of files that have lines.
    lines: Option<Vec<u64>>,
    rows_in_quotes: Option<RowsInQuotes>,
}

/// The names of the columns to read, each once.
struct Names {
    all: Vec<String>,
    /// The first so many have to be there.
    required: usize,
}

impl Names {
    fn new(wanted: &[&str], optional: &[&str]) -> Self {
        let mut all: Vec<String> = Vec::new();
        let mut required = 0;
        for (i, name) in wanted.iter().chain(optional).enumerate() {
            if !all.iter().any(|n| n == name) {
                all.push((*name).to_owned());
                required += usize::from(i < wanted.len());
            }
        }
        Self { all, required }
    }
}

/// What a reader gives: the columns in the order asked, and the lines.
struct Read {
    columns: Vec<Column>,
    lines: Option<Vec<u64>>,
    rows_in_quotes: Option<RowsInQuotes>,
}

/// The kinds of files, known by the end of their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// CSV or TSV: a header line and a record a row, with this byte between fields.
    Separated(u8),
    /// A JSON object a line.
    Jsonl,
    /// Parquet, which this build reads when it has the cargo feature `parquet`.
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
    /// The kind of this file, which is not opened.
    ///
    /// # Errors
    /// When the end of its name is none of those that are known.
    pub fn from_name(file: &Path) -> Result<Self, Unsupported> {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let found = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, format)| *format);
        found.ok_or_else(|| {
            let known: Vec<_> = ENDINGS.iter().map(|(ending, _)| *ending).collect();
            let message = format!("`{name}` is no table: its name should end in one of {}", known.join(", "));
            Unsupported { message, help: None }
        })
    }

    /// Checks that this build reads such files; `file` is named in the error.
    ///
    /// # Errors
    /// When it lacks the cargo feature.
    pub fn check_readable(self, file: &Path) -> Result<(), Unsupported> {
        if self != Self::Parquet || cfg!(feature = "parquet") { Ok(()) } else { Err(without_parquet(file)) }
    }
}

fn without_parquet(file: &Path) -> Unsupported {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let message = format!("`{name}` needs the cargo feature `parquet`, and this binary was built without it");
    Unsupported {
        message,
        help: Some("build it with the feature `parquet` of `transplant-cli`, as `cargo xtask` does by itself"),
    }
}

impl Table {
    /// Reads the `wanted` columns of a file, whose kind is told by the end of its name: `.csv`, `.tsv`, `.tab`,
    /// `.jsonl`, `.ndjson`, `.parquet`, `.parquet.brotli`. A cell of CSV or TSV that is one of the words in `missing`
    /// is missing.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the kind is not known or this build lacks the cargo feature `parquet`; [`Error::Io`]
    /// when the file cannot be read; [`Error::Data`], with the line where there is one, when it is damaged or two columns
    /// have one name; [`Error::NoColumn`] when a wanted one is not there.
    pub fn read(file: &Path, wanted: &[&str], missing: &[String]) -> Result<Self> {
        Self::read_with(file, wanted, &[], missing)
    }

    /// [`read`](Self::read), and also columns that are `optional`: one that is not there has no value in any row.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_with(file: &Path, wanted: &[&str], optional: &[&str], missing: &[String]) -> Result<Self> {
        let format = Format::from_name(file)?;
        format.check_readable(file)?;
        let names = Names::new(wanted, optional);
        let read = match format {
            Format::Separated(delimiter) => {
                let content = std::fs::read(file).map_err(|e| Error::io(file, e))?;
                separated::read(file, &content, delimiter, &names, missing)?
            }
            Format::Jsonl => {
                let opened = File::open(file).map_err(|e| Error::io(file, e))?;
                jsonl::read(file, &mut BufReader::new(opened), &names)?
            }
            Format::Parquet => parquet_columns(file, &names)?,
        };
        Self::new(file, names, read)
    }

    /// [`read_with`](Self::read_with) of what was read already: JSONL when it begins with `{`, else CSV. `file` is its
    /// name in errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(file: &Path, content: &[u8], wanted: &[&str], optional: &[&str], missing: &[String]) -> Result<Self> {
        let names = Names::new(wanted, optional);
        let mut without_bom = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        let read = match without_bom.trim_ascii_start().first() {
            Some(b'{') => jsonl::read(file, &mut without_bom, &names)?,
            _ => separated::read(file, content, b',', &names, missing)?,
        };
        Self::new(file, names, read)
    }

    fn new(file: &Path, names: Names, Read { columns, lines, rows_in_quotes }: Read) -> Result<Self> {
        let names = names.all;
        let rows = columns.first().map_or(0, Vec::len);
        if rows == 0 {
            return Err(Error::data(file, "has no rows"));
        }
        Ok(Self { file: file.to_owned(), names, columns, rows, lines, rows_in_quotes })
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
    /// [`Error::NotRead`] when it was not asked for.
    pub fn column(&self, name: &str) -> Result<&[Option<Cell>]> {
        let column = self.names.iter().zip(&self.columns).find(|(n, _)| *n == name);
        column.map(|(_, c)| c.as_slice()).ok_or_else(|| Error::NotRead(name.to_owned()))
    }

    /// The line on which a row begins, counted from 1, where the file has lines.
    pub fn line(&self, row: usize) -> Option<u64> {
        self.lines.as_ref().and_then(|lines| lines.get(row)).copied()
    }

    /// Quoted fields over several lines that look like rows, in columns that are not read as well; `None` without one.
    pub fn rows_in_quotes(&self) -> Option<RowsInQuotes> {
        self.rows_in_quotes
    }

    /// An error about a row, with its line where the file has lines.
    pub fn fault(&self, row: usize, message: &str) -> Error {
        let line = self.line(row).map(|line| format!("line {line}: ")).unwrap_or_default();
        Error::Data { path: self.file.clone(), row: Some(row as u64), message: format!("{line}{message}") }
    }
}

#[cfg(feature = "parquet")]
fn parquet_columns(file: &Path, names: &Names) -> Result<Read> {
    Ok(Read { columns: parquet::read(file, names)?, lines: None, rows_in_quotes: None })
}

#[cfg(not(feature = "parquet"))]
fn parquet_columns(file: &Path, _: &Names) -> Result<Read> {
    Err(without_parquet(file).into())
}

/// Where each of the `wanted` columns stands in a file with the columns `there`; `None` for an optional one that is not
/// there.
fn places(file: &Path, wanted: &Names, there: &[&str]) -> Result<Vec<Option<usize>>> {
    for (i, name) in there.iter().enumerate() {
        // Index columns are often written without a name; they cannot be asked for, so they may be there twice.
        if !name.is_empty() && there[..i].contains(name) {
            return Err(Error::data(file, format!("has two columns with the name `{name}`")));
        }
    }
    let place = |(i, name): (usize, &String)| match there.iter().position(|t| t == name) {
        None if i < wanted.required => Err(absent(file, name, there)),
        place => Ok(place),
    };
    wanted.all.iter().enumerate().map(place).collect()
}

fn absent(file: &Path, name: &str, there: &[&str]) -> Error {
    let help = match (other_delimiter(there), nearest(name, there)) {
        (Some(other), _) => other,
        (None, Some(near)) => format!("did you mean `{near}`?"),
        (None, None) => format!("there are {}", there.iter().map(|t| format!("`{t}`")).collect::<Vec<_>>().join(", ")),
    };
    Error::NoColumn { path: file.to_owned(), message: format!("has no column `{name}` ({help})") }
}

/// What to say of a table whose columns are one, since its fields are not separated by what the end of its name means.
fn other_delimiter(there: &[&str]) -> Option<String> {
    let [one] = there else { return None };
    let found = [(';', "`;`"), ('\t', "tabs"), (',', "`,`")].into_iter().find(|(c, _)| one.contains(*c))?.1;
    Some(format!(
        "it has one column, `{one}`: its fields seem to be separated by {found}, and should be by `,` in .csv and by tabs in .tsv"
    ))
}

/// The candidate most like `name`, when one is near enough to be a slip of the pen: as core's function of this name,
/// which this crate does not see.
fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let scored = candidates.iter().map(|c| (strsim::jaro_winkler(name, c), *c)).filter(|(score, _)| *score > 0.7);
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, c)| c)
}

#[cfg(test)]
mod tests;
