//! The two ends of a bootstrap: rows drawn with replacement, and quantiles of what came of them.

use rand::Rng;
use transplant_core::Stream;

/// Rows to look at, as positions and as how often each occurs.
pub(super) struct Rows {
    pub(super) positions: Vec<usize>,
    pub(super) counts: Vec<f64>,
}

impl Rows {
    /// Each row once.
    pub(super) fn all(rows: usize) -> Self {
        Self { positions: (0..rows).collect(), counts: vec![1.0; rows] }
    }

    /// As many groups as there are, drawn with replacement: all rows of a group each time. `groups` holds the positions
    /// of the rows of each, which are `rows` together.
    pub(super) fn drawn(groups: &[Vec<usize>], rows: usize, stream: &mut Stream) -> Self {
        let drawn = (0..groups.len()).map(|_| &groups[stream.random_range(0..groups.len())]);
        let positions: Vec<_> = drawn.flatten().copied().collect();
        let mut counts = vec![0.0; rows];
        for &p in &positions {
            counts[p] += 1.0;
        }
        Self { positions, counts }
    }
}

/// The quantile of sorted numbers, between two of them by straight interpolation, as NumPy does; NaN when one is.
pub(super) fn quantile(sorted: &[f64], at: f64) -> f64 {
    if sorted.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let position = at * (sorted.len() - 1) as f64;
    let (low, high) = (position.floor() as usize, position.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (position - low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use transplant_core::Seeds;

    #[test]
    fn quantiles_interpolate_as_numpy_does() {
        // numpy.quantile([1, 2, 4, 8], [0, 0.5, 0.9, 1])
        let sorted = [1.0, 2.0, 4.0, 8.0];
        for (at, expected) in [(0.0, 1.0), (0.5, 3.0), (0.9, 6.8), (1.0, 8.0)] {
            assert!((quantile(&sorted, at) - expected).abs() < 1e-12);
        }
        assert_eq!(quantile(&[3.0], 0.975), 3.0);
        assert!(quantile(&[1.0, f64::NAN], 0.0).is_nan());
    }

    #[test]
    fn counts_and_positions_say_the_same() {
        let groups: Vec<_> = (0..50).map(|row| vec![row]).collect();
        let rows = Rows::drawn(&groups, 50, &mut Seeds::new(1).stream("test", &[]));
        for row in 0..50 {
            assert_eq!(rows.positions.iter().filter(|p| **p == row).count() as f64, rows.counts[row]);
        }
        assert_eq!(rows.counts.iter().sum::<f64>(), 50.0);
    }

    #[test]
    fn rows_of_a_group_are_drawn_together() {
        let groups = [vec![0, 3], vec![1], vec![2, 4, 5]];
        let rows = Rows::drawn(&groups, 6, &mut Seeds::new(2).stream("test", &[]));
        assert!(groups.iter().all(|g| g.iter().all(|row| rows.counts[*row] == rows.counts[g[0]])), "{:?}", rows.counts);
        assert_eq!(groups.iter().map(|g| rows.counts[g[0]]).sum::<f64>(), 3.0);
    }
}
