//! How a verb ends badly: what the user is told, and the exit code.

use std::io::IsTerminal;

use miette::{Diagnostic, GraphicalReportHandler, LabeledSpan, NamedSource, SourceCode};
use transplant_core::{Class, Error};
use transplant_pipeline::file::{FileError, Place};

/// Why a verb failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The pipeline is wrong.
    File(Box<FileError>),
    /// The request is wrong.
    Request(String),
    /// Some inputs could not be read; which of them has been told already.
    Unread {
        /// How many.
        unread: usize,
        /// Of how many.
        of: usize,
    },
    /// A check found a difference, which has been told already.
    Differs,
    /// A thread panicked, which has been told already.
    Panicked,
    /// Something failed on the way.
    Error(Error),
}

impl From<FileError> for Failure {
    fn from(e: FileError) -> Self {
        Self::File(Box::new(e))
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self::Error(e)
    }
}

impl Failure {
    /// The exit code, by whose fault it is: 2 when the user's input is wrong, 3 when training diverged, 4 when the
    /// system refused,
    /// 128 + the signal when one stopped the run, otherwise 1.
    pub(crate) fn code(&self, signal: Option<u8>) -> u8 {
        let class = match self {
            Self::File(e) => e.class,
            Self::Request(_) => Class::Input,
            Self::Error(e) => e.class(),
            Self::Unread { .. } | Self::Differs | Self::Panicked => Class::Fault,
        };
        match class {
            Class::Fault => 1,
            Class::Input => 2,
            Class::Diverged => 3,
            Class::System => 4,
            Class::Interrupted => 128 + signal.unwrap_or(15),
        }
    }

    /// What the user is told; with a picture of the line where there is a terminal to show it.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::File(e) if std::io::stderr().is_terminal() => {
                Some(picture(e).unwrap_or_else(|| format!("error: {e}")))
            }
            Self::File(e) => Some(format!("error: {e}")),
            Self::Request(text) => Some(format!("error: {text}")),
            Self::Unread { unread, of } => Some(format!("error: {unread} of {of} inputs could not be read")),
            Self::Error(Error::Interrupted) => Some(Error::Interrupted.to_string()),
            Self::Error(e) => Some(format!("error: {e}")),
            Self::Differs | Self::Panicked => None,
        }
    }
}

/// The line of the file with a caret below what is meant.
fn picture(e: &FileError) -> Option<String> {
    let Place::File(at) = &e.place else { return None };
    let what = if e.key.is_empty() { e.message.clone() } else { format!("{}: {}", e.key, e.message) };
    let shown = Shown {
        what,
        help: e.help.clone(),
        source: NamedSource::new(at.path.display().to_string(), at.text.to_string()),
        label: LabeledSpan::new(Some("here".into()), at.span.start, at.span.len()),
    };
    let mut out = String::new();
    GraphicalReportHandler::new().render_report(&mut out, &shown).ok()?;
    Some(out)
}

#[derive(Debug)]
struct Shown {
    what: String,
    help: Option<String>,
    source: NamedSource<String>,
    label: LabeledSpan,
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Shown {}

impl Diagnostic for Shown {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help.as_ref().map(|h| Box::new(h) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(self.label.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transplant_core::Invalid;
    use transplant_pipeline::file::FilePlace;

    #[test]
    fn a_picture_shows_line_and_help() {
        let place = FilePlace {
            path: "my.toml".into(),
            line: 2,
            column: 8,
            span: 16..17,
            text: "name = \"x\"\nseed = -1\n".into(),
        };
        let e = FileError {
            place: Place::File(Box::new(place)),
            key: "seed".into(),
            message: "must be at least 0".into(),
            help: Some("leave it out".into()),
            class: Class::Input,
        };
        let text = picture(&e).unwrap();
        for part in ["seed: must be at least 0", "my.toml:2:", "seed = -1", "leave it out"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn exit_codes_tell_whose_fault_it_is() {
        assert_eq!(Failure::Request(String::new()).code(None), 2);
        assert_eq!(Failure::from(Error::from(Invalid::new("x"))).code(None), 2);
        assert_eq!(Failure::from(Error::contract("x")).code(None), 1);
        assert_eq!(Failure::from(Error::diverged("the loss", f64::NAN).under("k")).code(None), 3);
        assert_eq!(Failure::from(Error::resource("a file", "the disk is full")).code(None), 4);
        assert_eq!(Failure::from(Error::Interrupted).code(Some(2)), 130);
        assert_eq!(Failure::from(Error::Interrupted).code(Some(15)), 143);
    }
}
