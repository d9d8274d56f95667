//! What the sources that read a folder share: whole files with their hash, checks, the official parts, and pixels through
//! `candle-datasets`.
//!
//! Files are checked here with the standard library alone, so that a damaged one is met when a pipeline is opened, with
//! its name and row; the pixels are read by candle's local loaders, which come with the cargo feature `candle-datasets`.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use transplant_core::{Error, Invalid, Result, Roles};

use super::images::{Images, Layout, hex};

/// One way to write a path, whichever way it was written: links are followed as far as the file system knows it.
pub(crate) fn one_path(path: &Path, base: &Path) -> PathBuf {
    let path = base.join(path);
    std::fs::canonicalize(&path).or_else(|_| std::path::absolute(&path)).unwrap_or(path)
}

/// The files of a folder, read one after the other.
pub(crate) struct Files {
    folder: PathBuf,
    hash: Sha256,
}

impl Files {
    /// Files below this folder.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, hash: Sha256::new() }
    }

    /// Path and content of a file, which the hash then covers.
    pub(crate) fn read(&mut self, name: &str) -> Result<(PathBuf, Vec<u8>)> {
        let path = self.folder.join(name);
        let content = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        self.hash.update(format!("{name} {}\n", content.len()));
        self.hash.update(&content);
        Ok((path, content))
    }

    /// The data set: the first `train` rows are the pool, the others the test part.
    pub(crate) fn images(
        self,
        tag: &str,
        layout: Layout,
        labels: &[u8],
        train: usize,
        loader: Loader,
    ) -> Result<Images> {
        let labels: Vec<_> = labels.iter().map(|l| Some(u32::from(*l))).collect();
        let roles = official_parts(train, labels.len());
        let hash = hex(&self.hash.finalize());
        candle::images(tag, self.folder, layout, labels, roles, hash, loader)
    }
}

/// Which of candle's local loaders reads the pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loader {
    /// Four idx files.
    MnistIdx,
    /// Six files of 10,000 records.
    Cifar10,
}

/// The first `train` of so many rows are the pool, the others the test part.
pub(crate) fn official_parts(train: usize, rows: usize) -> Roles {
    let (train, rows) = (train as u64, rows as u64);
    Roles { pool: (0..train).collect(), test: (train..rows).collect(), ..Roles::default() }
}

/// Checks that the option `folder` names one.
pub(crate) fn check_folder(folder: &Path) -> Result<(), Invalid> {
    if folder.as_os_str().is_empty() { Err(Invalid::key("folder", "must not be empty")) } else { Ok(()) }
}

/// Checks that every label is one of `classes`; `path` and row are named.
pub(crate) fn check_labels(path: &Path, labels: impl IntoIterator<Item = u8>, classes: u8) -> Result<()> {
    match (0..).zip(labels).find(|(_, label)| *label >= classes) {
        None => Ok(()),
        Some((row, label)) => {
            Err(Error::data(path, Some(row), format!("label {label} is out of range: there are {classes} classes")))
        }
    }
}

/// Checks a file's length.
pub(crate) fn check_length(path: &Path, length: usize, wanted: u64) -> Result<()> {
    let message = match (length as u64).cmp(&wanted) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Less => format!("truncated: ends at byte {length} of {wanted}"),
        std::cmp::Ordering::Greater => format!("should end at byte {wanted}, but has {length}"),
    };
    Err(Error::data(path, None, message))
}

#[cfg(feature = "candle-datasets")]
mod candle {
    use super::*;
    use candle_core::{DType, Tensor};
    use candle_datasets::vision::{cifar, mnist};

    /// Images whose pixels candle reads when the first batch is asked for.
    pub(super) fn images(
        _: &str,
        folder: PathBuf,
        layout: Layout,
        labels: Vec<Option<u32>>,
        roles: Roles,
        hash: String,
        loader: Loader,
    ) -> Result<Images> {
        Images::lazy(layout, labels, roles, hash, move || {
            let read = match loader {
                Loader::MnistIdx => mnist::load_dir(&folder),
                Loader::Cifar10 => cifar::load_dir(&folder),
            };
            let read = read.map_err(|e| Error::data(&folder, None, e.to_string()))?;
            let mut pixels = bytes(&read.train_images)?;
            pixels.extend(bytes(&read.test_images)?);
            Ok(pixels)
        })
    }

    /// Candle decodes to f32 in 0..1; as bytes the same values take a quarter of the memory.
    fn bytes(images: &Tensor) -> Result<Vec<u8>> {
        // Candle's cast cuts off, so 0.5 is added to round to the byte that was read.
        Ok(images.affine(255., 0.5)?.to_dtype(DType::U8)?.flatten_all()?.to_vec1()?)
    }
}

#[cfg(not(feature = "candle-datasets"))]
mod candle {
    use super::*;

    /// This build cannot read the pixels.
    pub(super) fn images(
        tag: &str,
        _: PathBuf,
        _: Layout,
        _: Vec<Option<u32>>,
        _: Roles,
        _: String,
        _: Loader,
    ) -> Result<Images> {
        let message =
            format!("`{tag}` needs the cargo feature `candle-datasets`, and this binary was built without it");
        Err(Invalid::key("type", message)
            .help("build it with that feature of `transplant-cli`, as `cargo xtask` does by itself")
            .into())
    }
}
