//! One process at a time fetches an asset; the others wait and then find it there.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

/// How names of folders begin that files are fetched into.
pub(super) const FETCHING: &str = ".fetching-";

/// Held while an asset is fetched. A process that ends, however it ends, holds none.
pub(super) struct Lock {
    _file: File,
}

/// Takes the lock of an asset's folder, and removes what processes left there that were killed. `None` where files cannot be
/// locked: then two processes may fetch the same file, of which one is kept.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn take(folder: &Path, note: &mut dyn FnMut(&str)) -> io::Result<Option<Lock>> {
    let file = File::create(folder.join(".lock"))?;
    let locked = match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            note("another process fetches it; waiting");
            file.lock().is_ok()
        }
        tried => tried.is_ok(),
    };
    if !locked {
        return Ok(None);
    }
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(FETCHING) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
    Ok(Some(Lock { _file: file }))
}
