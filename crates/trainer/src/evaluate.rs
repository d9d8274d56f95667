//! [`evaluate`]: the only function that accepts test rows.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use transplant_core::{Batch, Fed, Feed, Forward, Predictions, Result, RowRole, Target, rows_at_a_time};

use crate::data::Io;
use crate::keeper::keep_features;
use crate::kept::Kept;
use crate::model::Model;

/// What a model said about the rows of a split.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Global rows, in the order of the split.
    pub rows: Vec<u64>,
    /// Predictions by task, with the labels beside them.
    pub predictions: BTreeMap<String, Predictions>,
}

/// Runs a model over all rows of a split, without randomness.
///
/// # Errors
/// When a row cannot be read or the model fails.
pub fn evaluate<R: RowRole>(model: &Model, feed: &Fed<R>) -> Result<Evaluation> {
    evaluate_kept(model, &**feed, None)
}

/// [`evaluate`], where what the model says of a row is the mean over the row as it is and so many views of it that random
/// transforms make: test-time augmentation (Krizhevsky et al. 2012). Which views is a matter of the feed's seeds.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_views<R: RowRole>(model: &Model, feed: &Fed<R>, views: u64) -> Result<Evaluation> {
    with_views(model, &**feed, views, evaluate(model, feed)?)
}

/// [`evaluate_views`] of a model that was fitted with this `io`: what a frozen backbone made of the rows in an earlier cell or
/// run is taken from its cache. `name` is what the split is called in events.
///
/// # Errors
/// As [`evaluate`], and [`Error::Interrupted`](transplant_core::Error::Interrupted) when `io.stop` was set.
pub fn evaluate_in<R: RowRole>(
    io: &mut Io<'_>,
    name: &str,
    model: &Model,
    feed: &Fed<R>,
    views: u64,
) -> Result<Evaluation> {
    let kept = keep_features(model, name, &**feed, io)?;
    with_views(model, &**feed, views, evaluate_kept(model, &**feed, kept.as_ref())?)
}

/// The mean of what was said of the rows as they are and of what the model says of views of them.
fn with_views(model: &Model, feed: &dyn Feed, views: u64, plain: Evaluation) -> Result<Evaluation> {
    let mut all: BTreeMap<String, Vec<Predictions>> =
        plain.predictions.into_iter().map(|(name, p)| (name, vec![p])).collect();
    for view in 0..views {
        for (name, p) in predictions(model, feed, |rows| {
            let batch = feed.view(rows, view)?;
            let forward = model.run_plain(&batch)?;
            Ok((batch, forward))
        })? {
            all.entry(name).or_default().push(p);
        }
    }
    let means = all.into_iter().map(|(name, all)| Ok((name, Predictions::mean(all)?)));
    Ok(Evaluation { rows: plain.rows, predictions: means.collect::<Result<_>>()? })
}

/// [`evaluate`], where the output of the first stages may have been kept.
pub(crate) fn evaluate_kept(model: &Model, feed: &dyn Feed, kept: Option<&Kept>) -> Result<Evaluation> {
    let predictions = predictions(model, feed, |rows| model.run_kept(kept, feed, rows))?;
    Ok(Evaluation { rows: feed.rows().to_vec(), predictions })
}

/// What `run` makes of all rows of a feed, by task, with their labels.
fn predictions(
    model: &Model,
    feed: &dyn Feed,
    run: impl Fn(&[u64]) -> Result<(Batch, Forward)>,
) -> Result<BTreeMap<String, Predictions>> {
    let info = model.info();
    let mut predictions: BTreeMap<String, Predictions> = BTreeMap::new();
    // How many are read at a time has no influence on the outcome.
    for rows in feed.rows().chunks(rows_at_a_time(feed.inputs())) {
        let (batch, forward) = run(rows)?;
        for (name, task) in model.tasks() {
            let mut p = task.decode(&forward.outputs[name], &info.tasks[name])?;
            if let Some(t) = batch.targets.get(task.target()) {
                label(&mut p, t)?;
            }
            match predictions.get_mut(name) {
                None => drop(predictions.insert(name.clone(), p)),
                Some(all) => all.extend(p)?,
            }
        }
    }
    Ok(predictions)
}

/// Puts the known targets beside predictions.
fn label(p: &mut Predictions, target: &Target) -> Result<()> {
    // On the host: some devices have no such numbers.
    let numbers = |t: &Tensor| t.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let values = numbers(&target.values)?;
    let present = target.present.as_ref().map_or_else(|| Ok(vec![1.0; values.len()]), numbers)?;
    let known = values.iter().zip(&present).map(|(v, p)| (*p > 0.0).then_some(*v));
    match p {
        Predictions::Class { labels, .. } => *labels = known.map(|v| v.map(|v| v as u32)).collect(),
        Predictions::Number { labels, .. } => *labels = known.map(|v| v.map(|v| v as f32)).collect(),
        _ => {}
    }
    Ok(())
}

/// The metrics of each task, by name; with several tasks `<task>.<metric>`.
///
/// # Errors
/// When a metric does not suit the predictions.
pub fn metrics_of(model: &Model, evaluation: &Evaluation) -> Result<BTreeMap<String, f64>> {
    let mut out = BTreeMap::new();
    for (name, task) in model.tasks() {
        for m in task.metrics() {
            let key = if model.tasks().len() == 1 { m.name() } else { format!("{name}.{}", m.name()) };
            out.insert(key, m.compute(&evaluation.predictions[name])?);
        }
    }
    Ok(out)
}

/// The score by which models are chosen.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Score {
    /// The first metric of each task, larger is better, averaged over the tasks that have one; `None` when none has.
    pub(crate) value: Option<f64>,
    /// Tasks that are left out because no row has a target of theirs.
    pub(crate) without_targets: Vec<String>,
    /// Tasks that are left out because their metric is not defined for these rows.
    pub(crate) undefined: Vec<String>,
}

/// The score of what a model said.
pub(crate) fn score_of(model: &Model, evaluation: &Evaluation) -> Result<Score> {
    let (mut score, mut values) = (Score::default(), Vec::new());
    for (name, task) in model.tasks() {
        let Some(m) = task.metrics().into_iter().next() else { continue };
        let predictions = &evaluation.predictions[name];
        if predictions.known() == 0 {
            score.without_targets.push(name.clone());
            continue;
        }
        let value = m.compute(predictions)?;
        match value.is_nan() {
            true => score.undefined.push(name.clone()),
            false => values.push(if m.higher_is_better() { value } else { -value }),
        }
    }
    score.value = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    Ok(score)
}
