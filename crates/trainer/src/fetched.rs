//! [`Fetched`]: a batch of a stream for one step, with what the frozen prefix made of it.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use transplant_core::{Acts, Batch, Feed, Result, Target, Targets, scalar};

use crate::ahead::{Ahead, At};
use crate::data::Data;
use crate::kept::Kept;
use crate::model::on_device;
use crate::prefix::Tiles;

/// A stream of a fit.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a> {
    pub(crate) name: &'a str,
    pub(crate) feed: &'a Arc<dyn Feed>,
    pub(crate) labelled: bool,
}

/// All streams.
pub(crate) fn streams(data: &Data) -> impl Iterator<Item = Stream<'_>> {
    let labelled = data.labelled.iter().map(|(name, f)| Stream { name, feed: f.shared(), labelled: true });
    labelled.chain(data.unlabelled.iter().map(|(name, f)| Stream { name, feed: f.shared(), labelled: false }))
}

impl Stream<'_> {
    /// A batch as the model takes it.
    fn ready(&self, batch: Batch, device: &Device) -> Result<Batch> {
        let mut batch = on_device(batch, device)?;
        if !self.labelled {
            batch.targets.clear();
        }
        Ok(batch)
    }
}

/// The number of rows, of so many, whose target is known.
pub(crate) fn known_rows(target: &Target, rows: usize) -> Result<f64> {
    match &target.present {
        None => Ok(rows as f64),
        Some(present) => scalar(&present.to_dtype(DType::F32)?.sum_all()?),
    }
}

/// A stream's batch. Where the prefix's output was kept, its inputs are not read unless somebody asks for them.
pub(crate) struct Fetched<'a> {
    stream: Stream<'a>,
    epoch: u64,
    device: Device,
    /// All but the inputs.
    labels: Batch,
    whole: OnceCell<Rc<Batch>>,
    /// What the prefix puts out.
    pub(crate) acts: Acts,
}

impl<'a> Fetched<'a> {
    /// The batch at a position, from what was kept of the stream, or else read `ahead`.
    pub(crate) fn new(
        stream: Stream<'a>,
        at: At,
        tiles: &Tiles<'_>,
        (kept, ahead): (Option<&Kept>, &Ahead),
        device: &Device,
    ) -> Result<Self> {
        let (whole, device, epoch) = (OnceCell::new(), device.clone(), at.0);
        let rows = || stream.feed.order(at.0, at.1);
        if let Some((mut labels, acts)) = kept.map(|k| k.of(&rows()?, epoch)).transpose()?.flatten() {
            if !stream.labelled {
                labels.targets.clear();
            }
            return Ok(Self { stream, epoch, device, labels, whole, acts });
        }
        let batch = stream.ready(ahead.batch(at)?, &device)?;
        let acts = tiles.of(&batch)?;
        let labels = Batch { inputs: Acts::new(), ..batch.clone() };
        whole.set(Rc::new(batch)).ok();
        Ok(Self { stream, epoch, device, labels, whole, acts })
    }

    pub(crate) fn rows(&self) -> &[u64] {
        &self.labels.rows
    }

    pub(crate) fn targets(&self) -> &Targets {
        &self.labels.targets
    }

    /// Rows whose target of this name is known; 0 when there is none.
    pub(crate) fn known(&self, target: &str) -> Result<f64> {
        let rows = self.rows().len();
        self.targets().get(target).map_or(Ok(0.0), |t| known_rows(t, rows))
    }

    pub(crate) fn select(&self) -> Option<&Tensor> {
        self.labels.select.as_ref()
    }

    /// The batch with its inputs.
    pub(crate) fn batch(&self) -> Result<Rc<Batch>> {
        if let Some(batch) = self.whole.get() {
            return Ok(batch.clone());
        }
        let batch = self.stream.feed.view(self.rows(), self.epoch)?;
        let batch = Rc::new(self.stream.ready(batch, &self.device)?);
        Ok(self.whole.get_or_init(|| batch).clone())
    }
}
