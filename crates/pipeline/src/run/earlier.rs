//! What weights learned from, where a run of ours left them: its records lie beside them and say which rows of which
//! data set were trained on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use transplant_core::{BuildCx, Error, Plugins, Result, Seeds};

use super::data::{self, Opened};
use super::layout::CellLayout;
use super::parts::{self, Components};
use super::record::Record;
use super::streams::{self, ReadyStream, ReadyTest};

/// What is known of the rows that some weights learned from.
#[derive(Default)]
pub(crate) struct Earlier {
    /// The cells of the run that left them, the last first.
    pub(crate) cells: Vec<EarlierCell>,
    /// What is not known, in a sentence.
    pub(crate) not_looked: Option<String>,
}

/// A cell of another run.
pub(crate) struct EarlierCell {
    pub(crate) step: String,
    pub(crate) dataset: String,
    pub(crate) open: Arc<Opened>,
    /// The target by which its rows are drawn.
    pub(crate) target: String,
    /// Rows that it was trained on or chosen by.
    pub(crate) rows: Vec<u64>,
}

/// The streams and tests of a finished cell, from its data sets opened again.
pub(crate) struct Reopened {
    pub(crate) streams: Vec<ReadyStream>,
    pub(crate) tests: Vec<ReadyTest>,
    pub(crate) components: Components,
}

impl Record {
    /// Opens the data sets again and draws their rows as they were; `None` when the content of one has changed.
    ///
    /// # Errors
    /// When they cannot be opened or divided any more.
    pub(crate) fn reopen(&self, plugins: &Plugins) -> Result<Option<Reopened>> {
        let cx = BuildCx { plugins, base: &self.base, seeds: Seeds::new(self.cell.seed) };
        let mut opened = BTreeMap::new();
        for (name, data) in &self.data {
            let open = data::open(&data.spec, &cx)?;
            if open.hash != data.hash {
                return Ok(None);
            }
            opened.insert(name.as_str(), (&data.spec, Arc::new(open)));
        }
        let cell = &self.cell;
        let find = |name: &str| {
            let found = opened.get(name).map(|(spec, open)| (*spec, open.clone()));
            found.ok_or_else(|| Error::contract(format!("the record has no data set `{name}`")))
        };
        let with_labels = cell.streams.values().filter(|s| s.labels).map(|s| s.dataset.as_str());
        let with_labels: Vec<&str> = with_labels.chain(cell.tests.values().map(|t| t.dataset.as_str())).collect();
        let schemas = with_labels.into_iter().map(|name| Ok((name, find(name)?.1))).collect::<Result<Vec<_>>>()?;
        let targets = streams::targets(schemas.iter().map(|(name, open)| (*name, open.dataset.targets())))?;
        let components = parts::build(cell, &targets, &cx)?;
        let (streams, tests) = streams::of_cell(cell, &components, &find)?;
        Ok(Some(Reopened { streams, tests, components }))
    }
}

/// What the weights of this name learned from; `path` is their file.
pub(crate) fn of_weights(name: &str, path: Option<&Path>, plugins: &Plugins) -> Earlier {
    let mut out = Earlier::default();
    let unknown = |why: &str| Some(format!("the rows that the weights `{name}` learned from: {why}"));
    // RUN/cells/CELL/model/model.safetensors
    let mut folder = path.and_then(Path::parent).and_then(Path::parent).map(CellLayout::new);
    if !folder.as_ref().is_some_and(|cell| cell.record().is_file()) {
        out.not_looked = unknown("no record of a run lies beside their file");
        return out;
    }
    while let Some(cell) = folder.take() {
        let record = match Record::read(&cell) {
            Ok(record) => record,
            Err(e) => {
                out.not_looked = unknown(&e.to_string());
                break;
            }
        };
        let (step, dataset) = (record.cell.step.clone(), record.cell.dataset().to_owned());
        let Reopened { streams, components, .. } = match record.reopen(plugins) {
            Ok(Some(reopened)) => reopened,
            Ok(None) => {
                out.not_looked = unknown(&format!("`{dataset}` of step `{step}` there has changed since"));
                break;
            }
            Err(e) => {
                out.not_looked = unknown(&format!("`{dataset}` of step `{step}` there: {e}"));
                break;
            }
        };
        let needs = components.strategy.needs();
        for s in streams.into_iter().filter(|s| s.stream.labels) {
            let (step, dataset, rows) = (step.clone(), s.dataset().to_owned(), s.parts.labelled_rows());
            out.cells.push(EarlierCell { step, dataset, open: s.open, target: s.target, rows });
        }
        if !needs.takes_weights() {
            break;
        }
        if let Some(weights) = &record.cell.weights {
            out.not_looked = unknown(&format!("those before them, `{weights}`, are not followed any further"));
        }
        let upstream = record.cell.from.as_ref();
        folder = cell.root().parent().and_then(|cells| upstream.map(|id| CellLayout::new(cells.join(id))));
    }
    out
}
