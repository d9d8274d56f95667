//! Activation functions of single elements.

use crate::compiled::compiled_here;
use crate::element::Element;
use crate::elementwise::{map, map2};

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
pub const TANH_SLOPE: f64 = 0.797_884_560_802_865_4;
/// The factor of the cube in the approximation by a hyperbolic tangent.
pub const TANH_CUBE: f64 = 0.044_715;

impl Activation {
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

compiled_here! {
    /// Activation functions of slices.
    pub trait Activations {
        /// `f` of every element of `x`.
        fn activation(act: Activation, x: &[Self]) -> Vec<Self> = values;
        /// The gradient of `x` from that of the output, `g`.
        fn activation_gradient(act: Activation, x: &[Self], g: &[Self]) -> Vec<Self> = gradients;
    }
}

fn values<T: Element>(act: Activation, x: &[T]) -> Vec<T> {
    by_activation!(act, A => map(x, #[inline(always)] |v| A.value(v)))
}

fn gradients<T: Element>(act: Activation, x: &[T], g: &[T]) -> Vec<T> {
    by_activation!(act, A => map2(x, g, #[inline(always)] |x, g| A.slope(x, g)))
}
