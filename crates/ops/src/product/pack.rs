//! The right operand of a product, packed: panels of a few vectors' width, each with its rows one after another.

use rayon::prelude::*;

use super::amx;
use crate::Precision;
use crate::buffer::Aligned;
use crate::host::Element;
use crate::simd::lanes;

/// Vectors in the widest panel.
const MAX_VECTORS: usize = 4;

/// Some columns of the right operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Panel {
    /// First column.
    pub(crate) column: usize,
    /// Columns, those that pad the last vector not counted.
    pub(crate) columns: usize,
    /// Vectors of a row.
    pub(crate) vectors: usize,
    /// Where the panel begins in the packed data.
    pub(crate) from: usize,
}

/// A packed matrix of `k` rows.
pub(crate) struct Packed<T> {
    pub(super) values: Values<T>,
    pub(crate) panels: Vec<Panel>,
    pub(crate) k: usize,
    /// Lanes of the vectors it was packed for.
    pub(crate) lanes: usize,
}

/// The values of a packed matrix.
pub(super) enum Values<T> {
    /// Panel after panel, row after row.
    Plain(Aligned<T>),
    /// For the matrix unit.
    Tiles(amx::Tiles),
}

/// Splits `columns` into panels of `k` rows, as evenly as whole vectors allow.
pub(crate) fn panels(columns: usize, k: usize, lanes: usize) -> Vec<Panel> {
    panels_of(MAX_VECTORS, columns, k, lanes)
}

/// The same, of at most so many vectors each.
fn panels_of(most: usize, columns: usize, k: usize, lanes: usize) -> Vec<Panel> {
    let vectors = columns.div_ceil(lanes);
    let count = vectors.div_ceil(most).max(1);
    let mut out = Vec::with_capacity(count);
    let (mut vector, mut from) = (0, 0);
    for i in 0..count {
        let width = vectors / count + usize::from(i < vectors % count);
        let column = vector * lanes;
        out.push(Panel { column, columns: (columns - column).min(width * lanes), vectors: width, from });
        vector += width;
        from += width * lanes * k;
    }
    out.retain(|p| p.vectors > 0);
    out
}

/// Packs a matrix of `k` rows, summed over in runs of `run`, and `columns` columns. `fill(panel, width, rows)` writes the rows of a
/// panel, each `width` wide; what it leaves is zero.
pub(crate) fn pack<T: Element>(
    (k, run): (usize, usize),
    columns: usize,
    precision: Precision,
    fill: impl Fn(&Panel, usize, &mut [T]) + Sync,
) -> Packed<T> {
    let lanes = lanes::<T>();
    if precision.takes_tiles::<T>() {
        let mut panels = panels_of(2, columns, k, lanes);
        let tiles = amx::pack((k, run), &mut panels, fill);
        return Packed { values: Values::Tiles(tiles), panels, k, lanes };
    }
    let panels = panels(columns, k, lanes);
    let len = panels.iter().map(|p| p.vectors * lanes * k).sum();
    let mut data = Aligned::zeros(len);
    let mut rest = data.as_mut_slice();
    let mut parts = Vec::with_capacity(panels.len());
    for p in &panels {
        let (part, left) = rest.split_at_mut(p.vectors * lanes * k);
        parts.push((p, part));
        rest = left;
    }
    let fill_one = |(p, part): (&Panel, &mut [T])| fill(p, p.vectors * lanes, part);
    if len < 1 << 13 {
        parts.into_iter().for_each(fill_one)
    } else {
        parts.into_par_iter().for_each(fill_one)
    }
    Packed { values: Values::Plain(data), panels, k, lanes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_cover_all_columns_evenly() {
        for (columns, widths) in [(1, vec![1]), (64, vec![4]), (80, vec![3, 2]), (100, vec![4, 3]), (0, vec![])] {
            let p = panels(columns, 3, 16);
            assert_eq!(p.iter().map(|p| p.vectors).collect::<Vec<_>>(), widths, "{columns}");
            assert_eq!(p.iter().map(|p| p.columns).sum::<usize>(), columns);
            assert!(p.windows(2).all(|w| w[0].column + w[0].columns == w[1].column));
            assert!(p.windows(2).all(|w| w[0].from + w[0].vectors * 48 == w[1].from));
        }
    }
}
