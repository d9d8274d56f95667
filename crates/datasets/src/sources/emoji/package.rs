//! The pictures of a vendor, out of the package that npm has or the folder it was unpacked into.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use flate2::read::GzDecoder;
use transplant_core::{Error, Result};

use crate::Picture;

/// No drawing of 64 x 64 pixels is larger; what is, is cut off and cannot be decoded.
const MOST_BYTES: u64 = 1 << 20;

/// The pictures called `names`, in their order, from `img/<vendor>/64` of a package.
pub(super) fn pictures(place: &Path, vendor: &str, names: &[&str]) -> Result<Vec<Picture>> {
    let inner = format!("img/{vendor}/64");
    if !std::fs::metadata(place).map_err(|e| Error::io(place, e))?.is_dir() {
        return from_archive(place, &inner, names);
    }
    let folders = [place.join("package").join(&inner), place.join(&inner)];
    match folders.into_iter().find(|f| f.is_dir()) {
        Some(folder) => Ok(names.iter().map(|name| Picture::file(folder.join(name))).collect()),
        None => Err(Error::data(place, None, format!("holds no folder `{inner}`, and none in `package`"))),
    }
}

/// Reads the archive once, as far as it must.
fn from_archive(archive: &Path, inner: &str, names: &[&str]) -> Result<Vec<Picture>> {
    let unreadable = |e| Error::io(archive, e);
    let folder = format!("package/{inner}/");
    let mut left: HashMap<&str, usize> = names.iter().copied().zip(0..).collect();
    let mut found: Vec<Option<Arc<[u8]>>> = vec![None; names.len()];
    let file = File::open(archive).map_err(unreadable)?;
    let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    for entry in tar.entries().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(row) = path.strip_prefix(&folder).and_then(|name| left.remove(name)) else { continue };
        let mut content = Vec::new();
        entry.take(MOST_BYTES).read_to_end(&mut content).map_err(unreadable)?;
        found[row] = Some(content.into());
        if left.is_empty() {
            break;
        }
    }
    let pictures = names.iter().zip(found).map(|(name, content)| {
        let lacks =
            || Error::data(archive, None, format!("lacks `{folder}{name}` and {} more", left.len().saturating_sub(1)));
        Ok(Picture::bytes(format!("{}: {folder}{name}", archive.display()), content.ok_or_else(lacks)?))
    });
    pictures.collect()
}
