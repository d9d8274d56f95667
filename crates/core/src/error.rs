//! The one error type of the contracts, [`Invalid`], which names what the user got wrong, and [`Within`], which says
//! where in a run an error came up.

use std::io::ErrorKind;
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

/// The kinds of mistakes that callers tell apart: where an error is shown and what is offered depend on this, never on
/// the words of a message.
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
///
/// The variant is the kind: [`Error::class`] says whose fault it is, and the exit code of the program follows from it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor operation failed. Shown without the backtrace that candle adds.
    #[error("{}", without_backtrace(.0))]
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
    /// The system has none left of something: disk space, memory, threads.
    #[error("{what}: {message}")]
    Resource {
        /// What it was wanted for: a file, a thread's task, a tensor.
        what: String,
        /// What there is none of, as a lowercase fragment.
        message: String,
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
    /// A loss or a score that is not a finite number: training diverged. Phase and step are in the [`Error::In`] around
    /// it.
    #[error("{term} is {value}; a lower learning rate or `clip_norm` may help")]
    Diverged {
        /// What is not finite: a term of the loss, or the score of a class and row.
        term: String,
        /// Its value: NaN or infinite.
        value: f64,
    },
    /// The run was asked to stop; its state is on disk and it can be resumed.
    #[error("interrupted; the state was saved, and `--resume` continues from it")]
    Interrupted,
    /// An error and the part of the run in which it came up: a cell, a phase and step, a stage and rows. Made by
    /// [`Within`].
    #[error("{what}{}{source}", if matches!(**source, Error::In { .. }) { ", " } else { ": " })]
    In {
        /// The part, such as ``stage `block2`, rows 32 to 63``.
        what: String,
        /// The error.
        source: Box<Error>,
    },
    /// An error of another kind than [`Error::Invalid`] that a key of the user's file led to. Made by [`Error::under`].
    #[error("{key}: {source}")]
    AtKey {
        /// The key path with dots.
        key: String,
        /// The error.
        source: Box<Error>,
    },
    /// A plugin broke a contract; the message says which.
    #[error("{0}")]
    Contract(String),
}

/// Whose fault an error is. The exit code of the program follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// What the user gave is wrong: file, flag, data, weights.
    Input,
    /// Training came to numbers that are not finite.
    Diverged,
    /// The system refused: a file cannot be read or written, the disk is full, there is no memory or thread.
    System,
    /// The run was asked to stop.
    Interrupted,
    /// The program or a plugin is at fault.
    Fault,
}

impl Error {
    /// Wraps a system error with its file. A full disk is an [`Error::Resource`].
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        let path = path.as_ref();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Self::resource(path.display().to_string(), format!("the disk is full: {source}"))
            }
            ErrorKind::OutOfMemory => Self::resource(path.display().to_string(), source.to_string()),
            _ => Self::Io { path: path.to_owned(), source },
        }
    }

    /// The system has none left of something that is needed for `what`.
    pub fn resource(what: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Resource { what: what.into(), message: message.into() }
    }

    /// A fault in a data file.
    pub fn data(path: impl AsRef<Path>, row: Option<u64>, message: impl Into<String>) -> Self {
        Self::Data { path: path.as_ref().to_owned(), row, message: message.into() }
    }

    /// A fault of one tensor.
    pub fn param(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Param { name: name.into(), message: message.into() }
    }

    /// A loss or score that is not finite.
    pub fn diverged(term: impl Into<String>, value: f64) -> Self {
        Self::Diverged { term: term.into(), value }
    }

    /// A broken contract.
    pub fn contract(message: impl Into<String>) -> Self {
        Self::Contract(message.into())
    }

    /// Puts a key in front of the path of an [`Error::Invalid`]. An error of another kind stays what it is, and is said
    /// to have come up at that key.
    #[must_use]
    pub fn under(self, key: &str) -> Self {
        match self {
            Self::Invalid(invalid) => Self::Invalid(invalid.under(key)),
            Self::Interrupted => Self::Interrupted,
            other if key.is_empty() => other,
            Self::AtKey { key: inner, source } => Self::AtKey { key: format!("{key}.{inner}"), source },
            other => Self::AtKey { key: key.to_owned(), source: Box::new(other) },
        }
    }

    /// The error without the parts of the run and the keys around it.
    pub fn root(&self) -> &Self {
        match self {
            Self::In { source, .. } | Self::AtKey { source, .. } => source.root(),
            other => other,
        }
    }

    /// Whose fault it is. A file that is not there was named by somebody, and so is the input's fault.
    pub fn class(&self) -> Class {
        match self.root() {
            Self::Io { source, .. } => match source.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => Class::Input,
                _ => Class::System,
            },
            Self::Invalid(_) | Self::Data { .. } | Self::Param { .. } => Class::Input,
            Self::Resource { .. } => Class::System,
            Self::Diverged { .. } => Class::Diverged,
            Self::Interrupted => Class::Interrupted,
            Self::Tensor(_) | Self::Contract(_) | Self::In { .. } | Self::AtKey { .. } => Class::Fault,
        }
    }
}

/// Says in which part of a run an error came up.
pub trait Within<T> {
    /// Adds the part, such as ``cell `transfer-0` `` or ``stage `block2`, rows 32 to 63``. `what` is called for an
    /// error only. [`Error::Interrupted`] stays as it is.
    ///
    /// # Errors
    /// When `self` is one.
    fn within(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> Within<T> for Result<T, E> {
    fn within(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| match e.into() {
            Error::Interrupted => Error::Interrupted,
            source => Error::In { what: what(), source: Box::new(source) },
        })
    }
}

/// Rows in words, for [`Within`]: `row 7`, `rows 32 to 63`, `rows 9, 4, 17 and 29 more`. A row that is repeated counts
/// once.
pub fn rows_in_words(rows: &[u64]) -> String {
    let mut rows = rows.to_vec();
    rows.dedup();
    let one_by_one = rows.windows(2).all(|w| w[1] == w[0] + 1);
    match rows[..] {
        [] => "no row".to_owned(),
        [row] => format!("row {row}"),
        [first, .., last] if one_by_one => format!("rows {first} to {last}"),
        _ => {
            let shown = rows.iter().take(3).map(u64::to_string).collect::<Vec<_>>().join(", ");
            let more = rows.len().saturating_sub(3);
            if more == 0 { format!("rows {shown}") } else { format!("rows {shown} and {more} more") }
        }
    }
}

/// What candle says, without the backtrace that it adds when `RUST_BACKTRACE` is set.
fn without_backtrace(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => without_backtrace(inner),
        candle_core::Error::Context { inner, context } => format!("{context}: {}", without_backtrace(inner)),
        candle_core::Error::WithPath { inner, path } => format!("{}: {}", path.display(), without_backtrace(inner)),
        other => {
            // An error inside of one of another type is text already; frames are numbered from 0.
            let text = other.to_string();
            text.split("\n   0: ").next().unwrap_or_default().trim_end().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};

    #[test]
    fn an_invalid_names_its_whole_path() {
        let e = Invalid::key("epochs", "must be at least 1").under("trainer").under("steps.transfer");
        assert_eq!(e.to_string(), "steps.transfer.trainer.epochs: must be at least 1");
    }

    #[test]
    fn an_error_names_cell_stage_and_rows() {
        let e: Result<()> = Err(Error::contract("shape mismatch in matmul"));
        let e = e.within(|| format!("stage `block2`, {}", rows_in_words(&[32, 33, 34, 34, 34])));
        let e = e.within(|| "cell `one-0`".to_owned()).unwrap_err();
        assert_eq!(e.to_string(), "cell `one-0`, stage `block2`, rows 32 to 34: shape mismatch in matmul");
        assert!(matches!(e.root(), Error::Contract(_)));
        let stopped: Result<()> = Err(Error::Interrupted);
        assert!(matches!(stopped.within(String::new), Err(Error::Interrupted)));
    }

    #[test]
    fn rows_are_shown_in_short() {
        for (rows, words) in [
            (&[][..], "no row"),
            (&[7, 7], "row 7"),
            (&[9, 4], "rows 9, 4"),
            (&[9, 4, 17, 2, 1], "rows 9, 4, 17 and 2 more"),
        ] {
            assert_eq!(rows_in_words(rows), words);
        }
    }

    #[test]
    fn a_key_keeps_the_class() {
        let full = Error::io("a/b", ErrorKind::StorageFull.into()).under("path").under("datasets.d");
        assert!(full.to_string().starts_with("datasets.d.path: a/b: the disk is full"), "{full}");
        assert_eq!(full.class(), Class::System);
        let wrong = Error::from(Invalid::key("rows", "no")).under("d");
        assert!(matches!(&wrong, Error::Invalid(i) if i.path == ["d", "rows"]));
        assert_eq!(wrong.class(), Class::Input);
        assert!(matches!(Error::contract("x").under(""), Error::Contract(_)));
    }

    #[test]
    fn the_class_follows_the_kind() {
        let io = |kind: ErrorKind| Error::io("f", kind.into()).class();
        assert_eq!(io(ErrorKind::NotFound), Class::Input);
        assert_eq!(io(ErrorKind::PermissionDenied), Class::System);
        assert_eq!(Error::diverged("the loss", f64::NAN).class(), Class::Diverged);
        assert_eq!(Error::resource("reading", "no thread").class(), Class::System);
        assert_eq!(Error::contract("x").class(), Class::Fault);
    }

    #[test]
    fn candles_backtrace_is_not_shown() {
        let a = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        let plain = a.matmul(&a).unwrap_err();
        let shape = match &plain {
            candle_core::Error::WithBacktrace { inner, .. } => inner.to_string(),
            other => other.to_string(),
        };
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let traced = candle_core::Error::WithBacktrace { inner: Box::new(plain), backtrace };
        assert_eq!(Error::from(traced).to_string(), shape);
        let inside = candle_core::Error::Msg("no\n   0: main\n             at x.rs:1".to_owned());
        assert_eq!(Error::from(inside).to_string(), "no");
    }
}
