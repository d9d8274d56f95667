//! The trainer's side of [`transplant_core::Pass`].

use std::collections::BTreeMap;

use candle_core::Tensor;
use transplant_core::{
    Error, Event, Features, Feed, HIDDEN, Listener, ModelInfo, Params, Pass, Result, Seeds, Target, Targets,
};

use crate::data::Data;
use crate::model::Model;

/// Rows whose features are computed at a time.
const CHUNK: usize = 256;

/// A boundary between phases or epochs.
pub(crate) struct BoundaryPass<'a> {
    pub(crate) model: &'a Model,
    pub(crate) info: ModelInfo,
    pub(crate) data: &'a Data,
    pub(crate) seeds: Seeds,
    pub(crate) listener: &'a mut dyn Listener,
}

impl Pass for BoundaryPass<'_> {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn params(&self) -> &Params {
        self.model.params()
    }

    fn features(&mut self, stream: &str) -> Result<Features> {
        if let Some(feed) = self.data.labelled.get(stream) {
            return features(self.model, &**feed);
        }
        let feed = self.data.unlabelled.get(stream);
        features(self.model, &**feed.ok_or_else(|| Error::contract(format!("there is no stream `{stream}`")))?)
    }

    fn seeds(&self) -> Seeds {
        self.seeds
    }

    fn note(&mut self, text: String) {
        self.listener.on(&Event::Note { text });
    }
}

fn features(model: &Model, feed: &dyn Feed) -> Result<Features> {
    let (mut values, mut targets) = (Vec::new(), BTreeMap::<String, Vec<Target>>::new());
    for rows in feed.rows().chunks(CHUNK) {
        let batch = feed.plain(rows)?;
        values.push(model.run_plain(&batch)?.features.get(HIDDEN)?.clone());
        for (name, t) in batch.targets {
            targets.entry(name).or_default().push(t);
        }
    }
    let targets = targets.into_iter().map(|(name, parts)| Ok((name, joined(&parts)?))).collect::<Result<Targets>>()?;
    Ok(Features { values: Tensor::cat(&values, 0)?, targets, rows: feed.rows().to_vec() })
}

/// Targets of rows, one after another.
pub(crate) fn joined(parts: &[Target]) -> Result<Target> {
    let values = Tensor::cat(&parts.iter().map(|t| t.values.clone()).collect::<Vec<_>>(), 0)?;
    let all: Option<Vec<Tensor>> = parts.iter().map(|t| t.present.clone()).collect();
    Ok(Target { values, present: all.map(|p| Tensor::cat(&p, 0)).transpose()? })
}
