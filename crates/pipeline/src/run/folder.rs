//! The run folder: where it may be, what an earlier run left in it, and how it is set aside instead of being lost.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use transplant_core::{Class, Error, Invalid, Result, Within, write_atomically};

use super::hash;
use super::layout::{CellLayout, RunLayout};
use super::record::Record;

/// A run folder.
#[derive(Debug, Clone)]
pub struct Folder {
    layout: RunLayout,
}

/// What an earlier run left of a cell.
#[derive(Debug)]
pub(crate) enum Left {
    /// Nothing.
    Nothing,
    /// The cell, finished under the same key, and every file of it as it was.
    Finished(Box<Record>),
    /// Training state under this key; whether there is a checkpoint.
    Begun { key: String, checkpoint: bool },
    /// The cell, finished under another key: with other options, data, weights or code.
    Other(Box<Record>),
    /// Files that are no whole cell, and why.
    Damaged(String),
}

impl Folder {
    /// A folder that need not exist yet; nothing is written.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { layout: RunLayout::new(root) }
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Where its files are.
    pub fn layout(&self) -> &RunLayout {
        &self.layout
    }

    /// The files of a cell.
    pub fn cell(&self, id: &str) -> CellLayout {
        self.layout.cell(id)
    }

    /// Whether a run may be written here, found out without leaving anything behind.
    ///
    /// # Errors
    /// When the place cannot be written, or holds something that is not a run.
    pub fn check(&self) -> Result<()> {
        let shown = self.root().display();
        // An empty path is what `parent` ends with for a relative one: the present folder.
        let there = self.root().ancestors().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        let there = there.into_iter().find(|p| p.exists()).unwrap_or_else(|| Path::new("."));
        if !there.is_dir() {
            let message = format!("cannot write the run to {shown}: {} is not a folder", there.display());
            return Err(Invalid::new(message).into());
        }
        if let Err(e) = tempfile::tempfile_in(there) {
            return Err(Error::io(there, e)).within(|| format!("cannot write the run to {shown}"));
        }
        let mut entries = fs::read_dir(self.root()).into_iter().flatten();
        if entries.next().is_some() && !self.layout.lock().is_file() && !self.layout.events().is_file() {
            let e = Invalid::new(format!("{shown} is not empty, and it is not the folder of a run"));
            return Err(e.help("name another folder with `--out`").into());
        }
        Ok(())
    }

    /// Removes what a killed run left half-written. Only for the run that holds the folder: another one's half-written
    /// files look the same.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(crate) fn remove_half_written(&self) -> Result<()> {
        let mut folders = vec![self.root().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let (path, kind) = (entry.path(), entry.file_type());
                if kind.as_ref().is_ok_and(fs::FileType::is_dir) && path != self.layout.superseded() {
                    folders.push(path);
                } else if kind.is_ok_and(|k| k.is_file()) && entry.file_name().to_string_lossy().starts_with(".tmp") {
                    remove_file(&path)?;
                }
            }
        }
        Ok(())
    }

    /// What is left of a cell that has this key now.
    ///
    /// # Errors
    /// When the system refuses to read it: it may be whole.
    pub(crate) fn left(&self, id: &str, key: &str) -> Result<Left> {
        let left = self.recorded(id, key)?;
        let Left::Finished(record) = left else { return Ok(left) };
        for (name, sha256) in &record.files {
            let path = self.cell(id).named(name);
            match hash::of_file(&path) {
                Ok(found) if found == *sha256 => {}
                Ok(_) => return Ok(Left::Damaged(format!("{} has changed since it was finished", path.display()))),
                Err(e) if e.class() == Class::Input => return Ok(Left::Damaged(e.to_string())),
                Err(e) => return Err(e),
            }
        }
        Ok(Left::Finished(record))
    }

    /// [`Folder::left`] by what the record says, without looking at the files that it names.
    pub(crate) fn recorded(&self, id: &str, key: &str) -> Result<Left> {
        let cell = self.cell(id);
        let e = match Record::read(&cell) {
            Ok(record) if record.key == key => return Ok(Left::Finished(Box::new(record))),
            Ok(record) => return Ok(Left::Other(Box::new(record))),
            Err(e) if e.class() == Class::Input => e,
            Err(e) => return Err(e),
        };
        if !matches!(&e, Error::Io { source, .. } if source.kind() == ErrorKind::NotFound) {
            return Ok(Left::Damaged(e.to_string()));
        }
        match fs::read_to_string(cell.key()) {
            Ok(key) => Ok(Left::Begun { key, checkpoint: holds_something(&cell.checkpoints()) }),
            Err(_) if holds_something(cell.root()) => Ok(Left::Damaged(e.to_string())),
            Err(_) => Ok(Left::Nothing),
        }
    }

    /// Readies the empty folder of a cell that is about to be trained.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn begin(&self, id: &str, key: &str) -> Result<()> {
        let cell = self.cell(id);
        remove(cell.root())?;
        make(cell.root())?;
        write_atomically(&cell.key(), key.as_bytes())
    }

    /// Ends a cell: its record is written, which makes it finished, and the training state is removed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn end(&self, record: &Record) -> Result<()> {
        let cell = self.cell(&record.cell.id);
        record.write(&cell)?;
        remove(&cell.checkpoints())?;
        remove_file(&cell.key())
    }

    /// A new place for what this run replaces.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn set_aside(&self) -> Result<SetAside> {
        let mut number = 1;
        while self.layout.superseded_by(number).root().exists() {
            number += 1;
        }
        let to = self.layout.superseded_by(number);
        make(&to.cells())?;
        // What is written again from the beginning of a run is copied, since the log is locked where it is.
        for (from, to) in [
            (self.layout.pipeline(), to.pipeline()),
            (self.layout.lock(), to.lock()),
            (self.layout.summary(), to.summary()),
            (self.layout.events(), to.events()),
        ] {
            if from.is_file() {
                fs::copy(&from, &to).map_err(|e| Error::io(&to, e))?;
            }
        }
        for (from, to) in self.layout.reports().iter().zip(to.reports()) {
            rename(from, &to)?;
        }
        Ok(SetAside { from: self.layout.clone(), to, cells: 0 })
    }
}

/// Where what a run replaces goes: a run folder of its own, below the one that it was in.
#[derive(Debug)]
pub(crate) struct SetAside {
    from: RunLayout,
    to: RunLayout,
    /// Cells that were moved.
    cells: usize,
}

impl SetAside {
    /// Moves the folder of a cell there. Returns a sentence that says where it is now.
    ///
    /// # Errors
    /// When it cannot be moved; it then is where it was.
    pub(crate) fn cell(&mut self, id: &str) -> Result<String> {
        let to = self.to.cell(id);
        rename(self.from.cell(id).root(), to.root())?;
        self.cells += 1;
        let remove = match self.cells {
            1 => format!("; remove {} when nobody needs it", self.from.superseded().display()),
            _ => String::new(),
        };
        Ok(format!("what was there now lies in {}{remove}", to.root().display()))
    }
}

/// Makes a folder and those above it.
pub(crate) fn make(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error::io(path, e))
}

/// Removes a folder, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).or_else(missing_is_fine).map_err(|e| Error::io(path, e))
}

fn remove_file(path: &Path) -> Result<()> {
    fs::remove_file(path).or_else(missing_is_fine).map_err(|e| Error::io(path, e))
}

/// Renames a file or folder, if it is there.
fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).or_else(missing_is_fine).map_err(|e| Error::io(from, e))
}

fn missing_is_fine(e: std::io::Error) -> std::io::Result<()> {
    if e.kind() == ErrorKind::NotFound { Ok(()) } else { Err(e) }
}

fn holds_something(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
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
    fn half_written_files_go() -> Result<()> {
        let dir = temp();
        let f = Folder::at(dir.path());
        make(f.cell("a").model().root())?;
        make(&f.layout().superseded())?;
        let half = [f.root().join(".tmp1"), f.cell("a").model().root().join(".tmp2")];
        let other = [f.cell("a").key(), f.layout().superseded().join(".tmp3")];
        half.iter().chain(&other).for_each(|path| fs::write(path, "").unwrap());
        f.remove_half_written()?;
        assert!(!half.iter().any(|p| p.exists()) && other.iter().all(|p| p.exists()));
        Ok(())
    }

    #[test]
    fn what_is_left_of_a_cell() -> Result<()> {
        let dir = temp();
        let f = Folder::at(dir.path());
        assert!(matches!(f.left("a", "k")?, Left::Nothing));
        f.begin("a", "k")?;
        assert!(matches!(f.left("a", "l")?, Left::Begun { key, checkpoint: false } if key == "k"));
        make(&f.cell("a").checkpoints().join("x"))?;
        assert!(matches!(f.left("a", "k")?, Left::Begun { checkpoint: true, .. }));
        remove_file(&f.cell("a").key())?;
        assert!(matches!(f.left("a", "k")?, Left::Damaged(why) if why.contains("cell.json")));
        fs::write(f.cell("a").record(), "{ \"schema\": 99 }").unwrap();
        assert!(matches!(f.left("a", "k")?, Left::Damaged(why) if why.contains("version 99")));
        fs::write(f.cell("a").record(), "{").unwrap();
        assert!(matches!(f.left("a", "k")?, Left::Damaged(why) if why.contains("cell.json: EOF")));
        Ok(())
    }

    #[test]
    fn each_replacing_run_has_its_place() -> Result<()> {
        let dir = temp();
        let f = Folder::at(dir.path());
        for file in [f.layout().report(), f.layout().events()] {
            fs::write(file, "old").unwrap();
        }
        for number in ["1", "2"] {
            f.begin("a", number)?;
            let told = f.set_aside()?.cell("a")?;
            let to = dir.path().join("superseded").join(number).join("cells/a");
            assert!(told.contains(&to.display().to_string()) && told.contains("; remove"), "{told}");
            assert_eq!(fs::read_to_string(to.join("key")).unwrap(), number);
            assert!(!f.cell("a").root().exists() && f.layout().events().exists());
        }
        assert!(!f.layout().report().exists() && f.layout().superseded_by(1).report().exists());
        Ok(())
    }
}
