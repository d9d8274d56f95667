//! [`Error`]: what can go wrong with a file of a format, and [`Unsupported`], a format that this build does not read.

use std::path::{Path, PathBuf};

/// The result of what opens a file.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is of a format that this build does not read.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{}{}: {message}", path.display(), row.map(|r| format!(", row {r}")).unwrap_or_default())]
    Data {
        /// The file.
        path: PathBuf,
        /// The row, counted from 0, when one row is at fault.
        row: Option<u64>,
        /// What is wrong, as a lowercase fragment; with the line, counted from 1, where it is known.
        message: String,
    },
    /// A column that was asked for is not there.
    #[error("{}: {message}", path.display())]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// Which one, and which there are.
        message: String,
    },
    /// A column was taken from a [`Table`](crate::table::Table) that was not asked for when the table was read.
    #[error("column `{0}` was not read")]
    NotRead(String),
    /// Parquet could not be written; the reason.
    #[error("cannot write Parquet: {0}")]
    Write(String),
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn data(path: &Path, message: impl Into<String>) -> Self {
        Self::Data { path: path.to_owned(), row: None, message: message.into() }
    }
}

/// A format that this build does not read, known by the name of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", help.map(|h| format!(" ({h})")).unwrap_or_default())]
pub struct Unsupported {
    /// What is wrong, as a lowercase fragment that names the file.
    pub message: String,
    /// What to do about it.
    pub help: Option<&'static str>,
}
