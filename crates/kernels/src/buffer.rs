//! Memory for results: written once, without being zeroed first.

use std::cell::Cell;
use std::thread::LocalKey;

use crate::element::Element;

/// A pointer that several threads may write through, each to places of its own.
#[derive(Clone, Copy)]
pub struct Shared<T>(*mut T, usize);

// SAFETY: the pointer is only dereferenced in unsafe blocks, each of which says why its places are its own.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The first element.
    pub fn ptr(self) -> *mut T {
        self.0
    }

    /// Elements behind the pointer.
    pub fn len(self) -> usize {
        self.1
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.1 == 0
    }

    /// Some of these places.
    pub fn part(self, range: std::ops::Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.1, "places outside of a buffer");
        Self(self.0.wrapping_add(range.start), range.end - range.start)
    }
}

impl<T: Element> Shared<T> {
    /// The places of a slice.
    pub fn of(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr(), slice.len())
    }
}

/// A vector of `len` elements that `fill` writes.
///
/// # Safety
/// `fill` must write every element before it returns `Ok`, and read none that it has not written.
pub unsafe fn written<T: Element, E>(len: usize, fill: impl FnOnce(Shared<T>) -> Result<(), E>) -> Result<Vec<T>, E> {
    let mut out = Vec::<T>::with_capacity(len);
    fill(Shared(out.as_mut_ptr(), len))?;
    // SAFETY: the capacity is at least `len`, and the caller promises that all elements were written.
    unsafe { out.set_len(len) };
    Ok(out)
}

/// Floats on a 64-byte boundary, so that a vector never crosses a line of the cache.
pub struct Aligned<T> {
    data: Vec<T>,
    from: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// Zeros.
    pub fn zeros(len: usize) -> Self {
        let slack = 64 / size_of::<T>();
        let data = vec![T::default(); len + slack];
        let from = data.as_ptr().align_offset(64).min(slack);
        Self { data, from, len }
    }

    /// The values.
    pub fn as_slice(&self) -> &[T] {
        &self.data[self.from..self.from + self.len]
    }

    /// The values, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data[self.from..self.from + self.len]
    }
}

/// Memory of a thread that keeps its allocation from call to call.
pub type Scratch<T> = Cell<Option<Aligned<T>>>;

/// Runs `f` with `len` places of a thread's scratch; what they hold is arbitrary. Inlined, so that `f` may use vectors.
#[inline(always)]
pub fn with_scratch<T: Copy + Default, R>(
    of: &'static LocalKey<Scratch<T>>,
    len: usize,
    f: impl FnOnce(&mut [T]) -> R,
) -> R {
    // Taken out for the time of the call, so that a nested call gets a buffer of its own.
    let kept = of.take().filter(|s| s.as_slice().len() >= len);
    let mut scratch = kept.unwrap_or_else(|| Aligned::zeros(len));
    let out = f(&mut scratch.as_mut_slice()[..len]);
    of.set(Some(scratch));
    out
}
