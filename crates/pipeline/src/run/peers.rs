//! What transfer has to beat: peers without a network, trained on the same labels and tested on the same rows.
//!
//! The most frequent class, the nearest labelled input, and a logistic regression on the inputs. A strategy that loses to
//! one of them is flagged in the table.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use transplant_core::{
    Acts, BuildCx, Ctx, Features, Field, HIDDEN, HeadFit, Params, Plan, Predictions, Result, Schema, Scope, Seeds, Spec,
};
use transplant_datasets::Loader;

use super::cells::metrics;
use super::data::Opened;
use super::predictions::SplitPredictions;
use super::prepare::Ready;
use super::record::Metrics;

/// With more labelled rows or wider inputs than this, fitting on raw inputs takes longer than training the network.
const MOST_ROWS: usize = 2_000;
const WIDEST: usize = 4_096;
/// Rows that are read at a time.
const CHUNK: usize = 256;

/// Metrics by peer.
pub(crate) type Peers = BTreeMap<String, Metrics>;

/// The peers of a cell, on its test rows.
pub(crate) fn peers(ready: &Ready, open: &Opened, test: &SplitPredictions, cx: &BuildCx<'_>) -> Result<Peers> {
    let mut out =
        Peers::from([("majority class".to_owned(), metrics(&ready.components.measures, &majority(ready, test)?)?)]);
    let Some((train, rows)) = inputs(ready, open)? else { return Ok(out) };
    let fits = [
        ("1-NN on inputs", Spec::new("knn")),
        // Strength and scaling are fixed: nothing is tuned for a peer, as nothing is for the strategies.
        ("logistic regression on inputs", Spec::new("logistic_regression").with("c", vec![1.0])),
    ];
    for (name, spec) in fits {
        let head: Box<dyn HeadFit> = cx.make(&spec)?;
        let mut said = BTreeMap::new();
        for (task, labelled) in test.tasks.iter().filter(|(_, p)| matches!(p, Predictions::Class { .. })) {
            said.insert(task.clone(), fitted(&*head, ready, open, task, labelled, &train, &rows)?);
        }
        out.insert(name.to_owned(), metrics(&ready.components.measures, &said)?);
    }
    Ok(out)
}

/// What always saying the most frequent class of the training rows, the first of them when several are, predicts.
fn majority(ready: &Ready, test: &SplitPredictions) -> Result<BTreeMap<String, Predictions>> {
    let mut said = BTreeMap::new();
    for (name, predictions) in &test.tasks {
        let Predictions::Class { names, labels, .. } = predictions else { continue };
        let classes = ready.parts.train.dataset().classes_of(ready.components.tasks[name].target())?;
        let mut counts = vec![0usize; names.len()];
        for row in ready.parts.train.rows() {
            if let Some(class) = classes[*row as usize] {
                counts[class as usize] += 1;
            }
        }
        let most = counts.iter().enumerate().max_by_key(|(i, n)| (**n, std::cmp::Reverse(*i))).map_or(0, |(i, _)| i);
        let one: Vec<f32> = (0..names.len()).map(|i| if i == most { 1.0 } else { 0.0 }).collect();
        let p = Predictions::Class { names: names.clone(), labels: labels.clone(), scores: one.repeat(labels.len()) };
        said.insert(name.clone(), p);
    }
    Ok(said)
}

/// The labelled rows as plain vectors, and the test rows likewise; `None` when inputs are no vectors or too many.
fn inputs(ready: &Ready, open: &Opened) -> Result<Option<(Features, Tensor)>> {
    let width = match open.inputs.get(HIDDEN) {
        Some(Field::Image { channels, height, width }) => channels * height * width,
        Some(Field::Vector { width }) => *width,
        _ => return Ok(None),
    };
    let labelled = ready.parts.train.rows().len();
    if open.inputs.len() != 1 || width > WIDEST || labelled > MOST_ROWS {
        return Ok(None);
    }
    let options = open.loader(CHUNK, Seeds::new(0));
    let train = Loader::train(&ready.parts.train, options.clone())?;
    let batch = train.plain(train.rows())?;
    let values = batch.inputs.get(HIDDEN)?.flatten_from(1)?;
    let train = Features { values, targets: batch.targets, rows: batch.rows };
    let test = Loader::test(&ready.parts.test, options)?;
    let part = |rows: &[u64]| Ok(test.plain(rows)?.inputs.get(HIDDEN)?.flatten_from(1)?);
    let parts = test.rows().chunks(CHUNK).map(part).collect::<Result<Vec<_>>>()?;
    Ok(Some((train, Tensor::cat(&parts, 0)?)))
}

/// A head fitted on the inputs themselves; `labelled` holds the test rows' labels.
fn fitted(
    head: &dyn HeadFit,
    ready: &Ready,
    open: &Opened,
    name: &str,
    labelled: &Predictions,
    train: &Features,
    rows: &Tensor,
) -> Result<Predictions> {
    let task = &ready.components.tasks[name];
    let field = &open.dataset.targets()[task.target()];
    let Field::Class { names } = field else { return Ok(labelled.clone()) };
    let (known, target) = train.known(task.target())?;
    let params = Params::new(rows.device());
    for (tensor, value) in head.fit(&known, &target, names.len(), &BTreeMap::new())? {
        params.insert(&tensor, &value, transplant_core::Role::Buffer, transplant_core::Origin::Fresh)?;
    }
    let schema = Schema::from([(HIDDEN.to_owned(), Field::Vector { width: rows.dim(1)? })]);
    let module =
        head.build(&schema, field, &Scope::new(&params, Arc::new(Plan::default()), Seeds::new(0), DType::F32))?;
    let mut said = task.decode(&module.forward(&Acts::hidden(rows.clone()), &mut Ctx::eval(&[]))?, field)?;
    if let (Predictions::Class { labels, .. }, Predictions::Class { labels: right, .. }) = (&mut said, labelled) {
        labels.clone_from(right);
    }
    Ok(said)
}
