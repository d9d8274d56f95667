//! [`Loader`]: seeded, shuffled, transformed batches of one part of a data set, at any position.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rand::seq::SliceRandom;
use sha2::{Digest, Sha256};
use transplant_core::{
    Batch, Dataset, Error, Fed, Feed, Field, Fingerprint, Invalid, Known, Result, RowRole, Sampler, SamplerCx, Schema,
    Seeds, Target, Test, Train, Transform, Unlabelled, Validation,
};

use crate::Chain;

/// How batches are made.
#[derive(Clone)]
pub struct LoaderOptions {
    /// Most rows of a batch.
    pub batch_size: usize,
    /// Transforms in their order; random ones act in training only.
    pub transforms: Vec<Arc<dyn Transform>>,
    /// Random transforms that follow them in training.
    pub augment: Vec<Arc<dyn Transform>>,
    /// Views of each row that random transforms make, at least 1; `None`: another in every epoch.
    pub views: Option<u64>,
    /// Which rows an epoch shows; `None`: each once.
    pub sampler: Option<Arc<dyn Sampler>>,
    /// The target whose classes a sampler may go by; `None`: the only one of the data set that is a class.
    pub classes_of: Option<String>,
    /// What tells these deterministic transforms from others: rows that the data set knows the fingerprint of need not be read
    /// to find what was made of them before. `None`: they always are.
    pub identity: Option<String>,
    /// Where shuffling and random transforms get their numbers from.
    pub seeds: Seeds,
}

impl LoaderOptions {
    /// Batches of this size without transforms, seed 0.
    pub fn new(batch_size: usize) -> Self {
        Self {
            batch_size,
            transforms: Vec::new(),
            augment: Vec::new(),
            views: None,
            sampler: None,
            classes_of: None,
            identity: None,
            seeds: Seeds::new(0),
        }
    }
}

/// Batches of one part of a data set.
///
/// In every epoch the rows are shuffled anew and cut into `ceil(rows / batch_size)` batches whose sizes differ by at most
/// one, so that no epoch ends in a lonely row, which normalising by the batch could not bear. A batch is a function of
/// seeds, epoch and index. Transforms work on all cores, one image each; nothing depends on how many there are.
pub struct Loader {
    dataset: Arc<dyn Dataset>,
    rows: Vec<u64>,
    targets: Schema,
    inputs: Schema,
    chain: Chain,
    batches: u64,
    views: Option<u64>,
    identity: Option<String>,
    seeds: Seeds,
    /// The labels of every row, by target, once they were asked for.
    labels: OnceLock<BTreeMap<String, RowLabels>>,
    /// Which rows an epoch shows; `None`: each once.
    sampler: Option<Arc<dyn Sampler>>,
    /// The class of every row of the data set, where a sampler may go by it.
    classes: Option<Vec<Option<u32>>>,
    /// The order of the epoch that was asked for last.
    order: Mutex<Option<(u64, Arc<[u64]>)>>,
}

impl Loader {
    /// Labelled batches to train on.
    ///
    /// # Errors
    /// When there are no rows, `batch_size` is 0, or a transform does not suit the data.
    pub fn train(split: &Train, options: LoaderOptions) -> Result<Fed<Train>> {
        Self::fed(split, split.dataset(), split.rows(), true, options)
    }

    /// Batches without targets.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn unlabelled(split: &Unlabelled, options: LoaderOptions) -> Result<Fed<Unlabelled>> {
        Self::fed(split, split.dataset(), split.rows(), false, options)
    }

    /// Labelled batches to choose on.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn validation(split: &Validation, options: LoaderOptions) -> Result<Fed<Validation>> {
        Self::fed(split, split.dataset(), split.rows(), true, options)
    }

    /// Labelled batches to test on.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn test(split: &Test, options: LoaderOptions) -> Result<Fed<Test>> {
        Self::fed(split, split.dataset(), split.rows(), true, options)
    }

    fn fed<R: RowRole>(
        split: &R,
        dataset: &Arc<dyn Dataset>,
        rows: &[u64],
        labelled: bool,
        o: LoaderOptions,
    ) -> Result<Fed<R>> {
        if o.batch_size == 0 {
            return Err(Invalid::key("batch_size", "must be at least 1").into());
        }
        if o.views == Some(0) {
            return Err(Invalid::key("views", "must be at least 1").into());
        }
        if rows.is_empty() {
            return Err(Invalid::new("a loader needs at least one row, and this part of the data set is empty").into());
        }
        let chain = Chain::new(o.transforms, o.augment)?;
        // Rows without labels are not told apart by them.
        let classes = match &o.sampler {
            Some(_) if labelled => classes_of(&**dataset, o.classes_of.as_deref())?,
            _ => None,
        };
        let loader = Self {
            sampler: o.sampler,
            classes,
            rows: rows.to_vec(),
            targets: if labelled { dataset.targets().clone() } else { Schema::new() },
            inputs: chain.schema(dataset.inputs())?,
            views: if chain.random() { o.views } else { Some(1) },
            chain,
            batches: rows.len().div_ceil(o.batch_size) as u64,
            identity: o.identity,
            seeds: o.seeds,
            labels: OnceLock::new(),
            order: Mutex::new(None),
            dataset: dataset.clone(),
        };
        if let Some(sampler) = &loader.sampler {
            loader.with_facts(|cx| sampler.check(cx)).map_err(|e| e.under("sampler"))?;
        }
        Fed::new(split, Arc::new(loader))
    }

    /// All rows in the order of an epoch.
    fn shuffled(&self, epoch: u64) -> Arc<[u64]> {
        let mut last = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref() {
            Some((e, order)) if *e == epoch => order.clone(),
            _ => {
                let mut stream = self.seeds.stream("shuffle", &[epoch]);
                let rows = match &self.sampler {
                    Some(sampler) => self.with_facts(|cx| sampler.epoch(cx, &mut stream)),
                    None => {
                        let mut rows = self.rows.clone();
                        rows.shuffle(&mut stream);
                        rows
                    }
                };
                let order: Arc<[u64]> = rows.into();
                *last = Some((epoch, order.clone()));
                order
            }
        }
    }

    /// Calls a sampler with what it may know.
    fn with_facts<T>(&self, of: impl FnOnce(&SamplerCx<'_>) -> T) -> T {
        let fact = |name: &str| self.dataset.fact(name);
        of(&SamplerCx { rows: &self.rows, classes: self.classes.as_deref(), fact: &fact })
    }

    fn read(&self, rows: &[u64]) -> Result<Batch> {
        let mut batch = self.dataset.batch(rows)?;
        batch.targets.retain(|name, _| self.targets.contains_key(name));
        Ok(batch)
    }
}

/// The class of every row, by this target or the only one that is a class; `None`: the data have no classes.
fn classes_of(dataset: &dyn Dataset, by: Option<&str>) -> Result<Option<Vec<Option<u32>>>> {
    let classes = dataset.targets().iter().filter(|(_, field)| matches!(field, Field::Class { .. }));
    let classes: Vec<&str> = classes.map(|(name, _)| name.as_str()).collect();
    let target = match (by, classes.as_slice()) {
        (Some(by), _) if classes.contains(&by) => by,
        (None, [only]) => *only,
        (None, []) => return Ok(None),
        (by, _) => {
            let message = by.map_or("several targets are classes; one of them has to be named".to_owned(), |by| {
                format!("`{by}` is no target that is a class")
            });
            return Err(Invalid::key("classes_of", message).help(format!("there are: {}", classes.join(", "))).into());
        }
    };
    dataset.classes_of(target).map(Some)
}

impl Feed for Loader {
    fn inputs(&self) -> &Schema {
        &self.inputs
    }

    fn targets(&self) -> &Schema {
        &self.targets
    }

    fn rows(&self) -> &[u64] {
        &self.rows
    }

    fn batches(&self) -> u64 {
        self.batches
    }

    fn order(&self, epoch: u64, index: u64) -> Result<Vec<u64>> {
        if index >= self.batches {
            return Err(Error::contract(format!("batch {index} of an epoch of {}", self.batches)));
        }
        let order = self.shuffled(epoch);
        let edge = |i: u64| (u128::from(i) * order.len() as u128 / u128::from(self.batches)) as usize;
        Ok(order[edge(index)..edge(index + 1)].to_vec())
    }

    fn view(&self, rows: &[u64], epoch: u64) -> Result<Batch> {
        let mut batch = self.read(rows)?;
        let view = self.views.map_or(epoch, |views| epoch % views);
        batch.inputs = self.chain.train(batch.inputs, rows, view, self.seeds.child("augment"))?;
        Ok(batch)
    }

    fn plain(&self, rows: &[u64]) -> Result<Batch> {
        let mut batch = self.read(rows)?;
        batch.inputs = self.chain.plain(batch.inputs, rows)?;
        Ok(batch)
    }

    fn known(&self, rows: &[u64]) -> Result<Option<Known>> {
        let Some(identity) = &self.identity else { return Ok(None) };
        let of_row = |row: &u64| {
            let inputs = self.dataset.fingerprint(*row)?;
            Some(Sha256::new_with_prefix(identity).chain_update(inputs).finalize().into())
        };
        let Some(fingerprints) = rows.iter().map(of_row).collect::<Option<Vec<Fingerprint>>>() else { return Ok(None) };
        if self.targets.values().any(|field| !matches!(field, Field::Class { .. } | Field::Number)) {
            return Ok(None);
        }
        if self.labels.get().is_none() {
            let mut labels = BTreeMap::new();
            for (name, field) in &self.targets {
                let of_target = match field {
                    Field::Number => match self.dataset.numbers_of(name) {
                        Ok(numbers) => RowLabels::Numbers(numbers),
                        // Numbers that are known only by reading the rows.
                        Err(_) => return Ok(None),
                    },
                    _ => RowLabels::Classes(self.dataset.classes_of(name)?),
                };
                labels.insert(name.clone(), of_target);
            }
            let _ = self.labels.set(labels);
        }
        let labels = self.labels.get().into_iter().flatten();
        let target = |(name, labels): (&String, &RowLabels)| Ok((name.clone(), labels.of(rows)?));
        Ok(Some(Known { fingerprints, targets: labels.map(target).collect::<Result<_>>()? }))
    }

    fn views(&self) -> Option<u64> {
        self.views
    }
}

/// The labels of all rows of a data set for one target.
enum RowLabels {
    Classes(Vec<Option<u32>>),
    Numbers(Vec<Option<f32>>),
}

impl RowLabels {
    fn of(&self, rows: &[u64]) -> Result<Target> {
        let at = |row: &u64| *row as usize;
        match self {
            Self::Classes(all) => Target::classes(&rows.iter().map(|row| all[at(row)]).collect::<Vec<_>>()),
            Self::Numbers(all) => Target::numbers(&rows.iter().map(|row| all[at(row)]).collect::<Vec<_>>()),
        }
    }
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rows, batches) = (self.rows.len(), self.batches);
        f.debug_struct("Loader").field("rows", &rows).field("batches", &batches).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
