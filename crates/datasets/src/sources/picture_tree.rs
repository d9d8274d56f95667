//! Which pictures lie in a folder: their parts, classes and order, for `image_folder`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use transplant_core::{Error, Finding, FindingKind, Result};
use walkdir::{DirEntry, WalkDir};

use super::passed_over::PassedOver;
use crate::findings::{counted, listed, quoted};

/// Those of JPEG first, which has many.
const ENDINGS: [&str; 19] = [
    "jpg", "jpeg", "jpe", "jfif", "jfi", "jif", "pjpeg", "pjp", "png", "apng", "gif", "webp", "bmp", "dib", "tif",
    "tiff", "pgm", "ppm", "pnm",
];

/// Folders that programs make for themselves: previews, resource forks.
const HIDDEN: [&str; 4] = ["__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN"];
/// Files of that kind, in lower case.
const HIDDEN_FILES: [&str; 3] = ["thumbs.db", "desktop.ini", "ehthumbs.db"];

/// The names of folders that are parts of a data set, in lower case.
const PARTS: [(&str, Part); 8] = [
    (TRAIN, Part::Pool),
    ("training", Part::Pool),
    ("validation", Part::Validation),
    ("val", Part::Validation),
    ("valid", Part::Validation),
    ("dev", Part::Validation),
    ("test", Part::Test),
    ("testing", Part::Test),
];
const TRAIN: &str = "train";
/// Those that are never classes where nothing else is there.
const ALWAYS_PARTS: [&str; 5] = [TRAIN, "validation", "val", "valid", "test"];

/// Which role the rows of a folder have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Pool,
    Validation,
    Test,
}

impl Part {
    /// What a folder of this name is, whatever its case.
    fn named(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        PARTS.iter().find(|(known, _)| *known == name).map(|(_, part)| *part)
    }
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
    /// The names of all folders of classes.
    pub(super) classes: BTreeSet<String>,
    /// What is not used, and folders that are probably no classes.
    pub(super) findings: Vec<Finding>,
}

/// What lies in a folder directly.
struct Inside {
    folders: BTreeSet<String>,
    pictures: usize,
}

/// Finds the pictures below `folder`; none of them is opened. With `chosen` only those of these classes.
///
/// # Errors
/// When something cannot be read, the layout is none that is known, or a class is empty.
pub(super) fn scan(folder: &Path, chosen: Option<&[String]>) -> Result<Found> {
    let top = inside(folder)?;
    let mut found = Found { files: Vec::new(), classes: BTreeSet::new(), findings: Vec::new() };
    let (mut passed, mut below) = (PassedOver::default(), BTreeMap::<String, BTreeSet<String>>::new());
    let mut roots = Vec::new();
    let parts = parts(folder, &top, chosen)?;
    if parts.iter().all(|(name, _)| !name.is_empty()) {
        found.findings.extend(beside(top.pictures, folder));
    }
    for (name, part) in parts {
        let place = if name.is_empty() { folder.to_owned() } else { folder.join(&name) };
        let inside = inside(&place)?;
        if inside.folders.is_empty() {
            let mut message = "holds no class: each is a folder of pictures".to_owned();
            if inside.pictures > 0 {
                message += &format!("; {} pictures lie in it directly", inside.pictures);
            }
            return Err(Error::data(place, None, message));
        }
        found.findings.extend(beside(inside.pictures, &place));
        for class in inside.folders {
            if chosen.is_none_or(|chosen| chosen.contains(&class)) {
                let folders = pictures(folder, &place.join(&class), (part, &class), &mut found.files, &mut passed)?;
                below.entry(class.clone()).or_default().extend(folders);
            }
            found.classes.insert(class);
        }
        roots.push(place);
    }
    let filled: BTreeSet<&str> = found.files.iter().map(|f| f.class.as_str()).collect();
    if let Some(class) = below.keys().find(|class| !filled.contains(class.as_str())) {
        let place = roots.iter().map(|root| root.join(class)).find(|place| place.is_dir()).unwrap_or_default();
        let mut others = PassedOver::default();
        pictures(folder, &place, (Part::Pool, class), &mut Vec::new(), &mut others)?;
        let others: String = others.findings(0).into_iter().map(|found| format!(": {}", found.message)).collect();
        return Err(Error::data(place, None, format!("holds no picture, and a class must not be empty{others}")));
    }
    found.findings.extend(passed.findings(found.files.len()));
    found.findings.extend(no_class(&below, &roots));
    found.files.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// Tells of pictures that lie beside folders.
fn beside(pictures: usize, place: &Path) -> Option<Finding> {
    let (n, place) = (counted(pictures, "picture"), place.display());
    let message = format!("{n} beside the folders of classes, in {place}, left out: they have no class");
    (pictures > 0).then(|| Finding::new(FindingKind::UnusedFiles, message))
}

/// Tells of a folder that is taken for a class, and holds folders that look like the classes.
fn no_class(below: &BTreeMap<String, BTreeSet<String>>, roots: &[PathBuf]) -> Option<Finding> {
    let shown = |folders: &BTreeSet<String>| listed(&folders.iter().map(|name| quoted(name)).collect::<Vec<_>>());
    if let (1, Some((class, folders)), Some(root)) = (below.len(), below.first_key_value(), roots.first())
        && folders.len() > 1
    {
        let message = format!(
            "all pictures are of one class, {}: there is nothing to tell apart; the folders in it look like classes ({}): set \
             `folder` to {}",
            quoted(class),
            shown(folders),
            root.join(class).display()
        );
        return Some(Finding::new(FindingKind::OneClass, message));
    }
    let (class, same) = below.iter().find_map(|(class, folders)| {
        let same: BTreeSet<String> =
            folders.iter().filter(|f| *f != class && below.contains_key(*f)).cloned().collect();
        (!same.is_empty()).then_some((class, same))
    })?;
    let message = format!(
        "the folder {} is taken for a class, and holds folders named like other classes: {}",
        quoted(class),
        shown(&same)
    );
    Some(Finding::new(FindingKind::SplitAsClass, message))
}

/// What lies in a folder and below it, hidden folders aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PicturesBelow {
    /// All files with endings of pictures that are not hidden, in the order of their paths.
    pub pictures: Vec<PathBuf>,
    /// Number of files with other endings that are not hidden.
    pub others: usize,
    /// Number of hidden files with endings of pictures.
    pub hidden: usize,
}

/// All pictures in a folder and below it, by their endings. No picture is opened.
///
/// # Errors
/// When something cannot be read.
pub fn pictures_below(folder: &Path) -> Result<PicturesBelow> {
    let (mut files, mut passed) = (Vec::new(), PassedOver::default());
    pictures(folder, folder, (Part::Pool, ""), &mut files, &mut passed)?;
    files.sort_by(|a, b| a.key.cmp(&b.key));
    let pictures = files.into_iter().map(|f| f.path).collect();
    Ok(PicturesBelow { pictures, others: passed.files(), hidden: passed.hidden() })
}

/// Whether the end of a file's name is that of a picture.
pub fn is_picture_name(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
    ending.is_some_and(|e| ENDINGS.contains(&e.as_str()))
}

/// The parts by the names of their folders; a folder without parts is one itself, of no name. A folder `train` of folders is
/// always a part, unless `chosen` classes are folders beside it. Other ways to write the names count where they are all there is,
/// and the folders hold the same classes.
fn parts(folder: &Path, top: &Inside, chosen: Option<&[String]>) -> Result<Vec<(String, Part)>> {
    let names = &top.folders;
    let known: Vec<(String, Part)> = names.iter().filter_map(|name| Some((name.clone(), Part::named(name)?))).collect();
    let other = names.iter().find(|name| Part::named(name).is_none());
    let fault = |message: String| Err(Error::data(folder, None, message));
    let whole = || Ok(vec![(String::new(), Part::Pool)]);
    let are_chosen = chosen.is_some_and(|chosen| chosen.iter().all(|class| names.contains(class)));
    if are_chosen || known.is_empty() || (other.is_some() && !names.contains(TRAIN)) {
        return whole();
    }
    let inside = known.iter().map(|(name, _)| inside(&folder.join(name))).collect::<Result<Vec<_>>>()?;
    let training = known.iter().position(|(name, part)| *part == Part::Pool && (name == TRAIN || other.is_none()));
    let Some(training) = training else {
        // Other ways to write them may be classes.
        let always_parts = |(name, _): &(String, Part)| ALWAYS_PARTS.contains(&name.as_str());
        return if known.iter().all(always_parts) {
            fault(format!("holds `{}`, but no `train`", known[0].0))
        } else {
            whole()
        };
    };
    if let Some(other) = other {
        // A class may be called so: of trains.
        if inside[training].folders.is_empty() && inside[training].pictures > 0 {
            return whole();
        }
        return fault(format!(
            "`{other}` is beside `train`, where only `validation` (or `val`, `valid`, `dev`) and `test` (or `testing`) may be; \
             `classes` says that they are classes, if it lists them"
        ));
    }
    let shares = |part: &Inside| !part.folders.is_disjoint(&inside[training].folders);
    if known[training].0 != TRAIN && !(inside[training].folders.len() > 1 && inside.iter().all(shares)) {
        return whole();
    }
    for of in [Part::Pool, Part::Validation, Part::Test] {
        let same: Vec<_> = known.iter().filter(|(_, part)| *part == of).collect();
        if let [(a, _), (b, _), ..] = same.as_slice() {
            let part = match of {
                Part::Pool => "training",
                Part::Validation => "validation",
                Part::Test => "test",
            };
            return fault(format!("holds both `{a}` and `{b}`, and there is one {part} part"));
        }
    }
    Ok(known)
}

/// What lies in `place` directly.
fn inside(place: &Path) -> Result<Inside> {
    let mut inside = Inside { folders: BTreeSet::new(), pictures: 0 };
    for entry in WalkDir::new(place).follow_links(true).min_depth(1).max_depth(1) {
        let entry = entry.map_err(|e| fault(e, place))?;
        match kind(&entry)? {
            Kind::Hidden | Kind::Other => {}
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

/// Adds the pictures of a class, and the files that are none. Returns the folders that lie in it directly.
fn pictures(
    top: &Path,
    place: &Path,
    (part, class): (Part, &str),
    files: &mut Vec<File>,
    passed: &mut PassedOver,
) -> Result<BTreeSet<String>> {
    let mut folders = BTreeSet::new();
    let mut walk = WalkDir::new(place).follow_links(true).min_depth(1).into_iter();
    while let Some(entry) = walk.next() {
        let entry = entry.map_err(|e| fault(e, place))?;
        match kind(&entry)? {
            Kind::Hidden if entry.file_type().is_dir() => walk.skip_current_dir(),
            Kind::Hidden if is_picture_name(entry.path()) => passed.add_hidden(entry.path()),
            Kind::Hidden => {}
            Kind::Folder if entry.depth() == 1 => {
                folders.insert(entry.file_name().to_string_lossy().into_owned());
            }
            Kind::Folder => {}
            Kind::Other => passed.add(entry.path()),
            Kind::Picture => {
                let below = entry.path().strip_prefix(top).unwrap_or(entry.path());
                let names: Vec<&[u8]> = below.iter().map(|name| name.as_encoded_bytes()).collect();
                let (key, path) = (names.join(&b'/'), entry.into_path());
                files.push(File { path, part, class: class.to_owned(), key });
            }
        }
    }
    Ok(folders)
}

enum Kind {
    Hidden,
    Folder,
    Picture,
    Other,
}

fn kind(entry: &DirEntry) -> Result<Kind> {
    let picture = is_picture_name(entry.path());
    let name = entry.file_name().to_string_lossy();
    let of_programs = match entry.file_type().is_dir() {
        true => HIDDEN.contains(&&*name),
        false => HIDDEN_FILES.contains(&name.to_lowercase().as_str()),
    };
    match (name.starts_with('.') || of_programs, entry.file_type().is_dir(), picture) {
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
