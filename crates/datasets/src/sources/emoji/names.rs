//! `emoji.json` of the package `emoji-datasource`: what emoji there are.

use std::path::Path;

use serde::Deserialize;
use transplant_core::{Error, Result};

use super::base::base;

/// An emoji that all vendors have.
#[derive(Debug)]
pub(super) struct Emoji {
    /// The name of its pictures.
    pub(super) image: String,
    pub(super) category: String,
    pub(super) subcategory: String,
    /// Which emoji it is a variant of.
    pub(super) base: String,
}

/// What is read of an entry; it has more.
#[derive(Deserialize)]
struct Entry {
    /// Its code points in hexadecimal digits, `-` between them.
    unified: String,
    image: String,
    category: String,
    subcategory: String,
    has_img_apple: bool,
    has_img_google: bool,
    has_img_twitter: bool,
    has_img_facebook: bool,
}

/// The emoji that all four vendors have, in the order of the file; without the parts that only stand in others (`Component`).
pub(super) fn read(path: &Path) -> Result<Vec<Emoji>> {
    let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let none = |e| Error::data(path, None, format!("is not `emoji.json` of emoji-datasource: {e}"));
    let entries: Vec<Entry> = serde_json::from_slice(&content).map_err(none)?;
    let mut emoji = Vec::new();
    for (row, e) in (0..).zip(entries) {
        let drawn_by_all = e.has_img_apple && e.has_img_google && e.has_img_twitter && e.has_img_facebook;
        if e.category == "Component" || !drawn_by_all {
            continue;
        }
        let points: Result<Vec<u32>, _> = e.unified.split('-').map(|p| u32::from_str_radix(p, 16)).collect();
        let points = points.map_err(|_| Error::data(path, Some(row), format!("`{}` are no code points", e.unified)))?;
        if e.image.is_empty() || e.image.contains(['/', '\\']) {
            return Err(Error::data(path, Some(row), format!("`{}` is no name of a picture", e.image)));
        }
        let Entry { image, category, subcategory, .. } = e;
        emoji.push(Emoji { image, category, subcategory, base: base(&points) });
    }
    if emoji.is_empty() {
        return Err(Error::data(path, None, "holds no emoji that all four vendors have"));
    }
    Ok(emoji)
}
