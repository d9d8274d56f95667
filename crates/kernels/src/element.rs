//! The floating point types that kernels compute in.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use crate::buffer::{Scratch, Shared, with_scratch};
use crate::product::{Finish, Rows};

/// A type that kernels compute in. `f32` runs on the vectors of the machine, `f64` in plain loops: it serves tests and gradient
/// checks, where nobody waits for it.
pub trait Element:
    Copy
    + Default
    + Debug
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + 'static
{
    /// The smallest value.
    const LOWEST: Self;
    /// Whether it is `f32`.
    const IS_SINGLE: bool;

    /// The nearest value.
    fn from_f64(value: f64) -> Self;

    /// The same value in double precision.
    fn to_f64(self) -> f64;

    /// The same values, where they are of single precision.
    fn single(values: &[Self]) -> Option<&[f32]>;

    /// The same values, where they are of single precision.
    fn single_mut(values: &mut [Self]) -> Option<&mut [f32]>;

    /// The same product, where it is of single precision.
    fn single_rows<'a, 'b>(job: &'a Rows<'b, Self>) -> Option<&'a Rows<'b, f32>>;

    /// The same operands of a depthwise convolution, where they are of single precision.
    fn single_depthwise<'a, 'b>(
        x: &'a [Self],
        w: &'a [Self],
        y: Shared<Self>,
        finish: &'a Finish<'b, Self>,
    ) -> Option<Depthwise<'a, 'b>>;

    /// `self` where it is above zero, else zero; NaN stays.
    fn positive_part(self) -> Self;

    /// e to the power of `self`.
    fn exp(self) -> Self;

    /// The error function of `self`.
    fn erf(self) -> Self;

    /// Runs `f`, for `f32` compiled for the widest vectors that this machine has. What `f` calls takes part only when it is
    /// inlined. Vectors change the speed and not the bits: the order of sums is the code's.
    fn vectorised<R>(f: impl FnOnce() -> R) -> R;

    /// Runs `f` with a buffer of this thread that keeps its allocation from call to call; its contents are arbitrary.
    fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R;
}

/// Input, weights, output and what follows of a depthwise convolution.
type Depthwise<'a, 'b> = (&'a [f32], &'a [f32], Shared<f32>, &'a Finish<'b, f32>);

macro_rules! element {
    ($t:ident, $exp:path, $erf:path, $vectorised:path, $single:expr, |$given:ident| $same:expr) => {
        impl Element for $t {
            const LOWEST: Self = $t::NEG_INFINITY;
            const IS_SINGLE: bool = $single;

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $t
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            fn single($given: &[Self]) -> Option<&[f32]> {
                $same
            }

            fn single_mut($given: &mut [Self]) -> Option<&mut [f32]> {
                $same
            }

            fn single_rows<'a, 'b>($given: &'a Rows<'b, Self>) -> Option<&'a Rows<'b, f32>> {
                $same
            }

            fn single_depthwise<'a, 'b>(
                x: &'a [Self],
                w: &'a [Self],
                y: Shared<Self>,
                finish: &'a Finish<'b, Self>,
            ) -> Option<Depthwise<'a, 'b>> {
                let $given = (x, w, y, finish);
                $same
            }

            #[inline]
            fn positive_part(self) -> Self {
                if self <= 0.0 { 0.0 } else { self }
            }

            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }

            #[inline(always)]
            fn erf(self) -> Self {
                $erf(self)
            }

            #[inline]
            fn vectorised<R>(f: impl FnOnce() -> R) -> R {
                $vectorised(f)
            }

            fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R {
                thread_local!(static SCRATCH: Scratch<$t> = const { Scratch::new(None) });
                with_scratch(&SCRATCH, len, f)
            }
        }
    };
}

element!(f32, crate::math::exp32, crate::math::erf32, crate::simd::vectorised, true, |given| Some(given));
element!(f64, f64::exp, libm::erf, as_it_is, false, |_given| None);

/// Runs `f`.
#[inline(always)]
fn as_it_is<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// A buffer of zeros.
pub fn zeros<T: Element>(len: usize) -> Vec<T> {
    vec![T::default(); len]
}

/// Adds all partial results in their order, so that the sum does not depend on who finished first.
pub fn sum_in_order<T: Element>(partials: Vec<Vec<T>>) -> Vec<T> {
    let mut partials = partials.into_iter();
    let mut sum = partials.next().unwrap_or_default();
    let rest: Vec<_> = partials.collect();
    crate::parallel::chunks_mut(&mut sum, 1 << 14, &|i, sum| {
        for p in &rest {
            sum.iter_mut().zip(&p[i << 14..]).for_each(|(s, p)| *s += *p);
        }
    });
    sum
}
