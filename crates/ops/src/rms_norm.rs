//! Normalisation of each row by its root mean square, without centring it.
//!
//! Zhang & Sennrich 2019, *Root Mean Square Layer Normalization*.

use candle_core::{D, Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::Element;
use transplant_kernels::elementwise::fill_rows;
use transplant_kernels::reduce::{block_sums, dot, sum_of3};

use crate::host::{by_dtype, is_fast, own, read2, read3, tensor};

/// Elements in a block of rows.
const BLOCK: usize = 1 << 13;

/// `x / sqrt(mean(x^2) + eps) * weight` over the last dimension of `x`; `weight` is `[width]`.
///
/// # Errors
/// When shapes do not fit.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(0);
    if width == 0 || weight.dims() != [width] {
        bail!("rms_norm: weight {:?} does not fit the input {:?}", weight.dims(), x.dims())
    }
    if !is_fast(x) {
        return composed(x, weight, eps);
    }
    let op = RmsNorm { width, eps };
    let y = by_dtype!(x.dtype(), T => own(read2::<T, _>(x, weight, |x, w| op.forward(x, w))?));
    record(op, &[x, weight], y, x.shape(), Memory::Plain)
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let square = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(square + eps)?.sqrt()?)?.broadcast_mul(weight)
}

struct RmsNorm {
    width: usize,
    eps: f64,
}

impl RmsNorm {
    /// One over the root mean square of a row.
    #[inline(always)]
    fn inverse<T: Element>(&self, row: &[T]) -> T {
        T::from_f64(1.0 / (dot(row, row) / row.len() as f64 + self.eps).sqrt())
    }

    fn forward<T: Element>(&self, x: &[T], w: &[T]) -> Vec<T> {
        fill_rows(
            x.len(),
            self.width,
            BLOCK,
            #[inline(always)]
            |row, out| {
                let x = &x[row];
                let inv = self.inverse(x);
                out.map2(
                    x,
                    w,
                    #[inline(always)]
                    |x, w| x * inv * w,
                );
            },
        )
    }

    fn input_gradient<T: Element>(&self, x: &[T], w: &[T], g: &[T]) -> Vec<T> {
        fill_rows(
            x.len(),
            self.width,
            BLOCK,
            #[inline(always)]
            |row, out| {
                let (x, g) = (&x[row.clone()], &g[row]);
                let inv = self.inverse(x);
                let weighted = T::from_f64(sum_of3(
                    g,
                    w,
                    x,
                    #[inline(always)]
                    |g, w, x| g * w * x,
                ));
                let slope = weighted * inv * inv * T::from_f64(1.0 / self.width as f64);
                out.map_with(
                    x,
                    w,
                    g,
                    #[inline(always)]
                    |x, w, g| inv * (g * w - x * slope),
                );
            },
        )
    }

    fn weight_gradient<T: Element>(&self, x: &[T], g: &[T]) -> Vec<T> {
        let sums = block_sums(
            x.len() / self.width,
            (BLOCK / self.width).max(1),
            self.width,
            #[inline(always)]
            |row, sums: &mut [T]| {
                let n = self.width;
                let (x, g, sums) = (&x[row * n..][..n], &g[row * n..][..n], &mut sums[..n]);
                let inv = self.inverse(x);
                for i in 0..n {
                    sums[i] += g[i] * x[i] * inv;
                }
            },
        );
        sums.into_iter().map(T::from_f64).collect()
    }
}

impl Differentiable for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (x, w, g) = (link.input(0)?, link.input(1)?, link.grad);
        by_dtype!(g.dtype(), T => {
            let dx = link.when_wanted(0, || {
                let dx = read3::<T, _>(x, w, g, |x, w, g| self.input_gradient(x, w, g))?;
                tensor(dx, x.shape(), Memory::Plain)
            })?;
            let dw = link.when_wanted(1, || {
                tensor(read2::<T, _>(x, g, |x, g| self.weight_gradient(x, g))?, self.width, Memory::Plain)
            })?;
            Ok(vec![dx, dw])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, single};

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        for shape in [&[3, 5][..], &[2, 3, 7], &[1, 33]] {
            let t = [random(1, shape), random(2, &shape[shape.len() - 1..])];
            gradcheck(|t| rms_norm(&t[0], &t[1], 1e-5), &t);
            gradcheck(|t| composed(&t[0], &t[1], 1e-5), &t);
            let (a, b) = (rms_norm(&t[0], &t[1], 1e-5).unwrap(), composed(&t[0], &t[1], 1e-5).unwrap());
            assert!(max_difference(&a, &b) < 1e-12);
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_threads_and_what_does_not_fit_is_refused() {
        let t = [random(1, &[700, 40]), random(2, &[40])].map(|t| single(&t));
        same_bits_on_any_pool(|t| rms_norm(&t[0], &t[1], 1e-5), &t);
        assert!(rms_norm(&t[0], &random(1, &[3]), 1e-5).is_err());
    }
}
