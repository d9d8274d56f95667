//! What transfer has to beat: baselines without a network, trained on the same labels and tested on the same rows.
//!
//! The most frequent class, the nearest labelled input, and a logistic regression on the inputs. A strategy that loses to
//! one of them is flagged in the table. One that cannot be fitted costs a run nothing: it is shown with the reason.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use transplant_core::{
    Acts, Batch, BuildCx, Ctx, Error, Features, Feed, Field, HIDDEN, HeadFit, Params, Plan, Predictions, Result,
    Schema, Scope, Seeds, Spec, TEXT, Target, rows_at_a_time,
};
use transplant_datasets::{Loader, LoaderOptions, averaged};

use super::data::Opened;
use super::predictions::{CellPredictions, SplitPredictions};
use super::prepare::Ready;

/// With more labelled rows or wider inputs than this, fitting on raw inputs takes longer than training the network.
const MOST_ROWS: usize = 2_000;
const WIDEST: usize = 4_096;
/// Pictures that are wider are looked at as a grid of so many means a side.
const GRID: usize = 16;
/// Bytes of the texts that a baseline reads, all filled up to the longest.
const MOST_BYTES: usize = 1 << 30;
/// Texts that are read at a time.
const TEXTS: usize = 256;

/// The baselines of a cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Baselines {
    /// What they predict for the test rows, by baseline.
    pub(crate) predictions: CellPredictions,
    /// Those that could not be fitted, and why.
    pub(crate) not_fitted: BTreeMap<String, String>,
}

/// Fits the baselines of a cell; `seen` holds what earlier cells made of rows of the same data set under the same transforms.
pub(crate) fn baselines(
    ready: &Ready,
    open: &Opened,
    test: &SplitPredictions,
    seen: &mut Vectors,
    cx: &BuildCx<'_>,
) -> Baselines {
    let mut out = Baselines::default();
    let of = |tasks| SplitPredictions { rows: test.rows.clone(), groups: test.groups.clone(), tasks };
    out.take("majority class", majority(ready, test).map(of));
    let inputs = texts(ready, open).transpose().or_else(|| vectors(ready, open, seen).transpose());
    let inputs = match inputs {
        None => return out,
        Some(Ok(inputs)) => inputs,
        Some(Err(e)) => {
            out.take("baselines on the inputs", Err(e));
            return out;
        }
    };
    // Strength and scaling are fixed: nothing is tuned for a baseline, as nothing is for the strategies. Neighbouring means of
    // pictures say nearly the same, so that more of a pull makes the better baseline.
    let fits = match inputs.field {
        Field::Text => vec![("TF-IDF + logistic regression".to_owned(), Spec::new("tfidf_logistic_regression"))],
        _ => vec![
            (format!("1-NN on {}", inputs.what), Spec::new("knn")),
            (
                format!("logistic regression on {}", inputs.what),
                Spec::new("logistic_regression").with("c", vec![if inputs.coarse { 0.01 } else { 1.0 }]),
            ),
        ],
    };
    for (name, spec) in fits {
        let classes = test.tasks.iter().filter(|(_, p)| matches!(p, Predictions::Class { .. }));
        let predictions = cx.make(&spec).and_then(|head: Box<dyn HeadFit>| {
            let one = |(task, labelled): (&String, &Predictions)| {
                Ok((task.clone(), fitted(&*head, ready, open, task, labelled, &inputs)?))
            };
            classes.map(one).collect::<Result<BTreeMap<_, _>>>()
        });
        out.take(&name, predictions.map(of));
    }
    out
}

impl Baselines {
    /// Without those that cannot be measured.
    pub(crate) fn measurable(mut self, measure: impl Fn(&SplitPredictions) -> Result<()>) -> Self {
        for (name, p) in std::mem::take(&mut self.predictions) {
            match measure(&p) {
                Ok(()) => drop(self.predictions.insert(name, p)),
                Err(e) => drop(self.not_fitted.insert(name, e.to_string())),
            }
        }
        self
    }

    /// Takes a baseline with finite scores, or the reason why there is none.
    fn take(&mut self, name: &str, fitted: Result<SplitPredictions>) {
        let not_finite = |p: &&Predictions| match p {
            Predictions::Class { scores, .. } => scores.iter().any(|s| !s.is_finite()),
            _ => false,
        };
        let why = match fitted {
            Ok(p) if p.tasks.values().any(|p| not_finite(&p)) => "its scores are not finite numbers".to_owned(),
            Ok(p) => return drop(self.predictions.insert(name.to_owned(), p)),
            Err(e) => e.to_string(),
        };
        self.not_fitted.insert(name.to_owned(), why);
    }
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

/// What baselines see of the data.
struct Inputs {
    /// What it is, in words.
    what: String,
    /// Whether they are means of pictures.
    coarse: bool,
    /// What a row of it is.
    field: Field,
    /// The training rows.
    train: Tensor,
    /// The test rows.
    test: Tensor,
}

/// Texts as they are, before any transform; `None` when the data hold none.
fn texts(ready: &Ready, open: &Opened) -> Result<Option<Inputs>> {
    if open.dataset.inputs().get(TEXT) != Some(&Field::Text) {
        return Ok(None);
    }
    let options = LoaderOptions::new(1);
    let train = all_texts(&*Loader::train(&ready.parts.train, options.clone())?)?;
    let test = all_texts(&*Loader::test(&ready.parts.test, options)?)?;
    Ok(Some(Inputs { what: "texts".to_owned(), coarse: false, field: Field::Text, train, test }))
}

/// The texts of a feed: `u8 [rows, bytes]`, all filled up to the longest.
fn all_texts(feed: &dyn Feed) -> Result<Tensor> {
    let (mut parts, mut width) = (Vec::new(), 0);
    for rows in feed.rows().chunks(TEXTS) {
        let texts = feed.plain(rows)?.inputs.get(TEXT)?.clone();
        width = width.max(texts.dim(1)?);
        if width.saturating_mul(feed.rows().len()) > MOST_BYTES {
            let (rows, most) = (feed.rows().len(), MOST_BYTES >> 20);
            let message = format!("filled up to {width} bytes, the longest, they would take more than {most} MiB");
            return Err(Error::resource(format!("{rows} texts"), message));
        }
        parts.push(texts);
    }
    let filled = |t: &Tensor| t.pad_with_zeros(1, 0, width - t.dim(1)?);
    let parts = parts.iter().map(filled).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Tensor::cat(&parts, 0)?)
}

/// Inputs as plain vectors; `None` when they are none, or too many.
fn vectors(ready: &Ready, open: &Opened, seen: &mut Vectors) -> Result<Option<Inputs>> {
    let (width, picture) = match open.inputs.get(HIDDEN) {
        Some(Field::Image { channels, height, width }) => (channels * height * width, true),
        Some(Field::Vector { width }) => (*width, false),
        _ => return Ok(None),
    };
    let labelled = ready.parts.train.rows().len();
    let coarse = picture && width > WIDEST;
    if open.inputs.len() != 1 || (width > WIDEST && !coarse) || labelled > MOST_ROWS {
        return Ok(None);
    }
    let flat = |batch: &Batch| {
        let x = batch.inputs.get(HIDDEN)?;
        let x = if coarse { averaged(x, [GRID, GRID])? } else { x.clone() };
        Ok(x.flatten_from(1)?)
    };
    let what = if coarse { format!("{GRID}×{GRID} means of inputs") } else { "inputs".to_owned() };
    let options = open.loader(1, Seeds::new(0));
    let train = seen.of(&*Loader::train(&ready.parts.train, options.clone())?, &flat)?;
    let test = seen.of(&*Loader::test(&ready.parts.test, options)?, &flat)?;
    Ok(Some(Inputs { what, coarse, field: Field::Vector { width: test.dim(1)? }, train, test }))
}

/// What was made of the rows of one data set under one chain of transforms: cells that draw other rows of it, such as those
/// of folds, read none again.
#[derive(Debug, Default)]
pub(crate) struct Vectors {
    /// The place of each row among the values.
    places: HashMap<u64, usize>,
    /// The values, row after row.
    values: Vec<f32>,
}

impl Vectors {
    /// What `flat` makes of all rows of a feed: `f32 [rows, width]`. Rows that are not known yet are read, some at a time.
    fn of(&mut self, feed: &dyn Feed, flat: &dyn Fn(&Batch) -> Result<Tensor>) -> Result<Tensor> {
        let new: Vec<u64> = feed.rows().iter().copied().filter(|r| !self.places.contains_key(r)).collect();
        for rows in new.chunks(rows_at_a_time(feed.inputs())) {
            self.values.extend(flat(&feed.plain(rows)?)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
            rows.iter().for_each(|row| _ = self.places.insert(*row, self.places.len()));
        }
        let width = self.values.len() / self.places.len().max(1);
        let rows = feed.rows().iter().flat_map(|row| &self.values[self.places[row] * width..][..width]);
        Ok(Tensor::from_vec(rows.copied().collect(), (feed.rows().len(), width), &Device::Cpu)?)
    }
}

/// A head fitted on the inputs themselves; `labelled` holds the test rows' labels.
fn fitted(
    head: &dyn HeadFit,
    ready: &Ready,
    open: &Opened,
    name: &str,
    labelled: &Predictions,
    inputs: &Inputs,
) -> Result<Predictions> {
    let task = &ready.components.tasks[name];
    let field = &open.dataset.targets()[task.target()];
    let Field::Class { names } = field else { return Ok(labelled.clone()) };
    let classes = open.dataset.classes_of(task.target())?;
    let rows = ready.parts.train.rows();
    let labels: Vec<Option<u32>> = rows.iter().map(|row| classes[*row as usize]).collect();
    let targets = BTreeMap::from([(task.target().to_owned(), Target::classes(&labels)?)]);
    let train = Features { values: inputs.train.clone(), targets, rows: rows.to_vec() };
    let (known, target) = train.known(task.target())?;
    let params = Params::new(inputs.test.device());
    for (tensor, value) in head.fit(&known, &target, names.len(), &BTreeMap::new())? {
        params.insert(&tensor, &value, transplant_core::Role::Buffer, transplant_core::Origin::Fresh)?;
    }
    let schema = Schema::from([(HIDDEN.to_owned(), inputs.field.clone())]);
    let module =
        head.build(&schema, field, &Scope::new(&params, Arc::new(Plan::default()), Seeds::new(0), DType::F32))?;
    let mut said = task.decode(&module.forward(&Acts::hidden(inputs.test.clone()), &mut Ctx::eval(&[]))?, field)?;
    if let (Predictions::Class { labels, .. }, Predictions::Class { labels: right, .. }) = (&mut said, labelled) {
        labels.clone_from(right);
    }
    Ok(said)
}
