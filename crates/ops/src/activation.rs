//! Activation functions: of single elements, leaving the order of memory as it is.

use candle_core::{CpuStorage, Result, Tensor};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::Element;
use transplant_kernels::elementwise::{map, map2};

use crate::host::{by_dtype, dense, is_fast, own, read, read2, tensor};

/// Calls `$body` with the constant `$a` for the activation, so that each is compiled by itself.
macro_rules! by_activation {
    ($act:expr, $a:ident => $body:expr) => {
        match $act {
            Activation::Identity => {
                const $a: Activation = Activation::Identity;
                $body
            }
            Activation::Relu => {
                const $a: Activation = Activation::Relu;
                $body
            }
            Activation::Relu6 => {
                const $a: Activation = Activation::Relu6;
                $body
            }
            Activation::Gelu => {
                const $a: Activation = Activation::Gelu;
                $body
            }
            Activation::GeluTanh => {
                const $a: Activation = Activation::GeluTanh;
                $body
            }
            Activation::Silu => {
                const $a: Activation = Activation::Silu;
                $body
            }
            Activation::HardSwish => {
                const $a: Activation = Activation::HardSwish;
                $body
            }
        }
    };
}
pub(crate) use by_activation;

/// A function of single elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x`.
    Identity,
    /// `max(x, 0)`, with the derivative 0 at 0 (as PyTorch; candle's has 1 there).
    Relu,
    /// `min(max(x, 0), 6)`; Krizhevsky 2010.
    Relu6,
    /// `x` times the normal distribution function of `x`; Hendrycks & Gimpel 2016.
    Gelu,
    /// [`Self::Gelu`] with the distribution function approximated by a hyperbolic tangent.
    GeluTanh,
    /// `x / (1 + exp(-x))`, also called swish; Elfwing et al. 2018.
    Silu,
    /// `x min(max(x + 3, 0), 6) / 6`; Howard et al. 2019.
    HardSwish,
}

/// `sqrt(2 / pi)`.
const TANH_SLOPE: f64 = 0.797_884_560_802_865_4;
const TANH_CUBE: f64 = 0.044_715;

impl Activation {
    /// `f(x)`, of any shape. NaN stays NaN.
    ///
    /// # Errors
    /// When the operation fails.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if self == Self::Identity {
            return Ok(x.clone());
        }
        if !is_fast(x) {
            return self.composed(x);
        }
        let m = Memory::of(x)?;
        let y: CpuStorage = by_dtype!(x.dtype(), T => own(read::<T, _>(&dense(x, m)?, |x| self.values(x))?));
        record(Elementwise(self, m), &[x], y, x.shape(), m)
    }

    /// The function of every element.
    fn values<T: Element>(self, x: &[T]) -> Vec<T> {
        by_activation!(self, A => map(x, #[inline(always)] |v| A.value(v)))
    }

    /// The gradient of the input from input and output gradient.
    fn gradients<T: Element>(self, x: &[T], g: &[T]) -> Vec<T> {
        by_activation!(self, A => map2(x, g, #[inline(always)] |x, g| A.slope(x, g)))
    }

    /// `f(x)`.
    #[inline(always)]
    pub(crate) fn value<T: Element>(self, x: T) -> T {
        let of = T::from_f64;
        match self {
            Self::Identity => x,
            Self::Relu => x.positive_part(),
            Self::Relu6 => up_to_six(x),
            Self::Gelu => x * of(0.5) * (of(1.0) + (x * of(std::f64::consts::FRAC_1_SQRT_2)).erf()),
            Self::GeluTanh => x * sigmoid(of(2.0) * inner(x)),
            Self::Silu => x * sigmoid(x),
            Self::HardSwish => x * up_to_six(x + of(3.0)) * of(1.0 / 6.0),
        }
    }

    /// `g f'(x)`, exactly 0 where the derivative is.
    #[inline(always)]
    pub(crate) fn slope<T: Element>(self, x: T, g: T) -> T {
        let (of, zero) = (T::from_f64, T::default());
        match self {
            Self::Identity => g,
            Self::Relu => {
                if x <= zero {
                    zero
                } else {
                    g
                }
            }
            Self::Relu6 => {
                if (x <= zero) | (x >= of(6.0)) {
                    zero
                } else {
                    g
                }
            }
            Self::Gelu => {
                let cdf = of(0.5) * (of(1.0) + (x * of(std::f64::consts::FRAC_1_SQRT_2)).erf());
                // The density: exp(-x^2 / 2) / sqrt(2 pi).
                let pdf = (x * x * of(-0.5)).exp() * of(0.398_942_280_401_432_7);
                g * (cdf + x * pdf)
            }
            Self::GeluTanh => {
                let s = sigmoid(of(2.0) * inner(x));
                let inner = of(2.0 * TANH_SLOPE) * (of(1.0) + of(3.0 * TANH_CUBE) * x * x);
                g * (s + x * s * (of(1.0) - s) * inner)
            }
            Self::Silu => {
                let s = sigmoid(x);
                g * s * (of(1.0) + x * (of(1.0) - s))
            }
            Self::HardSwish => {
                let middle = g * (x * of(1.0 / 3.0) + of(0.5));
                let above = if x >= of(3.0) { g } else { middle };
                if x <= of(-3.0) { zero } else { above }
            }
        }
    }

    /// The same from candle's operations, for devices other than the CPU.
    fn composed(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Relu => {
                let zeros = x.zeros_like()?;
                x.le(&zeros)?.where_cond(&zeros, x)
            }
            Self::Relu6 => {
                let (relu, six) = (Self::Relu.composed(x)?, x.ones_like()?.affine(6.0, 0.0)?);
                relu.ge(&six)?.where_cond(&six, &relu)
            }
            Self::Gelu => (x * 0.5)? * ((x * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)?,
            Self::GeluTanh => {
                let inner = ((x + (x.sqr()? * x)? * TANH_CUBE)? * TANH_SLOPE)?;
                (x * 0.5)? * (inner.tanh()? + 1.0)?
            }
            Self::Silu => x / (x.neg()?.exp()? + 1.0)?,
            Self::HardSwish => (x * Self::Relu6.composed(&(x + 3.0)?)?)? / 6.0,
        }
    }
}

/// `min(max(x, 0), 6)`. A function of its own, as one that calls itself cannot be inlined.
#[inline(always)]
fn up_to_six<T: Element>(x: T) -> T {
    let p = x.positive_part();
    if p > T::from_f64(6.0) { T::from_f64(6.0) } else { p }
}

#[inline(always)]
fn sigmoid<T: Element>(x: T) -> T {
    let one = T::from_f64(1.0);
    one / (one + (T::default() - x).exp())
}

#[inline(always)]
fn inner<T: Element>(x: T) -> T {
    T::from_f64(TANH_SLOPE) * (x + T::from_f64(TANH_CUBE) * x * x * x)
}

/// `max(x, 0)`, of any shape, with the derivative 0 at 0. NaN stays NaN.
///
/// # Errors
/// When the operation fails.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    Activation::Relu.forward(x)
}

struct Elementwise(Activation, Memory);

impl Differentiable for Elementwise {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (x, g) = (dense(link.input(0)?, self.1)?, dense(link.grad, self.1)?);
        by_dtype!(g.dtype(), T => {
            let dx = read2::<T, _>(&x, &g, |x, g| self.0.gradients(x, g))?;
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
            gradcheck(|t| a.forward(&t[0]), &x);
            gradcheck(|t| a.composed(&t[0]), &x);
            gradcheck(|t| a.forward(&t[0].t()?), &[random(2, &[4, 3])]);
            gradcheck(|t| a.forward(&t[0].permute((0, 3, 1, 2))?), &[random(2, &[2, 3, 2, 4])]);
            assert!(max_difference(&a.forward(&x[0]).unwrap(), &a.composed(&x[0]).unwrap()) < 1e-6, "{a:?}");
            let narrow = a.forward(&single(&x[0])).unwrap();
            assert!(max_difference(&narrow, &a.forward(&x[0]).unwrap()) < 2e-6, "{a:?}");
        }
        same_bits_on_any_pool(|t| Activation::Gelu.forward(&t[0]), &[single(&random(3, &[70, 1001]))]);
    }

    #[test]
    fn the_derivative_of_the_rectifier_at_zero_is_zero_and_nan_stays() {
        let x = Tensor::new(&[0f64, -0.0, 1.0, f64::NAN], &Device::Cpu).unwrap();
        let f: [fn(&Tensor) -> Result<Tensor>; 2] = [relu, |x| Activation::Relu.composed(x)];
        for f in f {
            let y = values(&f(&x).unwrap());
            assert!(y[..3] == [0.0, 0.0, 1.0] && y[3].is_nan());
            let g = values(&gradients(|t| f(&t[0]), std::slice::from_ref(&x))[0]);
            assert!(g[..2] == [0.0, 0.0] && g[2] != 0.0);
        }
        for a in ALL {
            let y = a.forward(&Tensor::new(&[f32::NAN], &Device::Cpu).unwrap()).unwrap();
            assert!(values(&y)[0].is_nan(), "{a:?}");
        }
    }
}
