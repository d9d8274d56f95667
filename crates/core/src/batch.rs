//! [`Batch`]: what a data set hands out for some of its rows.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, WithDType};

use crate::{Acts, Error, Result};

/// The known values of one target for the rows of a batch.
#[derive(Debug, Clone)]
pub struct Target {
    /// Values, first dimension = rows. Classes are `u32 [rows]`, numbers `f32 [rows]`.
    pub values: Tensor,
    /// 1 where the value is known, 0 where it is missing (`f32 [rows]`); `None` when all are known.
    pub present: Option<Tensor>,
}

impl Target {
    /// A target whose values are all known.
    pub fn known(values: Tensor) -> Self {
        Self { values, present: None }
    }

    /// Classes of rows, `None` where they are missing. On the CPU.
    ///
    /// # Errors
    /// When the tensor cannot be made.
    pub fn classes(labels: &[Option<u32>]) -> Result<Self> {
        Self::of(labels)
    }

    /// Numbers of rows, `None` where they are missing. On the CPU.
    ///
    /// # Errors
    /// When the tensor cannot be made.
    pub fn numbers(labels: &[Option<f32>]) -> Result<Self> {
        Self::of(labels)
    }

    fn of<T: WithDType + Default>(labels: &[Option<T>]) -> Result<Self> {
        let values = labels.iter().map(|l| l.unwrap_or_default()).collect();
        let mut target = Self::known(Tensor::from_vec(values, labels.len(), &Device::Cpu)?);
        if labels.iter().any(Option::is_none) {
            let present = labels.iter().map(|l| f32::from(u8::from(l.is_some()))).collect();
            target.present = Some(Tensor::from_vec(present, labels.len(), &Device::Cpu)?);
        }
        Ok(target)
    }

    /// Targets of rows, one after another.
    ///
    /// # Errors
    /// When there are none, or their shapes differ.
    pub fn joined(parts: &[Self]) -> Result<Self> {
        let values = Tensor::cat(&parts.iter().map(|t| t.values.clone()).collect::<Vec<_>>(), 0)?;
        if parts.iter().all(|t| t.present.is_none()) {
            return Ok(Self { values, present: None });
        }
        let present = parts.iter().map(|t| match &t.present {
            Some(present) => Ok(present.clone()),
            None => Tensor::ones(t.values.dim(0)?, DType::F32, t.values.device()),
        });
        let present = present.collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Self { values, present: Some(Tensor::cat(&present, 0)?) })
    }
}

/// Targets by name. Empty when the rows are used without labels.
pub type Targets = BTreeMap<String, Target>;

/// Inputs and targets of some rows.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Input tensors. Usually the first dimension is the rows; with [`select`](Self::select) it need not be.
    pub inputs: Acts,
    /// Targets by name; the first dimension is the rows.
    pub targets: Targets,
    /// Global row numbers in the data set, in order.
    pub rows: Vec<u64>,
    /// Where the rows stand in the network's output, `u32 [rows]`, when a batch holds more than its rows (all nodes of a
    /// graph, of which some are asked about). `None`: output row i is row i.
    pub select: Option<Tensor>,
}

impl Batch {
    /// A batch of independent rows.
    pub fn new(inputs: Acts, targets: Targets, rows: Vec<u64>) -> Self {
        Self { inputs, targets, rows, select: None }
    }

    /// The target of this name.
    ///
    /// # Errors
    /// When the batch has none, as all batches of unlabelled streams.
    pub fn target(&self, name: &str) -> Result<&Target> {
        self.targets.get(name).ok_or_else(|| {
            Error::contract(format!("the batch has no target `{name}`: the stream is unlabelled or lacks it"))
        })
    }
}
