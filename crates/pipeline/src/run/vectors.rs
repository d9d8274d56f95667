//! [`Vectors`]: rows as baselines without a network see them, gathered while a network is tested on the same rows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Tensor};
use transplant_core::{Batch, Feed, HIDDEN, Known, Result, Schema, rows_at_a_time};
use transplant_datasets::averaged;

/// Pictures that are wide are looked at as a grid of so many means a side.
pub(super) const GRID: usize = 16;

/// How a row of inputs becomes a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Whether pictures become a grid of means.
    pub(super) coarse: bool,
}

impl Look {
    /// The vectors of a batch: `f32 [rows, width]`.
    fn of(self, batch: &Batch) -> Result<Tensor> {
        let x = batch.inputs.get(HIDDEN)?;
        let x = if self.coarse { averaged(x, [GRID, GRID])? } else { x.clone() };
        Ok(x.flatten_from(1)?.to_dtype(DType::F32)?)
    }
}

/// What was made of the rows of one data set under one chain of transforms: cells that draw other rows of it, such as
/// those of folds, read none again.
#[derive(Debug, Default)]
pub(crate) struct Vectors {
    /// The place of each row among the values.
    places: HashMap<u64, usize>,
    /// The values, row after row.
    values: Vec<f32>,
}

/// Vectors that a feed adds to while it is read.
pub(crate) type Shared = Arc<Mutex<Vectors>>;

/// Vectors that nobody else changes meanwhile.
pub(super) fn locked(vectors: &Shared) -> MutexGuard<'_, Vectors> {
    // Rows are added whole, or not at all.
    vectors.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Vectors {
    /// All rows of a feed: `f32 [rows, width]`. Rows that are not known yet are read, some at a time.
    pub(super) fn read(&mut self, feed: &dyn Feed, look: Look) -> Result<Tensor> {
        let new: Vec<u64> = feed.rows().iter().copied().filter(|r| !self.places.contains_key(r)).collect();
        for rows in new.chunks(rows_at_a_time(feed.inputs())) {
            self.add(&feed.plain(rows)?, look)?;
        }
        let width = self.values.len() / self.places.len().max(1);
        let rows = feed.rows().iter().flat_map(|row| &self.values[self.places[row] * width..][..width]);
        Ok(Tensor::from_vec(rows.copied().collect(), (feed.rows().len(), width), &Device::Cpu)?)
    }

    /// Adds the rows of a batch that are not known yet.
    fn add(&mut self, batch: &Batch, look: Look) -> Result<()> {
        if batch.rows.iter().all(|row| self.places.contains_key(row)) {
            return Ok(());
        }
        let values = look.of(batch)?.to_vec2::<f32>()?;
        for (row, values) in batch.rows.iter().zip(values) {
            if !self.places.contains_key(row) {
                self.places.insert(*row, self.places.len());
                self.values.extend(values);
            }
        }
        Ok(())
    }
}

/// A feed whose rows are looked at as they are read for something else.
pub(super) struct Observed {
    pub(super) feed: Arc<dyn Feed>,
    pub(super) look: Look,
    pub(super) vectors: Shared,
}

impl Feed for Observed {
    fn inputs(&self) -> &Schema {
        self.feed.inputs()
    }

    fn targets(&self) -> &Schema {
        self.feed.targets()
    }

    fn rows(&self) -> &[u64] {
        self.feed.rows()
    }

    fn batches(&self) -> u64 {
        self.feed.batches()
    }

    fn order(&self, epoch: u64, index: u64) -> Result<Vec<u64>> {
        self.feed.order(epoch, index)
    }

    fn view(&self, rows: &[u64], epoch: u64) -> Result<Batch> {
        self.feed.view(rows, epoch)
    }

    fn plain(&self, rows: &[u64]) -> Result<Batch> {
        let batch = self.feed.plain(rows)?;
        if batch.select.is_none() {
            locked(&self.vectors).add(&batch, self.look)?;
        }
        Ok(batch)
    }

    fn known(&self, rows: &[u64]) -> Result<Option<Known>> {
        self.feed.known(rows)
    }

    fn views(&self) -> Option<u64> {
        self.feed.views()
    }
}
