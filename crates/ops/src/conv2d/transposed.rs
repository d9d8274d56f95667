//! Transposed convolution: the convolution whose forward pass is another one's input gradient.
//!
//! Dumoulin & Visin 2016, *A guide to convolution arithmetic for deep learning*.

use candle_core::{Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::conv::{Conv2dGeometry, Convolutions, Dims};
use transplant_kernels::product::Finish;
use transplant_kernels::reduce::ColumnSums;

use super::{composed, dims as dims_of, flipped, spread};
use crate::host::{by_dtype, is_fast, own, raw, read, read2, tensor};

/// The transposed convolution of `x [n, c, h, w]` with `weight [c, o / groups, kh, kw]` plus `bias [o]`: `[n, o, oh, ow]`, where
/// `oh = (h - 1) stride - padding + dilation (kh - 1) + 1 + output_padding`. The `output_padding` rows (columns) more at the end
/// choose among the sizes that a convolution of this stride maps to `h`; they must be fewer than stride or dilation.
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    at: Conv2dGeometry,
    output_padding: [usize; 2],
) -> Result<Tensor> {
    let dims = dims(x.dims(), weight.dims(), at, output_padding)?;
    if let Some(bias) = bias.filter(|b| b.dims() != [dims.c]) {
        bail!("conv_transpose2d: expected a bias of shape [{}], got {:?}", dims.c, bias.dims())
    }
    if !is_fast(x) {
        return by_candle(x, weight, bias, &dims);
    }
    let y = by_dtype!(x.dtype(), T => {
        let bias = bias.map(|b| read::<T, _>(b, <[T]>::to_vec)).transpose()?;
        let finish = Finish { shift: bias.as_deref(), ..Finish::default() };
        own(read2::<T, _>(&raw(x)?, weight, |x, w| T::conv2d_input_gradient(&dims, w, x, finish))?)
    });
    let inputs: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
    record(ConvTranspose2d(dims), &inputs, y, (dims.n, dims.c, dims.h, dims.w), Memory::ChannelsLast)
}

/// The sizes of the convolution that this one transposes: its input is our output.
fn dims(x: &[usize], weight: &[usize], at: Conv2dGeometry, output_padding: [usize; 2]) -> Result<Dims> {
    let (&[n, c, h, w], &[o, cg, kh, kw]) = (x, weight) else {
        bail!("conv_transpose2d: expected an input [n, c, h, w] and a weight [c, o, kh, kw], got {x:?} and {weight:?}")
    };
    if c != o {
        bail!("conv_transpose2d: weight {weight:?} does not fit the input {x:?}")
    }
    let size = |axis: usize, len: usize, k: usize| {
        let reach = len.checked_sub(1)? * at.stride[axis] + at.dilation[axis] * k.checked_sub(1)? + 1;
        let surplus = output_padding[axis] < at.stride[axis].max(at.dilation[axis]);
        (reach + output_padding[axis]).checked_sub(at.padding[axis].iter().sum()).filter(|size| surplus && *size > 0)
    };
    let (Some(height), Some(width)) = (size(0, h, kh), size(1, w, kw)) else {
        bail!("conv_transpose2d: {at:?} and output padding {output_padding:?} leave nothing of the input {x:?}")
    };
    let of = dims_of(&[n, cg * at.groups, height, width], weight, at)?;
    // Where the output padding is no smaller than the stride, more windows than inputs would fit: those read nothing.
    Ok(Dims { oh: h, ow: w, ..of })
}

/// The same from candle's operations, for devices other than the CPU: the input with zeros between its pixels, convolved with
/// the flipped kernel.
fn by_candle(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, d: &Dims) -> Result<Tensor> {
    let Conv2dGeometry { stride, padding, dilation, groups } = d.at;
    let mut x = spread(&spread(x, 2, stride[0])?, 3, stride[1])?;
    for (axis, (out, k)) in [(d.h, d.kh), (d.w, d.kw)].into_iter().enumerate() {
        // All windows of the flipped kernel over an input that is framed by as many zeros as the kernel reaches, from the
        // first that the padding leaves.
        let reach = dilation[axis] * (k - 1);
        let after = (out + padding[axis][0]).saturating_sub(x.dim(axis + 2)?);
        x = x.pad_with_zeros(axis + 2, reach, after)?.narrow(axis + 2, padding[axis][0], out + reach)?;
    }
    // [groups, og, cg, ..] becomes [groups, cg, og, ..].
    let weight = weight.reshape((groups, d.og(), d.cg(), d.kh, d.kw))?.transpose(1, 2)?.contiguous()?;
    let weight = flipped(&flipped(&weight.reshape((d.c, d.og(), d.kh, d.kw))?, 2)?, 3)?;
    let at = Conv2dGeometry { dilation, groups, ..Conv2dGeometry::default() };
    composed(&x, &weight, bias, &dims_of(x.dims(), weight.dims(), at)?)
}

struct ConvTranspose2d(Dims);

impl Differentiable for ConvTranspose2d {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (d, x, w) = (&self.0, link.input(0)?, link.input(1)?);
        let g = raw(link.grad)?;
        by_dtype!(g.dtype(), T => {
            let dx = link.when_wanted(0, || {
                let dx = read2::<T, _>(&g, w, |g, w| T::conv2d(d, g, w, Finish::default()))?;
                tensor(dx, x.shape(), Memory::ChannelsLast)
            })?;
            let dw = link.when_wanted(1, || {
                tensor(read2::<T, _>(&g, &raw(x)?, |g, x| T::conv2d_weight_gradient(d, g, x))?, w.shape(), Memory::Plain)
            })?;
            let db = link.when_wanted(2, || {
                tensor(read::<T, _>(&g, |g| T::column_sums(g, d.c))?, d.c, Memory::Plain)
            })?;
            Ok(vec![dx, dw, db])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, single};

    fn cases() -> Vec<([Tensor; 3], Conv2dGeometry, [usize; 2])> {
        let at = |stride: [usize; 2], padding: usize, dilation: [usize; 2], groups: usize| Conv2dGeometry {
            stride,
            dilation,
            ..Conv2dGeometry::padded(padding).grouped(groups)
        };
        [
            ((2, 3, (3, 4)), 2, (3, 3), at([1, 1], 0, [1, 1], 1), [0, 0]),
            ((1, 2, (3, 2)), 3, (3, 2), at([2, 3], 1, [1, 1], 1), [1, 2]),
            ((2, 4, (2, 3)), 6, (2, 3), at([2, 2], 0, [1, 2], 2), [0, 1]),
            ((2, 3, (3, 3)), 3, (3, 3), at([2, 2], 1, [1, 1], 3), [1, 1]),
            ((1, 2, (4, 1)), 2, (1, 1), at([3, 1], 0, [1, 1], 1), [2, 0]),
            ((1, 1, (3, 3)), 2, (3, 3), at([1, 1], 2, [3, 2], 1), [2, 1]),
        ]
        .into_iter()
        .map(|((n, c, (h, w)), o, k, at, more)| {
            let weight = random(2, &[c, o / at.groups, k.0, k.1]);
            ([random(1, &[n, c, h, w]), weight, random(3, &[o])], at, more)
        })
        .collect()
    }

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        for (t, at, more) in cases() {
            gradcheck(|t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), at, more), &t);
            gradcheck(|t| conv_transpose2d(&t[0], &t[1], None, at, more), &t[..2]);
            let d = dims(t[0].dims(), t[1].dims(), at, more).unwrap();
            let ours = conv_transpose2d(&t[0], &t[1], Some(&t[2]), at, more).unwrap();
            assert!(max_difference(&ours, &by_candle(&t[0], &t[1], Some(&t[2]), &d).unwrap()) < 1e-12, "{at:?}");
            gradcheck(|t| by_candle(&t[0], &t[1], Some(&t[2]), &d), &t);
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_threads() {
        let t = [random(1, &[9, 16, 7, 5]), random(2, &[16, 32, 3, 3]), random(3, &[32])].map(|t| single(&t));
        let at = Conv2dGeometry::padded(1).strided(2);
        same_bits_on_any_pool(|t| conv_transpose2d(&t[0], &t[1], Some(&t[2]), at, [1, 1]), &t);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, w) = (random(1, &[1, 3, 2, 2]), random(2, &[3, 2, 3, 3]));
        let bad = |at, more| conv_transpose2d(&x, &w, None, at, more).unwrap_err().to_string();
        assert!(bad(Conv2dGeometry::padded(2), [0, 0]).contains("leave nothing"));
        assert!(bad(Conv2dGeometry::default(), [1, 0]).contains("output padding"));
        assert!(bad(Conv2dGeometry::default().grouped(2), [0, 0]).contains("groups"));
        assert!(conv_transpose2d(&x, &random(2, &[2, 2, 3, 3]), None, Conv2dGeometry::default(), [0, 0]).is_err());
        assert!(conv_transpose2d(&x, &w, Some(&random(1, &[3])), Conv2dGeometry::default(), [0, 0]).is_err());
    }
}
