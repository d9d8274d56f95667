//! Products of matrices whose rows may lie anywhere: what convolutions, linear layers and attention are made of.
//!
//! [`rows`](rows()) computes `y[r] = Σ x[start(r) + delta + i] · w[k + i]`: the left operand is never copied into a matrix
//! of patches, each output row says where its inputs stand, and the weights are packed in panels as wide as a few vectors.
//! [`outer`](outer()) sums outer products of rows: the gradient of the weights. Each output element is the sum of its terms in
//! one fixed order, so neither the number of threads nor the rows beside it change a bit.

mod amx;
mod finish;
mod outer;
mod outer_simd;
mod pack;
mod rows;
mod rows_simd;

pub(crate) use amx::{Part, available as has_matrix_unit, outer_by_tap};
pub use finish::{Act, Finish};
pub(crate) use outer::ROWS;
pub use outer::{Outer, outer};
pub use pack::{Packed, Panel, pack, panels};
pub use rows::{Rows, rows, rows_into};

/// Evaluates an expression with the constants `$mr` and `$nv`: rows and vectors of a tile for a panel of so many vectors, as
/// many rows as the accumulators leave registers for.
macro_rules! by_panel {
    ($s:ident, $vectors:expr, $mr:ident, $nv:ident => $body:expr) => {
        match ($vectors, $s::REGISTER_COUNT >= 32) {
            (1, true) => {
                const $mr: usize = 12;
                const $nv: usize = 1;
                $body
            }
            (2, true) => {
                const $mr: usize = 12;
                const $nv: usize = 2;
                $body
            }
            (3, true) => {
                const $mr: usize = 8;
                const $nv: usize = 3;
                $body
            }
            (_, true) => {
                const $mr: usize = 6;
                const $nv: usize = 4;
                $body
            }
            (1, false) => {
                const $mr: usize = 8;
                const $nv: usize = 1;
                $body
            }
            (_, false) => {
                const $mr: usize = 6;
                const $nv: usize = 2;
                $body
            }
        }
    };
}
use by_panel;

/// Rows of which tiles of every height leave none over.
const WHOLE: usize = 24;

/// `len` rows in parts of `most` or a little more: evenly, but so that only the last leaves rows over when it is cut into tiles.
pub fn parts(len: usize, most: usize) -> impl ExactSizeIterator<Item = std::ops::Range<usize>> + Clone {
    let size = len.div_ceil(len.div_ceil(most).max(1)).next_multiple_of(WHOLE).max(1);
    (0..len.div_ceil(size)).map(move |i| i * size..((i + 1) * size).min(len))
}

/// Terms that stand side by side in both operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where they begin in the left operand, from the start of the row.
    pub delta: isize,
    /// Where they begin among the packed rows of the right operand.
    pub k: usize,
    /// How many.
    pub len: usize,
}
