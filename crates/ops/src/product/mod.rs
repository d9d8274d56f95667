//! Products of matrices whose rows may lie anywhere: what convolutions, linear layers and attention are made of.
//!
//! [`rows`](rows()) computes `y[r] = Σ x[start(r) + delta + i] · w[k + i]`: the left operand is never copied into a matrix
//! of patches, each output row says where its inputs stand, and the weights are packed in panels as wide as a few vectors.
//! [`outer`](outer()) sums outer products of rows: the gradient of the weights. Each output element is the sum of its terms in
//! one fixed order, so neither the number of threads nor the rows beside it change a bit.

mod outer;
mod pack;
mod rows;

pub(crate) use outer::{Outer, ROWS, outer};
pub(crate) use pack::{Packed, Panel, pack, panels};
pub(crate) use rows::{Act, Finish, Rows, rows, rows_into};

/// Terms that stand side by side in both operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Where they begin in the left operand, from the start of the row.
    pub(crate) delta: isize,
    /// Where they begin among the packed rows of the right operand.
    pub(crate) k: usize,
    /// How many.
    pub(crate) len: usize,
}
