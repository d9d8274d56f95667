//! Activation functions: of single elements, leaving the order of memory as it is.

use candle_core::{CpuStorage, Result, Tensor};
use transplant_core::{Differentiable, Link, Memory, record};
pub use transplant_kernels::activation::Activation;
use transplant_kernels::activation::{Activations, TANH_CUBE, TANH_SLOPE};

use crate::host::{by_dtype, dense, is_fast, own, read, read2, tensor};

/// `activation(x)`, of any shape. NaN stays NaN.
///
/// # Errors
/// When the operation fails.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if activation == Activation::Identity {
        return Ok(x.clone());
    }
    if !is_fast(x) {
        return composed(x, activation);
    }
    let m = Memory::of(x)?;
    let y: CpuStorage = by_dtype!(x.dtype(), T => own(read::<T, _>(&dense(x, m)?, |x| T::activation(activation, x))?));
    record(Elementwise(activation, m), &[x], y, x.shape(), m)
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => {
            let zeros = x.zeros_like()?;
            x.le(&zeros)?.where_cond(&zeros, x)
        }
        Activation::Relu6 => {
            let (relu, six) = (composed(x, Activation::Relu)?, x.ones_like()?.affine(6.0, 0.0)?);
            relu.ge(&six)?.where_cond(&six, &relu)
        }
        Activation::Gelu => (x * 0.5)? * ((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)?,
        Activation::GeluTanh => {
            let inner = ((x + (x.sqr()? * x)? * TANH_CUBE)? * TANH_SLOPE)?;
            (x * 0.5)? * (inner.tanh()? + 1.0)?
        }
        Activation::Silu => x / (x.neg()?.exp()? + 1.0)?,
        Activation::HardSwish => (x * composed(&(x + 3.0)?, Activation::Relu6)?)? / 6.0,
    }
}

/// `max(x, 0)`, of any shape, with the derivative 0 at 0. NaN stays NaN.
///
/// # Errors
/// When the operation fails.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    activate(x, Activation::Relu)
}

struct Elementwise(Activation, Memory);

impl Differentiable for Elementwise {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (x, g) = (dense(link.input(0)?, self.1)?, dense(link.grad, self.1)?);
        by_dtype!(g.dtype(), T => {
            let dx = read2::<T, _>(&x, &g, |x, g| T::activation_gradient(self.0, x, g))?;
            Ok(vec![Some(tensor(dx, link.grad.shape(), self.1)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, gradients, max_difference, random, same_bits_on_any_pool, single, values};
    use candle_core::Device;

    const ALL: [Activation; 7] = [
        Activation::Identity,
        Activation::Relu,
        Activation::Relu6,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::HardSwish,
    ];

    #[test]
    fn gradients_are_right_and_the_composed_forms_agree() {
        let x = [(random(1, &[3, 5, 7]) * 8.0).unwrap()];
        for a in ALL {
            gradcheck(|t| activate(&t[0], a), &x);
            gradcheck(|t| composed(&t[0], a), &x);
            gradcheck(|t| activate(&t[0].t()?, a), &[random(2, &[4, 3])]);
            gradcheck(|t| activate(&t[0].permute((0, 3, 1, 2))?, a), &[random(2, &[2, 3, 2, 4])]);
            assert!(max_difference(&activate(&x[0], a).unwrap(), &composed(&x[0], a).unwrap()) < 1e-6, "{a:?}");
            let narrow = activate(&single(&x[0]), a).unwrap();
            assert!(max_difference(&narrow, &activate(&x[0], a).unwrap()) < 2e-6, "{a:?}");
        }
        same_bits_on_any_pool(|t| activate(&t[0], Activation::Gelu), &[single(&random(3, &[70, 1001]))]);
    }

    #[test]
    fn the_derivative_of_the_rectifier_at_zero_is_zero_and_nan_stays() {
        let x = Tensor::new(&[0f64, -0.0, 1.0, f64::NAN], &Device::Cpu).unwrap();
        let f: [fn(&Tensor) -> Result<Tensor>; 2] = [relu, |x| composed(x, Activation::Relu)];
        for f in f {
            let y = values(&f(&x).unwrap());
            assert!(y[..3] == [0.0, 0.0, 1.0] && y[3].is_nan());
            let g = values(&gradients(|t| f(&t[0]), std::slice::from_ref(&x))[0]);
            assert!(g[..2] == [0.0, 0.0] && g[2] != 0.0);
        }
        for a in ALL {
            let y = activate(&Tensor::new(&[f32::NAN], &Device::Cpu).unwrap(), a).unwrap();
            assert!(values(&y)[0].is_nan(), "{a:?}");
        }
    }
}
