//! What transfer has to beat: baselines without a network, trained on the same labels and tested on the same rows.
//!
//! Of classes the most frequent one, the nearest labelled input, and a logistic regression on the inputs; of numbers the
//! mean, and a ridge regression on the inputs. A strategy that loses to one of them is flagged in the table. One that cannot be fitted costs a run nothing: it is shown with the reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use transplant_core::{
    Acts, BuildCx, Ctx, Error, Features, Fed, Feed, Field, HIDDEN, HeadFit, Params, Plan, Predictions, Result, Schema,
    Scope, Seeds, Spec, TEXT, Target, Test,
};
use transplant_datasets::{Loader, LoaderOptions};

use super::data::Opened;
use super::predictions::{CellPredictions, SplitPredictions};
use super::prepare::Ready;
use super::streams::ReadyTest;
use super::vectors::{GRID, Look, Observed, Shared, locked};

/// With more labelled rows or wider inputs than this, fitting on raw inputs takes longer than training the network.
const MOST_ROWS: usize = 2_000;
const WIDEST: usize = 4_096;
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

/// Fits the baselines of a cell; `seen` holds what earlier cells made of rows of the same data set under the same
/// transforms.
pub(crate) fn baselines(
    ready: &Ready,
    tested: &ReadyTest,
    test: &SplitPredictions,
    seen: &Shared,
    cx: &BuildCx<'_>,
) -> Baselines {
    let mut out = Baselines::default();
    // Without labels there is nothing to fit, and rows of another data set have other numbers and targets.
    if !ready.main().stream.labels || tested.dataset != ready.cell.dataset() {
        return out;
    }
    let open = &**ready.open();
    let of = |tasks| SplitPredictions { rows: test.rows.clone(), groups: test.groups.clone(), tasks };
    out.take("majority class", majority(ready, test).map(of));
    out.take("mean of labels", mean_of_labels(ready, test).map(of));
    let inputs = texts(ready, tested).transpose().or_else(|| vectors(ready, tested, seen).transpose());
    let inputs = match inputs {
        None => return out,
        Some(Ok(inputs)) => inputs,
        Some(Err(e)) => {
            out.take("baselines on the inputs", Err(e));
            return out;
        }
    };
    // Strength and scaling are fixed: nothing is tuned for a baseline, as nothing is for the strategies. Neighbouring
    // means of pictures say nearly the same, so that more of a pull makes the better baseline.
    let fits = match inputs.field {
        Field::Text => vec![("TF-IDF + logistic regression".to_owned(), Spec::new("tfidf_logistic_regression"))],
        _ => vec![
            (format!("1-NN on {}", inputs.what), Spec::new("knn")),
            (
                format!("logistic regression on {}", inputs.what),
                Spec::new("logistic_regression").with("c", vec![if inputs.coarse { 0.01 } else { 1.0 }]),
            ),
            (
                format!("ridge regression on {}", inputs.what),
                Spec::new("ridge").with("alpha", vec![if inputs.coarse { 100.0 } else { 1.0 }]),
            ),
        ],
    };
    for (name, spec) in fits {
        let predictions = cx.make(&spec).and_then(|head: Box<dyn HeadFit>| {
            let targets = open.dataset.targets();
            let field = |task: &String| targets.get(ready.components.tasks[task].target());
            let suited = test.tasks.iter().filter(|(task, _)| field(task).is_some_and(|f| head.suits(f)));
            let one = |(task, labelled): (&String, &Predictions)| {
                Ok((task.clone(), fitted(&*head, ready, open, task, labelled, &inputs)?))
            };
            suited.map(one).collect::<Result<BTreeMap<_, _>>>()
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
            Predictions::Class { scores: said, .. } | Predictions::Number { values: said, .. } => {
                said.iter().any(|s| !s.is_finite())
            }
            _ => false,
        };
        let why = match fitted {
            // No task is one of this baseline's.
            Ok(p) if p.tasks.is_empty() => return,
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
        if !ready.parts().train.dataset().targets().contains_key(ready.components.tasks[name].target()) {
            continue;
        }
        let classes = ready.parts().train.dataset().classes_of(ready.components.tasks[name].target())?;
        let mut counts = vec![0usize; names.len()];
        for row in ready.parts().train.rows() {
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

/// What always saying the mean of the training rows' numbers predicts.
fn mean_of_labels(ready: &Ready, test: &SplitPredictions) -> Result<BTreeMap<String, Predictions>> {
    let (mut said, train) = (BTreeMap::new(), &ready.parts().train);
    for (name, predictions) in &test.tasks {
        let Predictions::Number { labels, .. } = predictions else { continue };
        let target = ready.components.tasks[name].target();
        if !train.dataset().targets().contains_key(target) {
            continue;
        }
        let numbers = train.dataset().numbers_of(target)?;
        let known: Vec<f64> = train.rows().iter().filter_map(|row| numbers[*row as usize]).map(f64::from).collect();
        let mean = (known.iter().sum::<f64>() / known.len() as f64) as f32;
        let p = Predictions::Number { labels: labels.clone(), values: vec![mean; labels.len()] };
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
fn texts(ready: &Ready, tested: &ReadyTest) -> Result<Option<Inputs>> {
    if ready.open().dataset.inputs().get(TEXT) != Some(&Field::Text) {
        return Ok(None);
    }
    let options = LoaderOptions::new(1);
    let train = all_texts(&*Loader::train(&ready.parts().train, options.clone())?)?;
    let test = all_texts(&*Loader::test(&tested.rows, options)?)?;
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

/// How baselines see the inputs of a cell; `None` when these are no vectors or pictures, or too many.
fn look(ready: &Ready) -> Option<Look> {
    let open = ready.open();
    let (width, picture) = match open.inputs.get(HIDDEN) {
        Some(Field::Image { channels, height, width }) => (channels * height * width, true),
        Some(Field::Vector { width }) => (*width, false),
        _ => return None,
    };
    let coarse = picture && width > WIDEST;
    let few = ready.parts().train.rows().len() <= MOST_ROWS;
    (open.inputs.len() == 1 && (width <= WIDEST || coarse) && few).then_some(Look { coarse })
}

/// The test rows of a cell, which baselines see as they are read for the network.
pub(crate) fn observed(ready: &Ready, tested: &ReadyTest, feed: Fed<Test>, vectors: &Shared) -> Result<Fed<Test>> {
    let Some(look) = look(ready).filter(|_| tested.dataset == ready.cell.dataset()) else { return Ok(feed) };
    let observed = Observed { feed: feed.shared().clone(), look, vectors: vectors.clone() };
    Fed::new(&tested.rows, Arc::new(observed))
}

/// Inputs as plain vectors; `None` when they are none, or too many.
fn vectors(ready: &Ready, tested: &ReadyTest, seen: &Shared) -> Result<Option<Inputs>> {
    let open = ready.open();
    let Some(look) = look(ready) else { return Ok(None) };
    let coarse = look.coarse;
    let what = if coarse { format!("{GRID}×{GRID} means of inputs") } else { "inputs".to_owned() };
    let options = open.loader(1, Seeds::new(0));
    let mut seen = locked(seen);
    let train = seen.read(&*Loader::train(&ready.parts().train, options.clone())?, look)?;
    let test = seen.read(&*Loader::test(&tested.rows, options)?, look)?;
    Ok(Some(Inputs { what, coarse, field: Field::Vector { width: test.dim(1)? }, train, test }))
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
    let rows = ready.parts().train.rows();
    let labels = match field {
        Field::Number => Target::numbers(&picked(&open.dataset.numbers_of(task.target())?, rows))?,
        _ => Target::classes(&picked(&open.dataset.classes_of(task.target())?, rows))?,
    };
    let targets = BTreeMap::from([(task.target().to_owned(), labels)]);
    let train = Features { values: inputs.train.clone(), outputs: BTreeMap::new(), targets, rows: rows.to_vec() };
    let (known, target) = train.known(task.target())?;
    let params = Params::new(inputs.test.device());
    for (tensor, value) in head.fit(&known, &target, field, &BTreeMap::new())? {
        params.insert(&tensor, &value, transplant_core::Role::Buffer, transplant_core::Origin::Fresh)?;
    }
    let schema = Schema::from([(HIDDEN.to_owned(), inputs.field.clone())]);
    let module =
        head.build(&schema, field, &Scope::new(&params, Arc::new(Plan::default()), Seeds::new(0), DType::F32))?;
    let mut said = task.decode(&module.forward(&Acts::hidden(inputs.test.clone()), &mut Ctx::eval(&[]))?, field)?;
    match (&mut said, labelled) {
        (Predictions::Class { labels, .. }, Predictions::Class { labels: right, .. }) => labels.clone_from(right),
        (Predictions::Number { labels, .. }, Predictions::Number { labels: right, .. }) => labels.clone_from(right),
        _ => {}
    }
    Ok(said)
}

/// The labels of these rows.
fn picked<T: Copy>(labels: &[Option<T>], rows: &[u64]) -> Vec<Option<T>> {
    rows.iter().map(|row| labels[*row as usize]).collect()
}
