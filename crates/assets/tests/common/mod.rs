//! A world for a test: a store, packages, and scripts in place of pip and npm.

pub(crate) mod hub;

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use transplant_assets::{Asset, Clients, Fetched, Store, parse};
use transplant_core::Result;
use zip::write::SimpleFileOptions;

/// A script cannot be run while another thread forks with the script still open for writing: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) clients: Clients,
    pub(crate) notes: Vec<String>,
    _one: MutexGuard<'static, ()>,
}

impl World {
    /// Without clients: nothing of the machine is asked.
    pub(crate) fn new() -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let missing = || Some(folder.path().join("no such client"));
        let clients = Clients {
            pip: missing(),
            npm: missing(),
            hub_cache: Some(folder.path().join("hub_cache")),
            hub_endpoint: Some("http://127.0.0.1:9".into()),
            ..Clients::default()
        };
        Self { folder, clients, notes: Vec::new(), _one: one }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn store(&self) -> Store {
        Store::at(self.path("assets")).with_clients(self.clients.clone())
    }

    pub(crate) fn fetch(&mut self, asset: &Asset) -> Result<Fetched> {
        let store = self.store();
        store.fetch(asset, &mut |note| self.notes.push(note.to_owned()))
    }

    /// A pip that does `what`; the folder it is told is `$dest`.
    pub(crate) fn pip(&mut self, what: &str) {
        self.clients.pip = Some(self.script("pip", "$6", what));
    }

    pub(crate) fn npm(&mut self, what: &str) {
        self.clients.npm = Some(self.script("npm", "$4", what));
    }

    fn script(&self, name: &str, dest: &str, what: &str) -> PathBuf {
        let (path, log) = (self.path(name), self.path("calls"));
        let text = format!("#!/bin/sh\necho \"{name} $*\" >> '{}'\ndest=\"{dest}\"\n{what}\n", log.display());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// What the clients were called with, a line a call.
    pub(crate) fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("calls")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    pub(crate) fn wheel(&self, members: &[(&str, &[u8])]) -> PathBuf {
        let path = self.path("thing-1.0-py3-none-any.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, content) in members {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    pub(crate) fn tar(&self, name: &str, members: &[(&str, &[u8])]) -> PathBuf {
        let path = self.path(name);
        let mut tar = tar::Builder::new(GzEncoder::new(File::create(&path).unwrap(), Compression::default()));
        for (name, content) in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, *content).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
        path
    }

    /// What lies in the folder of the asset, sorted.
    pub(crate) fn left(&self) -> Vec<String> {
        names(&self.path("assets/thing"))
    }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A script line that hands out an archive.
pub(crate) fn hand_out(archive: &Path) -> String {
    format!("cp '{}' \"$dest\"", archive.display())
}

pub(crate) const PIP: &str = r#"{ type = "pip", package = "thing", version = "1.0", member = "models/thing.pth" }"#;
pub(crate) const NPM: &str =
    r#"{ type = "npm", package = "@us/thing", version = "1.0.0", member = "models/thing.pth" }"#;
pub(crate) const HUB: &str = r#"{ type = "hub", repo = "us/thing", revision = "main", file = "models/thing.pth" }"#;

/// `thing`, whose weights should be `content`, from these sources. Without content it is not pinned.
pub(crate) fn thing(content: Option<&[u8]>, sources: &[&str]) -> Asset {
    let mut text =
        String::from("[[asset]]\nname = 'thing'\nabout = 'A thing.'\narchitecture = 'mlp'\nlicence = 'MIT'\n");
    text += &file("weights", "thing.pth", content, sources);
    parse(&text).unwrap().remove(0)
}

pub(crate) fn file(role: &str, name: &str, content: Option<&[u8]>, sources: &[&str]) -> String {
    let sum = content.map(|c| format!("bytes = {}\nsha256 = '{:x}'\n", c.len(), Sha256::digest(c)));
    let (sum, sources) = (sum.unwrap_or_default(), sources.join(", "));
    format!("[[asset.files]]\nrole = '{role}'\nname = '{name}'\n{sum}sources = [{sources}]\n")
}
