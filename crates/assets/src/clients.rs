//! [`Clients`]: the programs that fetch packages, the cache of the hub, and whether anybody may be asked at all.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// So many lines of what a client that failed said are kept.
const LINES: usize = 5;

/// How packages and files of the hub are fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clients {
    /// A program that is called as pip; `None` is `python3 -m pip`.
    pub pip: Option<PathBuf>,
    /// A program that is called as npm; `None` is `npm`.
    pub npm: Option<PathBuf>,
    /// The cache of the hub; `None` is its usual place, which the hub's other clients share.
    pub hub_cache: Option<PathBuf>,
    /// The address of a hub other than the usual one.
    pub hub_endpoint: Option<String>,
    /// Whether the hub must not be asked: its cache still is.
    pub hub_offline: bool,
    /// Whether nobody must be asked: only files that are on this machine are taken.
    pub offline: bool,
}

impl Clients {
    /// As the environment says: `TRANSPLANT_PIP`, `TRANSPLANT_NPM`, `TRANSPLANT_OFFLINE`, and the hub's own `HF_HOME`,
    /// `HF_ENDPOINT` and `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var_os(name).filter(|v| !v.is_empty()))
    }

    fn from_variables(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| var(name).map(PathBuf::from);
        let on = |name: &str| {
            let value = var(name).map(|v| v.to_string_lossy().to_lowercase());
            value.is_some_and(|v| matches!(&*v, "1" | "on" | "yes" | "true"))
        };
        let offline = on("TRANSPLANT_OFFLINE");
        Self {
            pip: path("TRANSPLANT_PIP"),
            npm: path("TRANSPLANT_NPM"),
            hub_cache: path("HF_HOME").map(|home| home.join("hub")),
            hub_endpoint: var("HF_ENDPOINT").and_then(|v| v.into_string().ok()),
            hub_offline: offline || on("HF_HUB_OFFLINE"),
            offline,
        }
    }

    /// `pip` with nothing asked of it yet.
    pub(crate) fn pip(&self) -> Client {
        let python = if cfg!(windows) { "python" } else { "python3" };
        self.client("pip", "TRANSPLANT_PIP", self.pip.as_ref(), &[python, "-m", "pip"])
    }

    /// `npm` with nothing asked of it yet.
    pub(crate) fn npm(&self) -> Client {
        let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
        self.client("npm", "TRANSPLANT_NPM", self.npm.as_ref(), &[npm])
    }

    fn client(&self, name: &'static str, variable: &'static str, own: Option<&PathBuf>, usual: &[&str]) -> Client {
        let words = match own {
            Some(program) => vec![program.clone().into_os_string()],
            None => usual.iter().map(OsString::from).collect(),
        };
        Client { name, variable, words, offline: self.offline }
    }
}

/// A program that fetches packages.
pub(crate) struct Client {
    name: &'static str,
    variable: &'static str,
    words: Vec<OsString>,
    offline: bool,
}

impl Client {
    /// Calls the program and waits for its end.
    ///
    /// # Errors
    /// In words, when nobody may be asked, the program is missing, or it fails: then with the last lines it said.
    pub(crate) fn call<I: IntoIterator<Item: AsRef<OsStr>>>(&self, arguments: I) -> Result<(), String> {
        let Self { name, variable, words, offline } = self;
        if *offline {
            return Err(format!("offline, so {name} is not asked"));
        }
        let shown = words.iter().map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let [program, first @ ..] = &words[..] else { return Err(format!("{name} has no program")) };
        let output = Command::new(program).args(first).args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => format!("`{shown}` is not installed; {variable} can name another {name}"),
            _ => format!("`{shown}` cannot be run: {e}"),
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(LINES)..].iter().map(|l| format!("\n      {l}"));
        Err(format!("`{shown}` failed ({}){}", output.status, last.collect::<String>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Clients {
        Clients::from_variables(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into()))
    }

    #[test]
    fn the_environment_sets_programs_and_offline() {
        assert_eq!(of(&[]), Clients::default());
        let clients = of(&[("TRANSPLANT_PIP", "/opt/my pip"), ("HF_HOME", "/big")]);
        assert_eq!(clients.pip, Some("/opt/my pip".into()));
        assert_eq!(clients.hub_cache, Some("/big/hub".into()));
        let hub = of(&[("HF_HUB_OFFLINE", "1")]);
        assert!(hub.hub_offline && !hub.offline);
        let all = of(&[("TRANSPLANT_OFFLINE", "TRUE")]);
        assert!(all.hub_offline && all.offline);
        assert!(!of(&[("TRANSPLANT_OFFLINE", "0")]).offline);
    }
}
