//! Which cell of a run predicts: the one that is named, the only one, or the best on the same validation rows.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use transplant_core::{BuildCx, Invalid, Metric, Plugins, Result, Seeds, nearest};

use super::super::cells::VALIDATION;
use super::super::layout::{CellLayout, ModelLayout, PREDICTIONS, RunLayout};
use super::super::parts::in_order;
use super::super::predictions;
use super::super::record::Record;
use super::super::summary::Summary;

/// So many cells are listed at most.
const LISTED: usize = 20;

/// A model's folder, and why it is this one: to stand behind the name of its cell; empty when the user named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The folder that holds `model.json`.
    pub folder: PathBuf,
    /// As ` (the best of 3 by validation accuracy, 0.9)`.
    pub why: String,
}

/// The model's folder: of the cell named, of the cell or model folder given, or of a finished run. Of the cells of a
/// run from which no other starts it is the only one, or the best by its main metric on the validation rows, where
/// these are the same in all.
///
/// # Errors
/// When there is no such run or cell; when there are several and nothing tells which is best, with a list of them.
pub fn choose(run: &Path, cell: Option<&str>, plugins: &Plugins) -> Result<Choice> {
    let chosen = |model: ModelLayout| Choice { folder: model.root().to_owned(), why: String::new() };
    let alone = [CellLayout::new(run).model(), ModelLayout::new(run)];
    if let Some(model) = alone.into_iter().find(|m| cell.is_none() && m.manifest().is_file()) {
        return Ok(chosen(model));
    }
    let files = RunLayout::new(run);
    let Some(id) = cell else { return best(&files, plugins) };
    let model = files.cell(id).model();
    if model.manifest().is_file() {
        return Ok(chosen(model));
    }
    let mut there: Vec<String> = std::fs::read_dir(files.cells())
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    there.sort();
    let e = Invalid::new(format!("{} has no finished cell `{id}`", run.display()));
    let near = nearest(id, there.iter().map(String::as_str));
    Err(e
        .help(near.map_or_else(|| format!("there are: {}", there.join(", ")), |n| format!("did you mean `{n}`?")))
        .into())
}

/// The best of the cells from which no other starts.
fn best(run: &RunLayout, plugins: &Plugins) -> Result<Choice> {
    let summary = Summary::read(run)?;
    let help = "name one of its cells with `--cell`, or finish it with `--resume`";
    summary.check_finished(run).map_err(|e| e.help(help))?;
    let records = summary.steps.iter().map(|step| Record::read(&run.cell(&step.cell))).collect::<Result<Vec<_>>>()?;
    let last = |r: &&Record| records.iter().all(|other| other.cell.from.as_ref() != Some(&r.cell.id));
    let last: Vec<&Record> = records.iter().filter(last).collect();
    let choice = |r: &Record, why: String| Choice { folder: run.cell(&r.cell.id).model().root().to_owned(), why };
    match last.as_slice() {
        [] => Err(Invalid::new(format!("{} has no finished cell", run.root().display())).into()),
        [one] => Ok(choice(one, String::new())),
        _ => match by_validation(run, &last, plugins)? {
            Ok((record, why)) => Ok(choice(record, why)),
            Err(why) => {
                let message = format!("{} has {} finished models, and {why}", run.root().display(), last.len());
                Err(Invalid::new(message).help(format!("name one with `--cell`:{}", listed(&last))).into())
            }
        },
    }
}

/// The cell with the best score on the validation rows and a sentence about it; or why there is none.
fn by_validation<'r>(
    run: &RunLayout,
    records: &[&'r Record],
    plugins: &Plugins,
) -> Result<Result<(&'r Record, String), &'static str>> {
    let first = records[0];
    let scores: Option<Vec<f64>> = records.iter().map(|r| score(r, VALIDATION)).collect();
    let Some(scores) = scores else { return Ok(Err("they have no validation score by which to choose")) };
    if records.iter().any(|r| r.main_metric != first.main_metric || r.data != first.data) {
        return Ok(Err("their validation scores are of different data or metrics"));
    }
    let rows = |r: &Record| -> Result<Vec<u64>> {
        let predictions = predictions::load(&run.cell(&r.cell.id).named(PREDICTIONS))?;
        Ok(predictions.get(VALIDATION).map(|p| p.rows.clone()).unwrap_or_default())
    };
    let of_first = rows(first)?;
    for r in &records[1..] {
        if rows(r)? != of_first {
            return Ok(Err("their validation scores are of different rows"));
        }
    }
    let Some(metric) = main_metric(first, plugins)? else {
        return Ok(Err("nothing tells whether a higher score is better"));
    };
    let better = |a: f64, b: f64| if metric.higher_is_better() { a > b } else { a < b };
    let best = (0..scores.len()).reduce(|b, i| if better(scores[i], scores[b]) { i } else { b }).unwrap_or_default();
    let name = first.main_metric.as_deref().unwrap_or_default();
    let equals = scores.iter().filter(|s| **s == scores[best]).count() - 1;
    let others = if equals == 0 { String::new() } else { format!(", the first of {} equals", equals + 1) };
    let why = format!(
        " (the best of {} by validation {name}, {:.4}{others}; `--cell` takes another)",
        scores.len(),
        scores[best]
    );
    Ok(Ok((records[best], why)))
}

/// The metric by which a cell is judged.
fn main_metric(r: &Record, plugins: &Plugins) -> Result<Option<Arc<dyn Metric>>> {
    let cx = BuildCx { plugins, base: &r.base, seeds: Seeds::new(0) };
    for (_, task) in in_order(&r.cell, &r.cell.tasks) {
        if let Some(metric) = cx.make(task)?.metrics().into_iter().next() {
            return Ok(Some(metric));
        }
    }
    Ok(r.cell.metrics.first().map(|metric| cx.make(metric)).transpose()?.map(Into::into))
}

/// The value of the main metric on a part.
fn score(r: &Record, part: &str) -> Option<f64> {
    r.metrics.get(part)?.get(r.main_metric.as_ref()?).copied()
}

/// The cells with their scores, a line each.
fn listed(records: &[&Record]) -> String {
    let mut out = String::new();
    for r in records.iter().take(LISTED) {
        let _ = write!(out, "\n  {}", r.cell.id);
        for part in std::iter::once(VALIDATION).chain(r.cell.tests.keys().map(String::as_str)) {
            if let (Some(name), Some(score)) = (&r.main_metric, score(r, part)) {
                let _ = write!(out, "  {part} {name} {score:.4}");
            }
        }
    }
    if records.len() > LISTED {
        let _ = write!(out, "\n  … and {} more", records.len() - LISTED);
    }
    out
}
