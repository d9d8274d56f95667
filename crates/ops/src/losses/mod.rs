//! Losses of each row, unreduced, so that a caller can weight rows before taking their mean.

mod bce;
mod cosine;
mod cross_entropy;
mod focal;
mod huber;
mod kl_div;
mod soft_cross_entropy;

pub use bce::bce_with_logits;
pub use cosine::cosine;
pub use cross_entropy::cross_entropy_rows;
pub use focal::focal;
pub use huber::huber;
pub use kl_div::kl_div;
pub use soft_cross_entropy::soft_cross_entropy;

use candle_core::{DType, Result, Tensor, bail};
use transplant_kernels::element::{Element, zeros};
use transplant_kernels::parallel;

/// Number and length of the rows of two operands `[rows, ..]` of one shape.
fn rows_of(name: &str, a: &Tensor, b: &Tensor) -> Result<(usize, usize)> {
    match a.dims() {
        [rows, rest @ ..] if a.elem_count() > 0 && a.dims() == b.dims() => Ok((*rows, rest.iter().product())),
        dims => bail!("{name}: expected two operands [rows, ..] of one shape, got {dims:?} and {:?}", b.dims()),
    }
}

/// The labels `[rows]` of `logits [rows, classes]`, each below the number of classes or `ignore`, and the weight of each class.
fn labels_of(
    name: &str,
    logits: &Tensor,
    labels: &Tensor,
    weights: Option<&Tensor>,
    ignore: Option<u32>,
) -> Result<(Vec<u32>, Vec<f64>)> {
    let (rows, classes) = logits.dims2()?;
    if labels.dims() != [rows] || classes == 0 || weights.is_some_and(|w| w.dims() != [classes]) {
        let (l, w) = (labels.dims(), weights.map(Tensor::dims));
        bail!("{name}: logits {:?} do not fit labels {l:?} and weights {w:?}", logits.dims())
    }
    let labels = labels.to_dtype(DType::U32)?.to_vec1::<u32>()?;
    if let Some(row) = labels.iter().position(|l| *l as usize >= classes && Some(*l) != ignore) {
        bail!("{name}: row {row} has label {}, and there are {classes} classes", labels[row])
    }
    let weights = match weights {
        None => vec![1.0; classes],
        Some(w) => w.to_dtype(DType::F64)?.to_vec1::<f64>()?,
    };
    Ok((labels, weights))
}

/// The mean of each row of `[rows, ..]`.
fn row_means(x: &Tensor, width: usize) -> Result<Tensor> {
    x.reshape(((), width))?.mean(1)
}

/// `f(elements of the row)` for each row of two slices, in parallel.
fn each_row<T: Element>(a: &[T], b: &[T], width: usize, f: impl Fn(usize, &[T], &[T]) -> f64 + Sync) -> Vec<T> {
    let mut out = zeros::<T>(a.len() / width);
    let at_once = ((1 << 12) / width).max(1);
    parallel::chunks_mut(&mut out, at_once, &|i, out| {
        T::vectorised(
            #[inline(always)]
            || {
                for (j, out) in out.iter_mut().enumerate() {
                    let row = i * at_once + j;
                    let range = row * width..(row + 1) * width;
                    *out = T::from_f64(f(row, &a[range.clone()], &b[range]));
                }
            },
        );
    });
    out
}
