//! Labels that the steps before a cell have used: a budget holds for one step, and a chain may have seen more.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::prepare::{Prepared, Ready};
use crate::span;

/// Labels that a step before a cell has used, training and choosing together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierLabels {
    /// The step.
    pub step: String,
    /// Its data set.
    pub dataset: String,
    /// How many there are.
    pub labels: usize,
    /// Whether its records are those of the cell's data set, under another name.
    pub same_records: bool,
    /// Where it is the cell's own data set: how many of its labels the chain has used up to here, those of the cell
    /// included.
    pub chain: Option<usize>,
}

/// The labels that the network of a cell has learned from before, the nearest step first.
pub(crate) fn before(run: &Prepared<'_>, ready: &Ready) -> Vec<EarlierLabels> {
    let chain = run.learned_from(ready);
    let rows = |r: &Ready, dataset: &str| -> Vec<u64> {
        r.labelled().filter(|s| s.dataset() == dataset).flat_map(|s| s.parts.labelled_rows()).collect()
    };
    let own: BTreeSet<&str> = ready.labelled().map(|s| s.dataset()).collect();
    let mut out = Vec::new();
    for before in &chain {
        let datasets: BTreeSet<&str> = before.labelled().map(|s| s.dataset()).collect();
        for dataset in datasets {
            let used = || chain.iter().copied().chain([ready]).flat_map(|r| rows(r, dataset));
            let same = || ready.labelled().any(|s| run.same_records(dataset, s.dataset()));
            out.push(EarlierLabels {
                step: before.cell.step.clone(),
                dataset: dataset.to_owned(),
                labels: rows(before, dataset).len(),
                same_records: !own.contains(dataset) && same(),
                chain: own.contains(dataset).then(|| used().collect::<BTreeSet<u64>>().len()),
            });
        }
    }
    out
}

/// The same in words, over the cells of a step; `None` when no step before it has used any.
pub(crate) fn in_words(cells: &[&[EarlierLabels]]) -> Option<String> {
    let mut steps: Vec<(&str, &str)> = Vec::new();
    let mut counts = BTreeMap::<(&str, &str), BTreeSet<usize>>::new();
    let mut chains = BTreeMap::<&str, BTreeSet<usize>>::new();
    for e in cells.iter().flat_map(|c| c.iter()) {
        let of = (e.step.as_str(), e.dataset.as_str());
        if !steps.contains(&of) {
            steps.push(of);
        }
        counts.entry(of).or_default().insert(e.labels);
        if let Some(chain) = e.chain {
            chains.entry(&e.dataset).or_default().insert(chain);
        }
    }
    let same: BTreeSet<&str> =
        cells.iter().flat_map(|c| c.iter()).filter(|e| e.same_records).map(|e| e.dataset.as_str()).collect();
    let of = |(step, dataset): &(&str, &str)| {
        let same = if same.contains(dataset) { ", the same records," } else { "" };
        format!("{} of `{dataset}`{same} in step `{step}`", span(counts[&(*step, *dataset)].iter().copied()))
    };
    let listed = steps.iter().map(of).collect::<Vec<_>>().join(", ");
    let all = chains
        .iter()
        .map(|(dataset, n)| format!("; the whole chain uses {} labels of `{dataset}`", span(n.iter().copied())));
    (!steps.is_empty()).then(|| format!("before it {listed}{}", all.collect::<String>()))
}
