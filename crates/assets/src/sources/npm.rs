//! `npm`: a file of a package of JavaScript, fetched by the user's own npm from the registry that it is set up for.

use std::ffi::OsStr;
use std::io::Write;

use serde::{Deserialize, Serialize};
use transplant_core::Invalid;

use super::{Packages, check_member, check_word};
use crate::Clients;
use crate::archive::take;

/// A file of a package of JavaScript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Npm {
    /// The package; `@scope/name` where it has a scope.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The path of the file in it, or the end of that path. All paths of npm begin with `package/`. Without it the file is the
    /// package itself, a tar.gz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
}

impl Npm {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let scoped = self.package.strip_prefix('@').map(|p| p.split_once('/').unwrap_or((p, "")));
        let (scope, name) = scoped.map_or((None, &*self.package), |(scope, name)| (Some(scope), name));
        for part in scope.into_iter().chain([name]) {
            check_word("package", part, "-_.")?;
        }
        check_word("version", &self.version, "-_.+")?;
        self.member.as_deref().map_or(Ok(()), check_member)
    }

    pub(crate) fn copy(&self, clients: &Clients, packages: &mut Packages, out: &mut dyn Write) -> Result<(), String> {
        let wanted = format!("{}@{}", self.package, self.version);
        let archive = packages.get(format!("npm {wanted}"), |folder| {
            let fixed = ["pack", "--ignore-scripts", "--pack-destination"];
            let ours = [folder.as_os_str(), OsStr::new(&wanted)];
            clients.npm().call(fixed.into_iter().map(OsStr::new).chain(ours))
        })?;
        take(&archive, self.member.as_deref(), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_may_have_a_scope() {
        let of =
            |package: &str| Npm { package: package.into(), version: "1.0.0".into(), member: Some("a".into()) }.check();
        assert!(of("emoji-data").is_ok() && of("@scope/name").is_ok());
        for wrong in ["@scope", "@/name", "@scope/", "a/b", "../a", "--all", "@scope/--all"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
