//! 2-D convolution (cross-correlation, as PyTorch's `conv2d`).

mod cpu;
mod geometry;
mod im2col;

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use transplant_core::{deposit, wants_gradient};

pub use geometry::Conv2dGeometry;
use geometry::Dims;

use crate::host::{by_dtype, dtype, is_fast, own, read, read2, slice};

/// Convolves `x [n, c, h, w]` with `weight [o, c / groups, kh, kw]` and adds `bias [o]`: `[n, o, oh, ow]` with
/// `oh = (h + 2 padding - dilation (kh - 1) - 1) / stride + 1`.
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, at: Conv2dGeometry) -> Result<Tensor> {
    let dims = Dims::new(x, weight, at)?;
    if let Some(bias) = bias.filter(|b| b.dims() != [dims.o]) {
        bail!("conv2d: expected a bias of shape [{}], got {:?}", dims.o, bias.dims())
    }
    if !is_fast(x) {
        return composed(x, weight, bias, &dims);
    }
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        None => x.apply_op2(&weight, Conv2d(dims)),
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, Conv2d(dims)),
    }
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, dims: &Dims) -> Result<Tensor> {
    let Conv2dGeometry { stride, padding, dilation, groups } = dims.at;
    let y = if stride == 1 {
        x.conv2d(weight, padding, stride, dilation, groups)?
    } else {
        // candle's backward assumes that as many rows as columns stay unused at the far edges: leave none unused.
        let reach = |out: usize, k: usize| (out - 1) * stride + dilation * (k - 1) + 1;
        let x = x.pad_with_zeros(2, padding, padding)?.narrow(2, 0, reach(dims.oh, dims.kh))?;
        let x = x.pad_with_zeros(3, padding, padding)?.narrow(3, 0, reach(dims.ow, dims.kw))?;
        x.contiguous()?.conv2d(weight, 0, stride, dilation, groups)?
    };
    match bias {
        None => Ok(y),
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
    }
}

struct Conv2d(Dims);

impl Conv2d {
    fn shape(&self) -> Shape {
        (self.0.n, self.0.o, self.0.oh, self.0.ow).into()
    }

    fn input_gradient(&self, x: &Tensor, w: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        if !wants_gradient(x) {
            return Ok(None);
        }
        by_dtype!(g.dtype(), T => {
            let dx = read2::<T, _>(w, g, |w, g| cpu::input_gradient(&self.0, w, g))??;
            Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
        })
    }

    fn weight_gradient(&self, x: &Tensor, w: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        deposit(w, || {
            by_dtype!(g.dtype(), T => {
                let dw = read2::<T, _>(x, g, |x, g| cpu::weight_gradient(&self.0, x, g))??;
                Tensor::from_vec(dw, w.shape(), w.device())
            })
        })
    }

    fn bias_gradient(&self, b: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        deposit(b, || {
            by_dtype!(g.dtype(), T => {
                Tensor::from_vec(read::<T, _>(g, |g| cpu::bias_gradient(&self.0, g))?, b.shape(), b.device())
            })
        })
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(dtype(x), T => {
            let y = cpu::forward::<T>(&self.0, slice(x, xl)?, slice(w, wl)?, None)?;
            Ok((own(y), self.shape()))
        })
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.input_gradient(x, w, g)?, self.weight_gradient(x, w, g)?))
    }
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(dtype(x), T => {
            let y = cpu::forward::<T>(&self.0, slice(x, xl)?, slice(w, wl)?, Some(slice(b, bl)?))?;
            Ok((own(y), self.shape()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((self.input_gradient(x, w, g)?, self.weight_gradient(x, w, g)?, self.bias_gradient(b, g)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool};

    fn by_candle(x: &Tensor, w: &Tensor, b: Option<&Tensor>, at: Conv2dGeometry) -> Result<Tensor> {
        composed(x, w, b, &Dims::new(x, w, at)?)
    }

    fn case(n: usize, c: usize, hw: (usize, usize), o: usize, k: (usize, usize), at: Conv2dGeometry) -> [Tensor; 3] {
        [random(1, &[n, c, hw.0, hw.1]), random(2, &[o, c / at.groups, k.0, k.1]), random(3, &[o])]
    }

    fn cases() -> Vec<([Tensor; 3], Conv2dGeometry)> {
        let at = |stride, padding, dilation, groups| Conv2dGeometry { stride, padding, dilation, groups };
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
    fn a_large_image_is_computed_in_blocks_of_rows() {
        let at = Conv2dGeometry::padded(1);
        let t = case(2, 64, (40, 40), 3, (3, 3), at);
        let dims = Dims::new(&t[0], &t[1], at).unwrap();
        assert!(dims.tile().1 < 40);
        let y = conv2d(&t[0], &t[1], Some(&t[2]), at).unwrap();
        assert!(max_difference(&y, &by_candle(&t[0], &t[1], Some(&t[2]), at).unwrap()) < 1e-10);
        let grads = |f: fn(&Tensor, &Tensor, Option<&Tensor>, Conv2dGeometry) -> Result<Tensor>| {
            crate::testing::gradients(|t| f(&t[0], &t[1], Some(&t[2]), at), &t)
        };
        for (a, b) in grads(conv2d).iter().zip(grads(by_candle)) {
            assert!(max_difference(a, &b) < 1e-9);
        }
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
        assert!(bad(Conv2dGeometry { groups: 2, ..Default::default() }).contains("groups"));
        assert!(bad(Conv2dGeometry { dilation: 3, ..Default::default() }).contains("larger"));
        assert!(bad(Conv2dGeometry { stride: 0, ..Default::default() }).contains("at least 1"));
        assert!(conv2d(&t[0], &t[1], Some(&random(1, &[3])), Conv2dGeometry::default()).is_err());
    }
}
