//! [`ReadyStream`] and [`ReadyTest`]: the rows that a cell learns from and is tested on, drawn from its data sets.

use std::collections::BTreeMap;
use std::sync::Arc;

use transplant_core::{
    BuildCx, Dataset, Error, Field, Finding, FindingKind, Invalid, Result, Sampler, Schema, Seeds, Test, Train,
    Unlabelled,
};
use transplant_datasets::samplers::{ClassBalanced, ClassBalancedOptions};
use transplant_datasets::{Draw, LoaderOptions, Parts, Selection};

use super::data::{Opened, drawn_by, learned_targets};
use super::parts::Components;
use crate::at;
use crate::resolved::{Cell, DatasetSpec, StreamSpec, TestSpec, TrainerSpec};

/// A stream of a cell.
#[derive(Clone)]
pub struct ReadyStream {
    /// Its name.
    pub name: String,
    /// What the file says of it.
    pub stream: StreamSpec,
    /// Its data set, with what the weights that the cell starts from call for.
    pub spec: DatasetSpec,
    /// The same, open.
    pub open: Arc<Opened>,
    /// Number of rows from which those that are learned from are drawn.
    pub pool: usize,
    /// Its rows. Without labels all of them are `unlabelled`.
    pub parts: Arc<Parts>,
    /// The target of classes by which its rows are drawn; empty where there is none, or it has no labels.
    pub target: String,
}

impl ReadyStream {
    /// Name of its data set.
    pub fn dataset(&self) -> &str {
        &self.stream.dataset
    }

    /// How its batches are made, with all random numbers from `seeds`.
    ///
    /// # Errors
    /// When its sampler cannot be made.
    pub(crate) fn loader(&self, trainer: &TrainerSpec, seeds: Seeds, cx: &BuildCx<'_>) -> Result<LoaderOptions> {
        let sampler = match &self.stream.sampler {
            Some(spec) => Some(cx.make(spec).map_err(at("sampler"))?.into()),
            None if trainer.class_balance == 0. || !self.stream.labels => None,
            None => {
                let balance = trainer.class_balance;
                Some(Arc::new(ClassBalanced(ClassBalancedOptions { balance })) as Arc<dyn Sampler>)
            }
        };
        let options = self.open.loader(self.stream.batch_size.unwrap_or(trainer.batch_size), seeds);
        let classes_of = Some(self.target.clone()).filter(|target| !target.is_empty());
        Ok(LoaderOptions { views: trainer.views, sampler, classes_of, ..options })
    }
}

/// What a cell is tested on.
#[derive(Clone)]
pub struct ReadyTest {
    /// Its name.
    pub name: String,
    /// Name of its data set.
    pub dataset: String,
    /// The data set, with what the weights that the cell starts from call for.
    pub spec: DatasetSpec,
    /// The same, open.
    pub open: Arc<Opened>,
    /// The target by which its data set is divided; empty where it has none.
    pub target: String,
    /// Its rows.
    pub rows: Test,
}

/// Rows of a stream before data set and transforms are fitted.
pub(crate) struct DrawnStream {
    pub(crate) parts: Parts,
    pub(crate) target: String,
}

/// The data set as a stream or test of a cell sees it.
fn selected(
    cell: &Cell,
    spec: &DatasetSpec,
    dataset: &Arc<dyn Dataset>,
    target: Option<&str>,
    selection: &Selection,
) -> Result<Arc<dyn Dataset>> {
    let divided = spec.division(cell.fold).map(|d| d.of(dataset, target)).transpose();
    let divided = divided.map_err(|e| explained(e, dataset.as_ref()))?;
    selection.of(divided.as_ref().unwrap_or(dataset))
}

/// Draws the rows of a stream. Key paths of errors start at its data set's section.
///
/// # Errors
/// When rows cannot be drawn as the file says.
pub(crate) fn draw(
    cell: &Cell,
    stream: &StreamSpec,
    spec: &DatasetSpec,
    open: &Opened,
    c: &Components,
) -> Result<DrawnStream> {
    let target = drawn_by(cell, open.dataset.targets(), c);
    let held_out = cell.held_out.clone();
    let selection = Selection { part: stream.part.clone(), domains: stream.domains.clone(), held_out };
    let dataset = selected(cell, spec, &open.dataset, target, &selection)?;
    if !stream.labels {
        let (target, roles) = (String::new(), dataset.roles().clone());
        let parts = Parts {
            train: Train::new(dataset.clone(), Vec::new()),
            validation: None,
            unlabelled: Unlabelled::new(dataset.clone(), roles.pool),
            test: Test::new(dataset, roles.test),
            note: None,
        };
        return Ok(DrawnStream { parts, target });
    }
    let targets = learned_targets(cell, open.dataset.targets(), c);
    if targets.is_empty() {
        let there: Vec<String> = open.dataset.targets().keys().map(|t| format!("`{t}`")).collect();
        let message = "no task of the step learns a class or a number of this data set".to_owned();
        return Err(Invalid::new(message).help(format!("its targets are: {}", there.join(", "))).into());
    }
    let (labels_per_class, labels_in_all) = stream.budget(spec);
    // Models are chosen by validation rows of the main stream: of others, all labels are learned from.
    let validation = if cell.streams.get(cell.main()) == Some(stream) { spec.validation } else { 0. };
    let draw = Draw { labels_per_class, labels_in_all, validation, draw: cell.draw };
    // The seed decides the rows too: runs under other seeds then differ in all that chance decides.
    let parts = draw.parts_of(&dataset, &targets, Seeds::new(cell.seed)).map_err(at(""))?;
    if parts.train.rows().is_empty() {
        return Err(Invalid::new("there is no row to train on").into());
    }
    Ok(DrawnStream { parts, target: target.unwrap_or_default().to_owned() })
}

/// The tasks of a cell with what they take from the numbers that its streams learn from.
///
/// # Errors
/// When a task can learn nothing from them.
pub(crate) fn fitted_tasks(c: &mut Components, streams: &[ReadyStream]) -> Result<()> {
    for (name, task) in &mut c.tasks {
        let mut values = Vec::new();
        for stream in streams.iter().filter(|s| s.stream.labels) {
            let dataset = &stream.open.dataset;
            if dataset.targets().get(task.target()) == Some(&Field::Number) {
                let numbers = dataset.numbers_of(task.target())?;
                let rows = stream.parts.train.rows().iter();
                values.extend(rows.filter_map(|row| numbers.get(*row as usize).copied().flatten()));
            }
        }
        if let Some(fitted) = task.fitted(&values).map_err(at(&format!("tasks.{name}")))? {
            *task = fitted;
        }
    }
    Ok(())
}

/// The rows of a test.
///
/// # Errors
/// When the data set cannot be divided, or has no such domain.
pub(crate) fn tested(
    cell: &Cell,
    test: &TestSpec,
    spec: &DatasetSpec,
    open: &Opened,
    c: &Components,
) -> Result<Vec<u64>> {
    let target = drawn_by(cell, open.dataset.targets(), c);
    let selection = Selection { part: None, domains: test.domains.clone(), held_out: cell.held_out.clone() };
    Ok(selected(cell, spec, &open.dataset, target, &selection)?.roles().test.clone())
}

/// An error of a division; where classes are at fault, the finding about them.
fn explained(e: Error, dataset: &dyn Dataset) -> Error {
    let about_rows = |f: &Finding| matches!(f.kind, FindingKind::SingleRowClass | FindingKind::NumbersAsClasses);
    match (e, dataset.findings().into_iter().find(about_rows)) {
        (Error::Invalid(e), Some(found)) => Invalid { message: found.message, ..e }.into(),
        (e, _) => e,
    }
}

/// The targets that a step's tasks may learn: those of its data sets, by the names of these.
///
/// # Errors
/// When two data sets have a target of one name that is not the same in both; the error names it.
pub(crate) fn targets<'a>(datasets: impl IntoIterator<Item = (&'a str, &'a Schema)>) -> Result<Schema, Invalid> {
    let mut all = BTreeMap::<&String, (&str, &Field)>::new();
    for (dataset, schema) in datasets {
        for (name, field) in schema {
            match all.get(name) {
                Some((other, theirs)) if *theirs != field => {
                    let message = format!(
                        "data sets `{other}` and `{dataset}` both have a target `{name}`, of {}",
                        differ(theirs, field)
                    );
                    return Err(Invalid::key("streams", message)
                        .help("`classes` of a data set says which there are, in which order"));
                }
                Some(_) => {}
                None => drop(all.insert(name, (dataset, field))),
            }
        }
    }
    Ok(all.into_iter().map(|(name, (_, field))| (name.clone(), field.clone())).collect())
}

/// How two targets differ.
fn differ(a: &Field, b: &Field) -> String {
    match (a, b) {
        (Field::Class { names: a }, Field::Class { names: b }) => {
            let only = |a: &[String], b: &[String]| a.iter().find(|n| !b.contains(n)).cloned();
            match only(a, b).or_else(|| only(b, a)) {
                Some(name) => format!("{} and {} classes: `{name}` is in one alone", a.len(), b.len()),
                None => "the same classes in another order".to_owned(),
            }
        }
        _ => "different kinds".to_owned(),
    }
}

/// The streams and tests of a cell from open data sets that have all transforms already, nothing kept for other cells.
/// `find` gives a data set by its name.
///
/// # Errors
/// When rows cannot be drawn as they were.
pub(crate) fn of_cell<'a>(
    cell: &Cell,
    c: &Components,
    find: &dyn Fn(&str) -> Result<(&'a DatasetSpec, Arc<Opened>)>,
) -> Result<(Vec<ReadyStream>, Vec<ReadyTest>)> {
    let mut opened = BTreeMap::<&str, Arc<Opened>>::new();
    let mut streams = Vec::new();
    for name in in_order(cell) {
        let stream = &cell.streams[name];
        let (spec, plain) = find(&stream.dataset)?;
        let drawn = draw(cell, stream, spec, &plain, c)?;
        let open = match opened.get(stream.dataset.as_str()) {
            Some(open) => open.clone(),
            None => plain.fitted(&drawn.parts)?.map_or(plain, Arc::new),
        };
        opened.insert(&stream.dataset, open.clone());
        streams.push(ready(name, stream, spec.clone(), open, &drawn));
    }
    let mut tests = Vec::new();
    for (name, test) in &cell.tests {
        let (spec, plain) = find(&test.dataset)?;
        let rows = tested(cell, test, spec, &plain, c)?;
        let open = opened.get(test.dataset.as_str()).cloned().unwrap_or(plain);
        tests.push(ready_test(cell, (name, test), spec.clone(), open, rows, c));
    }
    Ok((streams, tests))
}

/// The names of a cell's streams: the main one first, then those with labels.
pub(crate) fn in_order(cell: &Cell) -> Vec<&String> {
    let mut names: Vec<&String> = cell.streams.keys().collect();
    names.sort_by_key(|name| (name.as_str() != cell.main(), !cell.streams[*name].labels));
    names
}

/// A stream whose rows are drawn, of a data set that is fitted.
pub(crate) fn ready(
    name: &str,
    stream: &StreamSpec,
    spec: DatasetSpec,
    open: Arc<Opened>,
    drawn: &DrawnStream,
) -> ReadyStream {
    let pool = drawn.parts.train.dataset().roles().pool.len();
    let parts = match open.fitted_to {
        Some(_) => Arc::new(drawn.parts.on(&open.dataset)),
        None => Arc::new(drawn.parts.clone()),
    };
    let (name, stream, target) = (name.to_owned(), stream.clone(), drawn.target.clone());
    ReadyStream { name, stream, spec, open, pool, parts, target }
}

/// A test whose rows are known, of a data set that is fitted.
pub(crate) fn ready_test(
    cell: &Cell,
    (name, test): (&str, &TestSpec),
    spec: DatasetSpec,
    open: Arc<Opened>,
    rows: Vec<u64>,
    c: &Components,
) -> ReadyTest {
    let target = drawn_by(cell, open.dataset.targets(), c).unwrap_or_default().to_owned();
    let rows = Test::new(open.dataset.clone(), rows);
    ReadyTest { name: name.to_owned(), dataset: test.dataset.clone(), spec, open, target, rows }
}
