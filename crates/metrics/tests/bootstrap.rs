//! Statistical properties of the hierarchical bootstrap, on synthetic runs whose truth is known.

use rand::Rng;
use transplant_core::{Metric, Predictions, Result, Seeds};
use transplant_metrics::{Accuracy, Cell, F1, Interval, LogLoss, TopK, bootstrap, paired_bootstrap};

/// A metric without row scores, so that the general way is taken.
struct Whole<M>(M);

impl<M: Metric> Metric for Whole<M> {
    fn name(&self) -> String {
        self.0.name()
    }
    fn compute(&self, p: &Predictions) -> Result<f64> {
        self.0.compute(p)
    }
}

struct Grid(Vec<(u64, u64, Predictions)>);

impl Grid {
    /// Runs that are right with probability `base` plus effects of seed, draw and row, each uniform in ± its size.
    fn new(number: u64, [seeds, draws, rows]: [u64; 3], base: f64, sizes: [f64; 3]) -> Self {
        let streams = Seeds::new(number);
        let effect = |name: &str, at: &[u64], size: f64| streams.stream(name, at).random_range(-1.0..1.0) * size;
        let of_row: Vec<f64> = (0..rows).map(|r| effect("row", &[r], sizes[2])).collect();
        let labels: Vec<_> = (0..rows).map(|r| (r % 7 != 6).then_some((r % 3) as u32)).collect();
        let run = |seed: u64, draw: u64| {
            let of_run = effect("seed", &[seed], sizes[0]) + effect("draw", &[seed, draw], sizes[1]);
            // The chance is the same for every base, so grids of one number are paired run by run and row by row.
            let mut chance = streams.stream("chance", &[seed, draw]);
            let mut scores = Vec::new();
            for row in 0..rows {
                let is_right = chance.random::<f64>() < base + of_run + of_row[row as usize];
                let class = (row + u64::from(!is_right)) % 3;
                let top = chance.random_range(0.4f32..1.0);
                scores.extend((0..3).map(|c| if c == class { top } else { (1.0 - top) / 2.0 }));
            }
            let names = ["a", "b", "c"].map(str::to_owned).to_vec();
            (seed, draw, Predictions::Class { names, labels: labels.clone(), scores })
        };
        Self((0..seeds).flat_map(|s| (0..draws).map(move |d| (s, d))).map(|(s, d)| run(s, d)).collect())
    }

    fn cells(&self) -> Vec<Cell<'_>> {
        self.0
            .iter()
            .map(|(seed, draw, predictions)| Cell { seed: *seed, draw: *draw, predictions, groups: &[] })
            .collect()
    }
}

fn width(i: Interval) -> f64 {
    i.high - i.low
}

#[test]
fn intervals_cover_the_truth_about_as_often_as_they_say() -> Result<()> {
    let experiments = 200;
    let (mut covered, mut covered_difference) = (0, 0);
    for number in 0..experiments {
        let size = [10, 3, 150];
        let a = Grid::new(number, size, 0.7, [0.08, 0.04, 0.1]);
        let b = Grid::new(1000 + number, size, 0.6, [0.08, 0.04, 0.1]);
        let seeds = Seeds::new(number);
        let alone = bootstrap(&Accuracy, &a.cells(), 300, seeds)?;
        let difference = paired_bootstrap(&Accuracy, &a.cells(), &b.cells(), 300, seeds)?;
        covered += u32::from((alone.low..=alone.high).contains(&0.7));
        covered_difference += u32::from((difference.low..=difference.high).contains(&0.1));
    }
    for covered in [covered, covered_difference] {
        let share = f64::from(covered) / experiments as f64;
        assert!((0.88..=0.995).contains(&share), "a 95 % interval covers the truth in {share} of the cases");
    }
    Ok(())
}

#[test]
fn every_level_widens_the_interval() -> Result<()> {
    let interval = |sizes| bootstrap(&Accuracy, &Grid::new(3, [6, 3, 300], 0.6, sizes).cells(), 500, Seeds::new(0));
    let rows_only = width(interval([0.0, 0.0, 0.0])?);
    assert!(width(interval([0.2, 0.0, 0.0])?) > 2.0 * rows_only);
    assert!(width(interval([0.0, 0.2, 0.0])?) > 1.5 * rows_only);
    assert!(width(interval([0.0, 0.0, 0.4])?) > 1.2 * rows_only);
    Ok(())
}

#[test]
fn a_pair_is_compared_more_sharply_than_two_strangers() -> Result<()> {
    // Both strategies share what makes a seed, a draw and a row easy.
    let (a, b) = ([0.65, 0.6]).map(|base| Grid::new(5, [5, 3, 200], base, [0.1, 0.1, 0.1])).into();
    let (one, other) =
        (bootstrap(&Accuracy, &a.cells(), 500, Seeds::new(1))?, bootstrap(&Accuracy, &b.cells(), 500, Seeds::new(2))?);
    let unpaired = width(one).hypot(width(other));
    let paired = paired_bootstrap(&Accuracy, &a.cells(), &b.cells(), 500, Seeds::new(1))?;
    assert!(width(paired) < 0.5 * unpaired, "{} and {unpaired}", width(paired));
    assert!(paired.low > 0.0, "{paired:?}");
    assert!((paired.mean - (one.mean - other.mean)).abs() < 1e-12);
    Ok(())
}

#[test]
fn the_same_runs_do_not_differ() -> Result<()> {
    let grid = Grid::new(7, [3, 3, 100], 0.7, [0.1, 0.1, 0.1]);
    for metric in [&Accuracy as &dyn Metric, &F1::default()] {
        let difference = paired_bootstrap(metric, &grid.cells(), &grid.cells(), 100, Seeds::new(0))?;
        assert_eq!(difference, Interval { mean: 0.0, low: 0.0, high: 0.0 });
    }
    Ok(())
}

#[test]
fn row_scores_give_what_the_whole_metric_gives() -> Result<()> {
    fn both(quick: impl Metric, whole: impl Metric) -> Result<()> {
        let (a, b) = ([0.7, 0.6]).map(|base| Grid::new(9, [3, 2, 80], base, [0.1, 0.1, 0.1])).into();
        let near =
            |x: Interval, y: Interval| (x.mean - y.mean).abs() + (x.low - y.low).abs() + (x.high - y.high).abs() < 1e-9;
        let seeds = Seeds::new(4);
        assert!(quick.row_scores(&a.0[0].2)?.is_some());
        assert!(near(bootstrap(&quick, &a.cells(), 50, seeds)?, bootstrap(&whole, &a.cells(), 50, seeds)?));
        let difference = paired_bootstrap(&quick, &a.cells(), &b.cells(), 50, seeds)?;
        assert!(near(difference, paired_bootstrap(&whole, &a.cells(), &b.cells(), 50, seeds)?));
        Ok(())
    }
    both(Accuracy, Whole(Accuracy))?;
    both(TopK::new(2), Whole(TopK::new(2)))?;
    both(LogLoss, Whole(LogLoss))
}

#[test]
fn the_mean_is_the_metric_and_goes_over_seeds_first() -> Result<()> {
    let grid = Grid::new(2, [2, 2, 90], 0.7, [0.1, 0.1, 0.1]);
    let values: Vec<f64> = grid.0.iter().map(|(.., p)| Accuracy.compute(p)).collect::<Result<_>>()?;
    let mean = |cells: &[Cell<'_>]| bootstrap(&Accuracy, cells, 10, Seeds::new(0)).map(|i| i.mean);
    assert!((mean(&grid.cells())? - values.iter().sum::<f64>() / 4.0).abs() < 1e-12);
    let ragged = (values[0] + values[1]) / 4.0 + values[2] / 2.0;
    assert!((mean(&grid.cells()[..3])? - ragged).abs() < 1e-12);
    Ok(())
}

#[test]
fn the_seed_alone_decides() -> Result<()> {
    let grid = Grid::new(11, [3, 3, 100], 0.7, [0.1, 0.1, 0.1]);
    let interval = |cells: &[Cell<'_>], seed| bootstrap(&Accuracy, cells, 200, Seeds::new(seed));
    let mut reversed = grid.cells();
    reversed.reverse();
    assert_eq!(interval(&grid.cells(), 1)?, interval(&reversed, 1)?);
    assert_ne!(interval(&grid.cells(), 1)?, interval(&grid.cells(), 2)?);
    Ok(())
}

/// Whether a strategy is right about a row, by its group: most rows of a group fare alike.
fn is_right(strategy: u64, seed: u64, draw: u64, group: u64, row: u64) -> bool {
    let alike = (group * 13 + seed * 5 + draw * 3 + strategy * 7) % 10 < 6 + strategy;
    alike != ((row * (seed + 2) + draw + strategy).is_multiple_of(11))
}

/// `tests/goldens/generate_groups.py`, NumPy 2.4.6: 200,000 replicates.
#[test]
fn intervals_over_groups_are_those_of_numpy() -> Result<()> {
    let sizes = (0..40u64).map(|group| 1 + group * 7 % 5);
    let groups: Vec<u64> = (0..40u64).zip(sizes).flat_map(|(group, size)| (0..size).map(move |_| group)).collect();
    let runs = |strategy: u64| -> Vec<(u64, u64, Predictions)> {
        let run = |(seed, draw): (u64, u64)| {
            let right = (0u64..).zip(&groups).map(|(row, group)| is_right(strategy, seed, draw, *group, row));
            let scores = right.flat_map(|right| if right { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
            let names = ["a", "b"].map(str::to_owned).to_vec();
            (seed, draw, Predictions::Class { names, labels: vec![Some(0); groups.len()], scores })
        };
        [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)].into_iter().map(run).collect()
    };
    let (first, second) = (runs(0), runs(1));
    let cells = |of: &'static str| (of, if of == "groups" { groups.as_slice() } else { &[] });
    for ((of, groups), alone, paired) in [
        (
            cells("groups"),
            [0.563_888_889, 0.466_101_695, 0.658_402_204],
            [0.095_833_333, -0.053_623_188, 0.246_440_243],
        ),
        (cells("rows"), [0.563_888_889, 0.500_000_000, 0.627_777_778], [0.095_833_333, 0.004_166_667, 0.186_111_111]),
    ] {
        fn with<'a>(runs: &'a [(u64, u64, Predictions)], groups: &'a [u64]) -> Vec<Cell<'a>> {
            runs.iter()
                .map(|(seed, draw, predictions)| Cell { seed: *seed, draw: *draw, predictions, groups })
                .collect()
        }
        let (a, b) = (with(&first, groups), with(&second, groups));
        let near = |i: Interval, [mean, low, high]: [f64; 3]| {
            let off = [i.mean - mean, i.low - low, i.high - high].map(f64::abs);
            assert!(off[0] < 1e-9 && off[1] < 0.006 && off[2] < 0.006, "{of}: {i:?}, NumPy [{low}, {high}]");
        };
        near(bootstrap(&Accuracy, &a, 20_000, Seeds::new(0))?, alone);
        near(paired_bootstrap(&Accuracy, &b, &a, 20_000, Seeds::new(0))?, paired);
    }
    Ok(())
}
