//! The stamp beside a file that was found whole: while size and time stay, it need not be read again.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Whether the file at `path` was found to have this SHA-256 and has not been touched since.
pub(crate) fn holds(path: &Path, metadata: &Metadata, sha256: &str) -> bool {
    let stamped = fs::read_to_string(place(path)).ok();
    stamped.is_some() && stamped == text(metadata, sha256)
}

/// Remembers that the file had this SHA-256 when its metadata were these. Where that cannot be written, it is not
/// remembered.
pub(crate) fn put(path: &Path, metadata: &Metadata, sha256: &str) {
    if let Some(text) = text(metadata, sha256) {
        fs::write(place(path), text).ok();
    }
}

/// Forgets what was remembered of the file.
pub(crate) fn remove(path: &Path) {
    fs::remove_file(place(path)).ok();
}

fn place(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.verified"))
}

fn text(metadata: &Metadata, sha256: &str) -> Option<String> {
    let modified = metadata.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(format!("{sha256} {} {}\n", metadata.len(), modified.as_nanos()))
}
