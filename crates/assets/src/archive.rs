//! One member out of a package, which is a zip (a wheel) or a tar.gz; or the package as it is.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use flate2::read::GzDecoder;
use zip::ZipArchive;

/// So many names of members are shown to whoever looks for another.
const SHOWN: usize = 12;

/// Writes a member of `archive`, or without `member` all of it as it stands, to `out`.
///
/// # Errors
/// As [`extract`].
pub(crate) fn take(archive: &Path, member: Option<&str>, out: &mut dyn Write) -> Result<(), String> {
    let Some(member) = member else {
        let copied = File::open(archive).and_then(|mut file| io::copy(&mut file, out));
        return copied.map(drop).map_err(|e| format!("`{}`: {e}", shown(archive)));
    };
    extract(archive, member, out)
}

fn shown(archive: &Path) -> String {
    archive.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Writes the member of `archive` that is called `member`, or whose path ends with it, to `out`.
///
/// # Errors
/// In words, when the archive cannot be read, or holds no such member or several.
fn extract(archive: &Path, member: &str, out: &mut dyn Write) -> Result<(), String> {
    let shown = shown(archive);
    let unreadable = |e: io::Error| format!("`{shown}` cannot be read: {e}");
    let zipped = is_zip(archive).map_err(unreadable)?;
    let names = if zipped { zip_names(archive) } else { tar_names(archive) }.map_err(unreadable)?;
    let name = choose(&names, member).map_err(|why| format!("`{shown}` holds {why}"))?;
    let copied = if zipped { copy_from_zip(archive, name, out) } else { copy_from_tar(archive, name, out) };
    copied.map_err(|e| format!("`{name}` of `{shown}`: {e}"))
}

/// The one name that is `member` or ends with it, folder by folder.
fn choose<'a>(names: &'a [String], member: &str) -> Result<&'a str, String> {
    if let Some(name) = names.iter().find(|n| *n == member) {
        return Ok(name);
    }
    let ending = format!("/{member}");
    let mut fitting = names.iter().filter(|n| n.ends_with(&ending));
    match (fitting.next(), fitting.next()) {
        (Some(name), None) => Ok(name),
        (Some(a), Some(b)) => Err(format!("several members `{member}`: `{a}`, `{b}`")),
        (None, _) => {
            let mut shown: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
            if names.len() > SHOWN {
                shown.push(format!("{} more", names.len() - SHOWN));
            }
            Err(format!("no member `{member}`, only: {}", shown.join(", ")))
        }
    }
}

fn is_zip(archive: &Path) -> io::Result<bool> {
    let mut magic = Vec::new();
    File::open(archive)?.take(2).read_to_end(&mut magic)?;
    Ok(magic == b"PK")
}

fn zip_names(archive: &Path) -> io::Result<Vec<String>> {
    let zip = ZipArchive::new(BufReader::new(File::open(archive)?))?;
    let names: Result<Vec<String>, _> = zip.file_names().map(|n| n.map(|n| n.into_owned())).collect();
    Ok(names?.into_iter().filter(|n| !n.ends_with('/')).collect())
}

fn copy_from_zip(archive: &Path, name: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut zip = ZipArchive::new(BufReader::new(File::open(archive)?))?;
    io::copy(&mut zip.by_name(name)?, out)?;
    Ok(())
}

fn open_tar(archive: &Path) -> io::Result<tar::Archive<GzDecoder<BufReader<File>>>> {
    Ok(tar::Archive::new(GzDecoder::new(BufReader::new(File::open(archive)?))))
}

fn tar_names(archive: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in open_tar(archive)?.entries()? {
        let entry = entry?;
        if entry.header().entry_type().is_file() {
            names.push(String::from_utf8_lossy(&entry.path_bytes()).into_owned());
        }
    }
    Ok(names)
}

fn copy_from_tar(archive: &Path, name: &str, out: &mut dyn Write) -> io::Result<()> {
    for entry in open_tar(archive)?.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() && String::from_utf8_lossy(&entry.path_bytes()) == name {
            io::copy(&mut entry, out)?;
            return Ok(());
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_told_by_the_end_of_its_path() {
        let names = ["p/model/config.json", "p/model/1_pool/config.json", "p/my_model/a.bin"].map(str::to_owned);
        assert_eq!(choose(&names, "model/config.json").unwrap(), "p/model/config.json");
        assert_eq!(choose(&names, "p/my_model/a.bin").unwrap(), "p/my_model/a.bin");
        assert!(choose(&names, "config.json").unwrap_err().starts_with("several members"));
        let e = choose(&names, "model/a.bin").unwrap_err();
        assert!(e.contains("only: `p/model/config.json`, "), "{e}");
    }

    #[test]
    fn of_many_names_some_are_shown() {
        let names: Vec<String> = (0..SHOWN + 5).map(|i| format!("f{i}")).collect();
        assert!(choose(&names, "x").unwrap_err().ends_with("`f11`, 5 more"));
    }

    #[test]
    fn what_is_no_archive_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [("a.whl", &b"PK\x03\x04 and then nothing"[..]), ("a.tgz", b"<html>"), ("b.tgz", b"")] {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            let e = extract(&path, "x", &mut Vec::new()).unwrap_err();
            assert!(e.starts_with(&format!("`{name}` ")), "{e}");
        }
    }
}
