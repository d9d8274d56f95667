//! The folder of the cache: what lies in it, making room, clearing.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use transplant_core::{Error, Invalid, Result};

use super::format::read_header;

/// A file of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// Its name: a hash of weights, network, code and processor.
    pub key: String,
    /// The network and its stages; `None` when the file is damaged.
    pub network: Option<String>,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// When it was last written to or trained from.
    pub used: SystemTime,
    path: PathBuf,
}

/// What was cleared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Files that were removed.
    pub entries: usize,
    /// Their size.
    pub bytes: u64,
    /// Files that were left, because a process uses them.
    pub in_use: usize,
}

/// The entries of a folder, the ones used last first. A folder that is not there has none.
///
/// # Errors
/// When the folder cannot be read.
pub fn list_cache(folder: &Path) -> Result<Vec<CacheEntry>> {
    let mut entries = read(folder).map_err(|e| Error::io(folder, e))?;
    for entry in &mut entries {
        let header = File::open(&entry.path).and_then(|f| read_header(&f)).ok().flatten();
        if let Some((header, start)) = header {
            entry.rows = entry.bytes.saturating_sub(start) / header.record();
            entry.network = Some(header.network);
        }
    }
    entries.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.key.cmp(&b.key)));
    Ok(entries)
}

/// Removes the entry whose key begins with `entry`, or all of them. What a process uses is left.
///
/// # Errors
/// When there is no such entry or several, or a file cannot be removed.
pub fn clear_cache(folder: &Path, entry: Option<&str>) -> Result<Cleared> {
    let mut entries = read(folder).map_err(|e| Error::io(folder, e))?;
    if let Some(key) = entry {
        entries.retain(|e| e.key.starts_with(key));
        if entries.len() != 1 {
            let many = if entries.is_empty() { "no entry" } else { "more than one entry" };
            let e = Invalid::new(format!("the cache in {} has {many} `{key}`", folder.display()));
            return Err(e.help("`cache list` shows them").into());
        }
    }
    let mut cleared = Cleared::default();
    for e in entries {
        if remove(&e.path).map_err(|error| Error::io(&e.path, error))? {
            cleared.entries += 1;
            cleared.bytes += e.bytes;
        } else {
            cleared.in_use += 1;
        }
    }
    Ok(cleared)
}

/// Whether the file at `path` may grow to `size` bytes when the folder holds no more than `limit`; files that were used
/// longest ago are removed for it.
pub(super) fn make_room(path: &Path, size: u64, limit: u64) -> bool {
    if size > limit {
        return false;
    }
    let mut others = path.parent().and_then(|folder| read(folder).ok()).unwrap_or_default();
    others.retain(|e| e.path != path);
    others.sort_by_key(|e| e.used);
    let mut total = others.iter().fold(size, |n, e| n.saturating_add(e.bytes));
    for e in others {
        if total <= limit {
            break;
        }
        if remove(&e.path).unwrap_or(false) {
            total -= e.bytes;
        }
    }
    total <= limit
}

/// Removes a file unless a process uses it.
fn remove(path: &Path) -> io::Result<bool> {
    let used = |file: File| matches!(file.try_lock(), Err(TryLockError::WouldBlock));
    match File::open(path).map(used) {
        Ok(true) => return Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        Ok(false) | Err(_) => {}
    }
    fs::remove_file(path)?;
    Ok(true)
}

fn read(folder: &Path) -> io::Result<Vec<CacheEntry>> {
    let files = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files?,
    };
    let mut entries = Vec::new();
    for file in files {
        let path = file?.path();
        let key = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let ours = path.extension().is_some_and(|e| e == "bin")
            && key.len() == 64
            && key.bytes().all(|b| b.is_ascii_hexdigit());
        // One that has gone meanwhile is not there.
        let Some(found) = fs::metadata(&path).ok().filter(|m| ours && m.is_file()) else { continue };
        let used = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        entries.push(CacheEntry { key, network: None, rows: 0, bytes: found.len(), used, path });
    }
    Ok(entries)
}
