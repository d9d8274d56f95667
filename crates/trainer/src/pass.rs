//! The trainer's side of [`transplant_core::Pass`].

use std::collections::BTreeMap;

use transplant_core::{
    Batch, Ctx, Error, Event, Features, Feed, Gradients, HIDDEN, Mode, ModelInfo, Params, Pass, Phase, Recording,
    Result, Seeds, StreamNeed, Target, Targets, backward_last, join_rows, rows_at_a_time,
};

use crate::data::{Data, Io};
use crate::keeper::keep_features;
use crate::model::{Model, Network, on_device};
use crate::step::losses;

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

    fn phases(&self) -> &[Phase] {
        self.model.phases()
    }

    fn streams(&self) -> Vec<StreamNeed> {
        self.data.streams()
    }

    fn gradients(
        &mut self,
        stream: &str,
        rows: usize,
        each: &mut dyn FnMut(usize, Gradients) -> Result<()>,
    ) -> Result<()> {
        let feed = self.data.labelled.get(stream);
        let feed = feed.ok_or_else(|| Error::contract(format!("there is no labelled stream `{stream}`")))?;
        let network = self.model.network(self.model.adapters.clone())?;
        let learned = |name: &str| self.model.params().find(name).is_some_and(|p| p.role.learned());
        let places = Gradients::new(self.model.params(), learned);
        for rows in feed.rows().chunks(rows.max(1)) {
            let batch = on_device(feed.plain(rows)?, self.model.params().device())?;
            each(rows.len(), gradients(self.model, &network, stream, &batch, places.clone())?)?;
        }
        Ok(())
    }

    fn features(&mut self, stream: &str) -> Result<Features> {
        if let Some(feed) = self.data.labelled.get(stream) {
            return features(self.model, stream, &**feed, self.io);
        }
        let feed = self.data.unlabelled.get(stream);
        let feed = feed.ok_or_else(|| Error::contract(format!("there is no stream `{stream}`")))?;
        // Whatever the feed hands out, labels of this stream are not for the strategy.
        Ok(Features { targets: Targets::new(), ..features(self.model, stream, &**feed, self.io)? })
    }

    fn seeds(&self) -> Seeds {
        self.seeds
    }

    fn note(&mut self, text: String) {
        self.io.listener.on(&Event::Note { text });
    }
}

/// The gradients of the mean supervised loss of some rows, in evaluation mode.
fn gradients(model: &Model, network: &Network, stream: &str, batch: &Batch, mut g: Gradients) -> Result<Gradients> {
    let _recording = Recording::start()?;
    let mut cx = Ctx::new(Mode::Eval, stream, 0, &batch.rows, model.parts.seeds);
    let forward = network.forward(batch.inputs.clone(), 0, batch.select.as_ref(), &mut cx)?;
    let terms = losses(model.tasks(), &forward, &batch.targets)?;
    let sum = terms.into_iter().map(|t| Ok(t.value)).reduce(|a: Result<_>, b| Ok((a? + b?)?));
    let sum = sum.ok_or_else(|| Error::contract(format!("stream `{stream}` has no target that a task learns")))?;
    backward_last(&sum?, &mut g)?;
    Ok(g)
}

fn features(model: &Model, stream: &str, feed: &dyn Feed, io: &mut Io<'_>) -> Result<Features> {
    let kept = keep_features(model, stream, feed, io)?;
    let (mut values, mut targets) = (Vec::new(), BTreeMap::<String, Vec<Target>>::new());
    for rows in feed.rows().chunks(rows_at_a_time(feed.inputs())) {
        let (batch, forward) = model.run_kept(kept.as_ref(), feed, rows)?;
        values.push(forward.features.get(HIDDEN)?.clone());
        for (name, t) in batch.targets {
            targets.entry(name).or_default().push(t);
        }
    }
    let joined = |(name, parts): (String, Vec<Target>)| Ok((name, Target::joined(&parts)?));
    let targets = targets.into_iter().map(joined).collect::<Result<Targets>>()?;
    Ok(Features { values: join_rows(&values)?, targets, rows: feed.rows().to_vec() })
}
