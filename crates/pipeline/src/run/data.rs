//! Data sets of a run: opened once, split for each cell, fed through their transforms.

use std::sync::Arc;

use transplant_core::{
    BuildCx, Dataset, Error, Field, Finding, FindingKind, Invalid, Result, Schema, Seeds, Spec, Transform,
};
use transplant_datasets::{Chain, Draw, LoaderOptions, Parts};

use super::parts::Components;
use crate::at;
use crate::resolved::{Cell, DatasetSpec};

/// An open data set.
pub struct Opened {
    /// Its rows.
    pub dataset: Arc<dyn Dataset>,
    /// Hash of its content.
    pub hash: String,
    /// Deterministic transforms.
    pub transforms: Vec<Arc<dyn Transform>>,
    /// Random transforms.
    pub augment: Vec<Arc<dyn Transform>>,
    /// The deterministic transforms as the file, or weights, list them, where they depend on nothing else.
    pub identity: Option<String>,
    /// Whether training batches pass through random transforms.
    pub random: bool,
    /// What the network is given, transforms included.
    pub inputs: Schema,
}

impl Opened {
    /// The same with more transforms behind its own.
    pub(crate) fn followed_by(&self, more: &[Spec<dyn Transform>], cx: &BuildCx<'_>) -> Result<Self> {
        let transforms = [self.transforms.clone(), make(more, "transforms", cx)?].concat();
        let inputs = Chain::new(transforms.clone(), Vec::new())?.schema(self.dataset.inputs())?;
        let (dataset, hash, augment) = (self.dataset.clone(), self.hash.clone(), self.augment.clone());
        let identity = self.identity.as_ref().and_then(|before| Some(before.clone() + &identity(more, &transforms)?));
        Ok(Self { dataset, hash, transforms, augment, identity, random: self.random, inputs })
    }

    /// How batches are made of it.
    pub fn loader(&self, batch_size: usize, seeds: Seeds) -> LoaderOptions {
        let (transforms, augment) = (self.transforms.clone(), self.augment.clone());
        LoaderOptions { transforms, augment, seeds, identity: self.identity.clone(), ..LoaderOptions::new(batch_size) }
    }
}

/// Opens a data set: headers and labels are read, schemas carried through the transforms. Key paths of errors start at its
/// section.
pub(crate) fn open(spec: &DatasetSpec, cx: &BuildCx<'_>) -> Result<Opened> {
    let dataset: Arc<dyn Dataset> = cx.make(&spec.source).map_err(at(""))?.into();
    let transforms = make(&spec.transforms, "transforms", cx)?;
    let augment = make(&spec.augment, "augment", cx)?;
    let inputs = Chain::new(transforms.clone(), Vec::new())?.schema(dataset.inputs())?;
    let chain = Chain::new(transforms.clone(), augment.clone())?;
    if chain.schema(dataset.inputs())? != inputs {
        return Err(Invalid::key("augment", "changes the shape of the inputs")
            .help("list it under `transforms`")
            .into());
    }
    let random = chain.random();
    let hash = dataset.content_hash();
    let identity = identity(&spec.transforms, &transforms);
    Ok(Opened { dataset, hash, transforms, augment, identity, random, inputs })
}

/// What tells transforms from others: their options; `None` when one of them reads a file, too.
fn identity(specs: &[Spec<dyn Transform>], made: &[Arc<dyn Transform>]) -> Option<String> {
    if made.iter().any(|t| t.carried().is_some()) {
        return None;
    }
    serde_json::to_string(specs).ok()
}

/// Builds transforms.
pub(crate) fn make(specs: &[Spec<dyn Transform>], key: &str, cx: &BuildCx<'_>) -> Result<Vec<Arc<dyn Transform>>> {
    let one = |(i, s): (usize, &Spec<dyn Transform>)| Ok(cx.make(s).map_err(at(&format!("{key}.{i}")))?.into());
    specs.iter().enumerate().map(one).collect()
}

/// An error of a division; where classes are at fault, the finding about them.
fn explained(e: Error, dataset: &dyn Dataset) -> Error {
    let about_rows = |f: &Finding| matches!(f.kind, FindingKind::SingleRowClass | FindingKind::NumbersAsClasses);
    match (e, dataset.findings().into_iter().find(about_rows)) {
        (Error::Invalid(e), Some(found)) => Invalid { message: found.message, ..e }.into(),
        (e, _) => e,
    }
}

/// The target by which rows are drawn: that of the first task that predicts a class.
pub(crate) fn drawn_by(c: &Components, targets: &Schema) -> Option<String> {
    let class = |t: &&str| matches!(targets.get(*t), Some(Field::Class { .. }));
    c.tasks.values().map(|t| t.target()).find(class).map(str::to_owned)
}

/// Draws the rows of a cell. Key paths of errors start at the data set's section.
pub(crate) fn split(cell: &Cell, spec: &DatasetSpec, open: &Opened, c: &Components) -> Result<Parts> {
    let target = drawn_by(c, open.dataset.targets()).ok_or_else(|| {
        let tasks: Vec<String> = c.tasks.keys().map(|t| format!("`{t}`")).collect();
        let message =
            format!("rows are drawn by a class, and none of the step's tasks ({}) predicts one", tasks.join(", "));
        Invalid::new(message).help("numbers alone cannot be learned from a pipeline file yet: add a task of classes")
    })?;
    let draw = Draw { labels_per_class: spec.labels_per_class, validation: spec.validation, draw: cell.draw };
    // The seed decides the rows too: runs under other seeds then differ in all that chance decides.
    let divided = spec.division(cell.fold).map(|d| d.of(&open.dataset, Some(&target))).transpose();
    let divided = divided.map_err(|e| explained(e, open.dataset.as_ref()))?;
    let dataset = divided.as_ref().unwrap_or(&open.dataset);
    let parts = draw.parts(dataset, &target, Seeds::new(cell.seed)).map_err(at(""))?;
    if parts.train.rows().is_empty() {
        return Err(Invalid::new("there is no row to train on").into());
    }
    Ok(parts)
}
