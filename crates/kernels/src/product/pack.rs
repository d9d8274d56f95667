//! The right operand of a product, packed: panels of a few vectors' width, each with its rows one after another.

use super::amx;
use crate::buffer::Aligned;
use crate::element::Element;
use crate::parallel;
use crate::precision::Precision;
use crate::simd::{Level, level};

/// Numbers in a vector of `T`, on which panels are made of.
pub(super) fn lanes<T: Element>() -> usize {
    if T::IS_SINGLE { level().lanes() } else { super::rows::PORTABLE }
}

/// Vectors in the widest panel.
fn most_vectors<T: Element>() -> usize {
    match level() {
        _ if !T::IS_SINGLE => 1,
        Level::Portable => 1,
        Level::Avx2 => 2,
        Level::Neon | Level::Avx512 => 4,
    }
}

/// Some columns of the right operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panel {
    /// First column.
    pub column: usize,
    /// Columns, those that pad the last vector not counted.
    pub columns: usize,
    /// Vectors of a row.
    pub vectors: usize,
    /// Where the panel begins in the packed data.
    pub from: usize,
}

/// A packed matrix of `k` rows.
pub struct Packed<T> {
    pub(super) values: Values<T>,
    /// Its columns.
    pub panels: Vec<Panel>,
    /// Its rows.
    pub k: usize,
    /// Lanes of the vectors it was packed for.
    pub lanes: usize,
}

/// The values of a packed matrix.
pub(super) enum Values<T> {
    /// Panel after panel, row after row.
    Plain(Aligned<T>),
    /// For the matrix unit.
    Tiles(amx::Tiles),
}

/// Splits `columns` into panels of `k` rows, as evenly as whole vectors allow.
pub fn panels<T: Element>(columns: usize, k: usize) -> Vec<Panel> {
    panels_of(most_vectors::<T>(), columns, k, lanes::<T>())
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
pub fn pack<T: Element>(
    (k, run): (usize, usize),
    columns: usize,
    precision: Precision,
    fill: &(dyn Fn(&Panel, usize, &mut [T]) + Sync),
) -> Packed<T> {
    let lanes = lanes::<T>();
    if precision.takes_tiles::<T>() {
        let mut panels = panels_of(2, columns, k, lanes);
        let tiles = amx::pack((k, run), &mut panels, fill);
        return Packed { values: Values::Tiles(tiles), panels, k, lanes };
    }
    let panels = panels::<T>(columns, k);
    let len = panels.iter().map(|p| p.vectors * lanes * k).sum();
    let mut data = Aligned::zeros(len);
    let mut rest = data.as_mut_slice();
    let mut parts = Vec::with_capacity(panels.len());
    for p in &panels {
        let (part, left) = rest.split_at_mut(p.vectors * lanes * k);
        parts.push((p, part));
        rest = left;
    }
    let fill_one = |_: usize, part: &mut [(&Panel, &mut [T])]| {
        part.iter_mut().for_each(|(p, part)| fill(p, p.vectors * lanes, part));
    };
    let at_once = if len < 1 << 13 { parts.len().max(1) } else { 1 };
    parallel::chunks_mut(&mut parts, at_once, &fill_one);
    Packed { values: Values::Plain(data), panels, k, lanes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_cover_all_columns_evenly() {
        for (columns, widths) in [(1, vec![1]), (64, vec![4]), (80, vec![3, 2]), (100, vec![4, 3]), (0, vec![])] {
            let p = panels_of(4, columns, 3, 16);
            assert_eq!(p.iter().map(|p| p.vectors).collect::<Vec<_>>(), widths, "{columns}");
            assert_eq!(p.iter().map(|p| p.columns).sum::<usize>(), columns);
            assert!(p.windows(2).all(|w| w[0].column + w[0].columns == w[1].column));
            assert!(p.windows(2).all(|w| w[0].from + w[0].vectors * 48 == w[1].from));
        }
    }
}
