//! What weights learned from, where a run of ours left them: its records lie beside them and say which rows of which
//! data set were trained on.

use std::path::Path;
use std::sync::Arc;

use transplant_core::{BuildCx, Plugins, Result, Seeds};
use transplant_datasets::Parts;

use super::data::{self, Opened};
use super::layout::CellLayout;
use super::parts::{self, Components};
use super::record::Record;

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

/// The data set of a finished cell, opened again, with its rows.
pub(crate) struct Reopened {
    pub(crate) open: Opened,
    pub(crate) components: Components,
    pub(crate) parts: Arc<Parts>,
}

impl Record {
    /// Opens the data set again and divides it as it was; `None` when its content has changed.
    ///
    /// # Errors
    /// When it cannot be opened or divided any more.
    pub(crate) fn reopen(&self, plugins: &Plugins) -> Result<Option<Reopened>> {
        let cx = BuildCx { plugins, base: &self.base, seeds: Seeds::new(self.cell.seed) };
        let open = data::open(&self.dataset, &cx)?;
        if open.hash != self.data_hash {
            return Ok(None);
        }
        let components = parts::build(&self.cell, open.dataset.targets(), &cx)?;
        let drawn = data::split(&self.cell, &self.dataset, &open, &components)?;
        let open = open.fitted(&drawn)?.unwrap_or(open);
        Ok(Some(Reopened { open, components, parts: drawn.parts }))
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
        let (step, dataset) = (record.cell.step.clone(), record.cell.dataset.clone());
        let Reopened { open, components, parts } = match record.reopen(plugins) {
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
        let target = data::drawn_by(&record.cell, open.dataset.targets(), &components).unwrap_or_default().to_owned();
        out.cells.push(EarlierCell { step, dataset, open: Arc::new(open), target, rows: parts.labelled_rows() });
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
