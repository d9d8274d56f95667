//! The run folder: where it may be, what lies in it, and which cells in it are finished.

use std::fs;
use std::path::{Path, PathBuf};

use transplant_core::{Error, Invalid, Result, Within, write_atomically};

use super::hash;
use super::record::Record;

/// What is written of all cells together, once they are finished.
pub(crate) const REPORT: &str = "report.md";
pub(crate) const LEDGER: &str = "ledger.md";
pub(crate) const TABLE: &str = "predictions.csv";

/// A run folder.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// A folder that need not exist yet; nothing is written.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file of the run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The folder of a cell.
    pub fn cell(&self, id: &str) -> PathBuf {
        self.root.join("cells").join(id)
    }

    /// Whether a run may be written here, found out without leaving anything behind.
    ///
    /// # Errors
    /// When the place cannot be written, or holds something that is not a run.
    pub fn check(&self) -> Result<()> {
        let shown = self.root.display();
        // An empty path is what `parent` ends with for a relative one: the present folder.
        let there = self.root.ancestors().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        let there = there.into_iter().find(|p| p.exists()).unwrap_or_else(|| Path::new("."));
        if !there.is_dir() {
            let message = format!("cannot write the run to {shown}: {} is not a folder", there.display());
            return Err(Invalid::new(message).into());
        }
        if let Err(e) = tempfile::tempfile_in(there) {
            return Err(Error::io(there, e)).within(|| format!("cannot write the run to {shown}"));
        }
        let mut entries = fs::read_dir(&self.root).into_iter().flatten();
        if entries.next().is_some() && !self.file("lock.json").is_file() && !self.file("events.jsonl").is_file() {
            let e = Invalid::new(format!("{shown} is not empty, and it is not the folder of a run"));
            return Err(e.help("name another folder with `--out`").into());
        }
        Ok(())
    }

    /// Makes the folder. What a killed run left half-written in it is removed, and what an earlier one said of its cells, which this
    /// one may replace.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self) -> Result<()> {
        make(&self.root)?;
        for path in fs::read_dir(&self.root).into_iter().flatten().flatten().map(|e| e.path()) {
            if path.is_file() && path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(".tmp")) {
                fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
            }
        }
        for path in [REPORT, LEDGER, TABLE].map(|name| self.file(name)) {
            fs::remove_file(&path).or_else(missing_is_fine).map_err(|e| Error::io(&path, e))?;
        }
        Ok(())
    }

    /// Writes a file of the run, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        write_atomically(&self.file(name), text.as_bytes())
    }

    /// What a finished cell left, when it was computed under this key and none of its files has changed since.
    pub fn finished(&self, id: &str, key: &str) -> Option<Record> {
        let folder = self.cell(id);
        let record = Record::read(&folder).ok().filter(|r| r.key == key)?;
        let whole = |(name, hash): (&String, &String)| hash::of_file(&folder.join(name)).is_ok_and(|h| h == *hash);
        record.files.iter().all(whole).then_some(record)
    }

    /// Readies the folder of a cell that is about to be trained.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn begin(&self, id: &str, key: &str, resume: bool) -> Result<Begun> {
        let folder = self.cell(id);
        let mark = folder.join("key");
        let begun = fs::read_to_string(&mark).ok().filter(|_| resume && !folder.join("cell.json").exists());
        let begun = match begun {
            Some(k) if k == key => return Ok(Begun::GoesOn),
            Some(_) => Begun::Changed,
            None => Begun::Anew,
        };
        remove(&folder)?;
        make(&folder)?;
        write_atomically(&mark, key.as_bytes())?;
        Ok(begun)
    }

    /// Ends a cell: its record is written, which makes it finished, and the training state is removed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(&self, record: &Record) -> Result<()> {
        let folder = self.cell(&record.cell.id);
        record.write(&folder)?;
        remove(&folder.join("checkpoints"))?;
        fs::remove_file(folder.join("key")).or_else(missing_is_fine).map_err(|e| Error::io(folder.join("key"), e))
    }
}

/// How a cell begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    /// From nothing.
    Anew,
    /// From nothing, although going on was asked for: what is there was made by other options, data or code.
    Changed,
    /// From its newest checkpoint.
    GoesOn,
}

/// Makes a folder and those above it.
pub(crate) fn make(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error::io(path, e))
}

/// Removes a folder, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).or_else(missing_is_fine).map_err(|e| Error::io(path, e))
}

fn missing_is_fine(e: std::io::Error) -> std::io::Result<()> {
    if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temp() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn checking_leaves_nothing_and_tells_what_is_wrong() {
        let dir = temp();
        Folder::at(dir.path().join("a/b/c")).check().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        let e = Folder::at(dir.path()).check().unwrap_err();
        assert!(e.to_string().contains("not the folder of a run"), "{e}");
        let e = Folder::at(dir.path().join("notes.txt/run")).check().unwrap_err();
        assert!(e.to_string().contains("notes.txt is not a folder"), "{e}");
    }

    #[test]
    fn a_cell_goes_on_only_when_asked_and_only_with_its_own_key() -> Result<()> {
        let dir = temp();
        let f = Folder::at(dir.path());
        assert_eq!(f.begin("a", "k1", true)?, Begun::Anew);
        fs::write(f.cell("a").join("state"), "x").unwrap();
        assert_eq!(f.begin("a", "k1", true)?, Begun::GoesOn);
        assert!(f.cell("a").join("state").exists());
        assert_eq!(f.begin("a", "k2", true)?, Begun::Changed);
        assert!(!f.cell("a").join("state").exists());
        assert_eq!(f.begin("a", "k2", false)?, Begun::Anew, "not asked");
        Ok(())
    }
}
