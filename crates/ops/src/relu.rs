//! The rectifier `max(x, 0)`, with the derivative 0 at 0 (as PyTorch; candle's has 1 there).

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use transplant_core::wants_gradient;

use crate::elementwise::{map, map2};
use crate::host::{Element, by_dtype, dtype, is_fast, own, read2, slice};

/// `max(x, 0)`, of any shape. NaN stays NaN.
///
/// # Errors
/// When the operation fails.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    if is_fast(x) { x.contiguous()?.apply_op1(Relu) } else { composed(x) }
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor) -> Result<Tensor> {
    let zeros = x.zeros_like()?;
    x.le(&zeros)?.where_cond(&zeros, x)
}

struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, l: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(dtype(x), T => Ok((own(map(slice::<T>(x, l)?, T::positive_part)), l.shape().clone())))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        if !wants_gradient(x) {
            return Ok(None);
        }
        by_dtype!(g.dtype(), T => {
            let below = |y: T, g: T| if y <= 0.0 { 0.0 } else { g };
            let dx = read2::<T, _>(y, g, |y, g| map2(y, g, below))?;
            Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, gradients, random, same_bits_on_any_pool, values};
    use candle_core::Device;

    #[test]
    fn gradients_are_right() {
        let x = random(1, &[3, 5, 7]);
        gradcheck(|t| relu(&t[0]), std::slice::from_ref(&x));
        gradcheck(|t| composed(&t[0]), std::slice::from_ref(&x));
        gradcheck(|t| relu(&t[0].t()?), &[random(2, &[4, 3])]);
        same_bits_on_any_pool(|t| relu(&t[0]), &[random(3, &[70, 1001])]);
    }

    #[test]
    fn the_derivative_at_zero_is_zero_and_nan_stays() {
        let x = Tensor::new(&[0f64, -0.0, 1.0, f64::NAN], &Device::Cpu).unwrap();
        for f in [relu, composed] {
            let y = values(&f(&x).unwrap());
            assert!(y[..3] == [0.0, 0.0, 1.0] && y[3].is_nan());
            let g = values(&gradients(|t| f(&t[0]), std::slice::from_ref(&x))[0]);
            assert!(g[..2] == [0.0, 0.0] && g[2] != 0.0);
        }
    }
}
