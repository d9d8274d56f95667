//! `pip`: a file of a package of Python, fetched by the user's own pip from the index that it is set up for.

use std::ffi::OsStr;
use std::io::Write;

use serde::{Deserialize, Serialize};
use transplant_core::Invalid;

use super::{Packages, check_member, check_word};
use crate::Clients;
use crate::archive::take;

/// A file of a package of Python: a wheel, or a source distribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pip {
    /// The package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The path of the file in it, or the end of that path. Without it the file is the package itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
}

impl Pip {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        check_word("package", &self.package, "-_.")?;
        check_word("version", &self.version, "-_.+!")?;
        self.member.as_deref().map_or(Ok(()), check_member)
    }

    pub(crate) fn copy(&self, clients: &Clients, packages: &mut Packages, out: &mut dyn Write) -> Result<(), String> {
        let wanted = format!("{}=={}", self.package, self.version);
        let archive = packages.get(format!("pip {wanted}"), |folder| {
            let fixed = ["download", "--no-deps", "--no-input", "--disable-pip-version-check", "--dest"];
            let ours = [folder.as_os_str(), OsStr::new(&wanted)];
            clients.pip().call(fixed.into_iter().map(OsStr::new).chain(ours))
        })?;
        take(&archive, self.member.as_deref(), out)
    }
}
