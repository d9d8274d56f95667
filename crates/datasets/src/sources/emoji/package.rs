//! The pictures of a vendor, out of the package that npm has or the folder it was unpacked into.

use std::path::Path;

use transplant_codecs::archive::read_tar_gz;
use transplant_core::{Error, Result};

use crate::{Picture, codec};

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
    let paths: Vec<String> = names.iter().map(|name| format!("package/{inner}/{name}")).collect();
    let found = read_tar_gz(archive, &paths, MOST_BYTES).map_err(codec::error)?;
    let missing = found.iter().filter(|content| content.is_none()).count();
    let pictures = paths.iter().zip(found).map(|(path, content)| {
        let lacks = || Error::data(archive, None, format!("lacks `{path}` and {} more", missing.saturating_sub(1)));
        Ok(Picture::bytes(format!("{}: {path}", archive.display()), content.ok_or_else(lacks)?))
    });
    pictures.collect()
}
