//! What [`Images`](super::Images) and [`Pictures`](super::Pictures) share: schema, roles, labels and groups of rows that are
//! images, and a batch of them from bytes.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use transplant_core::{Acts, Batch, Error, Field, HIDDEN, Invalid, Result, Roles, Schema, Target};
use transplant_kernels::parallel;

/// The name of the target of every image source.
pub const CLASS: &str = "class";

/// Rows that are brought to f32 by one thread at a time.
const ROWS_PER_TASK: usize = 16;

/// Rows that are images of one shape, each of a class.
#[derive(Debug, Clone)]
pub(super) struct ImageRows {
    /// The data set's name, for errors.
    pub(super) name: String,
    /// Channels, height, width.
    pub(super) shape: [usize; 3],
    pub(super) inputs: Schema,
    pub(super) targets: Schema,
    pub(super) roles: Roles,
    pub(super) labels: Vec<Option<u32>>,
    pub(super) groups: Option<Vec<u64>>,
}

impl ImageRows {
    /// # Errors
    /// [`Error::Data`] when a label is out of range or a role names a row that does not exist.
    pub(super) fn new(
        name: String,
        shape: [usize; 3],
        classes: Vec<String>,
        labels: Vec<Option<u32>>,
        roles: Roles,
    ) -> Result<Self> {
        let (rows, count) = (labels.len() as u64, classes.len());
        for (row, label) in (0..).zip(&labels) {
            if let Some(label) = label.filter(|l| *l as usize >= count) {
                let message = format!("label {label} is out of range: there are {count} classes");
                return Err(Error::data(name, Some(row), message));
            }
        }
        if let Some(row) = roles.pool.iter().chain(&roles.validation).chain(&roles.test).find(|r| **r >= rows) {
            return Err(Error::data(name, Some(*row), format!("a role names it, but there are {rows} rows")));
        }
        let [channels, height, width] = shape;
        let inputs = BTreeMap::from([(HIDDEN.to_owned(), Field::Image { channels, height, width })]);
        let targets = BTreeMap::from([(CLASS.to_owned(), Field::Class { names: classes })]);
        Ok(Self { name, shape, inputs, targets, roles, labels, groups: None })
    }

    /// # Errors
    /// [`Error::Data`] when there is not one group a row.
    pub(super) fn group(&mut self, groups: Vec<u64>) -> Result<()> {
        if groups.len() != self.labels.len() {
            let message = format!("{} groups for {} rows", groups.len(), self.labels.len());
            return Err(Error::data(&self.name, None, message));
        }
        self.groups = Some(groups);
        Ok(())
    }

    pub(super) fn rows(&self) -> u64 {
        self.labels.len() as u64
    }

    /// Values of a row.
    pub(super) fn size(&self) -> usize {
        self.shape.iter().product()
    }

    pub(super) fn classes_of(&self, target: &str) -> Result<Vec<Option<u32>>> {
        if target == CLASS {
            return Ok(self.labels.clone());
        }
        Err(Invalid::key("target", format!("data set `{}` has no target `{target}`, only `{CLASS}`", self.name)).into())
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
        let labels: Vec<_> = rows.iter().map(|r| self.labels[*r as usize]).collect();
        let target = Target::classes(&labels)?;
        Ok(Batch::new(Acts::hidden(images), BTreeMap::from([(CLASS.to_owned(), target)]), rows.to_vec()))
    }
}
