//! The trainer's side of [`transplant_core::Pass`].

use std::collections::BTreeMap;

use candle_core::Tensor;
use transplant_core::{Error, Event, Features, Feed, HIDDEN, ModelInfo, Params, Pass, Result, Seeds, Target, Targets};

use crate::data::{Data, Io};
use crate::keeper::keep_features;
use crate::model::Model;

/// Rows whose features are computed at a time.
const CHUNK: usize = 256;

/// A boundary between phases or epochs.
pub(crate) struct BoundaryPass<'a, 'io> {
    pub(crate) model: &'a Model,
    pub(crate) info: ModelInfo,
    pub(crate) data: &'a Data,
    pub(crate) seeds: Seeds,
    pub(crate) io: &'a mut Io<'io>,
}

impl Pass for BoundaryPass<'_, '_> {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn params(&self) -> &Params {
        self.model.params()
    }

    fn features(&mut self, stream: &str) -> Result<Features> {
        if let Some(feed) = self.data.labelled.get(stream) {
            return features(self.model, stream, &**feed, self.io);
        }
        let feed = self.data.unlabelled.get(stream);
        let feed = feed.ok_or_else(|| Error::contract(format!("there is no stream `{stream}`")))?;
        features(self.model, stream, &**feed, self.io)
    }

    fn seeds(&self) -> Seeds {
        self.seeds
    }

    fn note(&mut self, text: String) {
        self.io.listener.on(&Event::Note { text });
    }
}

fn features(model: &Model, stream: &str, feed: &dyn Feed, io: &mut Io<'_>) -> Result<Features> {
    let kept = keep_features(model, stream, feed, io)?;
    let (mut values, mut targets) = (Vec::new(), BTreeMap::<String, Vec<Target>>::new());
    for rows in feed.rows().chunks(CHUNK) {
        let (batch, forward) = model.run_kept(kept.as_ref(), feed, rows)?;
        values.push(forward.features.get(HIDDEN)?.clone());
        for (name, t) in batch.targets {
            targets.entry(name).or_default().push(t);
        }
    }
    let targets =
        targets.into_iter().map(|(name, parts)| Ok((name, Target::joined(&parts)?))).collect::<Result<Targets>>()?;
    Ok(Features { values: Tensor::cat(&values, 0)?, targets, rows: feed.rows().to_vec() })
}
