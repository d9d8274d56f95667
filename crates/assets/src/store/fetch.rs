//! Fetching: sources are asked in order, and what they give is checked before it gets its name.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use transplant_core::{Error, Result};

use super::lock::{self, FETCHING};
use super::{Fetched, Found, Store, look};
use crate::sources::Packages;
use crate::sum::{Sum, Summing, fault};
use crate::{Asset, AssetFile, Source, stamp};

impl Store {
    /// The files of an asset; those that are missing are fetched, those that are damaged are set aside as
    /// `<name>.damaged` and fetched again. When all are there, nobody is asked.
    ///
    /// `note` gets a line for whatever takes time or must be known.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the asset is not whole; [`Error::Io`] when the folder cannot be written; [`Error::Data`] when
    /// no source gave a file, with why each did not, and the place where the file can be put by hand.
    pub fn fetch(&self, asset: &Asset, note: &mut dyn FnMut(&str)) -> Result<Fetched> {
        asset.check()?;
        if let Some(fetched) = self.present(asset)? {
            return Ok(fetched);
        }
        let note = &mut |line: &str| note(&format!("{}: {line}", asset.name));
        let folder = self.folder.join(&asset.name);
        let unwritable = |e: io::Error| {
            let help = format!("{e}; TRANSPLANT_ASSETS can name another folder for assets");
            Error::io(&folder, io::Error::new(e.kind(), help))
        };
        fs::create_dir_all(&folder).map_err(unwritable)?;
        let _lock = lock::take(&folder, note).map_err(unwritable)?;
        let work = tempfile::Builder::new().prefix(FETCHING).tempdir_in(&folder).map_err(unwritable)?;
        let mut packages = Packages::in_folder(work.path());
        for file in &asset.files {
            let path = self.place(asset, file);
            match look(&path, file, true).map_err(|e| Error::io(&path, e))? {
                Found::Whole | Found::NotPinned => continue,
                Found::Nothing => {}
                Found::Damaged(why) => set_aside(&path, &why, note)?,
            }
            self.obtain(file, &path, work.path(), &mut packages, note)?;
        }
        let gone = || Error::data(&folder, None, "files went away while they were fetched");
        self.present(asset)?.ok_or_else(gone)
    }

    /// Asks the sources of a file in order.
    fn obtain(
        &self,
        file: &AssetFile,
        path: &Path,
        work: &Path,
        packages: &mut Packages,
        note: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let mut failures = Vec::new();
        for source in &file.sources {
            note(&format!("fetching {} from {source}", file.name));
            match self.copy(file, source, work, packages) {
                Ok((temporary, sum)) => {
                    if file.sha256.is_none() {
                        let Sum { bytes, sha256 } = &sum;
                        note(&format!("{} is not pinned: {bytes} bytes, SHA-256 {sha256}", file.name));
                    }
                    return keep(&temporary, path, &sum);
                }
                Err(why) => {
                    note(&format!("{source}: {why}"));
                    failures.push(format!("\n  {source}: {why}"));
                }
            }
        }
        let what = match (&file.sha256, file.bytes) {
            (Some(sha256), Some(bytes)) => format!("{bytes} bytes, SHA-256 {sha256}"),
            _ => "its size and SHA-256 are not known".to_owned(),
        };
        let (role, failures) = (file.role, failures.concat());
        let message = format!(
            "no source gave this file ({role}; {what}):{failures}\nIt can be put there by hand: then nobody is asked."
        );
        Err(Error::data(path, None, message))
    }

    /// The file under a temporary name, checked.
    fn copy(
        &self,
        file: &AssetFile,
        source: &Source,
        work: &Path,
        packages: &mut Packages,
    ) -> Result<(PathBuf, Sum), String> {
        let temporary = work.join(&file.name);
        let mut opened = File::create(&temporary).map_err(|e| format!("cannot write {}: {e}", temporary.display()))?;
        let mut out = Summing::new(&mut opened, &temporary, file.bytes);
        source.copy(&self.clients, packages, &mut out)?;
        let sum = out.finish().map_err(|e| e.to_string())?;
        match fault(file, &sum) {
            Some(why) => Err(format!("gave another file: {why}")),
            None if sum.bytes == 0 => Err("gave an empty file".to_owned()),
            None => Ok((temporary, sum)),
        }
    }
}

/// Gives a file its name.
fn keep(temporary: &Path, path: &Path, sum: &Sum) -> Result<()> {
    let metadata = fs::metadata(temporary).map_err(|e| Error::io(temporary, e))?;
    fs::rename(temporary, path).map_err(|e| Error::io(path, e))?;
    stamp::put(path, &metadata, &sum.sha256);
    Ok(())
}

fn set_aside(path: &Path, why: &str, note: &mut dyn FnMut(&str)) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("{name}.damaged"));
    fs::rename(path, &aside).map_err(|e| Error::io(path, e))?;
    stamp::remove(path);
    note(&format!("{} is damaged ({why}); it was set aside as {}", path.display(), aside.display()));
    Ok(())
}
