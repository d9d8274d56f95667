//! Test rows that a network has learned from: copies within a data set, and rows that an earlier step of the chain, or
//! the run that left the weights it starts from, was trained on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use transplant_core::{Dataset, Field, Plugins, Result, TEXT};
use transplant_datasets::{Chain, Equal, Prints, equal_by_chance};

use super::earlier::{self, Earlier};
use super::prepare::{Prepared, Ready};
use super::streams::ReadyTest;
use crate::span;

/// What was found when the test rows of a cell were looked for among those that its network has learned from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leak {
    /// Test rows that the network has learned from, of all tests.
    pub rows: usize,
    /// The same by test; missing where there are none.
    #[serde(default)]
    pub by_test: BTreeMap<String, usize>,
    /// Test rows that are among the rows without labels that the network was shown.
    #[serde(default)]
    pub shown: usize,
    /// Where they were found.
    #[serde(default)]
    pub found: Vec<Found>,
    /// What could not be looked through, a sentence each.
    #[serde(default)]
    pub not_looked: Vec<String>,
}

/// Test rows of a cell that are among the rows of one step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Found {
    /// Who learned from them.
    pub by: By,
    /// Why they are taken for the same.
    pub because: Because,
    /// The data set that is tested.
    pub tested: String,
    /// How many of its test rows they are, and of how many.
    pub rows: [usize; 2],
    /// The first of them, and the row that it is there.
    pub first: [u64; 2],
}

/// Who learned from a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The cell itself.
    Itself,
    /// An earlier step, from this data set.
    Step {
        /// Its name.
        step: String,
        /// Its data set.
        dataset: String,
        /// Whether it has the same records, divided otherwise.
        same_records: bool,
    },
    /// The run that left the weights of this name, in one of its steps.
    Weights {
        /// The name of the weights.
        weights: String,
        /// The step there.
        step: String,
    },
}

/// Why two rows are taken for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// They are one record, one file or one picture.
    Same,
    /// Their inputs are equal, and that is hardly chance.
    EqualInputs,
    /// Texts of which the network is given the same words or tokens, and that is hardly chance.
    SameWords,
    /// Their inputs are equal, as those of rows that have nothing to do with each other may be: no leak.
    Chance,
}

/// Finds leaks; keeps fingerprints of data sets as far as they were needed.
#[derive(Default)]
pub(crate) struct Leaks {
    /// By data set, and for texts also by the transforms that the tested step gives them to its network through.
    prints: BTreeMap<(String, String), Prints>,
    /// What the runs that left weights learned from, by the name of the weights.
    earlier: BTreeMap<String, Arc<Earlier>>,
}

/// Rows that something learned from.
struct Learned<'a> {
    by: By,
    /// Under which its fingerprints are kept.
    key: String,
    dataset: &'a Arc<dyn Dataset>,
    target: &'a str,
    rows: Vec<u64>,
}

impl Leaks {
    /// The leaks of a cell.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub(crate) fn of(&mut self, run: &Prepared<'_>, ready: &Ready) -> Result<Leak> {
        let mut leak = Leak::default();
        for test in &ready.tests {
            let rows = self.of_test(run, ready, test, &mut leak.found)?;
            leak.rows += rows;
            if rows > 0 {
                leak.by_test.insert(test.name.clone(), rows);
            }
            leak.shown += self.shown(ready, test)?;
        }
        if let (false, Some((_, earlier))) = (ready.tests.is_empty(), self.of_weights(run, ready)) {
            leak.not_looked.extend(earlier.not_looked.clone());
        }
        Ok(leak)
    }

    /// The number of rows of a test that are among rows without labels that the cell's network is shown.
    fn shown(&mut self, ready: &Ready, test: &ReadyTest) -> Result<usize> {
        let (mut found, mut rows) = (Vec::new(), BTreeSet::new());
        let not_named = (!ready.not_named().is_empty()).then(|| ready.main());
        for stream in ready.unlabelled().chain(not_named) {
            let learned = Learned {
                by: By::Itself,
                key: stream.dataset().to_owned(),
                dataset: &stream.open.dataset,
                target: &stream.target,
                rows: stream.parts.unlabelled.rows().to_vec(),
            };
            self.among(test, learned, &mut found, &mut rows)?;
        }
        Ok(rows.len())
    }

    /// What the weights that a chain begins with have learned from, by their name.
    fn of_weights(&mut self, run: &Prepared<'_>, ready: &Ready) -> Option<(String, Arc<Earlier>)> {
        let first = run.learned_from(ready).last().copied().unwrap_or(ready);
        let weights = first.cell.weights.clone().filter(|_| first.takes_weights())?;
        let path = run.weights.get(&weights).and_then(|w| w.path.as_deref());
        let earlier = self.earlier(run.plugins, &weights, path);
        Some((weights, earlier))
    }

    /// Adds what is found of one test; returns the number of its rows that were learned from.
    fn of_test(
        &mut self,
        run: &Prepared<'_>,
        ready: &Ready,
        test: &ReadyTest,
        found: &mut Vec<Found>,
    ) -> Result<usize> {
        let mut rows = BTreeSet::new();
        for stream in ready.labelled() {
            let learned = Learned {
                by: By::Itself,
                key: stream.dataset().to_owned(),
                dataset: &stream.open.dataset,
                target: &stream.target,
                rows: stream.parts.labelled_rows(),
            };
            self.among(test, learned, found, &mut rows)?;
        }
        for before in &run.learned_from(ready) {
            for stream in before.labelled() {
                let (step, dataset) = (before.cell.step.clone(), stream.dataset().to_owned());
                let same_records = run.same_records(&test.dataset, &dataset);
                let learned = Learned {
                    by: By::Step { step, dataset: dataset.clone(), same_records },
                    key: dataset,
                    dataset: &stream.open.dataset,
                    target: &stream.target,
                    rows: stream.parts.labelled_rows(),
                };
                self.among(test, learned, found, &mut rows)?;
            }
        }
        if let Some((weights, earlier)) = self.of_weights(run, ready) {
            for cell in &earlier.cells {
                let learned = Learned {
                    by: By::Weights { weights: weights.clone(), step: cell.step.clone() },
                    key: format!("weights {weights}: {}", cell.dataset),
                    dataset: &cell.open.dataset,
                    target: &cell.target,
                    rows: cell.rows.clone(),
                };
                self.among(test, learned, found, &mut rows)?;
            }
        }
        Ok(rows.len())
    }

    fn earlier(&mut self, plugins: &Plugins, weights: &str, path: Option<&Path>) -> Arc<Earlier> {
        let found = self.earlier.entry(weights.to_owned());
        found.or_insert_with(|| Arc::new(earlier::of_weights(weights, path, plugins))).clone()
    }

    /// Looks for test rows among rows that were learned from.
    fn among(
        &mut self,
        test_of: &ReadyTest,
        by: Learned<'_>,
        found_before: &mut Vec<Found>,
        all: &mut BTreeSet<u64>,
    ) -> Result<()> {
        let (name, test, tested) = (&test_of.dataset, test_of.rows.rows(), &test_of.open.dataset);
        let (seen_as, chain) = seen_as(test_of)?;
        let (of, with) = ((name.clone(), seen_as.clone()), (by.key.clone(), seen_as));
        self.prints.entry(of.clone()).or_default().add(tested.as_ref(), test, &chain)?;
        self.prints.entry(with.clone()).or_default().add(by.dataset.as_ref(), &by.rows, &chain)?;
        let mut again = self.prints[&of].known_again(test, &self.prints[&with], &by.rows);
        let mut same: BTreeMap<u64, u64> = again.records.iter().map(|t| (t.row, t.like)).collect();
        if by.key == *name {
            let learned: BTreeSet<u64> = by.rows.iter().copied().collect();
            same.extend(test.iter().filter(|row| learned.contains(row)).map(|row| (*row, *row)));
            again.inputs.retain(|equal| !same.contains_key(&equal.row));
            again.words.retain(|equal| !same.contains_key(&equal.row));
        }
        let rows: BTreeSet<u64> = again.inputs.iter().chain(&again.words).map(|equal| equal.row).collect();
        let common = equal_by_chance(tested.as_ref(), test, &rows, by.dataset.as_ref(), &by.rows)?;
        let labels = Labels::new(test_of, &by)?;
        let pictures = tested.inputs().values().any(|field| matches!(field, Field::Image { .. }));
        let unlike = |row: &Equal| !pictures && row.like.iter().all(|like| labels.differ(row.row, *like));
        let is_chance = |row: &Equal| common.contains(&row.row) || unlike(row);
        let first = |rows: Vec<Equal>| rows.into_iter().map(|row| (row.row, row.like[0])).collect::<BTreeMap<_, _>>();
        let (chance, equal): (Vec<_>, Vec<_>) = again.inputs.into_iter().partition(is_chance);
        let (chance_of_words, words): (Vec<_>, Vec<_>) = again.words.into_iter().partition(is_chance);
        let mut equal = first(equal);
        if pictures {
            same.append(&mut equal);
        }
        let chance = first([chance, chance_of_words].concat());
        let all_found = [
            (Because::Same, same),
            (Because::EqualInputs, equal),
            (Because::SameWords, first(words)),
            (Because::Chance, chance),
        ];
        for (because, found) in all_found {
            let Some((row, like)) = found.first_key_value() else { continue };
            let (tested, rows, first) = (name.clone(), [found.len(), test.len()], [*row, *like]);
            found_before.push(Found { by: by.by.clone(), because, tested, rows, first });
            if because != Because::Chance {
                all.extend(found.keys());
            }
        }
        Ok(())
    }
}

/// The transforms through which a test gives texts to its network, and what tells them from others; of other inputs
/// none count.
fn seen_as(test: &ReadyTest) -> Result<(String, Chain)> {
    if !test.open.dataset.inputs().contains_key(TEXT) {
        return Ok(Default::default());
    }
    let chain = Chain::new(test.open.transforms.clone(), Vec::new())?;
    Ok((json!(test.spec.transforms).to_string(), chain))
}

/// Labels of the rows of two data sets, where both have the same classes or the same number.
struct Labels(Option<[Vec<Option<u32>>; 2]>);

impl Labels {
    fn new(test: &ReadyTest, by: &Learned<'_>) -> Result<Self> {
        let (here, there) = (test.open.dataset.targets(), by.dataset.targets());
        if let Some(field) = here.get(&test.target) {
            if there.get(by.target) != Some(field) {
                return Ok(Self(None));
            }
            return Ok(Self(Some([test.open.dataset.classes_of(&test.target)?, by.dataset.classes_of(by.target)?])));
        }
        let numbers = here.iter().filter(|(_, field)| **field == Field::Number).map(|(name, _)| name);
        let Some(name) = numbers.into_iter().find(|name| there.get(*name) == Some(&Field::Number)) else {
            return Ok(Self(None));
        };
        // Numbers differ where their bits do.
        let bits = |dataset: &dyn Dataset| -> Result<Vec<Option<u32>>> {
            Ok(dataset.numbers_of(name)?.into_iter().map(|n| n.map(f32::to_bits)).collect())
        };
        Ok(Self(Some([bits(test.open.dataset.as_ref())?, bits(by.dataset.as_ref())?])))
    }

    /// Whether both rows are labelled, and not alike: neither is a copy of the other then.
    fn differ(&self, row: u64, like: u64) -> bool {
        let Self(Some([ours, theirs])) = self else { return false };
        let of = |labels: &[Option<u32>], row: u64| labels.get(row as usize).copied().flatten();
        of(ours, row).zip(of(theirs, like)).is_some_and(|(a, b)| a != b)
    }
}

/// What was found in some cells of a step, in sentences: what several of them have in common is one. `folds` says
/// whether the data set has any.
pub(crate) fn sentences(cells: &[(u64, &Leak)], folds: bool) -> Vec<(Because, String)> {
    let mut groups: Vec<(&Found, Vec<(u64, &Found)>)> = Vec::new();
    for (fold, found) in cells.iter().flat_map(|(fold, leak)| leak.found.iter().map(move |f| (*fold, f))) {
        let alike =
            |g: &&mut (&Found, _)| (&g.0.by, g.0.because, &g.0.tested) == (&found.by, found.because, &found.tested);
        match groups.iter_mut().find(alike) {
            Some((_, all)) => all.push((fold, found)),
            None => groups.push((found, vec![(fold, found)])),
        }
    }
    groups.sort_by_key(|(first, _)| first.because);
    groups.iter().map(|(first, all)| (first.because, sentence(first, all, cells.len(), folds))).collect()
}

fn sentence(found: &Found, all: &[(u64, &Found)], cells: usize, folds: bool) -> String {
    let numbers: BTreeSet<u64> = all.iter().map(|(fold, _)| *fold).collect();
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    let place = match (folds, numbers.as_slice()) {
        (true, [one]) => format!(" in fold {one}"),
        (true, [most @ .., last]) => format!(" in folds {} and {last}", most.join(", ")),
        _ if all.len() < cells => format!(" in {} of {cells} cells", all.len()),
        _ => String::new(),
    };
    let (tested, [row, like]) = (&found.tested, found.first);
    let (there, theirs, remedy) = match &found.by {
        By::Itself => (
            "training or validation rows".to_owned(),
            String::new(),
            "leave copies out, or give them one `group`; `data` shows them".to_owned(),
        ),
        By::Step { step, dataset, same_records } => (
            format!("training or validation rows of step `{step}`, which the network starts from"),
            if dataset == tested { String::new() } else { format!(" of `{dataset}`") },
            match (same_records, dataset == tested) {
                (true, false) => format!(
                    "`{tested}` and `{dataset}` divide the same records in different ways: give both the same `test`, `folds` and \
                     `divide`"
                ),
                (_, true) => "leave copies out, or give them one `group`".to_owned(),
                (false, false) => format!(
                    "leave these rows out of `{dataset}`, or say in both sections which rows are tested (a `split` column, `test_path`, \
                     folders `train` and `test`)"
                ),
            },
        ),
        By::Weights { weights, step } => (
            format!("training or validation rows of step `{step}` of the run that left the weights `{weights}`"),
            " there".to_owned(),
            "start from weights that were trained without them".to_owned(),
        ),
    };
    let (n, of) = (span(all.iter().map(|(_, f)| f.rows[0])), span(all.iter().map(|(_, f)| f.rows[1])));
    match found.because {
        Because::Same => {
            // `check` tells it before any step was run; weights are there already.
            let (are, too) = match &found.by {
                By::Itself => ("are", ", too"),
                By::Step { .. } => ("are", ""),
                By::Weights { .. } => ("were", ""),
            };
            format!(
                "{n} of the {of} test rows of `{tested}`{place} {are} {there}{too} (row {row} is row {like}{theirs}): what is measured on \
                 them is memory; {remedy}"
            )
        }
        Because::EqualInputs => format!(
            "{n} of the {of} test rows of `{tested}`{place} have the inputs of {there} (row {row} those of row {like}{theirs}), more than \
             chance explains: what is measured on them is memory if they are copies; {remedy}"
        ),
        Because::SameWords => format!(
            "{n} of the {of} test rows of `{tested}`{place} are other texts than {there}, and give the network the same words (row {row} \
             those of row {like}{theirs}), more than chance explains: what is measured on them is memory if they are copies; {remedy}"
        ),
        Because::Chance => format!(
            "{n} of the {of} test rows of `{tested}`{place} have the inputs of {there} (row {row} those of row {like}{theirs}); so few \
             different inputs, or other labels, make that no sign of copies, and they are not counted as learned"
        ),
    }
}

/// What could not be looked through, each once.
pub(crate) fn not_looked<'l>(leaks: impl Iterator<Item = &'l Leak>) -> BTreeSet<&'l str> {
    leaks.flat_map(|leak| &leak.not_looked).map(String::as_str).collect()
}
