//! The trainer's side of [`transplant_core::Pass`].

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use transplant_core::{
    Error, Event, Features, Feed, HIDDEN, ModelInfo, Params, Pass, Phase, Result, Seeds, Target, Targets,
    rows_at_a_time,
};

use crate::data::{Data, Io};
use crate::keeper::keep_features;
use crate::model::Model;

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
    Ok(Features { values: stacked(&values)?, targets, rows: feed.rows().to_vec() })
}

/// Features of rows, one after another; texts, each batch as wide as its longest, are filled up with zeros.
fn stacked(parts: &[Tensor]) -> Result<Tensor> {
    if !parts.iter().all(|t| t.dtype() == DType::U8 && t.rank() == 2) {
        return Ok(Tensor::cat(parts, 0)?);
    }
    let width = parts.iter().map(|t| t.dims()[1]).max().unwrap_or_default();
    let filled = parts.iter().map(|t| t.pad_with_zeros(1, 0, width - t.dims()[1]));
    Ok(Tensor::cat(&filled.collect::<candle_core::Result<Vec<_>>>()?, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn texts_of_several_batches_are_filled_up_to_the_longest_and_numbers_are_not() -> Result<()> {
        let texts = [Tensor::new(&[*b"ab"], &Device::Cpu)?, Tensor::new(&[*b"cdef", *b"g\0\0\0"], &Device::Cpu)?];
        assert_eq!(stacked(&texts)?.to_vec2::<u8>()?, [*b"ab\0\0", *b"cdef", *b"g\0\0\0"]);
        let numbers = [Tensor::new(&[[1f32]], &Device::Cpu)?, Tensor::new(&[[2f32, 3.0]], &Device::Cpu)?];
        assert!(stacked(&numbers).is_err());
        Ok(())
    }
}
