//! [`Dataset`], its [`Schema`], and the roles of its rows as types.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Batch, Columns, Finding, Frame, Invalid, Result};

/// What a named tensor or target holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Field {
    /// `f32 [rows, channels, height, width]`, values in 0..1 unless a transform says otherwise.
    Image {
        /// Colour channels.
        channels: usize,
        /// Rows of pixels.
        height: usize,
        /// Columns of pixels.
        width: usize,
    },
    /// `f32 [rows, width]`.
    Vector {
        /// Columns.
        width: usize,
    },
    /// `f32 [rows, time, width]` with a `f32 [rows, time]` mask beside it.
    Sequence {
        /// Values a step.
        width: usize,
    },
    /// A text, `u8 [rows, bytes]`: UTF-8, filled up with zeros to the longest of the rows. Under [`TEXT`](crate::TEXT).
    Text,
    /// Pieces of a text by their numbers, `u32 [rows, length]`, with a mask `f32 [rows, length]` beside it under
    /// [`MASK`](crate::MASK): 1 where there is a piece, 0 where the row is filled up with 0. Under
    /// [`TOKENS`](crate::TOKENS).
    Tokens {
        /// Pieces a row, filled up.
        length: usize,
        /// How many different numbers there are.
        vocabulary: usize,
    },
    /// Any other tensor a network and a data set agree on (edges of a graph); sizes a row, `None` = any.
    Tensor {
        /// Sizes of the dimensions after the first.
        sizes: Vec<Option<usize>>,
    },
    /// A target: one of these classes, `u32 [rows]`.
    Class {
        /// Names, in the order of the numbers.
        names: Vec<String>,
    },
    /// A target: one number a row, `f32 [rows]`.
    Number,
}

impl Field {
    /// What a task predicts that learns it, in words: `one of 3 classes`, `a number`.
    pub fn learned_as(&self) -> String {
        match self {
            Self::Class { names } => format!("one of {} classes", names.len()),
            Self::Number => "a number".to_owned(),
            _ => "something else".to_owned(),
        }
    }
}

/// A word that is known of every row without reading its inputs, and is no target: the domain it comes from, the part
/// of a division it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The different words.
    pub names: Vec<String>,
    /// The number of each row's word among them; `None`: not known.
    pub of: Vec<Option<u32>>,
}

impl Fact {
    /// The fact of a word a row, numbered in alphabetical order.
    pub fn of_words<'a>(words: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let words: Vec<Option<&str>> = words.into_iter().collect();
        let names: BTreeSet<&str> = words.iter().flatten().copied().collect();
        let numbers: BTreeMap<&str, u32> = names.iter().copied().zip(0..).collect();
        let of = words.iter().map(|w| w.map(|w| numbers[w])).collect();
        Self { names: names.into_iter().map(str::to_owned).collect(), of }
    }

    /// The word of a row.
    pub fn word(&self, row: u64) -> Option<&str> {
        let number = self.of.get(row as usize).copied().flatten()?;
        self.names.get(number as usize).map(String::as_str)
    }
}

/// A SHA-256 by which rows are told apart.
pub type Fingerprint = [u8; 32];

/// The fact that says which domain a row comes from.
pub const DOMAIN: &str = "domain";

/// Fields by name.
pub type Schema = BTreeMap<String, Field>;

/// The rows a data set offers for each role. Without an official test part the data set fixes one itself, independent of
/// any seed, so that every draw and every label budget is measured on the same rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    /// Rows that may be trained on or drawn for validation.
    pub pool: Vec<u64>,
    /// An official validation part, when there is one.
    pub validation: Vec<u64>,
    /// The test part.
    pub test: Vec<u64>,
}

/// A source of rows.
pub trait Dataset: Send + Sync {
    /// The inputs of a batch.
    fn inputs(&self) -> &Schema;

    /// The targets of a batch.
    fn targets(&self) -> &Schema;

    /// Rows by role.
    fn roles(&self) -> &Roles;

    /// The class of every row for a target, `None` where it is missing; read without decoding the inputs.
    ///
    /// # Errors
    /// When the data set has no such target or it is not a class.
    fn classes_of(&self, target: &str) -> Result<Vec<Option<u32>>>;

    /// The number of every row for a target that is a [`Field::Number`], `None` where it is missing; read without
    /// decoding the inputs. Rows are drawn by it where no task learns classes. A wrapper forwards it.
    ///
    /// # Errors
    /// When the data set has no such target or it is not a number.
    fn numbers_of(&self, target: &str) -> Result<Vec<Option<f32>>> {
        Err(Invalid::key("target", format!("the data set does not say the numbers of a target `{target}`")).into())
    }

    /// For every row the group it belongs to; no group may cross a split. `None`: every row stands alone.
    fn groups(&self) -> Option<&[u64]> {
        None
    }

    /// A fact of every row by its name, [`DOMAIN`] or another that the data set has. Targets are none, so that streams
    /// without labels may be chosen by facts. `None`: it has no such fact. A wrapper forwards those of its data set.
    fn fact(&self, name: &str) -> Option<&Fact> {
        let _ = name;
        None
    }

    /// Inputs and targets of these rows, in this order.
    ///
    /// # Errors
    /// When a row cannot be read; the error names it.
    fn batch(&self, rows: &[u64]) -> Result<Batch>;

    /// A hash of the content, for the lock file and caches.
    fn content_hash(&self) -> String;

    /// A fingerprint of a row's inputs, where it is known without reading them: that of another row is the same when its inputs
    /// are, and only then. `None`: the inputs have to be read.
    fn fingerprint(&self, row: u64) -> Option<Fingerprint> {
        let _ = row;
        None
    }

    /// A hash of the file that a row was read from, where each row has one of its own: a picture is known by it in another size.
    /// `None`: it has none.
    fn file_hash(&self, row: u64) -> Option<Fingerprint> {
        let _ = row;
        None
    }

    /// What its user should know about it: names that are probably no classes, files and rows that are left out. Found when the
    /// data set is opened; whatever a division or the transforms add is found elsewhere. A wrapper forwards those of its data set.
    fn findings(&self) -> Vec<Finding> {
        Vec::new()
    }

    /// A hash of the record that a row was read from: of its file's content and its place in it. A row is known by it
    /// where other columns of the record are its inputs. `None`: records have no place of their own.
    fn record_hash(&self, row: u64) -> Option<Fingerprint> {
        let _ = row;
        None
    }

    /// What a row is called where it comes from: the path of its file below the folder, the word in its column `id`,
    /// otherwise the beginning of a hash of its content. Outputs name rows by it, since a number changes when rows are
    /// added. `None`: it has no name.
    fn row_name(&self, row: u64) -> Option<String> {
        let _ = row;
        None
    }

    /// A hash of the name of a row's group, or, without groups, of the row's own name where a column gives it one; the
    /// same whatever other rows there are. A hashed division goes by it. `None`: there is no such name.
    fn group_key(&self, row: u64) -> Option<Fingerprint> {
        let _ = row;
        None
    }

    /// What each value of a row is, where rows are vectors and that is known; empty elsewhere.
    fn column_names(&self) -> &[String] {
        &[]
    }

    /// The data set with all that it fits to rows (the means that stand for missing numbers, the levels of categories)
    /// fitted to those of one cell. The pipeline calls it once a cell, after its rows were drawn and before anything is
    /// trained.
    ///
    /// `learned` are the rows whose labels are learned from, `pool` those that draws and budgets choose from. What
    /// decides the width of a row follows from `pool`, so that all draws have one; everything else from `learned`.
    /// No other row may be looked at: test rows are among them. `None`: it fits nothing.
    ///
    /// # Errors
    /// When these rows are not enough to fit to.
    fn fitted(&self, pool: &[u64], learned: &[u64]) -> Result<Option<Arc<dyn Dataset>>> {
        let _ = (pool, learned);
        Ok(None)
    }

    /// Where the content comes from and under which terms it may be used, for what is made from it; `None`: not known.
    fn licence(&self) -> Option<String> {
        None
    }

    /// How its rows were made from those of a table: what `predict` has to do with a new table before the transforms. Called once
    /// for each model that is saved. `None`: its rows are not from a table.
    fn columns(&self) -> Option<Columns> {
        None
    }

    /// How its pictures, which had any size, became rows: what `predict` has to do with a new picture before the transforms.
    /// `None`: the rows are no pictures, or had one size from the start.
    fn frame(&self) -> Option<Frame> {
        None
    }
}

/// Rows of a data set that serve one purpose.
#[derive(Clone)]
pub struct Split {
    /// The data set.
    pub dataset: Arc<dyn Dataset>,
    /// Its rows, in order.
    pub rows: Vec<u64>,
}

impl std::fmt::Debug for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Split({} rows)", self.rows.len())
    }
}

macro_rules! role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(Split);

        impl $name {
            /// Rows of a data set in this role.
            pub fn new(dataset: Arc<dyn Dataset>, rows: Vec<u64>) -> Self {
                Self(Split { dataset, rows })
            }

            /// The data set.
            pub fn dataset(&self) -> &Arc<dyn Dataset> {
                &self.0.dataset
            }

            /// The rows.
            pub fn rows(&self) -> &[u64] {
                &self.0.rows
            }
        }
    };
}

role!(
    /// Rows whose labels may be learned from.
    Train
);
role!(
    /// Rows whose labels may be used to choose.
    Validation
);
role!(
    /// Rows that only an evaluation reads, once.
    Test
);
role!(
    /// Rows without labels: their targets are dropped wherever a batch is made.
    Unlabelled
);

impl Train {
    /// A batch with its labels.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn batch(&self, rows: &[u64]) -> Result<Batch> {
        self.0.dataset.batch(rows)
    }
}

impl Validation {
    /// A batch with its labels.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn batch(&self, rows: &[u64]) -> Result<Batch> {
        self.0.dataset.batch(rows)
    }
}

impl Test {
    /// A batch with its labels.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn batch(&self, rows: &[u64]) -> Result<Batch> {
        self.0.dataset.batch(rows)
    }
}

impl Unlabelled {
    /// A batch without targets.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn batch(&self, rows: &[u64]) -> Result<Batch> {
        let mut batch = self.0.dataset.batch(rows)?;
        batch.targets.clear();
        Ok(batch)
    }
}
