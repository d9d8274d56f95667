//! [`Feed`]: batches of a stream at any position, and [`Fed`], which remembers the role of its rows.

use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::{Batch, Error, Field, Fingerprint, Result, Schema, Targets, Test, Train, Unlabelled, Validation};

/// Batches of a stream. What a batch holds is a function of its position alone, so any position can be reached at once,
/// from any thread.
pub trait Feed: Send + Sync {
    /// What the inputs of a batch are, transforms included.
    fn inputs(&self) -> &Schema;

    /// What the targets of a batch are.
    fn targets(&self) -> &Schema;

    /// All rows of the stream, in the fixed order of the split.
    fn rows(&self) -> &[u64];

    /// Batches in an epoch.
    fn batches(&self) -> u64;

    /// The rows of training batch `index` of `epoch`, shuffled.
    ///
    /// # Errors
    /// When the epoch has no such batch.
    fn order(&self, epoch: u64, index: u64) -> Result<Vec<u64>>;

    /// These rows as `epoch` shows them, random transforms applied.
    ///
    /// # Errors
    /// When a row cannot be read or a transform fails.
    fn view(&self, rows: &[u64], epoch: u64) -> Result<Batch>;

    /// Training batch `index` of `epoch`.
    ///
    /// # Errors
    /// When the epoch has no such batch, a row cannot be read or a transform fails.
    fn batch(&self, epoch: u64, index: u64) -> Result<Batch> {
        self.view(&self.order(epoch, index)?, epoch)
    }

    /// These rows without any randomness, as for an evaluation.
    ///
    /// # Errors
    /// When a row cannot be read or a transform fails.
    fn plain(&self, rows: &[u64]) -> Result<Batch>;

    /// What is known of these rows as [`plain`](Self::plain) would give them, without reading their inputs; `None`: nothing.
    ///
    /// # Errors
    /// When targets cannot be read.
    fn known(&self, rows: &[u64]) -> Result<Option<Known>> {
        let _ = rows;
        Ok(None)
    }

    /// How many views of a row there are: epoch e shows view e modulo this. `Some(1)` without random transforms, `None` when
    /// each epoch shows another.
    fn views(&self) -> Option<u64>;
}

/// What is known of rows before their inputs are read.
#[derive(Debug, Clone)]
pub struct Known {
    /// Fingerprints of their inputs, transforms included, in the order of the rows.
    pub fingerprints: Vec<Fingerprint>,
    /// Their targets.
    pub targets: Targets,
}

/// Rows to read at a time where all are gone through: some megabytes of inputs, so that the next ones find memory that these
/// have used; a multiple of 32.
pub fn rows_at_a_time(inputs: &Schema) -> usize {
    const VALUES: usize = 4 << 20;
    let values = |field: &Field| match field {
        Field::Image { channels, height, width } => channels * height * width,
        Field::Vector { width } => *width,
        _ => 0,
    };
    let of_row = inputs.values().map(values).sum::<usize>();
    (VALUES / of_row.max(1) / 32 * 32).clamp(32, 256)
}

/// A role that rows may have.
pub trait RowRole {
    /// The rows of the split.
    fn rows(&self) -> &[u64];
}

macro_rules! roles {
    ($($role:ty),*) => { $(impl RowRole for $role {
        fn rows(&self) -> &[u64] {
            Self::rows(self)
        }
    })* };
}
roles!(Train, Validation, Test, Unlabelled);

/// A feed over rows of one role: what takes `Fed<Train>` is given no row but those of a [`Train`] split.
pub struct Fed<R> {
    feed: Arc<dyn Feed>,
    role: PhantomData<fn(&R)>,
}

impl<R: RowRole> Fed<R> {
    /// A feed over rows of this split.
    ///
    /// # Errors
    /// When the feed has a row that is none of the split's.
    pub fn new(split: &R, feed: Arc<dyn Feed>) -> Result<Self> {
        if feed.rows() != split.rows() {
            let rows: HashSet<u64> = split.rows().iter().copied().collect();
            if let Some(row) = feed.rows().iter().find(|row| !rows.contains(row)) {
                return Err(Error::contract(format!(
                    "a feed has row {row}, which is not in the split it was made for"
                )));
            }
        }
        Ok(Self { feed, role: PhantomData })
    }
}

impl<R> Fed<R> {
    /// The feed itself, for a thread that reads it on its own; its type says nothing of the role any more.
    pub fn shared(&self) -> &Arc<dyn Feed> {
        &self.feed
    }
}

impl<R> Clone for Fed<R> {
    fn clone(&self) -> Self {
        Self { feed: self.feed.clone(), role: PhantomData }
    }
}

impl<R> std::ops::Deref for Fed<R> {
    type Target = dyn Feed;

    fn deref(&self) -> &Self::Target {
        self.feed.as_ref()
    }
}
