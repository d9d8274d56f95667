//! [`Loader`]: seeded, shuffled, transformed batches of one part of a data set, at any position.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rand::seq::SliceRandom;
use transplant_core::{
    Batch, Dataset, Error, Fed, Feed, Field, Invalid, Result, RowRole, Schema, Seeds, Test, Train, Transform,
    Unlabelled, Validation,
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
    /// How far classes are brought to the same number of rows in an epoch, from 0 (each row once) to 1 (each class alike):
    /// a class of n rows is drawn from in proportion to n to the power of 1 less this.
    pub class_balance: f64,
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
            class_balance: 0.,
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
    seeds: Seeds,
    /// Where classes are balanced: the rows of each, and how often one of them is drawn in an epoch.
    classes: Vec<(Vec<u64>, usize)>,
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
            return Err(Error::contract("a loader needs at least one row, and this part of the data set is empty"));
        }
        let chain = Chain::new(o.transforms, o.augment)?;
        let classes = match o.class_balance {
            // Rows without labels are not told apart by them.
            balance if balance == 0. || !labelled => Vec::new(),
            balance if (0. ..=1.).contains(&balance) => balanced(&**dataset, rows, balance)?,
            other => return Err(Invalid::key("class_balance", format!("must be from 0 to 1, not {other}")).into()),
        };
        let loader = Self {
            classes,
            rows: rows.to_vec(),
            targets: if labelled { dataset.targets().clone() } else { Schema::new() },
            inputs: chain.schema(dataset.inputs())?,
            views: if chain.random() { o.views } else { Some(1) },
            chain,
            batches: rows.len().div_ceil(o.batch_size) as u64,
            seeds: o.seeds,
            order: Mutex::new(None),
            dataset: dataset.clone(),
        };
        Ok(Fed::new(split, Arc::new(loader)))
    }

    /// All rows in the order of an epoch.
    fn shuffled(&self, epoch: u64) -> Arc<[u64]> {
        let mut last = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref() {
            Some((e, order)) if *e == epoch => order.clone(),
            _ => {
                let mut stream = self.seeds.stream("shuffle", &[epoch]);
                let mut rows = if self.classes.is_empty() { self.rows.clone() } else { Vec::new() };
                for (of_class, times) in &self.classes {
                    // Whole rounds, in each of which every row comes once.
                    let mut round = of_class.clone();
                    let mut left = *times;
                    while left > 0 {
                        round.shuffle(&mut stream);
                        rows.extend(&round[..left.min(round.len())]);
                        left = left.saturating_sub(round.len());
                    }
                }
                rows.shuffle(&mut stream);
                let order: Arc<[u64]> = rows.into();
                *last = Some((epoch, order.clone()));
                order
            }
        }
    }

    fn read(&self, rows: &[u64]) -> Result<Batch> {
        let mut batch = self.dataset.batch(rows)?;
        batch.targets.retain(|name, _| self.targets.contains_key(name));
        Ok(batch)
    }
}

/// The rows of each class, and how often one of them is drawn in an epoch: as many in all as there are rows.
fn balanced(dataset: &dyn Dataset, rows: &[u64], balance: f64) -> Result<Vec<(Vec<u64>, usize)>> {
    let class = |(name, field): (&String, &Field)| matches!(field, Field::Class { .. }).then(|| name.clone());
    let target = dataset.targets().iter().find_map(class);
    let target =
        target.ok_or_else(|| Invalid::key("class_balance", "the data have no classes that could be balanced"))?;
    let labels = dataset.classes_of(&target)?;
    let mut of_class = BTreeMap::<Option<u32>, Vec<u64>>::new();
    for row in rows {
        of_class.entry(labels.get(*row as usize).copied().flatten()).or_default().push(*row);
    }
    let weight = |n: usize| (n as f64).powf(1. - balance);
    let sum: f64 = of_class.values().map(|rows| weight(rows.len())).sum();
    // Rounded so that all of them together are the rows: each takes what the sum up to it has grown by.
    let (mut so_far, mut given, all) = (0., 0, rows.len());
    let share = |rows: Vec<u64>| {
        so_far += weight(rows.len());
        let upto = (so_far / sum * all as f64).round() as usize;
        let times = upto - given;
        given = upto;
        (rows, times)
    };
    Ok(of_class.into_values().map(share).collect())
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

    fn views(&self) -> Option<u64> {
        self.views
    }
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rows, batches) = (self.rows.len(), self.batches);
        f.debug_struct("Loader").field("rows", &rows).field("batches", &batches).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transforms::{Affine, Flip, Pad, affine, flip, pad};
    use crate::{Draw, Optdigits, Parts};
    use transplant_core::HIDDEN;

    fn parts(k: usize) -> Parts {
        let dataset: Arc<dyn Dataset> = Arc::new(Optdigits::load().unwrap());
        let draw = Draw { labels_per_class: Some(k), ..Draw::default() };
        draw.parts(&dataset, "class", Seeds::new(0)).unwrap()
    }

    fn augmented(batch_size: usize) -> LoaderOptions {
        let o = affine::Options { rotate_degrees: 20., ..affine::Options::default() };
        let p = pad::Options { height: Some(10), width: Some(12), ..pad::Options::default() };
        let mut options = LoaderOptions::new(batch_size);
        options.transforms = vec![Arc::new(Pad::new(p).unwrap())];
        options.augment =
            vec![Arc::new(Affine::new(o).unwrap()), Arc::new(Flip::new(flip::Options::default()).unwrap())];
        options
    }

    fn bits(batch: &Batch) -> Vec<f32> {
        batch.inputs.get(HIDDEN).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn balanced_classes_are_drawn_alike_and_no_row_twice_before_all_of_its_class() -> Result<()> {
        let dataset: Arc<dyn Dataset> = Arc::new(Optdigits::load()?);
        let labels = dataset.classes_of("class")?;
        let of = |class: u32, n: usize| {
            let all = dataset.roles().pool.iter().copied().filter(|r| labels[*r as usize] == Some(class));
            all.take(n).collect::<Vec<_>>()
        };
        let rows = [of(0, 60), of(1, 15), of(2, 5)].concat();
        let train = Train::new(dataset.clone(), rows.clone());
        let counts = |balance: f64, epoch: u64| -> Result<Vec<usize>> {
            let feed = Loader::train(&train, LoaderOptions { class_balance: balance, ..LoaderOptions::new(16) })?;
            let drawn = (0..feed.batches()).map(|i| feed.order(epoch, i)).collect::<Result<Vec<_>>>()?.concat();
            assert_eq!((drawn.len(), feed.batches()), (80, 5));
            let times = |row: &u64| drawn.iter().filter(|r| *r == row).count();
            for class in [&rows[..60], &rows[60..75], &rows[75..]] {
                let times: Vec<usize> = class.iter().map(times).collect();
                assert!(times.iter().max().unwrap() - times.iter().min().unwrap() <= 1, "{times:?}");
            }
            let of_class = |class: &[u64]| class.iter().map(times).sum();
            Ok(vec![of_class(&rows[..60]), of_class(&rows[60..75]), of_class(&rows[75..])])
        };
        assert_eq!(counts(0., 0)?, [60, 15, 5]);
        assert_eq!(counts(1., 0)?, [27, 26, 27]);
        // The roots of 60, 15 and 5 are as 7.75, 3.87 and 2.24.
        assert_eq!(counts(0.5, 0)?, [45, 22, 13]);
        assert_eq!(counts(1., 3)?, [27, 26, 27]);
        let wrong = LoaderOptions { class_balance: 1.5, ..LoaderOptions::new(16) };
        assert!(Loader::train(&train, wrong).err().unwrap().to_string().starts_with("class_balance: must be"));
        Ok(())
    }

    #[test]
    fn an_epoch_holds_every_row_once_in_batches_of_like_size() -> Result<()> {
        let parts = parts(5);
        for batch_size in [1, 7, 49, 50, 64] {
            let feed = Loader::train(&parts.train, LoaderOptions::new(batch_size))?;
            assert_eq!(feed.batches(), 50u64.div_ceil(batch_size as u64));
            let mut rows = Vec::new();
            for i in 0..feed.batches() {
                let batch = feed.batch(3, i)?;
                let n = batch.rows.len();
                assert!(n <= batch_size && n >= 50 / feed.batches() as usize, "{n} of {batch_size}");
                rows.extend(batch.rows);
            }
            assert_ne!(rows, feed.rows());
            rows.sort_unstable();
            assert_eq!(rows, feed.rows());
            assert!(feed.batch(0, feed.batches()).is_err());
        }
        Ok(())
    }

    #[test]
    fn a_batch_is_a_function_of_seed_epoch_and_index() -> Result<()> {
        let parts = parts(5);
        let feed = Loader::train(&parts.train, augmented(16))?;
        let wanted = feed.batch(4, 2)?;
        for other in 0..4 {
            feed.batch(other, other)?;
        }
        assert_eq!((bits(&feed.batch(4, 2)?), feed.batch(4, 2)?.rows), (bits(&wanted), wanted.rows.clone()));
        let again = Loader::train(&parts.train, augmented(16))?.batch(4, 2)?;
        assert_eq!((bits(&again), again.rows), (bits(&wanted), wanted.rows.clone()));
        let other = Loader::train(&parts.train, LoaderOptions { seeds: Seeds::new(1), ..augmented(16) })?;
        assert_ne!(other.batch(4, 2)?.rows, wanted.rows);
        assert_ne!(feed.batch(5, 2)?.rows, wanted.rows);
        Ok(())
    }

    #[test]
    fn views_come_round_while_the_order_goes_on() -> Result<()> {
        let parts = parts(5);
        let feed = Loader::train(&parts.train, LoaderOptions { views: Some(3), ..augmented(16) })?;
        let rows = feed.order(1, 0)?;
        let view = |epoch| feed.view(&rows, epoch).map(|b| bits(&b));
        assert_eq!((view(1)?, view(2)?), (view(4)?, view(8)?));
        assert!(view(0)? != view(1)? && view(1)? != view(2)? && feed.order(4, 0)? != rows);
        let endless = Loader::train(&parts.train, augmented(16))?;
        assert_eq!(bits(&endless.view(&rows, 2)?), view(2)?);
        assert_ne!(bits(&endless.view(&rows, 4)?), view(4)?);
        assert_eq!((feed.views(), endless.views()), (Some(3), None));
        assert_eq!(Loader::train(&parts.train, LoaderOptions::new(16))?.views(), Some(1));
        assert!(Loader::train(&parts.train, LoaderOptions { views: Some(0), ..augmented(16) }).is_err());
        Ok(())
    }

    #[test]
    fn threads_change_nothing() -> Result<()> {
        let feed = Loader::train(&parts(20).train, augmented(64))?;
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| feed.batch(1, 1)).map(|b| bits(&b))
        };
        assert_eq!(with(1)?, with(3)?);
        Ok(())
    }

    #[test]
    fn plain_rows_are_transformed_but_not_augmented() -> Result<()> {
        let parts = parts(2);
        let feed = Loader::validation(&Validation::new(parts.train.dataset().clone(), vec![8, 3]), augmented(4))?;
        assert_eq!(feed.views(), None);
        let batch = feed.plain(&[3, 8])?;
        assert_eq!((batch.rows.as_slice(), batch.inputs.get(HIDDEN)?.dims()), (&[3, 8][..], &[2, 1, 10, 12][..]));
        let raw = parts.train.dataset().batch(&[3])?;
        assert_eq!(bits(&batch).iter().sum::<f32>() > 0., bits(&raw).iter().sum::<f32>() > 0.);
        let middle = batch.inputs.get(HIDDEN)?.get(0)?.narrow(1, 1, 8)?.narrow(2, 2, 8)?;
        assert_eq!(middle.flatten_all()?.to_vec1::<f32>()?, bits(&raw));
        assert_eq!(batch.target("class")?.values.dims(), [2]);
        Ok(())
    }

    #[test]
    fn unlabelled_rows_have_no_targets() -> Result<()> {
        let feed = Loader::unlabelled(&parts(2).unlabelled, LoaderOptions::new(32))?;
        assert!(feed.targets().is_empty());
        for batch in [feed.batch(0, 0)?, feed.plain(&feed.rows()[..3])?] {
            assert!(batch.targets.is_empty() && batch.target("class").is_err());
        }
        Ok(())
    }

    #[test]
    fn nothing_to_load_is_an_error() {
        let parts = parts(2);
        assert!(Loader::test(&parts.test, LoaderOptions::new(0)).is_err());
        let empty = Test::new(parts.test.dataset().clone(), Vec::new());
        assert!(Loader::test(&empty, LoaderOptions::new(4)).err().unwrap().to_string().contains("at least one row"));
    }
}
