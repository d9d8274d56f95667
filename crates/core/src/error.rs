//! The one error type of the contracts, and [`Invalid`], which names what the user got wrong.

use std::path::{Path, PathBuf};

/// The result of everything in Transplant's crates.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something the user wrote that cannot be right, found before anything was trained or written.
///
/// `path` is the key path below the place where it was found (`trainer.epochs`); callers put their own prefix in front.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}{}", self.shown_path(), self.shown_help())]
pub struct Invalid {
    /// Key path, outermost first. Empty when the whole value is meant.
    pub path: Vec<String>,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// What kind of mistake it is, for those who pass the error on.
    pub kind: InvalidKind,
}

/// The kinds of mistakes that callers tell apart: where an error is shown and what is offered depend on this, never on the words
/// of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidKind {
    /// A value that cannot be right.
    #[default]
    Value,
    /// A key that is not known; it is the last of the path.
    UnknownKey,
    /// A tag or name of something that is not there.
    UnknownName,
    /// This key is missing from the table that the path leads to.
    MissingKey(String),
    /// A table where something else was expected.
    UnexpectedTable,
}

impl Invalid {
    /// An error about the value as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { path: Vec::new(), message: message.into(), help: None, kind: InvalidKind::Value }
    }

    /// Says what kind of mistake it is.
    #[must_use]
    pub fn kind(self, kind: InvalidKind) -> Self {
        Self { kind, ..self }
    }

    /// An error about one key of the value; dots separate nested keys.
    pub fn key(key: &str, message: impl Into<String>) -> Self {
        Self { path: key.split('.').filter(|s| !s.is_empty()).map(str::to_owned).collect(), ..Self::new(message) }
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Puts an outer key in front of the path; dots separate nested keys.
    #[must_use]
    pub fn under(mut self, outer: &str) -> Self {
        let mut path: Vec<String> = outer.split('.').filter(|s| !s.is_empty()).map(str::to_owned).collect();
        path.append(&mut self.path);
        self.path = path;
        self
    }

    /// The key path with dots.
    pub fn dotted(&self) -> String {
        self.path.join(".")
    }

    fn shown_path(&self) -> String {
        if self.path.is_empty() { String::new() } else { format!("{}: ", self.dotted()) }
    }

    fn shown_help(&self) -> String {
        self.help.as_ref().map(|h| format!(" ({h})")).unwrap_or_default()
    }
}

/// What can go wrong while data are read and networks are built, trained and saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    /// The user's file, flag or variable is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A data file is not what it should be.
    #[error("{}{}: {message}", path.display(), row.map(|r| format!(", row {r}")).unwrap_or_default())]
    Data {
        /// The file, or the name of the data set.
        path: PathBuf,
        /// The row, counted from 0, when one row is at fault.
        row: Option<u64>,
        /// What is wrong, as a lowercase fragment.
        message: String,
    },
    /// A tensor by name has the wrong shape, type or is missing.
    #[error("tensor `{name}`: {message}")]
    Param {
        /// Full name in [`crate::Params`].
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The run was asked to stop; its state is on disk and it can be resumed.
    #[error("interrupted; the state was saved, and `--resume` continues from it")]
    Interrupted,
    /// A plugin broke a contract; the message says which.
    #[error("{0}")]
    Contract(String),
}

impl Error {
    /// Wraps a system error with its file.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_owned(), source }
    }

    /// A fault in a data file.
    pub fn data(path: impl AsRef<Path>, row: Option<u64>, message: impl Into<String>) -> Self {
        Self::Data { path: path.as_ref().to_owned(), row, message: message.into() }
    }

    /// A fault of one tensor.
    pub fn param(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Param { name: name.into(), message: message.into() }
    }

    /// A broken contract.
    pub fn contract(message: impl Into<String>) -> Self {
        Self::Contract(message.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_names_its_whole_path() {
        let e = Invalid::key("epochs", "must be at least 1").under("trainer").under("steps.transfer");
        assert_eq!(e.to_string(), "steps.transfer.trainer.epochs: must be at least 1");
    }
}
