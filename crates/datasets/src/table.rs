//! [`Table`]: rows and named columns from a file of CSV, TSV, JSONL or Parquet; and [`ParquetWriter`].

#[cfg(feature = "parquet")]
use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};
use transplant_codecs::table::{self, Format};
use transplant_core::{Error, Finding, FindingKind, Fingerprint, Invalid, Result};

use crate::codec::{error, unsupported};
use crate::findings::counted;

pub use transplant_codecs::table::Cell;
#[cfg(feature = "parquet")]
pub use transplant_codecs::table::Values;

/// Some columns of a file, in memory.
#[derive(Debug, Clone)]
pub struct Table(table::Table);

impl Table {
    /// Reads the `wanted` columns of a file, whose kind is told by the end of its name: `.csv`, `.tsv`, `.tab`, `.jsonl`,
    /// `.ndjson`, `.parquet`, `.parquet.brotli`. A cell of CSV or TSV that is one of the words in `missing` is missing.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the kind is not known or this build lacks the cargo feature `parquet`; [`Error::Io`] when the
    /// file cannot be read; [`Error::Data`], with the line where there is one, when it is damaged, two columns have one name
    /// or a wanted one is not there.
    pub fn read(file: &Path, wanted: &[&str], missing: &[String]) -> Result<Self> {
        table::Table::read(file, wanted, missing).map(Self).map_err(error)
    }

    /// [`read`](Self::read), and also columns that are `optional`: one that is not there has no value in any row.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn read_with(
        file: &Path,
        wanted: &[&str],
        optional: &[&str],
        missing: &[String],
    ) -> Result<Self, transplant_codecs::Error> {
        table::Table::read_with(file, wanted, optional, missing).map(Self)
    }

    /// [`read_with`](Self::read_with) of what was read already: JSONL when it begins with `{`, else CSV. `file` is its name in
    /// errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn parse(
        file: &Path,
        content: &[u8],
        wanted: &[&str],
        optional: &[&str],
        missing: &[String],
    ) -> Result<Self, transplant_codecs::Error> {
        table::Table::parse(file, content, wanted, optional, missing).map(Self)
    }

    /// Whether the end of a file's name is that of a table.
    pub fn is_named(file: &Path) -> bool {
        Format::from_name(file).is_ok()
    }

    /// The file.
    pub fn file(&self) -> &Path {
        self.0.file()
    }

    /// Whether all its values are words, some of which mean that one is missing: CSV and TSV.
    pub(crate) fn has_words(&self) -> bool {
        matches!(Format::from_name(self.file()), Ok(Format::Separated(_)))
    }

    /// What a row is called in a sentence: its line where the file has lines.
    pub(crate) fn row_name(&self, row: usize) -> String {
        self.line(row).map_or_else(|| format!("row {row}"), |line| format!("line {line}"))
    }

    /// How many rows there are; at least one.
    pub fn rows(&self) -> usize {
        self.0.rows()
    }

    /// The values of a column, a row each.
    ///
    /// # Errors
    /// [`Error::Contract`] when it was not asked for.
    pub fn column(&self, name: &str) -> Result<&[Option<Cell>]> {
        self.0.column(name).map_err(error)
    }

    /// The line on which a row begins, counted from 1, where the file has lines.
    pub fn line(&self, row: usize) -> Option<u64> {
        self.0.line(row)
    }

    /// SHA-256 of the whole file, columns that are not read included.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn content_hash(&self) -> Result<Fingerprint> {
        let read = || -> std::io::Result<Fingerprint> {
            let mut hash = Sha256::new();
            std::io::copy(&mut std::fs::File::open(self.file())?, &mut hash)?;
            Ok(hash.finalize().into())
        };
        read().map_err(|e| Error::io(self.file(), e))
    }

    /// Tells of rows that stand in quoted fields, as a stray quote puts them there.
    pub(crate) fn rows_in_quotes(&self) -> Option<Finding> {
        let found = self.0.rows_in_quotes()?;
        let fields = match found.fields {
            1 => "1 quoted field goes".to_owned(),
            n => format!("{n} quoted fields go"),
        };
        let message = format!(
            "{fields} over {} that look like rows of `{}`, from line {} on, and {} were read: a quote at the start of a field reaches \
             to the next quote; where it is a character of the text, put the field in quotes and write it twice",
            counted(found.lines, "further line"),
            self.file().file_name().unwrap_or_default().to_string_lossy(),
            found.first_line,
            counted(self.rows(), "row")
        );
        Some(Finding::new(FindingKind::RowsInQuotes, message))
    }

    /// An error about a row, with its line where the file has lines.
    pub fn fault(&self, row: usize, message: impl AsRef<str>) -> Error {
        error(self.0.fault(row, message.as_ref()))
    }
}

/// Checks that a file is a table by the end of its name; it is not opened.
///
/// # Errors
/// Names the ends that are known.
pub(crate) fn check_name(file: &Path) -> Result<(), Invalid> {
    Format::from_name(file).map(drop).map_err(unsupported)
}

/// Checks that a file is a table by the end of its name, and one that this build reads.
///
/// # Errors
/// As [`check_name`], and when the build lacks the cargo feature.
pub(crate) fn check_readable(file: &Path) -> Result<(), Invalid> {
    Format::from_name(file).and_then(|format| format.check_readable(file)).map_err(unsupported)
}

/// Writes Parquet, one row group each time.
#[cfg(feature = "parquet")]
#[derive(Debug)]
pub struct ParquetWriter<'a>(table::ParquetWriter<'a>);

#[cfg(feature = "parquet")]
impl<'a> ParquetWriter<'a> {
    /// A file with these columns, texts where it says so and numbers elsewhere.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(out: Box<dyn Write + Send + 'a>, columns: &[(String, bool)]) -> Result<Self> {
        table::ParquetWriter::new(out, columns).map(Self).map_err(error)
    }

    /// More rows: the values of each column, as many in all of them.
    ///
    /// # Errors
    /// When they cannot be written, or are not of the kinds announced.
    pub fn write(&mut self, columns: &[Values]) -> Result<()> {
        self.0.write(columns).map_err(error)
    }

    /// Ends the file; without this it cannot be read.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(self) -> Result<()> {
        self.0.end().map_err(error)
    }
}
