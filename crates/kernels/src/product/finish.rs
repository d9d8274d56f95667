//! What is done to finished values before they are written.

use pulp::Simd;

use crate::element::Element;
use crate::simd::Side;

/// What follows the product in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Act {
    /// Nothing.
    #[default]
    None,
    /// `max(0, v)`.
    Relu,
    /// `min(6, max(0, v))`.
    Relu6,
}

/// What is done to each finished value `v` of column `c` before it is written.
#[derive(Clone, Copy)]
pub struct Finish<'a, T> {
    /// Factor of each column.
    pub scale: Option<&'a [T]>,
    /// Added to each column, after the factor.
    pub shift: Option<&'a [T]>,
    /// Added to each value; laid out as the output.
    pub residual: Option<&'a [T]>,
    /// Applied last.
    pub act: Act,
}

impl<T> Default for Finish<'_, T> {
    fn default() -> Self {
        Self { scale: None, shift: None, residual: None, act: Act::None }
    }
}

/// Factor and shift of the columns of a vector.
type Columns<S> = (Option<<S as Simd>::f32s>, Option<<S as Simd>::f32s>);

impl<T: Element> Finish<'_, T> {
    /// The value that is written for `a` of this column, at this place of the output.
    #[inline]
    pub(crate) fn scalar(&self, a: T, column: usize, out: usize) -> T {
        let a = self.scale.map_or(a, |s| a * s[column]);
        let a = self.shift.map_or(a, |s| a + s[column]);
        let a = self.residual.map_or(a, |r| a + r[out]);
        let six = T::from_f64(6.0);
        match self.act {
            Act::None => a,
            Act::Relu => a.positive_part(),
            Act::Relu6 if a > six => six,
            Act::Relu6 => a.positive_part(),
        }
    }

    /// Panics unless factors, shifts and residual cover `columns` columns and `len` outputs.
    pub(crate) fn check(&self, columns: usize, len: usize) {
        assert!([self.scale, self.shift].iter().flatten().all(|v| v.len() >= columns), "columns of what follows");
        assert!(self.residual.is_none_or(|r| r.len() >= len), "residual");
    }
}

impl Finish<'_, f32> {
    /// Factor and shift of vector number `v` of those that begin at column `at`.
    ///
    /// # Safety
    /// Where there are factors and shifts, they must cover the columns of `side` from `at`.
    #[inline(always)]
    pub(crate) unsafe fn columns<S: Simd>(&self, side: Side<S>, v: usize, at: usize) -> Columns<S> {
        // SAFETY: as the caller promises.
        unsafe { (part(self.scale, side, v, at), part(self.shift, side, v, at)) }
    }

    /// The residual of vector number `v` of those that begin at output `at`.
    ///
    /// # Safety
    /// Where there is a residual, it must cover the columns of `side` from `at`.
    #[inline(always)]
    pub(crate) unsafe fn residual<S: Simd>(&self, side: Side<S>, v: usize, at: usize) -> Option<S::f32s> {
        // SAFETY: as the caller promises.
        unsafe { part(self.residual, side, v, at) }
    }

    /// The value that is written for `a`.
    #[inline(always)]
    pub(crate) fn value<S: Simd>(&self, s: S, a: S::f32s, columns: Columns<S>, residual: Option<S::f32s>) -> S::f32s {
        let zero = s.splat_f32s(0.0);
        let a = match columns {
            (Some(scale), Some(shift)) => s.mul_add_e_f32s(a, scale, shift),
            (Some(scale), None) => s.mul_add_e_f32s(a, scale, zero),
            (None, Some(shift)) => s.add_f32s(a, shift),
            (None, None) => a,
        };
        let a = match residual {
            Some(r) => s.add_f32s(a, r),
            None => a,
        };
        match self.act {
            Act::None => a,
            Act::Relu => s.max_f32s(zero, a),
            Act::Relu6 => s.min_f32s(s.splat_f32s(6.0), s.max_f32s(zero, a)),
        }
    }
}

/// Vector number `v` of those that begin at `at`, where there are any. Matches, here and above, and no closures: a call with
/// vectors passes them through memory.
///
/// # Safety
/// Where there are any, they must cover the columns of `side` from `at`.
#[allow(clippy::manual_map, reason = "a closure would pass vectors through memory")]
#[inline(always)]
unsafe fn part<S: Simd>(of: Option<&[f32]>, side: Side<S>, v: usize, at: usize) -> Option<S::f32s> {
    match of {
        // SAFETY: as the caller promises.
        Some(of) => Some(unsafe { side.load(v, of.as_ptr().add(at)) }),
        None => None,
    }
}
