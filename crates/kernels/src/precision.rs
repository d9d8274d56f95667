//! The precision of products on the CPU.

use std::borrow::Cow;
use std::cell::Cell;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::element::Element;
use crate::product::has_matrix_unit;

/// What operands of convolutions, linear layers and their gradients are rounded to before they are multiplied. Sums, weights,
/// normalisations and everything else keep the type of their tensors.
///
/// Kalamkar et al. 2019, *A Study of BFLOAT16 for Deep Learning Training*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// To nothing.
    #[default]
    F32,
    /// To bfloat16: eight bits of mantissa. Processors with a matrix unit (AMX) multiply them some ten times as fast; on others
    /// the values are the same, up to the order of sums, and nothing is gained.
    Bf16,
}

/// `f32` or `bf16`.
impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let found = [Self::F32, Self::Bf16].into_iter().find(|p| p.to_string() == name);
        found.ok_or_else(|| format!("expected `f32` or `bf16`, got `{name}`"))
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        })
    }
}

thread_local!(static CURRENT: Cell<Precision> = const { Cell::new(Precision::F32) });

impl Precision {
    /// That of the operations of this thread. Their gradients keep it.
    pub fn current() -> Self {
        CURRENT.get()
    }

    /// Makes it that of all operations of this thread, as long as the returned value lives.
    #[must_use = "it holds as long as this value lives"]
    pub fn enter(self) -> EnteredPrecision {
        EnteredPrecision { before: CURRENT.replace(self), here: PhantomData }
    }

    /// Whether this processor has a unit for products of this precision; without one they take as long as any others.
    pub fn has_unit(self) -> bool {
        self == Self::Bf16 && has_matrix_unit()
    }

    /// Whether products of `T` go to the matrix unit.
    pub fn takes_tiles<T: Element>(self) -> bool {
        T::IS_SINGLE && self.has_unit()
    }

    /// An operand as it is multiplied. The matrix unit rounds by itself.
    pub fn rounded<T: Element>(self, values: &[T]) -> Cow<'_, [T]> {
        if self == Self::F32 || self.takes_tiles::<T>() {
            return Cow::Borrowed(values);
        }
        Cow::Owned(values.iter().map(|v| T::from_f64(f64::from(bf16(v.to_f64() as f32)))).collect())
    }
}

/// A precision that holds until this is dropped.
#[derive(Debug)]
pub struct EnteredPrecision {
    before: Precision,
    /// It belongs to the thread that entered.
    here: PhantomData<*const ()>,
}

impl Drop for EnteredPrecision {
    fn drop(&mut self) {
        CURRENT.set(self.before);
    }
}

/// The nearest number of bfloat16, ties to even; NaN stays.
fn bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    if x.is_nan() { x } else { f32::from_bits((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff_0000) }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_even() {
        let one = |bits: u32| bf16(f32::from_bits(bits)).to_bits();
        assert_eq!([one(0x3f80_8000), one(0x3f81_8000), one(0x3f80_8001)], [0x3f80_0000, 0x3f82_0000, 0x3f81_0000]);
        assert!(bf16(f32::NAN).is_nan() && bf16(f32::MAX).is_infinite() && bf16(-0.0).is_sign_negative());
    }

    #[test]
    fn a_precision_holds_until_it_is_dropped_and_on_its_thread_only() {
        let outer = Precision::Bf16.enter();
        {
            let _inner = Precision::F32.enter();
            assert_eq!(Precision::current(), Precision::F32);
        }
        assert_eq!(Precision::current(), Precision::Bf16);
        assert_eq!(std::thread::spawn(Precision::current).join().ok(), Some(Precision::F32));
        drop(outer);
        assert_eq!(Precision::current(), Precision::F32);
    }
}
