//! Test rows that a network has learned from: twins within a data set, and rows that an earlier step of the chain was trained on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use transplant_core::Result;
use transplant_datasets::{Prints, Twins};

use super::prepare::Ready;

/// Test rows of a cell that its network has learned from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leak {
    /// How many there are.
    pub rows: usize,
    /// How they came to be learned from, a sentence a step.
    pub told: Vec<String>,
}

/// Finds leaks; keeps fingerprints of data sets, by name, as far as they were needed.
#[derive(Default)]
pub(crate) struct Leaks {
    prints: BTreeMap<String, Prints>,
}

impl Leaks {
    /// The leaks of the first cell of `chain`, each of which started from the next.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub(crate) fn of(&mut self, chain: &[&Ready]) -> Result<Leak> {
        let mut leak = Leak::default();
        let Some((cell, earlier)) = chain.split_first().filter(|(cell, _)| cell.cell.test) else { return Ok(leak) };
        let (test, learned) = (cell.parts.test.rows(), cell.parts.labelled_rows());
        let (of, name) = (test.len(), &cell.cell.dataset);
        self.read(cell, &[&learned, test].concat())?;
        let own = self.prints[name].same(test, &learned);
        if let Some(Twins { row, like }) = own.first() {
            leak.told.push(format!(
                "{} of the {of} test rows of `{name}` are training or validation rows, too (row {row} is row {like}): what is measured \
                 on them is memory; `data` shows them",
                own.len()
            ));
        }
        let mut rows: BTreeSet<u64> = own.iter().map(|t| t.row).collect();
        for before in earlier {
            let again = self.again(cell, before)?;
            let Some(Twins { row, like }) = again.first() else { continue };
            let (n, step, theirs) = (again.len(), &before.cell.step, &before.cell.dataset);
            leak.told.push(format!(
                "{n} of the {of} test rows of `{name}` were training or validation rows of step `{step}`, which the network started from \
                 (row {row} is row {like} of `{theirs}`): what is measured on them is memory; the two steps divide the same rows in \
                 different ways"
            ));
            rows.extend(again.iter().map(|t| t.row));
        }
        leak.rows = rows.len();
        Ok(leak)
    }

    /// The test rows of a cell that an earlier one has learned from.
    fn again(&mut self, cell: &Ready, before: &Ready) -> Result<Vec<Twins>> {
        let (test, learned) = (cell.parts.test.rows(), before.parts.labelled_rows());
        let (ours, theirs) = (&cell.cell.dataset, &before.cell.dataset);
        if ours == theirs {
            let learned: BTreeSet<u64> = learned.into_iter().collect();
            return Ok(test.iter().filter(|r| learned.contains(r)).map(|&row| Twins { row, like: row }).collect());
        }
        self.read(before, &learned)?;
        Ok(self.prints[ours].shared(test, &self.prints[theirs], &learned))
    }

    fn read(&mut self, of: &Ready, rows: &[u64]) -> Result<()> {
        self.prints.entry(of.cell.dataset.clone()).or_default().add(of.open.dataset.as_ref(), rows)
    }
}
