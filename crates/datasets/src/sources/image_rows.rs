//! What [`Images`](super::Images) and [`Pictures`](super::Pictures) share: schema, roles, labels and groups of rows that are
//! images, and a batch of them from bytes.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use transplant_core::{Acts, Batch, Error, Field, HIDDEN, Result, Roles, Schema};
use transplant_kernels::parallel;

use super::row_targets::RowTargets;

/// The name of the target of a source that has only one, of classes.
pub const CLASS: &str = "class";

/// Rows that are brought to f32 by one thread at a time.
const ROWS_PER_TASK: usize = 16;

/// Rows that are images of one shape, with labels.
#[derive(Debug, Clone)]
pub(super) struct ImageRows {
    /// The data set's name, for errors.
    pub(super) name: String,
    /// Channels, height, width.
    pub(super) shape: [usize; 3],
    pub(super) inputs: Schema,
    pub(super) targets: RowTargets,
    pub(super) roles: Roles,
    pub(super) groups: Option<Vec<u64>>,
}

impl ImageRows {
    /// # Errors
    /// [`Error::Data`] when a label is out of range or a role names a row that does not exist.
    pub(super) fn new(name: String, shape: [usize; 3], targets: RowTargets, roles: Roles) -> Result<Self> {
        targets.check(&name)?;
        let rows = targets.rows() as u64;
        if let Some(row) = roles.pool.iter().chain(&roles.validation).chain(&roles.test).find(|r| **r >= rows) {
            return Err(Error::data(name, Some(*row), format!("a role names it, but there are {rows} rows")));
        }
        let [channels, height, width] = shape;
        let inputs = BTreeMap::from([(HIDDEN.to_owned(), Field::Image { channels, height, width })]);
        Ok(Self { name, shape, inputs, targets, roles, groups: None })
    }

    /// # Errors
    /// [`Error::Data`] when there is not one group a row.
    pub(super) fn group(&mut self, groups: Vec<u64>) -> Result<()> {
        if groups.len() != self.targets.rows() {
            let message = format!("{} groups for {} rows", groups.len(), self.targets.rows());
            return Err(Error::data(&self.name, None, message));
        }
        self.groups = Some(groups);
        Ok(())
    }

    pub(super) fn rows(&self) -> u64 {
        self.targets.rows() as u64
    }

    /// Values of a row.
    pub(super) fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// # Errors
    /// [`Error::Data`] when a row does not exist.
    pub(super) fn check_rows(&self, rows: &[u64]) -> Result<()> {
        match rows.iter().find(|r| **r >= self.rows()) {
            Some(row) => Err(Error::data(&self.name, Some(*row), format!("no such row: there are {}", self.rows()))),
            None => Ok(()),
        }
    }

    /// A batch of rows that exist: `bytes` has their values, one slice a row, and `highest` stands for 1.0.
    pub(super) fn batch(&self, rows: &[u64], bytes: &[&[u8]], highest: u8) -> Result<Batch> {
        let ([channels, height, width], size, highest) = (self.shape, self.size(), f32::from(highest));
        let mut values = vec![0f32; rows.len() * size];
        parallel::chunks_mut(&mut values, size.max(1) * ROWS_PER_TASK, &|i, out| {
            for (out, bytes) in out.chunks_mut(size.max(1)).zip(&bytes[i * ROWS_PER_TASK..]) {
                for (o, p) in out.iter_mut().zip(*bytes) {
                    *o = f32::from(*p) / highest;
                }
            }
        });
        let images = Tensor::from_vec(values, (rows.len(), channels, height, width), &Device::Cpu)?;
        Ok(Batch::new(Acts::hidden(images), self.targets.of(&self.name, rows)?, rows.to_vec()))
    }
}
