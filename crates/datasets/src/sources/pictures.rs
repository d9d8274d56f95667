//! [`Pictures`]: pictures as they come, in files or in memory, each brought to one [`Frame`].
//!
//! All are decoded once when the data set is opened, so that a broken one is met before anything is trained. What was decoded
//! stays in memory as bytes, the first rows first, as far as it may; rows beyond that are decoded again when they are asked for.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use transplant_core::{Batch, Dataset, Error, Field, Finding, FindingKind, Fingerprint, Frame, Result, Roles, Schema};
use transplant_kernels::parallel;

use super::damaged::{Damaged, told, why_damaged};
use super::image_rows::ImageRows;
use super::images::hex;
use super::sixteen_bits::SixteenBits;
use crate::findings::contradictions;
use crate::picture::{decode, decode_with_highest};

/// A picture before it is decoded.
#[derive(Clone)]
pub struct Picture {
    name: String,
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
        Self { name: path.display().to_string(), content: Content::File(path) }
    }

    /// A picture whose file is in memory, under a name for errors.
    pub fn bytes(name: impl Into<String>, content: impl Into<Arc<[u8]>>) -> Self {
        Self { name: name.into(), content: Content::Here(content.into()) }
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
    /// To which group each row belongs; no group crosses a split. `None`: each row stands alone.
    pub groups: Option<Vec<u64>>,
    /// Where the pictures come from and under which terms they may be used.
    pub licence: Option<String>,
    /// What is done about pictures that cannot be decoded.
    pub damaged: Damaged,
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
    pub fn open(set: PictureSet) -> Result<Self> {
        set.frame.check()?;
        let (frame, pictures) = (set.frame, set.pictures);
        if pictures.len() != set.labels.len() {
            let message = format!("{} pictures, but {} labels", pictures.len(), set.labels.len());
            return Err(Error::data(set.name, None, message));
        }
        let shape = [frame.channels, frame.height, frame.width];
        let mut rows = ImageRows::new(set.name, shape, set.classes, set.labels, set.roles)?;
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
        sixteen.narrow().iter().for_each(|told| tracing::warn!("{}: {told}", rows.name));
        let opened: Vec<Opened> = opening.into_iter().filter_map(|(_, _, opened)| opened).collect();

        let mut hash = Sha256::new();
        hash.update(format!("{:?}", (&frame, &rows.targets, &rows.labels, &rows.groups, &rows.roles, set.damaged)));
        opened.iter().for_each(|(sum, _)| hash.update(sum));
        let file_hashes = opened.iter().map(|(sum, _)| *sum).collect();
        let fingerprints = opened.iter().map(|(_, decoded)| decoded.clone().unwrap_or_default()).collect();
        let why = opened.into_iter().map(|(_, decoded)| decoded.err());
        let mut findings = Vec::new();
        let damaged: Vec<(u64, String)> = (0..).zip(why).filter_map(|(row, why)| Some((row, why?))).collect();
        if !damaged.is_empty() {
            let message = told(&damaged, &pictures);
            if set.damaged == Damaged::Refuse {
                return Err(Error::data(rows.name, None, message));
            }
            findings.push(Finding::new(FindingKind::UnusedFiles, format!("{message}\n  they are left out")));
            for role in [&mut rows.roles.pool, &mut rows.roles.validation, &mut rows.roles.test] {
                role.retain(|row| why_damaged(&damaged, *row).is_none());
            }
        }
        let (kept, pictures, hash) = (Arc::new(kept), pictures.into(), hex(&hash.finalize()));
        let licence = set.licence;
        let mut set = Self { rows, frame, pictures, kept, damaged, fingerprints, file_hashes, hash, licence, findings };
        set.findings.extend(set.contradicting());
        Ok(set)
    }

    /// Adds what its source has to tell.
    #[must_use]
    pub fn with_findings(mut self, more: Vec<Finding>) -> Self {
        self.findings.extend(more);
        self
    }

    /// Tells of pictures that are equal as they were decoded and have different labels.
    fn contradicting(&self) -> Option<Finding> {
        let keys = (0..self.rows()).map(|row| self.hash_of(row, &self.fingerprints));
        let Some(Field::Class { names }) = self.rows.targets.get(super::CLASS) else { return None };
        let short =
            |name: &str| name.strip_prefix(&self.rows.name).unwrap_or(name).trim_start_matches(['/', '\\']).to_owned();
        contradictions(keys, &self.rows.labels, names, &|row| short(&self.pictures[row].name))
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
        &self.rows.targets
    }

    fn roles(&self) -> &Roles {
        &self.rows.roles
    }

    fn classes_of(&self, target: &str) -> Result<Vec<Option<u32>>> {
        self.rows.classes_of(target)
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
mod tests {
    use super::*;
    use crate::CLASS;
    use transplant_core::{Filter, Fit, HIDDEN};

    /// A picture of one grey, in the plainest format there is.
    fn grey(value: u8) -> Vec<u8> {
        [b"P5 2 1 255\n".as_slice(), &[value; 2]].concat()
    }

    /// Six pictures, of which those named in `broken` are none.
    fn set(broken: &[u64]) -> PictureSet {
        let content = |row: u64| if broken.contains(&row) { b"P5 2 1 255\n".to_vec() } else { grey(row as u8 * 51) };
        PictureSet {
            name: "six".into(),
            frame: Frame {
                height: 1,
                width: 2,
                channels: 3,
                fit: Fit::Crop,
                filter: Filter::Bilinear,
                background: [0; 3],
            },
            pictures: (0..6).map(|row| Picture::bytes(format!("picture {row}"), content(row))).collect(),
            labels: vec![Some(0), Some(1), Some(0), None, Some(1), Some(1)],
            classes: vec!["a".into(), "b".into()],
            roles: Roles { pool: vec![0, 1, 2, 3], validation: vec![4], test: vec![5] },
            groups: None,
            licence: Some("CC0".into()),
            damaged: Damaged::Refuse,
            memory_mb: 1,
        }
    }

    fn values(pictures: &Pictures, rows: &[u64]) -> Vec<f32> {
        pictures.batch(rows).unwrap().inputs.get(HIDDEN).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn rows_are_the_same_whether_kept_or_decoded_again() -> Result<()> {
        let kept = Pictures::open(set(&[]))?;
        let batch = kept.batch(&[5, 3])?;
        assert_eq!(batch.inputs.get(HIDDEN)?.dims(), [2, 3, 1, 2]);
        assert_eq!(batch.target(CLASS)?.values.to_vec1::<u32>()?, [1, 0]);
        assert_eq!(batch.target(CLASS)?.present.as_ref().unwrap().to_vec1::<f32>()?, [1., 0.]);
        assert_eq!(values(&kept, &[5, 3]), [[1.; 6], [0.6; 6]].concat());
        let again = Pictures::open(PictureSet { memory_mb: 0, ..set(&[]) })?;
        assert_eq!((kept.kept.len(), again.kept.len()), (36, 0));
        assert_eq!(values(&again, &[5, 3]), values(&kept, &[5, 3]));
        assert_eq!(again.content_hash(), kept.content_hash());
        assert_eq!((kept.frame(), kept.licence()), (Some(set(&[]).frame), Some("CC0".into())));
        assert!(kept.batch(&[6]).unwrap_err().to_string().contains("six, row 6"));
        Ok(())
    }

    #[test]
    fn fingerprints_are_those_of_what_was_decoded() -> Result<()> {
        // Row 5 is row 3 in another format, and everything is seen in another size, too.
        let ppm = [b"P6 2 1 255\n".as_slice(), &[153; 6]].concat();
        let mut pictures = set(&[1]).pictures;
        pictures[5] = Picture::bytes("picture 5", ppm);
        let of = |frame: Frame, memory_mb| {
            let damaged = Damaged::Skip;
            Pictures::open(PictureSet { pictures: pictures.clone(), frame, damaged, memory_mb, ..set(&[1]) })
        };
        let (kept, again) = (of(set(&[]).frame, 1)?, of(set(&[]).frame, 0)?);
        let print = |p: &Pictures, row| p.fingerprint(row);
        assert_eq!(print(&kept, 5), print(&kept, 3));
        assert_ne!(print(&kept, 3), print(&kept, 4));
        assert_eq!((print(&kept, 1), print(&kept, 6)), (None, None));
        let turned = of(Frame { height: 2, width: 1, ..set(&[]).frame }, 1)?;
        for row in [0, 2, 3, 4, 5] {
            assert_eq!(print(&again, row), print(&kept, row));
            assert_ne!(print(&turned, row), print(&kept, row));
            assert_eq!(turned.file_hash(row), kept.file_hash(row));
        }
        assert_ne!(kept.file_hash(3), kept.file_hash(5), "the same picture in two formats");
        assert_eq!((kept.file_hash(1), kept.file_hash(6)), (None, None));
        Ok(())
    }

    #[test]
    fn damaged_pictures_are_refused_with_their_names() {
        let said = Pictures::open(set(&[1])).unwrap_err().to_string();
        assert!(said.starts_with("six: 1 of 6 pictures cannot be decoded:\n  picture 1: "), "{said}");
        assert!(!said.contains("more"), "{said}");
        let said = Pictures::open(set(&[0, 1, 2, 3, 4, 5])).unwrap_err().to_string();
        assert!(said.contains("picture 4") && !said.contains("picture 5") && said.ends_with("and 1 more"), "{said}");
    }

    #[test]
    fn damaged_pictures_may_be_left_out() -> Result<()> {
        for memory_mb in [0, 1] {
            let skipping = Pictures::open(PictureSet { damaged: Damaged::Skip, memory_mb, ..set(&[1, 5]) })?;
            let damaged: Vec<u64> = skipping.damaged().iter().map(|(row, _)| *row).collect();
            assert_eq!((damaged, skipping.rows()), (vec![1, 5], 6));
            let roles = Roles { pool: vec![0, 2, 3], validation: vec![4], test: vec![] };
            assert_eq!(*skipping.roles(), roles);
            assert_eq!(values(&skipping, &[2]), [0.4; 6]);
            assert!(skipping.batch(&[0, 5, 1]).unwrap_err().to_string().starts_with("picture 5: "));
        }
        Ok(())
    }

    #[test]
    fn a_file_that_went_away_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pgm");
        std::fs::write(&path, grey(51)).unwrap();
        let mut set = PictureSet { memory_mb: 0, ..set(&[]) };
        set.pictures[0] = Picture::file(&path);
        let hash = Pictures::open(set.clone()).unwrap().content_hash();
        std::fs::write(&path, grey(52)).unwrap();
        let pictures = Pictures::open(set.clone()).unwrap();
        assert_ne!(pictures.content_hash(), hash);
        std::fs::remove_file(&path).unwrap();
        assert!(pictures.batch(&[0]).unwrap_err().to_string().starts_with(&path.display().to_string()));
        assert!(Pictures::open(set).unwrap_err().to_string().contains("a.pgm: "));
    }

    #[test]
    fn the_hash_follows_all_that_makes_the_rows() -> Result<()> {
        let hash = |change: fn(&mut PictureSet)| {
            let mut set = set(&[]);
            change(&mut set);
            Pictures::open(set).unwrap().content_hash()
        };
        let changes: [fn(&mut PictureSet); 5] = [
            |s| s.frame.background = [1, 0, 0],
            |s| s.labels[3] = Some(1),
            |s| s.groups = Some(vec![0; 6]),
            |s| s.roles.test = vec![],
            |s| s.pictures[2] = Picture::bytes("picture 2", grey(7)),
        ];
        for change in changes {
            assert_ne!(hash(change), hash(|_| ()));
        }
        assert_eq!(hash(|s| s.pictures[2].name = "another name".into()), hash(|_| ()));
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let said = |change: fn(&mut PictureSet)| {
            let mut set = set(&[]);
            change(&mut set);
            Pictures::open(set).unwrap_err().to_string()
        };
        assert_eq!(said(|s| s.labels.truncate(5)), "six: 6 pictures, but 5 labels");
        assert_eq!(said(|s| s.groups = Some(vec![0])), "six: 1 groups for 6 rows");
        assert!(said(|s| s.labels[0] = Some(2)).contains("row 0: label 2 is out of range"));
        assert!(said(|s| s.frame.width = 0).starts_with("width: "));
    }
}
