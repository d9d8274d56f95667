//! [`Pictures`]: pictures as they come, in files or in memory, each brought to one [`Frame`].
//!
//! All are decoded once when the data set is opened, so that a broken one is met before anything is trained. What was decoded
//! stays in memory as bytes, the first rows first, as far as it may; rows beyond that are decoded again when they are asked for.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use transplant_core::{
    Batch, DOMAIN, Dataset, Error, Fact, Finding, FindingKind, Fingerprint, Frame, Result, Roles, Schema,
};
use transplant_kernels::parallel;

use super::damaged::{Damaged, told, why_damaged};
use super::image_rows::ImageRows;
use super::images::hex;
use super::joined::joined;
use super::row_targets::RowTargets;
use super::sixteen_bits::SixteenBits;
use crate::findings::contradictions;
use crate::picture::{decode, decode_with_highest};

/// A picture before it is decoded.
#[derive(Clone)]
pub struct Picture {
    /// Where it is, for errors.
    name: String,
    /// What its row is called; `None`: by the path of the file, or the beginning of its hash.
    row_name: Option<String>,
    content: Content,
}

#[derive(Clone)]
enum Content {
    File(PathBuf),
    Here(Arc<[u8]>),
}

impl Picture {
    /// A picture in a file, which is read when it is decoded.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { name: path.display().to_string(), row_name: None, content: Content::File(path) }
    }

    /// A picture whose file is in memory, under a name for errors.
    pub fn bytes(name: impl Into<String>, content: impl Into<Arc<[u8]>>) -> Self {
        Self { name: name.into(), row_name: None, content: Content::Here(content.into()) }
    }

    /// Names its row in outputs: a path that is the same wherever the folder lies.
    #[must_use]
    pub fn called(self, name: impl Into<String>) -> Self {
        Self { row_name: Some(name.into()), ..self }
    }

    /// What it is called in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn content(&self) -> Result<Cow<'_, [u8]>, String> {
        match &self.content {
            Content::File(path) => std::fs::read(path).map(Cow::Owned).map_err(|e| e.to_string()),
            Content::Here(content) => Ok(Cow::Borrowed(content)),
        }
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Picture").field(&self.name).finish()
    }
}

/// What [`Pictures`] are made of.
#[derive(Debug, Clone)]
pub struct PictureSet {
    /// The data set's name, for errors.
    pub name: String,
    /// The size that all are brought to.
    pub frame: Frame,
    /// The pictures, one a row.
    pub pictures: Vec<Picture>,
    /// The class of each row; `None` where it is missing.
    pub labels: Vec<Option<u32>>,
    /// Class names, in the order of the labels.
    pub classes: Vec<String>,
    /// Rows by role.
    pub roles: Roles,
    /// To which group each row belongs; no group crosses a split. `None`: each row stands alone. Rows of the pool whose
    /// files are the same join their groups.
    pub groups: Option<Vec<u64>>,
    /// The names of the groups, by their numbers; empty: they have none.
    pub group_names: Vec<String>,
    /// The domain that each row comes from; `None`: not known.
    pub domain: Option<Fact>,
    /// Where the pictures come from and under which terms they may be used.
    pub licence: Option<String>,
    /// What its option `damaged` says about pictures that cannot be decoded; `None`: the source has no such option, and
    /// refuses them.
    pub damaged: Option<Damaged>,
    /// Megabytes of decoded pictures that are kept.
    pub memory_mb: u64,
}

/// Pictures and their classes. The input [`HIDDEN`](transplant_core::HIDDEN) is `f32 [rows, channels, height, width]` in 0..1,
/// the target [`CLASS`](super::CLASS) `u32 [rows]`.
#[derive(Clone)]
pub struct Pictures {
    rows: ImageRows,
    frame: Frame,
    pictures: Arc<[Picture]>,
    /// The first rows, decoded.
    kept: Arc<Vec<u8>>,
    damaged: Vec<(u64, String)>,
    /// Of every row, as it was decoded.
    fingerprints: Arc<[Fingerprint]>,
    /// Of every row's file.
    file_hashes: Arc<[Fingerprint]>,
    /// Of the name of every row's group; empty: groups have no names.
    group_keys: Arc<[Fingerprint]>,
    domain: Option<Fact>,
    hash: String,
    licence: Option<String>,
    findings: Vec<Finding>,
}

/// What came of one picture when the data set was opened: the hash of its file, and that of what was decoded, or why it is
/// damaged.
type Opened = (Fingerprint, Result<Fingerprint, String>);

impl Pictures {
    /// Decodes every picture once, on all threads.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the frame is none; [`Error::Data`] when counts differ, a label is out of range, a role names a row
    /// that does not exist, or pictures are damaged and must not be.
    pub fn open(mut set: PictureSet) -> Result<Self> {
        let (classes, labels) = (std::mem::take(&mut set.classes), std::mem::take(&mut set.labels));
        Self::with_targets(set, RowTargets::of_class(classes, labels))
    }

    /// The same with these targets in the place of the set's `classes` and `labels`.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub(super) fn with_targets(set: PictureSet, targets: RowTargets) -> Result<Self> {
        set.frame.check()?;
        let (frame, pictures) = (set.frame, set.pictures);
        if pictures.len() != targets.rows() {
            let message = format!("{} pictures, but {} labels", pictures.len(), targets.rows());
            return Err(Error::data(set.name, None, message));
        }
        let shape = [frame.channels, frame.height, frame.width];
        let mut rows = ImageRows::new(set.name, shape, targets, set.roles)?;
        let grouped = set.groups.is_some();
        let key =
            |group: &u64| -> Option<Fingerprint> { Some(Sha256::digest(set.group_names.get(*group as usize)?).into()) };
        let group_keys = set.groups.as_deref().unwrap_or_default().iter().map(key).collect::<Option<Vec<_>>>();
        if let Some(groups) = set.groups {
            rows.group(groups)?;
        }
        let size = rows.size();
        let room = usize::try_from(set.memory_mb.saturating_mul(1 << 20)).unwrap_or(usize::MAX) / size;
        let mut kept = vec![0; room.min(pictures.len()) * size];
        let places = kept.chunks_mut(size).map(Some).chain(std::iter::repeat_with(|| None));
        let mut opening: Vec<_> = pictures.iter().zip(places).map(|(p, place)| (p, place, None)).collect();
        let sixteen = SixteenBits::default();
        parallel::chunks_mut(&mut opening, 1, &|_, one| {
            let (picture, place, opened) = &mut one[0];
            *opened = Some(open(picture, &frame, place.as_deref_mut(), &sixteen));
        });
        let opened: Vec<Opened> = opening.into_iter().filter_map(|(_, _, opened)| opened).collect();

        let whole = |row: &u64| opened.get(*row as usize).is_some_and(|(_, decoded)| decoded.is_ok());
        let pool: Vec<u64> = rows.roles.pool.iter().copied().filter(whole).collect();
        let own = || (0..pictures.len() as u64).collect();
        let groups = rows.groups.clone().unwrap_or_else(own);
        if let Some(groups) = joined(groups, &pool, |row| opened[row as usize].0) {
            rows.groups = Some(groups);
        }
        let mut hash = Sha256::new();
        let (schema, damaged) = (rows.targets.schema(), set.damaged.unwrap_or_default());
        hash.update(match rows.targets.only_class() {
            Some((_, labels)) => format!("{:?}", (&frame, schema, labels, &rows.groups, &rows.roles, damaged)),
            None => format!("{:?}", (&frame, rows.targets.written(), &rows.groups, &rows.roles, damaged)),
        });
        set.domain.iter().for_each(|fact| hash.update(format!("{fact:?}")));
        opened.iter().for_each(|(sum, _)| hash.update(sum));
        let file_hashes: Arc<[Fingerprint]> = opened.iter().map(|(sum, _)| *sum).collect();
        // Without groups of its own a row is known by its file, and so are copies of it.
        let group_keys = if grouped { group_keys.unwrap_or_default().into() } else { file_hashes.clone() };
        let fingerprints = opened.iter().map(|(_, decoded)| decoded.clone().unwrap_or_default()).collect();
        let why = opened.into_iter().map(|(_, decoded)| decoded.err());
        let mut findings: Vec<Finding> = sixteen.narrow().into_iter().collect();
        let damaged: Vec<(u64, String)> = (0..).zip(why).filter_map(|(row, why)| Some((row, why?))).collect();
        if !damaged.is_empty() {
            let message = told(&damaged, &pictures);
            match set.damaged {
                None => return Err(Error::data(rows.name, None, message)),
                Some(Damaged::Refuse) => {
                    let message = format!("{message}\n  `damaged = \"skip\"` leaves them out");
                    return Err(Error::data(rows.name, None, message));
                }
                Some(Damaged::Skip) => {}
            }
            findings.push(Finding::new(FindingKind::UnusedFiles, format!("{message}\n  they are left out")));
            for role in [&mut rows.roles.pool, &mut rows.roles.validation, &mut rows.roles.test] {
                role.retain(|row| why_damaged(&damaged, *row).is_none());
            }
        }
        let (kept, pictures, hash) = (Arc::new(kept), pictures.into(), hex(&hash.finalize()));
        let (licence, domain) = (set.licence, set.domain);
        let mut set = Self {
            rows,
            frame,
            pictures,
            kept,
            damaged,
            fingerprints,
            file_hashes,
            group_keys,
            domain,
            hash,
            licence,
            findings,
        };
        let contradicting = set.contradicting();
        set.findings.extend(contradicting);
        Ok(set)
    }

    /// Adds what its source has to tell.
    #[must_use]
    pub fn with_findings(mut self, more: Vec<Finding>) -> Self {
        self.findings.extend(more);
        self
    }

    /// Tells of pictures that are equal as they were decoded and have different labels.
    fn contradicting(&self) -> Vec<Finding> {
        let keys = || (0..self.rows()).map(|row| self.hash_of(row, &self.fingerprints));
        let short =
            |name: &str| name.strip_prefix(&self.rows.name).unwrap_or(name).trim_start_matches(['/', '\\']).to_owned();
        let of = |(target, names, labels): (&str, &[String], &[Option<u32>])| {
            let mut found = contradictions(keys(), labels, names, &|row| short(&self.pictures[row].name))?;
            if target != super::CLASS {
                found.message = format!("target `{target}`: {}", found.message);
            }
            Some(found)
        };
        self.rows.targets.classes().filter_map(of).collect()
    }

    /// The pictures that could not be decoded, by row and with the reason.
    pub fn damaged(&self) -> &[(u64, String)] {
        &self.damaged
    }

    /// How many rows there are, all roles together and damaged ones too.
    pub fn rows(&self) -> u64 {
        self.rows.rows()
    }

    /// A hash of a row, unless its picture is damaged.
    fn hash_of(&self, row: u64, hashes: &[Fingerprint]) -> Option<Fingerprint> {
        hashes.get(row as usize).filter(|_| why_damaged(&self.damaged, row).is_none()).copied()
    }

    /// The bytes of a row: kept ones, otherwise decoded again.
    fn bytes(&self, row: u64) -> Result<Cow<'_, [u8]>> {
        let (at, size) = (row as usize, self.rows.size());
        let picture = &self.pictures[at];
        let fault = |why: &str| Err(Error::data(&picture.name, None, why));
        if let Some(why) = why_damaged(&self.damaged, row) {
            return fault(why);
        }
        match self.kept.chunks_exact(size).nth(at) {
            Some(bytes) => Ok(Cow::Borrowed(bytes)),
            None => picture.content().and_then(|c| decode(&c, &self.frame)).map(Cow::Owned).or_else(|why| fault(&why)),
        }
    }
}

/// Decodes a picture, to `out` when it is kept.
fn open(picture: &Picture, frame: &Frame, out: Option<&mut [u8]>, sixteen: &SixteenBits) -> Opened {
    let content = match picture.content() {
        Ok(content) => content,
        Err(why) => return (Default::default(), Err(why)),
    };
    let decoded = decode_with_highest(&content, frame).map(|(bytes, highest)| {
        sixteen.add(highest);
        if let Some(out) = out {
            out.copy_from_slice(&bytes);
        }
        let size = [frame.channels, frame.height, frame.width].map(|n| (n as u64).to_le_bytes());
        Sha256::new_with_prefix(size.as_flattened()).chain_update(&bytes).finalize().into()
    });
    (Sha256::digest(&content).into(), decoded)
}

impl fmt::Debug for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ImageRows { name, shape, .. } = &self.rows;
        let shown = &(name, shape, self.rows());
        f.debug_struct("Pictures").field("name, shape, rows", shown).finish_non_exhaustive()
    }
}

impl Dataset for Pictures {
    fn inputs(&self) -> &Schema {
        &self.rows.inputs
    }

    fn targets(&self) -> &Schema {
        self.rows.targets.schema()
    }

    fn roles(&self) -> &Roles {
        &self.rows.roles
    }

    fn classes_of(&self, target: &str) -> Result<Vec<Option<u32>>> {
        self.rows.targets.classes_of(&self.rows.name, target)
    }

    fn numbers_of(&self, target: &str) -> Result<Vec<Option<f32>>> {
        self.rows.targets.numbers_of(&self.rows.name, target)
    }

    fn fact(&self, name: &str) -> Option<&Fact> {
        self.domain.as_ref().filter(|_| name == DOMAIN)
    }

    fn groups(&self) -> Option<&[u64]> {
        self.rows.groups.as_deref()
    }

    fn batch(&self, rows: &[u64]) -> Result<Batch> {
        self.rows.check_rows(rows)?;
        let bytes: Vec<Result<Cow<'_, [u8]>>> = parallel::map(rows.len(), &|i| self.bytes(rows[i]));
        // The first fault in the order of the rows, whichever thread met one first.
        let bytes = bytes.into_iter().collect::<Result<Vec<_>>>()?;
        let bytes: Vec<&[u8]> = bytes.iter().map(|b| &**b).collect();
        self.rows.batch(rows, &bytes, u8::MAX)
    }

    fn content_hash(&self) -> String {
        self.hash.clone()
    }

    fn fingerprint(&self, row: u64) -> Option<Fingerprint> {
        self.hash_of(row, &self.fingerprints)
    }

    fn file_hash(&self, row: u64) -> Option<Fingerprint> {
        self.hash_of(row, &self.file_hashes)
    }

    fn row_name(&self, row: u64) -> Option<String> {
        let Picture { name, row_name, content } = self.pictures.get(row as usize)?;
        match (row_name, content) {
            (Some(called), _) => Some(called.clone()),
            (None, Content::File(_)) => Some(name.clone()),
            (None, Content::Here(_)) => Some(hex(&self.file_hash(row)?[..8])),
        }
    }

    fn group_key(&self, row: u64) -> Option<Fingerprint> {
        self.hash_of(row, &self.group_keys)
    }

    fn findings(&self) -> Vec<Finding> {
        self.findings.clone()
    }

    fn licence(&self) -> Option<String> {
        self.licence.clone()
    }

    fn frame(&self) -> Option<Frame> {
        Some(self.frame.clone())
    }
}

#[cfg(test)]
mod tests;
