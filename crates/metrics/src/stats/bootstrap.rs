//! The hierarchical bootstrap (Davison & Hinkley, *Bootstrap Methods and their Application*, 1997, section 3.8): how far a
//! result would move with other source networks, other labelled rows and other test rows, all at once.
//!
//! Each replicate draws source seeds with replacement, within each of them draws with replacement, and once for all of
//! them the test rows, so that what is common to all runs stays common. Where rows have groups, groups are drawn, with
//! all their rows: rows of a group are alike, and as many of them say less than as many that stand alone. With only a
//! few seeds, or a few groups, the interval is on the narrow side, as every bootstrap of a few units is; with very few
//! groups there is none ([`FEWEST_FOR_INTERVAL`]).

use std::collections::BTreeMap;

use rand::Rng;
use transplant_core::{Error, Metric, Predictions, Result, Seeds, Stream};

use super::Interval;
use super::resample::{Rows, quantile};
use crate::rows::mean;

/// With fewer groups (or rows, where each stands alone) there is no interval: of G groups the bootstrap draws one of
/// them G times with probability G^-G for each, so that with two or three the ends are those of single groups, with one
/// both are the estimate, and with four there are only 35 different replicates. Cameron, Gelbach and Miller,
/// *Bootstrap-Based Improvements for Inference with Clustered Errors*, Review of Economics and Statistics 90 (2008),
/// study no fewer than five.
pub const FEWEST_FOR_INTERVAL: usize = 5;

/// With fewer groups an interval is too narrow to be trusted. What rests on many clusters rejects too often with five
/// to thirty of them (Cameron, Gelbach and Miller 2008); "few" begins somewhere from less than 20 to less than 50
/// clusters of one size (Cameron and Miller, *A Practitioner's Guide to Cluster-Robust Inference*, Journal of Human
/// Resources 50 (2015), section VI).
pub const FEWEST_TO_TRUST: usize = 20;

/// What one run predicted for the test rows.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// Seed of the whole chain, from pretraining on.
    pub seed: u64,
    /// Which draw of the labelled rows.
    pub draw: u64,
    /// Predictions for the test rows, the same rows in the same order in every cell.
    pub predictions: &'a Predictions,
    /// The group of each row, the same in every cell; empty: each row stands alone.
    pub groups: &'a [u64],
}

impl Cell<'_> {
    /// How many groups with a labelled row there are; without groups, how many labelled rows. So many are drawn in a
    /// replicate.
    pub fn resampled(&self) -> usize {
        by_group(self.groups, &with_label(self.predictions)).len()
    }
}

/// The mean of a metric over runs, and its 95 % percentile interval over source seeds, draws and test groups; without
/// groups, over test rows.
///
/// The mean goes over seeds, of the means over their draws; with as many draws for each seed it is the mean of all cells.
/// With fewer than [`FEWEST_FOR_INTERVAL`] groups, or rows that stand alone, the ends of the interval are NaN. Rows
/// without a label do not count; with no row at all everything is NaN. A metric with [`Metric::row_scores`] takes
/// milliseconds, others are computed again for every cell and replicate. The order of the cells does not matter.
///
/// # Errors
/// When there is no cell or no replicate, two cells have the same seed and draw, cells are not about the same rows, or the
/// metric does not suit the predictions.
pub fn bootstrap(metric: &dyn Metric, cells: &[Cell<'_>], replicates: usize, seeds: Seeds) -> Result<Interval> {
    let grid = Grid::new(metric, cells, cells.first())?;
    grid.interval(replicates, seeds, |cell, rows| grid.values[cell].at(rows))
}

/// As [`bootstrap`], for the difference `a − b` of two strategies over the same seeds and draws: in each replicate both are
/// looked at on the same seeds, draws and rows, so what makes both better or worse does not widen the interval.
///
/// # Errors
/// As [`bootstrap`], and when a seed and draw is there for one strategy only.
pub fn paired_bootstrap(
    metric: &dyn Metric,
    a: &[Cell<'_>],
    b: &[Cell<'_>],
    replicates: usize,
    seeds: Seeds,
) -> Result<Interval> {
    let like = a.first();
    let (first, second) = (Grid::new(metric, a, like)?, Grid::new(metric, b, like)?);
    let unpaired = first.keys.iter().find(|k| !second.keys.contains(k));
    if let Some((seed, draw)) = unpaired.or_else(|| second.keys.iter().find(|k| !first.keys.contains(k))) {
        return Err(Error::contract(format!("bootstrap: seed {seed}, draw {draw} has no partner to compare with")));
    }
    first.interval(replicates, seeds, |cell, rows| Ok(first.values[cell].at(rows)? - second.values[cell].at(rows)?))
}

/// The cells of one strategy, sorted by seed and draw.
struct Grid<'a> {
    keys: Vec<(u64, u64)>,
    values: Vec<Value<'a>>,
    /// Numbers of the cells of each seed.
    by_seed: Vec<Vec<usize>>,
    /// Number of rows that have a label.
    rows: usize,
    /// Positions of the rows of each group among those that have a label.
    groups: Vec<Vec<usize>>,
}

impl<'a> Grid<'a> {
    fn new(metric: &'a dyn Metric, cells: &[Cell<'_>], like: Option<&Cell<'_>>) -> Result<Self> {
        let mut sorted = cells.to_vec();
        sorted.sort_by_key(|c| (c.seed, c.draw));
        let keys: Vec<_> = sorted.iter().map(|c| (c.seed, c.draw)).collect();
        if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            let (seed, draw) = pair[0];
            return Err(Error::contract(format!("bootstrap: seed {seed}, draw {draw} is there twice")));
        }
        let (Some(like), false) = (like, cells.is_empty()) else {
            return Err(Error::contract("bootstrap: there is no cell"));
        };
        let with_label = with_label(like.predictions);
        if !like.groups.is_empty() && like.groups.len() != like.predictions.len() {
            let (groups, rows) = (like.groups.len(), like.predictions.len());
            return Err(Error::contract(format!("bootstrap: there are {groups} groups for {rows} rows")));
        }
        let mut by_seed = BTreeMap::<_, Vec<_>>::new();
        let mut values = Vec::with_capacity(cells.len());
        for (number, Cell { seed, draw, predictions, groups }) in sorted.into_iter().enumerate() {
            if !same_rows(like.predictions, predictions) || groups != like.groups {
                let message = format!("bootstrap: seed {seed}, draw {draw} is about other rows than the first cell");
                return Err(Error::contract(message));
            }
            by_seed.entry(seed).or_default().push(number);
            values.push(match metric.row_scores(predictions)? {
                Some(scores) if scores.len() == with_label.len() => Value::Mean(scores),
                Some(scores) => {
                    let (name, rows, found) = (metric.name(), with_label.len(), scores.len());
                    return Err(Error::contract(format!("metric `{name}` gave {found} row scores for {rows} rows")));
                }
                None => Value::Whole(metric, predictions.take(&with_label)),
            });
        }
        let groups = by_group(like.groups, &with_label);
        Ok(Self { keys, values, by_seed: by_seed.into_values().collect(), rows: with_label.len(), groups })
    }

    /// Mean and interval of `value`, a function of the cell's number and the rows to look at.
    fn interval(
        &self,
        replicates: usize,
        seeds: Seeds,
        value: impl Fn(usize, &Rows) -> Result<f64>,
    ) -> Result<Interval> {
        if replicates == 0 {
            return Err(Error::contract("bootstrap: there must be at least 1 replicate"));
        }
        if self.rows == 0 {
            return Ok(Interval { mean: f64::NAN, low: f64::NAN, high: f64::NAN });
        }
        let all = Rows::all(self.rows);
        let of_seed = |cells: &Vec<usize>| -> Result<f64> {
            Ok(mean(&cells.iter().map(|&c| value(c, &all)).collect::<Result<Vec<_>>>()?))
        };
        let estimate = mean(&self.by_seed.iter().map(of_seed).collect::<Result<Vec<_>>>()?);
        if self.groups.len() < FEWEST_FOR_INTERVAL {
            return Ok(Interval { mean: estimate, low: f64::NAN, high: f64::NAN });
        }
        let replicate = |number| self.replicate(&mut seeds.stream("bootstrap", &[number]), &value);
        let mut means = (0..replicates as u64).map(replicate).collect::<Result<Vec<_>>>()?;
        means.sort_by(f64::total_cmp);
        Ok(Interval { mean: estimate, low: quantile(&means, 0.025), high: quantile(&means, 0.975) })
    }

    fn replicate(&self, stream: &mut Stream, value: impl Fn(usize, &Rows) -> Result<f64>) -> Result<f64> {
        let rows = Rows::drawn(&self.groups, self.rows, stream);
        // A cell that is drawn more than once has one value.
        let mut known = vec![None; self.values.len()];
        let mut sum = 0.0;
        for _ in &self.by_seed {
            let cells = &self.by_seed[stream.random_range(0..self.by_seed.len())];
            let mut of_seed = 0.0;
            for _ in cells {
                let cell = cells[stream.random_range(0..cells.len())];
                of_seed += match known[cell] {
                    Some(v) => v,
                    None => *known[cell].insert(value(cell, &rows)?),
                };
            }
            sum += of_seed / cells.len() as f64;
        }
        Ok(sum / self.by_seed.len() as f64)
    }
}

/// A metric's value for one cell as a function of the rows.
enum Value<'a> {
    /// The mean of these row scores.
    Mean(Vec<f64>),
    /// The metric of these predictions, all with a label.
    Whole(&'a dyn Metric, Predictions),
}

impl Value<'_> {
    fn at(&self, rows: &Rows) -> Result<f64> {
        match self {
            Self::Mean(scores) => {
                let sum: f64 = scores.iter().zip(&rows.counts).map(|(score, count)| score * count).sum();
                Ok(sum / rows.positions.len() as f64)
            }
            Self::Whole(metric, predictions) => metric.compute(&predictions.take(&rows.positions)),
        }
    }
}

/// Positions of the rows that have a label.
fn with_label(p: &Predictions) -> Vec<usize> {
    let is_there: Vec<bool> = match p {
        Predictions::Class { labels, .. } => labels.iter().map(Option::is_some).collect(),
        Predictions::Number { labels, .. } => labels.iter().map(Option::is_some).collect(),
        _ => vec![true; p.len()],
    };
    (0..is_there.len()).filter(|&i| is_there[i]).collect()
}

/// The places in `rows` of those of each group, groups in the order of their first row; without groups, each place
/// alone.
fn by_group(groups: &[u64], rows: &[usize]) -> Vec<Vec<usize>> {
    let mut number = BTreeMap::new();
    let mut out: Vec<Vec<usize>> = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let group = groups.get(*row).copied().unwrap_or(*row as u64);
        let at = *number.entry(group).or_insert(out.len());
        if at == out.len() {
            out.push(Vec::new());
        }
        out[at].push(place);
    }
    out
}

/// Whether labels and class names are the same.
fn same_rows(a: &Predictions, b: &Predictions) -> bool {
    use Predictions::{Class, Number};
    match (a, b) {
        (Class { names, labels, .. }, Class { names: n, labels: l, .. }) => names == n && labels == l,
        (Number { labels, .. }, Number { labels: l, .. }) => labels == l,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Accuracy;
    use crate::rows::tests::certain;

    #[test]
    fn what_cannot_be_resampled_is_named() {
        let p = certain(2, &[Some(0), Some(1)], &[0, 0]);
        let other = certain(2, &[Some(0), None], &[0, 0]);
        let cell = |seed, draw, predictions| Cell { seed, draw, predictions, groups: &[] };
        let error = |cells: &[Cell<'_>], n| bootstrap(&Accuracy, cells, n, Seeds::new(0)).unwrap_err().to_string();
        assert_eq!(error(&[], 9), "bootstrap: there is no cell");
        assert_eq!(error(&[cell(0, 0, &p)], 0), "bootstrap: there must be at least 1 replicate");
        assert_eq!(error(&[cell(1, 2, &p), cell(1, 2, &p)], 9), "bootstrap: seed 1, draw 2 is there twice");
        let rows = error(&[cell(0, 0, &p), cell(0, 3, &other)], 9);
        assert_eq!(rows, "bootstrap: seed 0, draw 3 is about other rows than the first cell");

        let grouped = |groups| Cell { groups, ..cell(0, 0, &p) };
        assert_eq!(error(&[grouped(&[7])], 9), "bootstrap: there are 1 groups for 2 rows");
        assert_eq!(error(&[grouped(&[7, 7]), cell(0, 3, &p)], 9), rows);

        let (a, b) = ([cell(0, 0, &p), cell(0, 1, &p)], [cell(0, 0, &p)]);
        let unpaired = |a, b| paired_bootstrap(&Accuracy, a, b, 9, Seeds::new(0)).unwrap_err().to_string();
        assert_eq!(unpaired(&a, &b), "bootstrap: seed 0, draw 1 has no partner to compare with");
        assert_eq!(unpaired(&b, &a), "bootstrap: seed 0, draw 1 has no partner to compare with");
    }

    #[test]
    fn groups_of_one_row_are_rows() -> Result<()> {
        let labels = [Some(0), None, Some(1), Some(1), Some(0), Some(1), Some(0), Some(0), Some(1), Some(1), Some(0)];
        let p = certain(2, &labels, &[0, 1, 0, 1, 0, 1, 1, 1, 1, 0, 0]);
        let interval =
            |groups| bootstrap(&Accuracy, &[Cell { seed: 0, draw: 0, predictions: &p, groups }], 99, Seeds::new(3));
        assert_eq!(interval(&[])?, interval(&[9, 4, 2, 7, 1, 3, 5, 6, 8, 10, 11])?);
        let pairs = interval(&[0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4])?;
        assert!(pairs.low.is_finite() && interval(&[])? != pairs);
        assert_eq!(by_group(&[5, 5, 6, 5, 6], &[0, 2, 3, 4]), [vec![0, 2], vec![1, 3]]);
        Ok(())
    }

    #[test]
    fn few_groups_have_no_interval() -> Result<()> {
        let p = certain(2, &[Some(0); 10], &[0, 1, 0, 1, 0, 0, 0, 0, 1, 1]);
        for (groups, n) in [([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1), ([0, 0, 1, 1, 2, 2, 3, 3, 3, 3], 4)] {
            let cell = Cell { seed: 0, draw: 0, predictions: &p, groups: &groups };
            let i = bootstrap(&Accuracy, &[cell], 99, Seeds::new(0))?;
            assert_eq!((cell.resampled(), i.mean), (n, 0.6));
            assert!(i.low.is_nan() && i.high.is_nan(), "{i:?}");
        }
        let cell = Cell { seed: 0, draw: 0, predictions: &p, groups: &[0, 0, 1, 1, 2, 2, 3, 3, 4, 4] };
        let i = bootstrap(&Accuracy, &[cell], 99, Seeds::new(0))?;
        assert!(cell.resampled() == FEWEST_FOR_INTERVAL && i.low < i.high, "{i:?}");
        Ok(())
    }

    #[test]
    fn without_a_label_everything_is_nan() -> Result<()> {
        let p = certain(2, &[None, None], &[0, 1]);
        let i = bootstrap(&Accuracy, &[Cell { seed: 0, draw: 0, predictions: &p, groups: &[] }], 9, Seeds::new(0))?;
        assert!(i.mean.is_nan() && i.low.is_nan() && i.high.is_nan());
        Ok(())
    }
}
