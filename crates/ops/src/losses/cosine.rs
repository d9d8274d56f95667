//! One less the cosine of the angle between the rows of two tensors, for embeddings whose length means nothing.
//!
//! Norms are bounded below by [`EPS`], as in PyTorch's `cosine_similarity`.

use candle_core::{D, Result, Tensor};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::Element;
use transplant_kernels::reduce::dot;

use super::{each_row, rows_of};
use crate::host::{by_dtype, is_fast, own, read2, read3, tensor};
use crate::softmax::map_rows;

/// The smallest norm that is divided by.
const EPS: f64 = 1e-8;

/// `1 - a b / (|a| |b|)` of each row: `[rows]` from `a` and `b [rows, ..]`, both of which get gradients.
///
/// # Errors
/// When shapes do not fit.
pub fn cosine(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (rows, width) = rows_of("cosine", a, b)?;
    if !is_fast(a) {
        return composed(a, b, width);
    }
    let losses = by_dtype!(a.dtype(), T => own(read2::<T, _>(a, b, |a, b| each_row(
        a, b, width, #[inline(always)] |_, a, b| 1.0 - dot(a, b) / (norm(a).0 * norm(b).0),
    ))?));
    record(Cosine { width }, &[a, b], losses, rows, Memory::Plain)
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(a: &Tensor, b: &Tensor, width: usize) -> Result<Tensor> {
    let (a, b) = (a.reshape(((), width))?, b.reshape(((), width))?);
    let norm = |t: &Tensor| t.sqr()?.sum(D::Minus1)?.maximum(EPS * EPS)?.sqrt();
    ((&a * &b)?.sum(D::Minus1)? / (norm(&a)? * norm(&b)?)?)?.affine(-1.0, 1.0)
}

/// The norm of a row, bounded below, and whether it is its own.
#[inline(always)]
fn norm<T: Element>(row: &[T]) -> (f64, bool) {
    let norm = dot(row, row).sqrt();
    if norm < EPS { (EPS, false) } else { (norm, true) }
}

struct Cosine {
    width: usize,
}

impl Cosine {
    /// The gradient of `a`.
    fn gradient<T: Element>(&self, a: &[T], b: &[T], g: &[T]) -> Vec<T> {
        let width = self.width;
        map_rows(
            a.len(),
            width,
            #[inline(always)]
            |da: &mut [T], from| {
                let (a, b) = (&a[from..from + width], &b[from..from + width]);
                let (((na, own), (nb, _)), g) = ((norm(a), norm(b)), g[from / width].to_f64());
                // A norm at its bound is a constant.
                let along = if own { dot(a, b) / (na * nb * na * na) } else { 0.0 };
                let (along, across) = (T::from_f64(g * along), T::from_f64(g / (na * nb)));
                da.iter_mut().zip(a.iter().zip(b)).for_each(|(d, (a, b))| *d = *a * along - *b * across);
            },
        )
    }
}

impl Differentiable for Cosine {
    fn name(&self) -> &'static str {
        "cosine"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (a, b, g) = (link.input(0)?, link.input(1)?, link.grad);
        by_dtype!(g.dtype(), T => {
            let of = |a: &Tensor, b: &Tensor| {
                tensor(read3::<T, _>(a, b, g, |a, b, g| self.gradient(a, b, g))?, a.shape(), Memory::Plain)
            };
            Ok(vec![link.when_wanted(0, || of(a, b))?, link.when_wanted(1, || of(b, a))?])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, gradients, max_difference, random, same_bits_on_any_pool, single, values};

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        for shape in [&[3, 4][..], &[2, 3, 2], &[2, 33]] {
            let (t, width) = ([random(1, shape), random(2, shape)], shape[1..].iter().product());
            gradcheck(|t| cosine(&t[0], &t[1]), &t);
            gradcheck(|t| composed(&t[0], &t[1], width), &t);
            let (a, b) = (cosine(&t[0], &t[1]).unwrap(), composed(&t[0], &t[1], width).unwrap());
            assert!(max_difference(&a, &b) < 1e-14);
        }
        let t = [random(1, &[900, 31]), random(2, &[900, 31])].map(|t| single(&t));
        same_bits_on_any_pool(|t| cosine(&t[0], &t[1]), &t);
    }

    #[test]
    fn rows_of_zeros_are_finite_and_what_does_not_fit_is_refused() {
        let zeros = random(1, &[2, 3]).zeros_like().unwrap();
        let t = [zeros.clone(), zeros];
        assert_eq!(values(&cosine(&t[0], &t[1]).unwrap()), [1.0, 1.0]);
        assert!(gradients(|t| cosine(&t[0], &t[1]), &t).iter().all(|g| values(g).iter().all(|v| v.is_finite())));
        assert!(cosine(&t[0], &random(1, &[2, 4])).is_err());
    }
}
