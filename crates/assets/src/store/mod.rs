//! [`Store`]: the folder of assets. It fetches what is missing, checks it, and hands out paths.

mod fetch;
mod lock;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use transplant_core::{Error, Invalid, Result, cache_folder};

use crate::sum::{fault, sum_of};
use crate::{Asset, AssetFile, Clients, Role, stamp};

/// A folder of assets: the files of an asset lie in `<folder>/<name of the asset>/`.
///
/// A file that is there is whole: it gets its name only after it was checked, so a process that is killed leaves none half
/// done. Several processes may use one folder.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    clients: Clients,
}

/// The files of an asset that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    files: BTreeMap<Role, PathBuf>,
}

impl Fetched {
    /// The file of a role; `None` when the asset has none.
    pub fn path(&self, role: Role) -> Option<&Path> {
        self.files.get(&role).map(PathBuf::as_path)
    }

    /// All files by role.
    pub fn files(&self) -> impl Iterator<Item = (Role, &Path)> {
        self.files.iter().map(|(role, path)| (*role, path.as_path()))
    }
}

/// What [`Store::verify`] finds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// At least one file is not there.
    Absent,
    /// All files are there and are what they should be.
    Whole,
    /// All files are there, but nobody has told what at least one of them should be.
    NotPinned,
    /// A file is not what it should be.
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong, as a lowercase fragment.
        message: String,
    },
}

/// What is in the place of a file.
enum Found {
    Nothing,
    Whole,
    NotPinned,
    Damaged(String),
}

impl Store {
    /// The store in this folder, which need not be there yet. What fetches is taken from the environment:
    /// [`Clients::from_env`].
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), clients: Clients::from_env() }
    }

    /// The store with other clients.
    #[must_use]
    pub fn with_clients(mut self, clients: Clients) -> Self {
        self.clients = clients;
        self
    }

    /// Where assets are kept when nobody says where: `TRANSPLANT_ASSETS`, or `transplant/assets` in the user's folder of
    /// caches.
    ///
    /// # Errors
    /// [`transplant_core::Invalid`] when the system tells of no such folder.
    pub fn default_folder() -> Result<PathBuf> {
        let folder = cache_folder("TRANSPLANT_ASSETS", "transplant/assets");
        Ok(folder.ok_or_else(|| Invalid::new("there is no folder for assets").help("set TRANSPLANT_ASSETS to one"))?)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the file of a role lies, or will lie; `None` when the asset has none.
    pub fn path_of(&self, asset: &Asset, role: Role) -> Option<PathBuf> {
        asset.file(role).map(|file| self.place(asset, file))
    }

    /// Reads all files of an asset and says whether they are what they should be. Nothing is fetched or changed.
    pub fn verify(&self, asset: &Asset) -> Verdict {
        let (mut absent, mut not_pinned) = (false, false);
        for file in &asset.files {
            let path = self.place(asset, file);
            let found = look(&path, file, false).unwrap_or_else(|e| Found::Damaged(format!("it cannot be read: {e}")));
            match found {
                Found::Damaged(message) => return Verdict::Damaged { file: path, message },
                Found::Nothing => absent = true,
                Found::NotPinned => not_pinned = true,
                Found::Whole => {}
            }
        }
        match (absent, not_pinned) {
            (true, _) => Verdict::Absent,
            (false, true) => Verdict::NotPinned,
            (false, false) => Verdict::Whole,
        }
    }

    fn place(&self, asset: &Asset, file: &AssetFile) -> PathBuf {
        self.folder.join(&asset.name).join(&file.name)
    }

    /// All files, when all are there and none is damaged.
    fn present(&self, asset: &Asset) -> Result<Option<Fetched>> {
        let mut files = BTreeMap::new();
        for file in &asset.files {
            let path = self.place(asset, file);
            match look(&path, file, true).map_err(|e| Error::io(&path, e))? {
                Found::Whole | Found::NotPinned => files.insert(file.role, path),
                Found::Nothing | Found::Damaged(_) => return Ok(None),
            };
        }
        Ok(Some(Fetched { files }))
    }
}

/// What is at `path`; a stamp that still holds is believed when `trust` says so.
fn look(path: &Path, file: &AssetFile, trust: bool) -> io::Result<Found> {
    let metadata = match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        metadata => metadata?,
    };
    let Some(sha256) = &file.sha256 else { return Ok(Found::NotPinned) };
    if trust && stamp::holds(path, &metadata, sha256) {
        return Ok(Found::Whole);
    }
    // A wrong size tells without reading.
    if let Some(bytes) = file.bytes.filter(|b| metadata.is_file() && *b != metadata.len()) {
        return Ok(Found::Damaged(format!("it has {} bytes where {bytes} are expected", metadata.len())));
    }
    if let Some(message) = fault(file, &sum_of(path)?) {
        return Ok(Found::Damaged(message));
    }
    if trust {
        stamp::put(path, &metadata, sha256);
    }
    Ok(Found::Whole)
}
