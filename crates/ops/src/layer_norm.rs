//! Layer normalisation: each row by its own mean and variance.
//!
//! Ba, Kiros & Hinton 2016, *Layer Normalization*. Rows do not see each other, so batches of any size behave alike.

use candle_core::{D, Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::Element;
use transplant_kernels::elementwise::fill_rows;
use transplant_kernels::reduce::{block_sums, dot, sum_of, sum_of3};

use crate::host::{by_dtype, dense, is_fast, own, read, read2, tensor};

/// Elements in a block of rows.
const BLOCK: usize = 1 << 13;

/// `(x - mean) / sqrt(var + eps) * weight + bias` over the last dimension of `x`, with the biased variance; `weight`
/// and `bias` are `[width]`.
///
/// # Errors
/// When shapes do not fit.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    apply(x, weight, bias, eps, Memory::Plain)
}

/// The same over the channels of each pixel of `x [n, c, ..]`, which ConvNeXt calls `LayerNorm2d`; `weight` and `bias`
/// are `[c]`. Fast for images with their channels innermost in memory, and leaves them so.
///
/// # Errors
/// When shapes do not fit.
pub fn layer_norm_channels(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if x.rank() < 2 {
        bail!("layer_norm: expected an input [n, c, ..], got {:?}", x.dims())
    }
    apply(x, weight, bias, eps, Memory::ChannelsLast)
}

/// Over the dimension that is innermost in `memory`.
fn apply(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64, memory: Memory) -> Result<Tensor> {
    let width = memory.dims(x.shape()).dims().last().copied().unwrap_or(0);
    if width == 0 || [weight.dims(), bias.dims()] != [[width]; 2] {
        let (w, b) = (weight.dims(), bias.dims());
        bail!("layer_norm: weight {w:?} and bias {b:?} do not fit the input {:?}", x.dims())
    }
    if !is_fast(x) {
        return memory.view(&composed(&memory.raw(x)?, weight, bias, eps)?, x.shape());
    }
    let op = LayerNorm { width, eps, memory };
    let y = by_dtype!(x.dtype(), T => {
        let (w, b) = (read::<T, _>(weight, <[T]>::to_vec)?, read::<T, _>(bias, <[T]>::to_vec)?);
        own(read::<T, _>(&dense(x, memory)?, |x| op.forward(x, &w, &b))?)
    });
    record(op, &[x, weight, bias], y, x.shape(), memory)
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let var = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(var + eps)?.sqrt()?)?.broadcast_mul(weight)?.broadcast_add(bias)
}

struct LayerNorm {
    width: usize,
    eps: f64,
    memory: Memory,
}

impl LayerNorm {
    /// Mean and inverse standard deviation of a row.
    #[inline(always)]
    fn moments<T: Element>(&self, row: &[T]) -> (T, T) {
        let n = row.len() as f64;
        let mean = T::from_f64(
            sum_of(
                row,
                #[inline(always)]
                |v| v,
            ) / n,
        );
        let var = sum_of(
            row,
            #[inline(always)]
            |v| (v - mean) * (v - mean),
        ) / n;
        (mean, T::from_f64(1.0 / (var + self.eps).sqrt()))
    }

    fn forward<T: Element>(&self, x: &[T], w: &[T], b: &[T]) -> Vec<T> {
        fill_rows(
            x.len(),
            self.width,
            BLOCK,
            #[inline(always)]
            |row, out| {
                let x = &x[row];
                let (mean, inv) = self.moments(x);
                out.map_with(
                    x,
                    w,
                    b,
                    #[inline(always)]
                    |x, w, b| (x - mean) * inv * w + b,
                );
            },
        )
    }

    fn input_gradient<T: Element>(&self, x: &[T], w: &[T], g: &[T]) -> Vec<T> {
        let share = T::from_f64(1.0 / self.width as f64);
        fill_rows(
            x.len(),
            self.width,
            BLOCK,
            #[inline(always)]
            |row, out| {
                let (x, g) = (&x[row.clone()], &g[row]);
                let (mean, inv) = self.moments(x);
                let sum = T::from_f64(dot(g, w));
                let weighted = T::from_f64(sum_of3(
                    g,
                    w,
                    x,
                    #[inline(always)]
                    |g, w, x| g * w * (x - mean),
                ));
                let (offset, slope) = (sum * share, weighted * inv * inv * share);
                out.map_with(
                    x,
                    w,
                    g,
                    #[inline(always)]
                    |x, w, g| inv * (g * w - offset - (x - mean) * slope),
                );
            },
        )
    }

    /// The gradients of weight and bias, one after the other.
    fn parameters<T: Element>(&self, x: &[T], g: &[T]) -> Vec<f64> {
        block_sums(
            x.len() / self.width,
            (BLOCK / self.width).max(1),
            2 * self.width,
            #[inline(always)]
            |row, sums: &mut [T]| {
                let n = self.width;
                let (x, g) = (&x[row * n..][..n], &g[row * n..][..n]);
                let (mean, inv) = self.moments(x);
                let (weight, bias) = sums.split_at_mut(n);
                let bias = &mut bias[..n];
                for i in 0..n {
                    weight[i] += g[i] * (x[i] - mean) * inv;
                    bias[i] += g[i];
                }
            },
        )
    }
}

impl Differentiable for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (x, weight) = (dense(link.input(0)?, self.memory)?, link.input(1)?);
        let g = dense(link.grad, self.memory)?;
        by_dtype!(g.dtype(), T => {
            let dx = link.when_wanted(0, || {
                let w = read::<T, _>(weight, <[T]>::to_vec)?;
                let dx = read2::<T, _>(&x, &g, |x, g| self.input_gradient(x, &w, g))?;
                tensor(dx, link.grad.shape(), self.memory)
            })?;
            if !link.wants(1) && !link.wants(2) {
                return Ok(vec![dx]);
            }
            let sums = read2::<T, _>(&x, &g, |x, g| self.parameters(x, g))?;
            let (weight, bias) = sums.split_at(self.width);
            let of = |v: &[f64]| Tensor::new(v, x.device())?.to_dtype(g.dtype());
            Ok(vec![dx, link.when_wanted(1, || of(weight))?, link.when_wanted(2, || of(bias))?])
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
            let width = shape[shape.len() - 1];
            let t = [random(1, shape), random(2, &[width]), random(3, &[width])];
            gradcheck(|t| layer_norm(&t[0], &t[1], &t[2], 1e-5), &t);
            gradcheck(|t| composed(&t[0], &t[1], &t[2], 1e-5), &t);
            let (a, b) = (layer_norm(&t[0], &t[1], &t[2], 1e-5), composed(&t[0], &t[1], &t[2], 1e-5));
            assert!(max_difference(&a.unwrap(), &b.unwrap()) < 1e-12);
        }
    }

    #[test]
    fn channels_are_normalised_at_each_pixel_in_any_order_of_memory() {
        for shape in [&[2, 5, 3, 2][..], &[3, 4], &[2, 3, 4]] {
            let t = [random(1, shape), random(2, &shape[1..2]), random(3, &shape[1..2])];
            let last = Memory::ChannelsLast;
            let want = composed(&last.raw(&t[0]).unwrap(), &t[1], &t[2], 1e-5).unwrap();
            let want = last.view(&want, t[0].shape()).unwrap();
            gradcheck(|t| layer_norm_channels(&t[0], &t[1], &t[2], 1e-5), &t);
            assert!(max_difference(&layer_norm_channels(&t[0], &t[1], &t[2], 1e-5).unwrap(), &want) < 1e-12);
        }
        let t = [random(1, &[2, 3, 2, 5]), random(2, &[5]), random(3, &[5])];
        gradcheck(|t| layer_norm_channels(&t[0].permute((0, 3, 1, 2))?, &t[1], &t[2], 1e-5), &t);
        assert!(layer_norm_channels(&random(1, &[5]), &t[1], &t[2], 1e-5).is_err());
    }

    #[test]
    fn the_bits_do_not_depend_on_threads_and_what_does_not_fit_is_refused() {
        let t = [random(1, &[700, 40]), random(2, &[40]), random(3, &[40])].map(|t| single(&t));
        same_bits_on_any_pool(|t| layer_norm(&t[0], &t[1], &t[2], 1e-5), &t);
        assert!(layer_norm(&t[0], &t[1], &random(1, &[3]), 1e-5).is_err());
    }
}
