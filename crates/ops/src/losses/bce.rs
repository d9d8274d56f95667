//! Binary cross entropy from logits, for labels that do not exclude each other.
//!
//! Written with `ln(1 + exp(-|x|))`, which neither overflows nor loses small values; numbers as PyTorch's
//! `binary_cross_entropy_with_logits`.

use candle_core::{Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::Element;

use super::{each_row, row_means, rows_of};
use crate::host::{by_dtype, is_fast, own, read2, read3, tensor};
use crate::softmax::map_rows;

/// The mean over each row of `-(w t ln p + (1 - t) ln(1 - p))` with `p = 1 / (1 + exp(-x))`: `[rows]` from logits
/// `x [rows, ..]`. Targets `t` in 0..=1 have the same shape and get no gradient; `pos_weight` is the shape of a row.
///
/// # Errors
/// When shapes do not fit.
pub fn bce_with_logits(logits: &Tensor, targets: &Tensor, pos_weight: Option<&Tensor>) -> Result<Tensor> {
    let (rows, width) = rows_of("bce_with_logits", logits, targets)?;
    if let Some(w) = pos_weight.filter(|w| w.dims() != &logits.dims()[1..]) {
        bail!("bce_with_logits: pos_weight {:?} does not fit a row of the logits {:?}", w.dims(), logits.dims())
    }
    let missing = || Tensor::ones(&logits.dims()[1..], logits.dtype(), logits.device());
    let weight = pos_weight.map_or_else(missing, |w| w.detach().to_dtype(logits.dtype()))?;
    let targets = targets.detach().to_dtype(logits.dtype())?;
    if !is_fast(logits) {
        return composed(logits, &targets, &weight, width);
    }
    let losses = by_dtype!(logits.dtype(), T => {
        own(read3::<T, _>(logits, &targets, &weight, |x, t, w| each_row(
            x, t, width, #[inline(always)] |_, x, t| row_loss(x, t, w),
        ))?)
    });
    record(Bce { width }, &[logits, &targets, &weight], losses, rows, Memory::Plain)
}

#[inline(always)]
fn row_loss<T: Element>(x: &[T], t: &[T], w: &[T]) -> f64 {
    let mut sum = 0.0;
    for i in 0..x.len() {
        let (x, t, w) = (x[i].to_f64(), t[i].to_f64(), w[i].to_f64());
        sum += (1.0 - t) * x + (1.0 + (w - 1.0) * t) * ((-x.abs()).exp().ln_1p() + (-x).max(0.0));
    }
    // `max` drops a NaN, and the first term keeps it.
    sum / x.len() as f64
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, t: &Tensor, w: &Tensor, width: usize) -> Result<Tensor> {
    let zeros = x.zeros_like()?;
    let negative_part = x.lt(&zeros)?.where_cond(&x.neg()?, &zeros)?;
    let softplus = ((x.abs()?.neg()?.exp()? + 1.0)?.log()? + negative_part)?;
    let weight = (t.broadcast_mul(&(w - 1.0)?)? + 1.0)?;
    row_means(&((t.affine(-1.0, 1.0)? * x)? + (weight * softplus)?)?, width)
}

struct Bce {
    width: usize,
}

impl Differentiable for Bce {
    fn name(&self) -> &'static str {
        "bce_with_logits"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (x, t, w, g, width) = (link.input(0)?, link.input(1)?, link.input(2)?, link.grad, self.width);
        by_dtype!(g.dtype(), T => {
            let dx = read2::<T, _>(g, w, |g, w| read2::<T, _>(x, t, |x, t| {
                map_rows(x.len(), width, #[inline(always)] |dx: &mut [T], from| {
                    let g = g[from / width] * (1.0 / width as T);
                    let (x, t, one) = (&x[from..from + width], &t[from..from + width], 1.0 as T);
                    for i in 0..width {
                        let against = one / (one + Element::exp(x[i]));
                        dx[i] = g * (one - t[i] - (one + (w[i] - one) * t[i]) * against);
                    }
                })
            }))??;
            Ok(vec![Some(tensor(dx, x.shape(), Memory::Plain)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, single, values};
    use candle_core::Device;

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        for shape in [&[3, 4][..], &[2, 3, 2, 2], &[5]] {
            let (x, t) = ([(random(1, shape) * 4.0).unwrap()], ((random(2, shape) + 1.0).unwrap() / 2.0).unwrap());
            let w = (random(3, &shape[1..]) + 1.5).unwrap();
            let width = shape[1..].iter().product();
            for weight in [None, Some(&w)] {
                gradcheck(|x| bce_with_logits(&x[0], &t, weight), &x);
            }
            gradcheck(|x| composed(&x[0], &t, &w, width), &x);
            let (a, b) = (bce_with_logits(&x[0], &t, Some(&w)).unwrap(), composed(&x[0], &t, &w, width).unwrap());
            assert!(max_difference(&a, &b) < 1e-13);
        }
        let t = single(&((random(2, &[900, 31]) + 1.0).unwrap() / 2.0).unwrap());
        same_bits_on_any_pool(|x| bce_with_logits(&x[0], &t, None), &[single(&random(1, &[900, 31]))]);
    }

    #[test]
    fn large_logits_do_not_overflow_nan_stays_and_what_does_not_fit_is_refused() {
        let of = |x: f64, t: f64| {
            let [x, t] = [x, t].map(|v| Tensor::new(&[[v]], &Device::Cpu).unwrap());
            values(&bce_with_logits(&x, &t, None).unwrap())[0]
        };
        assert_eq!([of(1e4, 1.0), of(-1e4, 1.0), of(1e4, 0.0)], [0.0, 1e4, 1e4]);
        assert!(of(f64::NAN, 1.0).is_nan() && of(f64::NAN, 0.0).is_nan());
        let x = random(1, &[2, 3]);
        assert!(bce_with_logits(&x, &random(1, &[2]), None).is_err());
        assert!(bce_with_logits(&x, &x, Some(&random(1, &[2]))).is_err());
    }
}
