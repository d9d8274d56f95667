//! Where a user's system keeps what can be made or fetched again.

use std::ffi::OsString;
use std::path::PathBuf;

/// The folder that the environment's `variable` names, otherwise `name` in the user's folder of caches. `None` where the
/// system tells of no such folder.
pub fn cache_folder(variable: &str, name: &str) -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    found((variable, name), var, std::env::consts::OS)
}

fn found((variable, name): (&str, &str), var: impl Fn(&str) -> Option<OsString>, system: &str) -> Option<PathBuf> {
    let path = |name: &str| var(name).map(PathBuf::from);
    let caches = || match system {
        "windows" => path("LOCALAPPDATA"),
        "macos" => path("HOME").map(|home| home.join("Library/Caches")),
        // The XDG base directories; a relative path there is to be ignored.
        _ => {
            path("XDG_CACHE_HOME").filter(|p| p.is_absolute()).or_else(|| path("HOME").map(|home| home.join(".cache")))
        }
    };
    path(variable).or_else(|| caches().map(|p| p.join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_where_the_system_keeps_caches() {
        let of = |system: &str, vars: &[(&str, &str)]| {
            let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
            found(("MINE", "ours"), var, system).map(|p| p.display().to_string().replace('\\', "/"))
        };
        let home = ("HOME", "/home/me");
        assert_eq!(of("linux", &[home]).unwrap(), "/home/me/.cache/ours");
        assert_eq!(of("linux", &[home, ("XDG_CACHE_HOME", "/big")]).unwrap(), "/big/ours");
        assert_eq!(of("linux", &[home, ("XDG_CACHE_HOME", "here")]).unwrap(), "/home/me/.cache/ours");
        assert_eq!(of("macos", &[home]).unwrap(), "/home/me/Library/Caches/ours");
        assert_eq!(of("windows", &[("LOCALAPPDATA", "C:/me")]).unwrap(), "C:/me/ours");
        assert_eq!(of("linux", &[home, ("MINE", "here")]).unwrap(), "here");
        assert_eq!(of("linux", &[]), None);
    }
}
