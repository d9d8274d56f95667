//! The step that composed strategies see.

use std::collections::BTreeMap;
use std::rc::Rc;

use transplant_core::{Acts, Batch, Ctx, Forward, Params, Progress, Result, Seeds, Step, Targets, Term};

/// A step in which the supervised terms of a stream are made once, so that they can be told by their tensors.
pub(crate) struct Once<'a> {
    step: &'a mut dyn Step,
    streams: Vec<String>,
    /// Whether the part that asks named no stream: it means whichever there are.
    pub(crate) any_stream: bool,
    known: BTreeMap<String, Vec<Term>>,
}

impl<'a> Once<'a> {
    /// Around `step`, whose labelled streams are `streams`.
    pub(crate) fn new(step: &'a mut dyn Step, streams: Vec<String>) -> Self {
        Self { step, streams, any_stream: false, known: BTreeMap::new() }
    }

    fn of_stream(&mut self, stream: &str) -> Result<Vec<Term>> {
        if let Some(terms) = self.known.get(stream) {
            return Ok(terms.clone());
        }
        let terms = self.step.supervised(stream)?;
        self.known.insert(stream.to_owned(), terms.clone());
        Ok(terms)
    }
}

impl Step for Once<'_> {
    fn streams(&self) -> Vec<String> {
        self.step.streams()
    }
    fn batch(&self, stream: &str) -> Result<Rc<Batch>> {
        self.step.batch(stream)
    }
    fn forward(&mut self, stream: &str) -> Result<Rc<Forward>> {
        self.step.forward(stream)
    }
    fn forward_on(&mut self, inputs: Acts, stream: &str) -> Result<Forward> {
        self.step.forward_on(inputs, stream)
    }
    fn module(&mut self, name: &str, inputs: &Acts) -> Result<Acts> {
        self.step.module(name, inputs)
    }
    fn supervised(&mut self, stream: &str) -> Result<Vec<Term>> {
        if !self.any_stream {
            return self.of_stream(stream);
        }
        let mut out = Vec::new();
        for s in self.streams.clone() {
            out.extend(self.of_stream(&s)?);
        }
        Ok(out)
    }
    fn losses(&self, forward: &Forward, targets: &Targets) -> Result<Vec<Term>> {
        self.step.losses(forward, targets)
    }
    fn params(&self) -> &Params {
        self.step.params()
    }
    fn progress(&self) -> Progress {
        self.step.progress()
    }
    fn seeds(&self) -> Seeds {
        self.step.seeds()
    }
    fn ctx(&self) -> Ctx {
        self.step.ctx()
    }
}
