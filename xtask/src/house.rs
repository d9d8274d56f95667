//! The rules of the house that no compiler knows: strategies that open no file, a trainer that names no
//! strategy. Which crate may use which is in layers.rs.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Files of a library that are longer are named: such a file may have more than one purpose.
const LONG: usize = 450;

/// Strategies do no input or output; what they need is handed to them.
const FILE_ACCESS: [&str; 4] = ["std::fs", "File::open", "File::create", "OpenOptions"];

/// A crate of the workspace as it lies on disk.
pub(crate) struct Crate {
    /// The name of its folder under `crates/`.
    pub(crate) folder: String,
    /// The text of its Cargo.toml.
    pub(crate) manifest: String,
    /// The files under its `src/`.
    pub(crate) sources: Vec<Source>,
}

/// A source file.
pub(crate) struct Source {
    /// Its path, to be named in messages.
    pub(crate) path: PathBuf,
    /// Its text.
    pub(crate) text: String,
}

/// Reads all crates under `folder`, sorted by name.
pub(crate) fn read_crates(folder: &Path) -> io::Result<Vec<Crate>> {
    let mut crates = Vec::new();
    for path in entries(folder)? {
        let manifest = path.join("Cargo.toml");
        if manifest.is_file() {
            let mut sources = Vec::new();
            read_sources(&path.join("src"), &mut sources)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            crates.push(Crate { folder: name, manifest: std::fs::read_to_string(manifest)?, sources });
        }
    }
    Ok(crates)
}

/// A line that tells how long the files are.
pub(crate) fn sizes(crates: &[Crate]) -> String {
    let mut lengths: Vec<(usize, &Path)> =
        crates.iter().flat_map(|c| &c.sources).map(|source| (source.text.lines().count(), &*source.path)).collect();
    lengths.sort_unstable();
    let Some((longest, path)) = lengths.last() else { return "no library files".into() };
    let median = lengths[lengths.len() / 2].0;
    let mut told =
        format!("{} library files, median {median} lines, longest {longest} ({})", lengths.len(), path.display());
    let long: Vec<String> =
        lengths.iter().filter(|l| l.0 > LONG).map(|l| format!("{} ({})", l.1.display(), l.0)).collect();
    if !long.is_empty() {
        told += &format!("; above {LONG}, to be looked at: {}", long.join(", "));
    }
    told
}

/// Every break of the rules.
pub(crate) fn violations(crates: &[Crate]) -> Vec<String> {
    let sources = |name: &'static str| crates.iter().filter(move |c| c.folder == name).flat_map(|c| &c.sources);
    let mut found = Vec::new();
    for source in crates.iter().filter(|c| c.manifest.contains("doctest = false")).flat_map(|c| &c.sources) {
        for number in examples(&source.text) {
            found.push(format!("{}:{number}: `doctest = false` keeps this example untested", source.path.display()));
        }
    }
    for source in sources("strategies") {
        for (number, line) in code_lines(&source.text) {
            if let Some(access) = FILE_ACCESS.iter().find(|access| line.contains(**access)) {
                found.push(format!("{}:{number}: a strategy opens no file (`{access}`)", source.path.display()));
            }
        }
    }
    let strategies: BTreeSet<String> = sources("strategies").flat_map(|source| strategy_names(&source.text)).collect();
    for source in sources("trainer") {
        for (number, line) in code_lines(&source.text) {
            for name in strategies.iter().filter(|name| names(line, name)) {
                found.push(format!("{}:{number}: the trainer names no strategy ({name})", source.path.display()));
            }
        }
    }
    found
}

/// The lines where examples start that rustdoc would test.
fn examples(text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim);
        if let Some(language) = doc.and_then(|doc| doc.strip_prefix("```")) {
            let tested = ["", "rust", "no_run", "should_panic", "compile_fail"].contains(&language);
            if !inside && tested {
                found.push(at + 1);
            }
            inside = !inside;
        }
    }
    found
}

/// What a file of strategies defines: the types that are strategies, and their tags as string literals and as messages
/// quote them.
fn strategy_names(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (_, line) in code_lines(text) {
        let implements =
            line.starts_with("impl") && (line.contains("Strategy for ") || line.contains("Strategy> for "));
        if let Some((_, name)) = line.split_once(" for ").filter(|_| implements) {
            found.push(name.chars().take_while(|&c| is_word(c)).collect());
        }
        if let Some((_, tag)) = line.split_once("const TYPE: &'static str = ") {
            let tag = tag.trim_end_matches(';');
            found.extend([tag.to_owned(), tag.replace('"', "`")]);
        }
    }
    found
}

/// Whether `line` holds `name` as a word of its own.
fn names(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The lines of a file without comments and without the tests at its end, with their numbers.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = text.lines().map(str::trim).enumerate().take_while(|(_, line)| *line != "#[cfg(test)]");
    code.map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.starts_with("//"))
}

fn read_sources(folder: &Path, sources: &mut Vec<Source>) -> io::Result<()> {
    for path in entries(folder)? {
        if path.is_dir() {
            read_sources(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            sources.push(Source { path, text });
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn krate(folder: &str, files: &[&str]) -> Crate {
        let source =
            |(at, text): (usize, &&str)| Source { path: format!("{folder}/{at}.rs").into(), text: (*text).into() };
        Crate {
            folder: folder.into(),
            manifest: String::new(),
            sources: files.iter().enumerate().map(source).collect(),
        }
    }

    #[test]
    fn long_files_are_named() {
        let crates = [krate("core", &["x\n".repeat(450).as_str(), "x\n".repeat(451).as_str(), "x\n"])];
        assert!(violations(&crates).is_empty());
        let told =
            "3 library files, median 450 lines, longest 451 (core/1.rs); above 450, to be looked at: core/1.rs (451)";
        assert_eq!(sizes(&crates), told);
    }

    #[test]
    fn untested_examples_are_named() {
        let text = "//! ```text\n//! a\n//! ```\n\n/// ```\n/// let a = 1;\n/// ```\nlet a = 1;";
        let mut one = krate("core", &[text]);
        assert!(violations(&[krate("core", &[text])]).is_empty());
        one.manifest = "[lib]\ndoctest = false".into();
        assert_eq!(violations(&[one]), ["core/0.rs:5: `doctest = false` keeps this example untested"]);
    }

    #[test]
    fn strategies_open_no_file() {
        let text = "use std::fs;\n// File::open is banned\n#[cfg(test)]\nmod tests { use std::fs::File; }";
        let found = violations(&[krate("strategies", &[text]), krate("datasets", &[text])]);
        assert_eq!(found, ["strategies/0.rs:1: a strategy opens no file (`std::fs`)"]);
    }

    #[test]
    fn the_trainer_names_no_strategy() {
        let strategy = "impl Component<dyn Strategy> for Lora {\n    const TYPE: &'static str = \"lora\";\n}";
        let trainer =
            "let explore = 1;\n/// Lora\nlet a = Lora::new();\nif tag == \"lora\" {}\nlet b = Loras;\n\"see `lora`\"";
        let found = violations(&[krate("strategies", &[strategy]), krate("trainer", &[trainer])]);
        assert_eq!(
            found,
            [
                "trainer/0.rs:3: the trainer names no strategy (Lora)",
                "trainer/0.rs:4: the trainer names no strategy (\"lora\")",
                "trainer/0.rs:6: the trainer names no strategy (`lora`)"
            ]
        );
    }
}
