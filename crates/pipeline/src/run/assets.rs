//! `assets`: what the catalogue holds and what of it is there.

use std::fmt::Write as _;
use std::path::PathBuf;

use transplant_assets::{Asset, Store, Verdict, catalogue, find};
use transplant_core::{Error, Result};

fn store(folder: Option<PathBuf>) -> Result<Store> {
    Ok(Store::at(folder.map_or_else(Store::default_folder, Ok)?))
}

fn named(names: &[String]) -> Result<Vec<&'static Asset>> {
    if names.is_empty() { Ok(catalogue().iter().collect()) } else { names.iter().map(|n| find(n)).collect() }
}

/// The assets of the catalogue, with size, licence and what they are.
///
/// # Errors
/// When the system tells of no folder for them.
pub fn list(folder: Option<PathBuf>) -> Result<String> {
    let store = store(folder)?;
    let mut out = String::new();
    for asset in catalogue() {
        let size = asset.bytes().map_or_else(|| "size unknown".to_owned(), |b| format!("{:.1} MB", b as f64 / 1e6));
        let there = asset.files.iter().all(|f| store.path_of(asset, f.role).is_some_and(|p| p.is_file()));
        let state = if there { "fetched" } else { "not fetched" };
        let _ = writeln!(out, "{:<20} {size:>12}  {state:<11}  {:<13} {}", asset.name, asset.licence, asset.about);
    }
    let _ = writeln!(out, "\nin {}", store.folder().display());
    Ok(out)
}

/// Fetches assets and says where their files are. `note` is told what happens.
///
/// # Errors
/// For a name that is not in the catalogue, and when no source has a file.
pub fn fetch(folder: Option<PathBuf>, names: &[String], note: &mut dyn FnMut(&str)) -> Result<String> {
    let (store, assets) = (store(folder)?, named(names)?);
    let mut out = String::new();
    for asset in assets {
        for (role, path) in store.fetch(asset, note)?.files() {
            let _ = writeln!(out, "{} {role}: {}", asset.name, path.display());
        }
    }
    Ok(out)
}

/// Reads the files of assets, all by default, and says whether they are whole.
///
/// # Errors
/// When one is damaged, after all were read; for a name that is not in the catalogue.
pub fn verify(folder: Option<PathBuf>, names: &[String], say: &mut dyn FnMut(&str)) -> Result<()> {
    let (store, mut damaged) = (store(folder)?, None);
    for asset in named(names)? {
        let verdict = match store.verify(asset) {
            Verdict::Absent => "not fetched".to_owned(),
            Verdict::Whole => "whole".to_owned(),
            Verdict::NotPinned => "there; nobody has told what it should be".to_owned(),
            Verdict::Damaged { file, message } => {
                let text = format!("damaged: {}: {message}", file.display());
                damaged.get_or_insert(Error::data(&file, None, message));
                text
            }
            other => format!("{other:?}"),
        };
        say(&format!("{}: {verdict}\n", asset.name));
    }
    damaged.map_or(Ok(()), Err)
}
