//! [`Images`]: labelled images of one size, held as bytes in memory or read at their first use.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use transplant_core::{Batch, Dataset, Error, Result, Roles, Schema};

use super::image_rows::ImageRows;
use super::row_targets::RowTargets;

/// What the images of a data set look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The data set's name, for errors.
    pub name: String,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// The byte that stands for 1.0.
    pub highest: u8,
    /// Class names, in the order of the labels.
    pub classes: Vec<String>,
}

/// Images and their classes. The input [`HIDDEN`](transplant_core::HIDDEN) is `f32 [rows, channels, height, width]` in 0..1, the
/// target [`CLASS`](super::CLASS) `u32 [rows]`.
#[derive(Clone)]
pub struct Images {
    rows: ImageRows,
    /// The byte that stands for 1.0.
    highest: u8,
    pixels: Pixels,
    hash: String,
    licence: Option<String>,
}

#[derive(Clone)]
enum Pixels {
    Here(Arc<[u8]>),
    Later(Arc<Later>),
}

struct Later {
    load: Box<dyn Fn() -> Result<Vec<u8>> + Send + Sync>,
    loaded: Mutex<Option<Arc<[u8]>>>,
}

impl Images {
    /// Images whose `pixels` are in memory: row after row, each channel after channel, row-major. A label of `None` is
    /// missing.
    ///
    /// # Errors
    /// [`Error::Data`] when counts differ, a label is out of range or a role names a row that does not exist.
    pub fn new(layout: Layout, labels: Vec<Option<u32>>, pixels: Vec<u8>, roles: Roles) -> Result<Self> {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}", (&layout.shape, layout.highest, &layout.classes, &labels)));
        hash.update(&pixels);
        let hash = hex(&hash.finalize());
        let wanted = labels.len() * layout.shape.iter().product::<usize>();
        if pixels.len() != wanted {
            let [c, h, w] = layout.shape;
            let message =
                format!("{} pixel bytes, but {} labels of {c}x{h}x{w} need {wanted}", pixels.len(), labels.len());
            return Err(Error::data(&layout.name, None, message));
        }
        Self::with(layout, labels, Pixels::Here(pixels.into()), roles, hash)
    }

    /// Images whose pixels `load` reads when the first batch is asked for; `hash` stands for all of the content.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn lazy(
        layout: Layout,
        labels: Vec<Option<u32>>,
        roles: Roles,
        hash: String,
        load: impl Fn() -> Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let later = Later { load: Box::new(load), loaded: Mutex::new(None) };
        Self::with(layout, labels, Pixels::Later(Arc::new(later)), roles, hash)
    }

    fn with(layout: Layout, labels: Vec<Option<u32>>, pixels: Pixels, roles: Roles, hash: String) -> Result<Self> {
        let Layout { name, shape, highest, classes } = layout;
        let rows = ImageRows::new(name, shape, RowTargets::of_class(classes, labels), roles)?;
        Ok(Self { rows, highest, pixels, hash, licence: None })
    }

    /// Says to which group each row belongs; no group crosses a split.
    ///
    /// # Errors
    /// [`Error::Data`] when there is not one group a row.
    pub fn grouped(mut self, groups: Vec<u64>) -> Result<Self> {
        let mut hash = Sha256::new();
        hash.update(format!("{} {groups:?}", self.hash));
        self.hash = hex(&hash.finalize());
        self.rows.group(groups)?;
        Ok(self)
    }

    /// Says where the images come from and under which terms they may be used.
    #[must_use]
    pub fn licensed(mut self, licence: &str) -> Self {
        self.licence = Some(licence.to_owned());
        self
    }

    /// How many rows there are, all roles together.
    pub fn rows(&self) -> u64 {
        self.rows.rows()
    }

    fn pixels(&self) -> Result<Arc<[u8]>> {
        let later = match &self.pixels {
            Pixels::Here(bytes) => return Ok(bytes.clone()),
            Pixels::Later(later) => later,
        };
        let mut loaded = later.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = loaded.as_ref() {
            return Ok(bytes.clone());
        }
        let bytes: Arc<[u8]> = (later.load)()?.into();
        let wanted = self.rows.targets.rows() * self.rows.size();
        if bytes.len() != wanted {
            let message = format!("{} pixel bytes where {wanted} were announced; did the files change?", bytes.len());
            return Err(Error::data(&self.rows.name, None, message));
        }
        *loaded = Some(bytes.clone());
        Ok(bytes)
    }
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ImageRows { name, shape, .. } = &self.rows;
        let shown = &(name, shape, self.rows());
        f.debug_struct("Images").field("name, shape, rows", shown).finish_non_exhaustive()
    }
}

impl Dataset for Images {
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

    fn groups(&self) -> Option<&[u64]> {
        self.rows.groups.as_deref()
    }

    fn batch(&self, rows: &[u64]) -> Result<Batch> {
        self.rows.check_rows(rows)?;
        let (size, pixels) = (self.rows.size(), self.pixels()?);
        let bytes: Vec<&[u8]> = rows.iter().map(|r| &pixels[*r as usize * size..][..size]).collect();
        self.rows.batch(rows, &bytes, self.highest)
    }

    fn content_hash(&self) -> String {
        self.hash.clone()
    }

    fn licence(&self) -> Option<String> {
        self.licence.clone()
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CLASS;
    use transplant_core::HIDDEN;

    fn layout() -> Layout {
        let classes = vec!["a".to_owned(), "b".to_owned()];
        Layout { name: "tiny".to_owned(), shape: [1, 1, 2], highest: 10, classes }
    }

    fn tiny(labels: &[Option<u32>]) -> Result<Images> {
        let pixels = (0..labels.len() as u8 * 2).collect();
        let pool = (0..labels.len() as u64).collect();
        Images::new(layout(), labels.to_vec(), pixels, Roles { pool, ..Roles::default() })
    }

    #[test]
    fn a_batch_has_the_asked_rows_in_their_order() -> Result<()> {
        let batch = tiny(&[Some(0), Some(1), None])?.batch(&[2, 1])?;
        let x = batch.inputs.get(HIDDEN)?;
        assert_eq!(x.dims(), [2, 1, 1, 2]);
        assert_eq!(x.flatten_all()?.to_vec1::<f32>()?, [0.4, 0.5, 0.2, 0.3]);
        let class = batch.target(CLASS)?;
        assert_eq!(class.values.to_vec1::<u32>()?, [0, 1]);
        assert_eq!(class.present.as_ref().unwrap().to_vec1::<f32>()?, [0., 1.]);
        assert!(tiny(&[Some(0)])?.batch(&[0])?.target(CLASS)?.present.is_none());
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_named() -> Result<()> {
        let text = |r: Result<Images>| r.unwrap_err().to_string();
        assert_eq!(text(tiny(&[Some(0), Some(2)])), "tiny, row 1: label 2 is out of range: there are 2 classes");
        let short = Images::new(layout(), vec![Some(0)], vec![0], Roles::default());
        assert!(text(short).contains("1 pixel bytes"));
        let roles = Roles { test: vec![1], ..Roles::default() };
        assert!(text(Images::new(layout(), vec![None], vec![0, 0], roles)).contains("row 1"));
        assert!(text(tiny(&[None])?.grouped(vec![0, 1])).contains("2 groups for 1 rows"));
        assert!(tiny(&[None])?.batch(&[1]).unwrap_err().to_string().contains("tiny, row 1"));
        assert!(tiny(&[None])?.classes_of("age").unwrap_err().to_string().contains("`age`"));
        Ok(())
    }

    #[test]
    fn late_pixels_are_read_once_and_an_error_is_not_remembered() -> Result<()> {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = calls.clone();
        let images = Images::lazy(layout(), vec![Some(1)], Roles::default(), "h".to_owned(), move || {
            match seen.fetch_add(1, Ordering::SeqCst) {
                0 => Err(Error::contract("not yet")),
                1 => Ok(vec![1]),
                _ => Ok(vec![1, 10]),
            }
        })?;
        assert!(images.batch(&[0]).is_err());
        assert!(images.batch(&[0]).unwrap_err().to_string().contains("1 pixel bytes where 2"));
        for _ in 0..2 {
            let x = images.clone().batch(&[0])?.inputs.get(HIDDEN)?.flatten_all()?.to_vec1::<f32>()?;
            assert_eq!(x, [0.1, 1.0]);
        }
        assert_eq!(calls.load(Ordering::SeqCst), 3);
        assert_eq!(images.content_hash(), "h");
        Ok(())
    }

    #[test]
    fn the_hash_follows_the_content() -> Result<()> {
        let a = tiny(&[Some(0), Some(1)])?;
        assert_eq!(a.content_hash(), tiny(&[Some(0), Some(1)])?.content_hash());
        assert_ne!(a.content_hash(), tiny(&[Some(1), Some(1)])?.content_hash());
        assert_ne!(a.content_hash(), a.clone().grouped(vec![0, 0])?.content_hash());
        let licensed = a.clone().licensed("CC0");
        assert_eq!((licensed.content_hash(), licensed.licence()), (a.content_hash(), Some("CC0".to_owned())));
        Ok(())
    }
}
