//! Test rows that a network has learned from: twins within a data set, and rows that an earlier step of the chain was trained on.

use std::collections::{BTreeMap, BTreeSet};

use transplant_core::Result;
use transplant_datasets::{Prints, Twins};

use super::prepare::Ready;

/// Fingerprints of data sets, by name, as far as they were needed.
#[derive(Default)]
pub(crate) struct Leaks {
    prints: BTreeMap<String, Prints>,
}

impl Leaks {
    /// What to tell of the test rows of the first cell of `chain`, each of which started from the next.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub(crate) fn of(&mut self, chain: &[&Ready]) -> Result<Vec<String>> {
        let Some((cell, earlier)) = chain.split_first().filter(|(cell, _)| cell.cell.test) else {
            return Ok(Vec::new());
        };
        let (test, learned) = (cell.parts.test.rows(), learned(cell));
        self.read(cell, &[&learned, test].concat())?;
        let own = self.prints[&cell.cell.dataset].same(test, &learned);
        let (of, name) = (test.len(), &cell.cell.dataset);
        let mut told = Vec::new();
        if let Some(t) = own.first() {
            told.push(format!(
                "{} of the {of} test rows of `{name}` are training or validation rows, too (row {} is row {}): what is measured on \
                 them is memory; `data` shows them",
                own.len(),
                t.row,
                t.like
            ));
        }
        for before in earlier {
            if let Some((n, first)) = self.known(cell, before)? {
                told.push(format!(
                    "{n} of the {of} test rows of `{name}` were training or validation rows of step `{}`, which the network started \
                     from ({first}): what is measured on them is memory; steps on one data set section share their rows",
                    before.cell.step
                ));
            }
        }
        Ok(told)
    }

    /// How many test rows of a cell an earlier one has learned from, and which is the first.
    fn known(&mut self, cell: &Ready, before: &Ready) -> Result<Option<(usize, String)>> {
        let (test, learned) = (cell.parts.test.rows(), learned(before));
        if cell.cell.dataset == before.cell.dataset {
            let all: BTreeSet<u64> = learned.into_iter().collect();
            let mut again = test.iter().filter(|row| all.contains(row));
            return Ok(again.next().map(|first| (1 + again.count(), format!("row {first}"))));
        }
        self.read(before, &learned)?;
        let name = &before.cell.dataset;
        let shared = self.prints[&cell.cell.dataset].shared(test, &self.prints[name], &learned);
        let first = |t: &Twins| (shared.len(), format!("row {} is row {} of `{name}`", t.row, t.like));
        Ok(shared.first().map(first))
    }

    fn read(&mut self, of: &Ready, rows: &[u64]) -> Result<()> {
        self.prints.entry(of.cell.dataset.clone()).or_default().add(of.open.dataset.as_ref(), rows)
    }
}

/// The rows whose labels a cell uses.
fn learned(of: &Ready) -> Vec<u64> {
    let validation = of.parts.validation.as_ref().map_or(&[][..], |v| v.rows());
    [of.parts.train.rows(), validation].concat()
}
