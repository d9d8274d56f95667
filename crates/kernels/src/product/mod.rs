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
pub use outer::{Outer, Shift, outer};
pub use pack::{Packed, Panel, pack, panels};
pub use rows::{Rows, rows, rows_into};

/// Evaluates an expression with three constants for a panel of so many vectors: rows of a tile, as many as the sums leave
/// registers for; half as many; and vectors.
macro_rules! by_panel {
    ($s:ident, $vectors:expr, $mr:ident, $half:ident, $nv:ident => $body:expr) => {
        match ($vectors, $s::REGISTER_COUNT >= 32) {
            (1, true) => by_panel!(@ 12, 6, 1, $mr, $half, $nv => $body),
            (2, true) => by_panel!(@ 12, 6, 2, $mr, $half, $nv => $body),
            (3, true) => by_panel!(@ 8, 4, 3, $mr, $half, $nv => $body),
            (_, true) => by_panel!(@ 6, 3, 4, $mr, $half, $nv => $body),
            (1, false) => by_panel!(@ 8, 4, 1, $mr, $half, $nv => $body),
            (_, false) => by_panel!(@ 6, 3, 2, $mr, $half, $nv => $body),
        }
    };
    (@ $rows:literal, $less:literal, $vectors:literal, $mr:ident, $half:ident, $nv:ident => $body:expr) => {{
        const $mr: usize = $rows;
        const $half: usize = $less;
        const $nv: usize = $vectors;
        $body
    }};
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
