//! Which pictures lie in a folder: their parts, classes and order, for `image_folder`.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use transplant_core::{Error, Result};
use walkdir::{DirEntry, WalkDir};

const ENDINGS: [&str; 11] = ["png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff", "pgm", "ppm", "pnm"];

/// The names of folders that are parts of a data set.
const PARTS: [(&str, Part); 5] = [
    ("train", Part::Pool),
    ("validation", Part::Validation),
    ("val", Part::Validation),
    ("valid", Part::Validation),
    ("test", Part::Test),
];

/// Which role the rows of a folder have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Pool,
    Validation,
    Test,
}

/// A picture that was found.
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) part: Part,
    pub(super) class: String,
    /// The path below the folder, with `/` between its names: rows are in its order on every system.
    pub(super) key: Vec<u8>,
}

/// What lies in a folder.
pub(super) struct Found {
    /// All pictures, in order.
    pub(super) files: Vec<File>,
    /// The parts by the names of their folders, with the classes of each.
    pub(super) parts: Vec<(String, BTreeSet<String>)>,
}

/// What lies in a folder directly.
struct Inside {
    folders: BTreeSet<String>,
    pictures: usize,
    others: usize,
}

/// Finds the pictures below `folder`; none of them is opened.
///
/// # Errors
/// When something cannot be read, the layout is none that is known, or a class is empty.
pub(super) fn scan(folder: &Path) -> Result<Found> {
    let top = inside(folder)?;
    let mut others = top.others;
    let mut found = Found { files: Vec::new(), parts: Vec::new() };
    for (name, part) in parts(folder, &top.folders)? {
        let place = if name.is_empty() { folder.to_owned() } else { folder.join(&name) };
        let inside = inside(&place)?;
        if inside.folders.is_empty() {
            let mut message = "holds no class: each is a folder of pictures".to_owned();
            if inside.pictures > 0 {
                message += &format!("; {} pictures lie in it directly", inside.pictures);
            }
            return Err(Error::data(place, None, message));
        }
        if inside.pictures > 0 {
            let (n, place) = (inside.pictures, place.display());
            tracing::warn!("{place}: {n} pictures lie beside the folders of classes; they are left out");
        }
        for class in &inside.folders {
            let before = found.files.len();
            others += pictures(folder, &place.join(class), (part, class), &mut found.files)?;
            if found.files.len() == before {
                return Err(Error::data(place.join(class), None, "holds no picture, and a class must not be empty"));
            }
        }
        found.parts.push((name, inside.folders));
    }
    found.files.sort_by(|a, b| a.key.cmp(&b.key));
    tracing::debug!("{}: {others} files with other endings were passed over", folder.display());
    Ok(found)
}

/// All pictures in a folder and below it, by their endings, in the order of their paths. None is opened.
///
/// # Errors
/// When something cannot be read.
pub fn pictures_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    pictures(folder, folder, (Part::Pool, ""), &mut files)?;
    files.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(files.into_iter().map(|f| f.path).collect())
}

/// The parts by the names of their folders; a folder without parts is one itself, of no name.
fn parts(folder: &Path, names: &BTreeSet<String>) -> Result<Vec<(String, Part)>> {
    let known: Vec<(String, Part)> = PARTS
        .iter()
        .filter(|(name, _)| names.contains(*name))
        .map(|(name, part)| ((*name).to_owned(), *part))
        .collect();
    let fault = |message: String| Err(Error::data(folder, None, message));
    if !names.contains("train") {
        if known.is_empty() || known.len() < names.len() {
            return Ok(vec![(String::new(), Part::Pool)]);
        }
        return fault(format!("holds `{}`, but no `train`", known[0].0));
    }
    if let Some(other) = names.iter().find(|name| known.iter().all(|(known, _)| known != *name)) {
        return fault(format!(
            "`{other}` is beside `train`, where only `validation` (or `val`, `valid`) and `test` may be"
        ));
    }
    let validation: Vec<_> = known.iter().filter(|(_, part)| *part == Part::Validation).collect();
    if let [(a, _), (b, _), ..] = validation.as_slice() {
        return fault(format!("holds both `{a}` and `{b}`, and there is one validation part"));
    }
    Ok(known)
}

/// What lies in `place` directly.
fn inside(place: &Path) -> Result<Inside> {
    let mut inside = Inside { folders: BTreeSet::new(), pictures: 0, others: 0 };
    for entry in WalkDir::new(place).follow_links(true).min_depth(1).max_depth(1) {
        let entry = entry.map_err(|e| fault(e, place))?;
        match kind(&entry)? {
            Kind::Hidden => {}
            Kind::Other => inside.others += 1,
            Kind::Picture => inside.pictures += 1,
            Kind::Folder => {
                let name = entry.file_name().to_str();
                let name = name.ok_or_else(|| Error::data(entry.path(), None, "its name is not UTF-8"))?;
                inside.folders.insert(name.to_owned());
            }
        }
    }
    Ok(inside)
}

/// Adds the pictures of a class; how many other files there are.
fn pictures(top: &Path, place: &Path, (part, class): (Part, &str), files: &mut Vec<File>) -> Result<usize> {
    let mut others = 0;
    let mut walk = WalkDir::new(place).follow_links(true).min_depth(1).into_iter();
    while let Some(entry) = walk.next() {
        let entry = entry.map_err(|e| fault(e, place))?;
        match kind(&entry)? {
            Kind::Hidden if entry.file_type().is_dir() => walk.skip_current_dir(),
            Kind::Hidden | Kind::Folder => {}
            Kind::Other => others += 1,
            Kind::Picture => {
                let below = entry.path().strip_prefix(top).unwrap_or(entry.path());
                let names: Vec<&[u8]> = below.iter().map(|name| name.as_encoded_bytes()).collect();
                let (key, path) = (names.join(&b'/'), entry.into_path());
                files.push(File { path, part, class: class.to_owned(), key });
            }
        }
    }
    Ok(others)
}

enum Kind {
    Hidden,
    Folder,
    Picture,
    Other,
}

fn kind(entry: &DirEntry) -> Result<Kind> {
    let ending = entry.path().extension().and_then(|e| e.to_str()).map(str::to_lowercase);
    let picture = ending.is_some_and(|e| ENDINGS.contains(&e.as_str()));
    match (entry.file_name().as_encoded_bytes().starts_with(b"."), entry.file_type().is_dir(), picture) {
        (true, ..) => Ok(Kind::Hidden),
        (_, true, true) => Err(Error::data(entry.path(), None, "is a folder with the name of a picture")),
        (_, true, false) => Ok(Kind::Folder),
        (_, false, true) => Ok(Kind::Picture),
        (_, false, false) => Ok(Kind::Other),
    }
}

/// What a walk met, with the file or folder it met it at.
fn fault(e: walkdir::Error, place: &Path) -> Error {
    let path = e.path().unwrap_or(place).to_owned();
    match e.loop_ancestor().map(Path::to_owned) {
        Some(above) => Error::data(path, None, format!("is a link to a folder that it lies in, {}", above.display())),
        None => {
            let source = e.into_io_error().unwrap_or_else(|| io::Error::other("cannot be read"));
            Error::io(path, source)
        }
    }
}
