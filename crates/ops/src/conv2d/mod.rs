//! Two-dimensional convolution.

mod chain;
mod transposed;

use candle_core::{Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
pub use transplant_kernels::conv::Conv2dGeometry;
use transplant_kernels::conv::{Convolutions, Dims};
use transplant_kernels::product::Finish;
use transplant_kernels::reduce::ColumnSums;

pub use chain::{Normalised, NormalisedConv, conv2d_norm};
pub use transposed::conv_transpose2d;

use crate::host::{by_dtype, cast, is_fast, own, raw, read, read2, tensor};

/// The sizes of a convolution of `x` with `weight`, checked.
pub(crate) fn dims(x: &[usize], weight: &[usize], at: Conv2dGeometry) -> Result<Dims> {
    Dims::new(x, weight, at).map_err(candle_core::Error::msg)
}

/// Convolves `x [n, c, h, w]` with `weight [o, c / groups, kh, kw]` and adds `bias [o]`: `[n, o, oh, ow]`, where
/// `oh = (h + padding - dilation (kh - 1) - 1) / stride + 1`, rounded down. The output has its channels innermost in memory,
/// and an input that has them, too, is not copied.
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, at: Conv2dGeometry) -> Result<Tensor> {
    let dims = dims(x.dims(), weight.dims(), at)?;
    if let Some(bias) = bias.filter(|b| b.dims() != [dims.o]) {
        bail!("conv2d: expected a bias of shape [{}], got {:?}", dims.o, bias.dims())
    }
    if !is_fast(x) {
        return composed(x, weight, bias, &dims);
    }
    let y = by_dtype!(x.dtype(), T => {
        let bias = bias.map(|b| read::<T, _>(b, <[T]>::to_vec)).transpose()?;
        let finish = Finish { shift: bias.as_deref(), ..Finish::default() };
        own(read2::<T, _>(&raw(x)?, weight, |x, w| T::conv2d(&dims, x, w, finish))?)
    });
    let inputs = [Some(x), Some(weight), bias];
    let inputs: Vec<&Tensor> = inputs.into_iter().flatten().collect();
    record(Conv2d(dims), &inputs, y, (dims.n, dims.o, dims.oh, dims.ow), Memory::ChannelsLast)
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, dims: &Dims) -> Result<Tensor> {
    let Conv2dGeometry { stride, padding, mut dilation, groups } = dims.at;
    let mut weight = weight.clone();
    if dilation[0] != dilation[1] {
        // candle dilates both directions alike: put the zeros between the taps.
        weight = spread(&spread(&weight, 2, dilation[0])?, 3, dilation[1])?;
        dilation = [1; 2];
    }
    // Nor does it stride unevenly: every window, then some of them.
    let common = if stride[0] == stride[1] { stride[0] } else { 1 };
    // candle pads all sides alike, and its backward assumes that as many rows as columns stay unused at the far edges: pad
    // here, and leave none unused.
    let reach = |axis: usize, out: usize, k: usize| (out - 1) * stride[axis] + dims.at.dilation[axis] * (k - 1) + 1;
    let x = x.pad_with_zeros(2, padding[0][0], padding[0][1])?.narrow(2, 0, reach(0, dims.oh, dims.kh))?;
    let x = x.pad_with_zeros(3, padding[1][0], padding[1][1])?.narrow(3, 0, reach(1, dims.ow, dims.kw))?;
    let cast = |t: &Tensor| cast(dims.precision, t);
    let y = cast(&x.contiguous()?)?.conv2d(&cast(&weight)?, 0, common, dilation[0], groups)?;
    let mut y = y.to_dtype(x.dtype())?;
    if common != stride[0] || common != stride[1] {
        y = every(&every(&y, 2, stride[0])?, 3, stride[1])?;
    }
    match bias {
        None => Ok(y),
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
    }
}

/// `step - 1` zeros between neighbours along a dimension.
fn spread(t: &Tensor, dim: usize, step: usize) -> Result<Tensor> {
    let len = t.dim(dim)?;
    let apart = t.unsqueeze(dim + 1)?.pad_with_zeros(dim + 1, 0, step - 1)?;
    apart.flatten(dim, dim + 1)?.narrow(dim, 0, (len - 1) * step + 1)?.contiguous()
}

/// Every `step`-th along a dimension, from the first.
fn every(t: &Tensor, dim: usize, step: usize) -> Result<Tensor> {
    let some: Vec<u32> = (0..t.dim(dim)? as u32).step_by(step).collect();
    t.contiguous()?.index_select(&Tensor::new(some, t.device())?, dim)
}

/// Back to front along a dimension.
fn flipped(t: &Tensor, dim: usize) -> Result<Tensor> {
    let back: Vec<u32> = (0..t.dim(dim)? as u32).rev().collect();
    t.contiguous()?.index_select(&Tensor::new(back, t.device())?, dim)
}

struct Conv2d(Dims);

impl Differentiable for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (d, x, w) = (&self.0, link.input(0)?, link.input(1)?);
        let g = raw(link.grad)?;
        by_dtype!(g.dtype(), T => {
            let dx = link.when_wanted(0, || {
                let dx = read2::<T, _>(w, &g, |w, g| T::conv2d_input_gradient(d, w, g, Finish::default()))?;
                tensor(dx, x.shape(), Memory::ChannelsLast)
            })?;
            let dw = link.when_wanted(1, || {
                tensor(read2::<T, _>(&raw(x)?, &g, |x, g| T::conv2d_weight_gradient(d, x, g))?, w.shape(), Memory::Plain)
            })?;
            let db = link.when_wanted(2, || {
                tensor(read::<T, _>(&g, |g| T::column_sums(g, d.o))?, d.o, Memory::Plain)
            })?;
            Ok(vec![dx, dw, db])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool};

    fn by_candle(x: &Tensor, w: &Tensor, b: Option<&Tensor>, at: Conv2dGeometry) -> Result<Tensor> {
        composed(x, w, b, &dims(x.dims(), w.dims(), at)?)
    }

    fn case(n: usize, c: usize, hw: (usize, usize), o: usize, k: (usize, usize), at: Conv2dGeometry) -> [Tensor; 3] {
        [random(1, &[n, c, hw.0, hw.1]), random(2, &[o, c / at.groups, k.0, k.1]), random(3, &[o])]
    }

    fn cases() -> Vec<([Tensor; 3], Conv2dGeometry)> {
        let at = |stride: usize, padding: usize, dilation: usize, groups: usize| {
            Conv2dGeometry::padded(padding).strided(stride).dilated(dilation).grouped(groups)
        };
        [
            ((3, 2, (5, 4), 3, (3, 3)), at(1, 1, 1, 1)),
            ((1, 1, (7, 7), 2, (3, 2)), at(2, 0, 1, 1)),
            ((2, 4, (6, 5), 6, (3, 3)), at(1, 2, 2, 2)),
            ((2, 3, (4, 4), 3, (3, 3)), at(2, 1, 1, 3)),
            ((2, 3, (3, 5), 4, (1, 1)), at(1, 0, 1, 1)),
            ((2, 4, (5, 5), 4, (1, 1)), at(3, 0, 1, 2)),
            ((1, 1, (2, 2), 1, (5, 5)), at(1, 4, 1, 1)),
            ((1, 2, (3, 3), 2, (1, 3)), at(1, 3, 3, 1)),
            ((40, 2, (3, 3), 2, (3, 3)), at(1, 1, 1, 1)),
            ((2, 3, (7, 6), 2, (3, 2)), Conv2dGeometry { stride: [2, 3], dilation: [1, 2], ..at(1, 1, 1, 1) }),
            ((1, 4, (5, 8), 4, (2, 3)), Conv2dGeometry { stride: [3, 1], dilation: [2, 1], ..at(1, 1, 1, 2) }),
        ]
        .into_iter()
        .map(|((n, c, hw, o, k), at)| (case(n, c, hw, o, k, at), at))
        .collect()
    }

    #[test]
    fn gradients_are_right_for_all_geometries() {
        for (t, at) in cases() {
            gradcheck(|t| conv2d(&t[0], &t[1], Some(&t[2]), at), &t);
            gradcheck(|t| conv2d(&t[0], &t[1], None, at), &t[..2]);
        }
    }

    #[test]
    fn the_composed_form_agrees_and_so_do_its_gradients() {
        for (t, at) in cases() {
            let fast = conv2d(&t[0], &t[1], Some(&t[2]), at).unwrap();
            assert!(max_difference(&fast, &by_candle(&t[0], &t[1], Some(&t[2]), at).unwrap()) < 1e-12, "{at:?}");
            gradcheck(|t| by_candle(&t[0], &t[1], Some(&t[2]), at), &t);
        }
    }

    #[test]
    fn other_strides_of_the_operands_change_nothing() {
        let at = Conv2dGeometry::padded(1);
        let t = [random(1, &[4, 5, 2, 3]), random(2, &[3, 2, 3, 4])];
        gradcheck(|t| conv2d(&t[0].permute((3, 2, 0, 1))?, &t[1].permute((3, 1, 0, 2))?, None, at), &t);
    }

    #[test]
    fn the_bits_depend_on_neither_threads_nor_neighbours() {
        for (c, hw, o) in [(1, 28, 16), (16, 14, 32), (32, 7, 64)] {
            let at = Conv2dGeometry::padded(1);
            let t: Vec<_> = case(37, c, (hw, hw), o, (3, 3), at).iter().map(crate::testing::single).collect();
            same_bits_on_any_pool(|t| conv2d(&t[0], &t[1], Some(&t[2]), at), &t);
            let all = conv2d(&t[0], &t[1], Some(&t[2]), at).unwrap();
            for (from, n) in [(0, 1), (5, 3), (36, 1)] {
                let some = conv2d(&t[0].narrow(0, from, n).unwrap(), &t[1], Some(&t[2]), at).unwrap();
                assert_eq!(max_difference(&all.narrow(0, from, n).unwrap(), &some), 0.0, "{c} {from} {n}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let t = case(1, 4, (5, 5), 2, (3, 3), Conv2dGeometry::default());
        let bad = |at| conv2d(&t[0], &t[1], None, at).unwrap_err().to_string();
        assert!(bad(Conv2dGeometry::default().grouped(2)).contains("groups"));
        assert!(bad(Conv2dGeometry::default().dilated(3)).contains("larger"));
        assert!(bad(Conv2dGeometry::default().strided(0)).contains("at least 1"));
        assert!(conv2d(&t[0], &t[1], Some(&random(1, &[3])), Conv2dGeometry::default()).is_err());
    }
}
