//! Losses of each row, unreduced, so that a caller can weight rows before taking their mean.

mod bce;
mod cosine;
mod focal;
mod huber;
mod kl_div;
mod soft_cross_entropy;

pub use bce::bce_with_logits;
pub use cosine::cosine;
pub use focal::focal;
pub use huber::huber;
pub use kl_div::kl_div;
pub use soft_cross_entropy::soft_cross_entropy;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::host::{Element, vectorised};

/// Number and length of the rows of two operands `[rows, ..]` of one shape.
fn rows_of(name: &str, a: &Tensor, b: &Tensor) -> Result<(usize, usize)> {
    match a.dims() {
        [rows, rest @ ..] if a.elem_count() > 0 && a.dims() == b.dims() => Ok((*rows, rest.iter().product())),
        dims => bail!("{name}: expected two operands [rows, ..] of one shape, got {dims:?} and {:?}", b.dims()),
    }
}

/// The mean of each row of `[rows, ..]`.
fn row_means(x: &Tensor, width: usize) -> Result<Tensor> {
    x.reshape(((), width))?.mean(1)
}

/// `f(elements of the row)` for each row of two slices, in parallel.
fn each_row<T: Element>(a: &[T], b: &[T], width: usize, f: impl Fn(usize, &[T], &[T]) -> f64 + Sync) -> Vec<T> {
    let of = |(row, (a, b)): (usize, (&[T], &[T]))| {
        T::from_f64(vectorised(
            #[inline(always)]
            || f(row, a, b),
        ))
    };
    let rows = a.par_chunks_exact(width).zip(b.par_chunks_exact(width)).enumerate();
    rows.with_min_len(((1 << 12) / width).max(1)).map(of).collect()
}
