//! The packages that were downloaded for an asset, each once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Packages in a folder that goes when the fetching ends.
pub(crate) struct Packages {
    folder: PathBuf,
    /// Archives, or why there are none, by client, package and version.
    archives: BTreeMap<String, Result<PathBuf, String>>,
}

impl Packages {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), archives: BTreeMap::new() }
    }

    /// The archive of a package, which `download` puts into the folder it is given.
    pub(crate) fn get(
        &mut self,
        key: String,
        download: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<PathBuf, String> {
        let own = self.folder.join(format!("package{}", self.archives.len()));
        self.archives.entry(key).or_insert_with(|| fetch(&own, download)).clone()
    }
}

fn fetch(folder: &Path, download: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let shown = |e| format!("{}: {e}", folder.display());
    fs::create_dir(folder).map_err(shown)?;
    download(folder)?;
    let files = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(shown)?;
    let mut archives = files.into_iter().map(|f| f.path()).filter(|p| is_archive(p));
    match (archives.next(), archives.next()) {
        (Some(archive), None) => Ok(archive),
        (None, _) => Err("its client ended well, but left no archive".to_owned()),
        (Some(_), Some(_)) => Err("its client left more than one archive".to_owned()),
    }
}

fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    [".whl", ".zip", ".tar.gz", ".tgz"].iter().any(|ending| name.ends_with(ending))
}
