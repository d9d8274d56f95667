//! Vectors of `f32`, whatever the machine's width, for the inner loops that the compiler does not find.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

use pulp::{MemMask, Simd, WithSimd};

/// The instructions that kernels use for vectors, from narrow to wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// What every processor of this architecture has.
    Portable,
    /// Advanced SIMD of ARM, four numbers wide.
    Neon,
    /// AVX2 and FMA, eight numbers wide.
    Avx2,
    /// AVX-512, sixteen numbers wide, with the matrix unit (AMX) where there is one.
    Avx512,
}

impl Level {
    const ALL: [Self; 4] = [Self::Portable, Self::Neon, Self::Avx2, Self::Avx512];

    /// Numbers in a vector. At [`Self::Portable`] those of a loop that the compiler may vectorise.
    pub(crate) fn lanes(self) -> usize {
        match self {
            Self::Portable | Self::Avx2 => 8,
            Self::Neon => 4,
            Self::Avx512 => 16,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

/// `portable`, `neon`, `avx2` or `avx512`.
impl FromStr for Level {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|l| l.to_string() == name);
        found.ok_or_else(|| format!("expected `portable`, `neon`, `avx2` or `avx512`, got `{name}`"))
    }
}

/// The highest level to use; above all levels where nobody has set one.
static LIMIT: AtomicU8 = AtomicU8::new(u8::MAX);

/// Caps the level of all kernels of this process, to measure or test a processor with narrower vectors. To be called
/// while no kernel runs: what is packed for one width cannot be used at another.
pub fn limit(level: Level) {
    LIMIT.store(level as u8, Ordering::Relaxed);
}

/// The level in use: the widest that this processor has, up to the [`limit`].
pub fn level() -> Level {
    let limit = LIMIT.load(Ordering::Relaxed);
    Level::ALL.into_iter().rev().find(|l| *l as u8 <= limit && is_there(*l)).unwrap_or(Level::Portable)
}

#[cfg(target_arch = "x86_64")]
fn is_there(level: Level) -> bool {
    match level {
        Level::Portable => true,
        Level::Neon => false,
        Level::Avx2 => pulp::x86::V3::try_new().is_some(),
        Level::Avx512 => pulp::x86::V4::try_new().is_some(),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn is_there(level: Level) -> bool {
    level == Level::Portable || level == Level::Neon && cfg!(target_arch = "aarch64")
}

/// Runs `op` on the vectors of the [`level`] in use; `None` at [`Level::Portable`].
pub(crate) fn on_vectors<O: WithSimd>(op: O) -> Option<O::Output> {
    match level() {
        Level::Portable => None,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => pulp::x86::V4::try_new().map(|s| Simd::vectorize(s, op)),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => pulp::x86::V3::try_new().map(|s| Simd::vectorize(s, op)),
        #[cfg(target_arch = "aarch64")]
        Level::Neon => pulp::aarch64::Neon::try_new().map(|s| Simd::vectorize(s, op)),
        _ => None,
    }
}

/// Runs `op` on the vectors of the [`level`] in use, which are of one number at [`Level::Portable`].
pub(crate) fn on_any_vectors<O: WithSimd>(op: O) -> O::Output {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => match pulp::x86::V4::try_new() {
            Some(s) => Simd::vectorize(s, op),
            None => Simd::vectorize(pulp::Scalar, op),
        },
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => match pulp::x86::V3::try_new() {
            Some(s) => Simd::vectorize(s, op),
            None => Simd::vectorize(pulp::Scalar, op),
        },
        #[cfg(target_arch = "aarch64")]
        Level::Neon => match pulp::aarch64::Neon::try_new() {
            Some(s) => Simd::vectorize(s, op),
            None => Simd::vectorize(pulp::Scalar, op),
        },
        _ => Simd::vectorize(pulp::Scalar, op),
    }
}

/// Runs `f`, compiled for the vectors of the [`level`] in use.
#[inline]
pub(crate) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => match pulp::x86::V4::try_new() {
            Some(s) => Simd::vectorize(s, f),
            None => f(),
        },
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => match pulp::x86::V3::try_new() {
            Some(s) => Simd::vectorize(s, f),
            None => f(),
        },
        // What every processor of the architecture has is what code is compiled for.
        _ => f(),
    }
}

/// Vectors side by side, of which the last may have lanes that do not count. A masked access is slow, so it is only
/// made where it must be.
pub(crate) struct Side<S: Simd> {
    s: S,
    last: usize,
    whole: bool,
    edge: MemMask<S::m32s>,
}

impl<S: Simd> Clone for Side<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Simd> Copy for Side<S> {}

/// A whole vector from memory.
///
/// # Safety
/// The memory of all lanes must be readable.
#[allow(unsafe_code, reason = "loads through pointers")]
#[inline(always)]
pub(crate) unsafe fn load<S: Simd>(at: *const f32) -> S::f32s {
    // SAFETY: the caller promises that the lanes are readable; a vector is nothing but its lanes.
    unsafe { at.cast::<S::f32s>().read_unaligned() }
}

/// Writes a whole vector.
///
/// # Safety
/// The memory of all lanes must be writable.
#[allow(unsafe_code, reason = "stores through pointers")]
#[inline(always)]
pub(crate) unsafe fn store<S: Simd>(at: *mut f32, value: S::f32s) {
    // SAFETY: the caller promises that the lanes are writable; a vector is nothing but its lanes.
    unsafe { at.cast::<S::f32s>().write_unaligned(value) }
}

#[allow(unsafe_code, reason = "loads and stores through pointers")]
impl<S: Simd> Side<S> {
    /// `vectors` of them, which hold `columns` numbers or more.
    #[inline(always)]
    pub(crate) fn new(s: S, vectors: usize, columns: usize) -> Self {
        let before = (vectors - 1) * S::F32_LANES;
        let left = columns - before;
        let edge = s.mask_between_m32s(0, left.min(S::F32_LANES) as u32);
        Self { s, last: vectors - 1, whole: left >= S::F32_LANES, edge }
    }

    /// Vector number `v` of those that begin at `at`.
    ///
    /// # Safety
    /// The memory of all columns must be readable.
    #[inline(always)]
    pub(crate) unsafe fn load(self, v: usize, at: *const f32) -> S::f32s {
        // SAFETY: only lanes of columns are read, which the caller promises to be readable.
        unsafe {
            let at = at.add(v * S::F32_LANES);
            if v < self.last || self.whole { load::<S>(at) } else { self.s.mask_load_ptr_f32s(self.edge, at) }
        }
    }

    /// Writes vector number `v` of those that begin at `at`.
    ///
    /// # Safety
    /// The memory of all columns must be writable.
    #[inline(always)]
    pub(crate) unsafe fn store(self, v: usize, at: *mut f32, value: S::f32s) {
        // SAFETY: only lanes of columns are written, which the caller promises to be writable.
        unsafe {
            let at = at.add(v * S::F32_LANES);
            if v < self.last || self.whole {
                store::<S>(at, value);
            } else {
                self.s.mask_store_ptr_f32s(self.edge, at, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_names_and_limits() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert!("avx".parse::<Level>().is_err() && is_there(Level::Portable) && is_there(level()));
    }
}
