//! The precision of products on the CPU.

use std::borrow::Cow;
use std::cell::Cell;
use std::marker::PhantomData;

use candle_core::{DType, Result, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::Element;
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
    pub(crate) fn takes_tiles<T: Element>(self) -> bool {
        T::IS_SINGLE && self.has_unit()
    }

    /// An operand of candle's own products, on devices other than the CPU.
    pub(crate) fn cast(self, operand: &Tensor) -> Result<Tensor> {
        if self == Self::Bf16 { operand.to_dtype(DType::BF16) } else { Ok(operand.clone()) }
    }

    /// An operand as it is multiplied. The matrix unit rounds by itself.
    pub(crate) fn rounded<T: Element>(self, values: &[T]) -> Cow<'_, [T]> {
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
    use crate::testing::{gradients, max_difference, random, same_bits_on_any_pool, single, values};
    use crate::{Conv2dGeometry, conv_transpose2d, conv2d, linear};

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

    type Case = (Vec<Tensor>, Box<dyn Fn(&[Tensor]) -> Result<Tensor> + Sync>);

    fn cases() -> Vec<Case> {
        let conv = |n, c: usize, hw: [usize; 2], o, k: [usize; 2], at: Conv2dGeometry| -> Case {
            let t = vec![random(1, &[n, c, hw[0], hw[1]]), random(2, &[o, c / at.groups, k[0], k[1]]), random(3, &[o])];
            (t, Box::new(move |t| conv2d(&t[0], &t[1], Some(&t[2]), at)))
        };
        let padded = Conv2dGeometry::padded(1);
        let mut out = vec![
            conv(3, 64, [9, 7], 48, [3, 3], padded),
            conv(2, 40, [6, 5], 33, [3, 3], padded.strided(2)),
            conv(2, 36, [8, 9], 20, [3, 2], padded.grouped(2).dilated(2)),
            conv(5, 3, [17, 16], 24, [7, 7], Conv2dGeometry::padded(3).strided(2)),
            conv(7, 96, [5, 5], 300, [1, 1], Conv2dGeometry::default()),
            conv(1, 16, [1, 1], 8, [3, 3], padded),
            conv(2, 24, [5, 6], 24, [3, 3], padded.grouped(24)),
        ];
        for (rows, inputs, outputs) in [(70, 130, 50), (1, 1, 1), (600, 33, 270)] {
            let t = vec![random(1, &[rows, inputs]), random(2, &[outputs, inputs]), random(3, &[outputs])];
            out.push((t, Box::new(|t| linear(&t[0], &t[1], Some(&t[2])))));
        }
        let t = vec![random(1, &[2, 20, 4, 3]), random(2, &[20, 35, 3, 3])];
        out.push((t, Box::new(move |t| conv_transpose2d(&t[0], &t[1], None, padded.strided(2), [1, 1]))));
        out
    }

    /// On processors without the unit both sides are the same; f64 never goes there.
    #[test]
    fn products_are_those_of_rounded_operands() {
        let _bf16 = Precision::Bf16.enter();
        for (i, (t, f)) in cases().into_iter().enumerate() {
            let narrow: Vec<Tensor> = t.iter().map(single).collect();
            let wide: Vec<Tensor> = narrow.iter().map(|t| t.to_dtype(DType::F64).unwrap()).collect();
            let near = |a: &Tensor, b: &Tensor| {
                let size = values(b).iter().fold(1.0, |m: f64, v| m.max(v.abs()));
                assert!(max_difference(a, b) < 1e-5 * size, "case {i}: {} of {size}", max_difference(a, b));
            };
            near(&f(&narrow).unwrap(), &f(&wide).unwrap());
            for (a, b) in gradients(&f, &narrow).iter().zip(gradients(&f, &wide)) {
                near(a, &b);
            }
            let full = {
                let _f32 = Precision::F32.enter();
                f(&narrow).unwrap()
            };
            let off = max_difference(&f(&narrow).unwrap(), &full);
            let depthwise = i == 6;
            assert!(
                (off > 0.0) != depthwise && off < 0.05 * values(&full).iter().fold(1.0, |m: f64, v| m.max(v.abs()))
            );
        }
    }

    #[test]
    fn the_bits_depend_on_neither_threads_nor_neighbours() {
        for (t, f) in cases() {
            let t: Vec<Tensor> = t.iter().map(single).collect();
            let rounded = |t: &[Tensor]| {
                let _bf16 = Precision::Bf16.enter();
                f(t)
            };
            same_bits_on_any_pool(rounded, &t);
            let n = t[0].dim(0).unwrap();
            let last = [&[t[0].narrow(0, n - 1, 1).unwrap()], &t[1..]].concat();
            let (all, alone) = (rounded(&t).unwrap(), rounded(&last).unwrap());
            assert_eq!(max_difference(&all.narrow(0, n - 1, 1).unwrap(), &alone), 0.0);
        }
    }

    #[test]
    fn what_is_not_a_number_stays_where_it_is() {
        let _bf16 = Precision::Bf16.enter();
        let mut x = vec![1.0f32; 40 * 70];
        x[3 * 70 + 69] = f32::NAN;
        let x = Tensor::from_vec(x, (40, 70), &candle_core::Device::Cpu).unwrap();
        let y = values(&linear(&x, &single(&random(2, &[5, 70])), None).unwrap());
        assert!(y.iter().enumerate().all(|(i, v)| v.is_nan() == (i / 5 == 3)));
    }
}
