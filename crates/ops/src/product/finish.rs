//! What is done to finished values before they are written.

use pulp::Simd;

use crate::host::Element;
use crate::simd::{Side, Vectors};

/// What follows the product in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Act {
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
pub(crate) struct Finish<'a, T> {
    /// Factor of each column.
    pub(crate) scale: Option<&'a [T]>,
    /// Added to each column, after the factor.
    pub(crate) shift: Option<&'a [T]>,
    /// Added to each value; laid out as the output.
    pub(crate) residual: Option<&'a [T]>,
    /// Applied last.
    pub(crate) act: Act,
}

impl<T> Default for Finish<'_, T> {
    fn default() -> Self {
        Self { scale: None, shift: None, residual: None, act: Act::None }
    }
}

/// Factor and shift of the columns of a vector.
type Columns<T, S> = (Option<<T as Vectors>::V<S>>, Option<<T as Vectors>::V<S>>);

#[allow(unsafe_code, reason = "part of the innermost loops")]
impl<T: Element> Finish<'_, T> {
    /// Factor and shift of vector number `v` of those that begin at column `at`.
    ///
    /// # Safety
    /// Where there are factors and shifts, they must cover the columns of `side` from `at`.
    #[inline(always)]
    pub(crate) unsafe fn columns<S: Simd>(&self, side: Side<T, S>, v: usize, at: usize) -> Columns<T, S> {
        // SAFETY: as the caller promises.
        unsafe { (part(self.scale, side, v, at), part(self.shift, side, v, at)) }
    }

    /// The residual of vector number `v` of those that begin at output `at`.
    ///
    /// # Safety
    /// Where there is a residual, it must cover the columns of `side` from `at`.
    #[inline(always)]
    pub(crate) unsafe fn residual<S: Simd>(&self, side: Side<T, S>, v: usize, at: usize) -> Option<T::V<S>> {
        // SAFETY: as the caller promises.
        unsafe { part(self.residual, side, v, at) }
    }

    /// The value that is written for `a`.
    #[inline(always)]
    pub(crate) fn value<S: Simd>(
        &self,
        s: S,
        a: T::V<S>,
        columns: Columns<T, S>,
        residual: Option<T::V<S>>,
    ) -> T::V<S> {
        let zero = T::splat(s, T::default());
        let a = match columns {
            (Some(scale), Some(shift)) => T::fma(s, a, scale, shift),
            (Some(scale), None) => T::fma(s, a, scale, zero),
            (None, Some(shift)) => T::plus(s, a, shift),
            (None, None) => a,
        };
        let a = match residual {
            Some(r) => T::plus(s, a, r),
            None => a,
        };
        match self.act {
            Act::None => a,
            Act::Relu => T::larger(s, zero, a),
            Act::Relu6 => T::smaller(s, T::splat(s, T::from_f64(6.0)), T::larger(s, zero, a)),
        }
    }

    /// Panics unless factors, shifts and residual cover `columns` columns and `len` outputs.
    pub(crate) fn check(&self, columns: usize, len: usize) {
        assert!([self.scale, self.shift].iter().flatten().all(|v| v.len() >= columns), "columns of what follows");
        assert!(self.residual.is_none_or(|r| r.len() >= len), "residual");
    }
}

/// Vector number `v` of those that begin at `at`, where there are any. Matches, here and above, and no closures: a call with
/// vectors passes them through memory.
///
/// # Safety
/// Where there are any, they must cover the columns of `side` from `at`.
#[allow(unsafe_code, reason = "part of the innermost loops")]
#[allow(clippy::manual_map, reason = "a closure would pass vectors through memory")]
#[inline(always)]
unsafe fn part<T: Element, S: Simd>(of: Option<&[T]>, side: Side<T, S>, v: usize, at: usize) -> Option<T::V<S>> {
    match of {
        // SAFETY: as the caller promises.
        Some(of) => Some(unsafe { side.load(v, of.as_ptr().add(at)) }),
        None => None,
    }
}
