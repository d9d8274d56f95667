//! Parallel maps over slices. Each element is computed alone, so the split over threads does not matter.

use std::mem::MaybeUninit;

use crate::element::Element;
use crate::parallel;

/// Elements a task works on.
const CHUNK: usize = 1 << 14;

/// A vector of `len` elements: `f(place, first)` writes a chunk that begins at element `first`, through [`Slots`].
pub fn fill<T: Element>(len: usize, chunk: usize, f: impl Fn(Slots<'_, T>, usize) + Sync) -> Vec<T> {
    let mut out = Vec::with_capacity(len);
    let chunk = chunk.max(1);
    parallel::chunks_mut(&mut out.spare_capacity_mut()[..len], chunk, &|i, slots| f(Slots(slots), i * chunk));
    // SAFETY: `f` consumes the slots of every chunk, which can only be done by writing all of them.
    unsafe { out.set_len(len) };
    out
}

macro_rules! maps {
    ($(#[$doc:meta])* $name:ident($($x:ident),*)) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "one argument for each operand")]
        #[inline(always)]
        pub fn $name(self, $($x: &[T],)* f: impl Fn($(same!($x T),)*) -> T) {
            let len = self.0.len();
            $(let $x = &$x[..len];)*
            for (i, slot) in self.0.iter_mut().enumerate() {
                slot.write(f($($x[i],)*));
            }
        }
    };
}

macro_rules! same {
    ($x:ident $t:ty) => {
        $t
    };
}

/// A vector of `len` elements in rows of `width`: `f(range of a row, its places)` writes one. Tasks are of about `block`
/// elements, whole rows.
pub fn fill_rows<T: Element>(
    len: usize,
    width: usize,
    block: usize,
    f: impl Fn(std::ops::Range<usize>, Slots<'_, T>) + Sync,
) -> Vec<T> {
    fill(len, (block / width.max(1)).max(1) * width, |slots, from| {
        T::vectorised(
            #[inline(always)]
            || {
                slots.rows(
                    width,
                    #[inline(always)]
                    |row, out| f(from + row.start..from + row.end, out),
                );
            },
        );
    })
}

/// Places for results, to be consumed by writing all of them.
pub struct Slots<'a, T>(&'a mut [MaybeUninit<T>]);

impl<T: Element> Slots<'_, T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes row by row: `f(range of the row, its places)`, with rows of `width` places.
    #[inline(always)]
    pub fn rows(self, width: usize, mut f: impl FnMut(std::ops::Range<usize>, Slots<'_, T>)) {
        assert!(self.0.len().is_multiple_of(width.max(1)));
        for (i, row) in self.0.chunks_exact_mut(width.max(1)).enumerate() {
            f(i * width..(i + 1) * width, Slots(row));
        }
    }

    maps! {
        /// Writes all places as functions of three slices of their length.
        map_with(a, b, c)
    }
    maps! {
        /// Writes all places as functions of four slices of their length.
        map_with4(a, b, c, d)
    }
    maps! {
        /// Writes all places as functions of five slices of their length.
        map_with5(a, b, c, d, e)
    }
    maps! {
        /// Writes all places as functions of six slices of their length.
        map_with6(a, b, c, d, e, g)
    }

    // Loops over indices, not adaptors: what is not inlined is compiled without vectors.
    maps! {
        /// Writes all places as functions of one slice of their length.
        map(a)
    }
    maps! {
        /// Writes all places as functions of two slices of their length.
        map2(a, b)
    }
}

/// The sums of pairs.
pub fn add<T: Element>(x: &[T], y: &[T]) -> Vec<T> {
    map2(
        x,
        y,
        #[inline(always)]
        |x, y| x + y,
    )
}

/// `f` of every element.
#[allow(clippy::redundant_closure, reason = "a closure can be told to be inlined")]
pub fn map<T: Element>(x: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    fill(x.len(), CHUNK, |slots, from| {
        let x = &x[from..from + slots.len()];
        T::vectorised(
            #[inline(always)]
            || {
                slots.map(
                    x,
                    #[inline(always)]
                    |x| f(x),
                )
            },
        );
    })
}

/// `f` of every pair of elements.
#[allow(clippy::redundant_closure, reason = "a closure can be told to be inlined")]
pub fn map2<T: Element>(x: &[T], y: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    assert_eq!(x.len(), y.len(), "operands of one length");
    fill(x.len(), CHUNK, |slots, from| {
        let range = from..from + slots.len();
        T::vectorised(
            #[inline(always)]
            || {
                slots.map2(
                    &x[range.clone()],
                    &y[range.clone()],
                    #[inline(always)]
                    |x, y| f(x, y),
                )
            },
        );
    })
}
