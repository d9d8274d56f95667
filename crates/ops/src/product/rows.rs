//! `y = x w` where each row of `x` and `y` may lie anywhere.

#![allow(clippy::needless_range_loop, reason = "indices say which row and which vector of a tile is meant")]

use pulp::{Simd, WithSimd};

use super::pack::Values;
use super::{Finish, Packed, Panel, Run, amx, by_panel};
use crate::host::Element;
use crate::simd::Side;

/// Terms summed before a tile goes on to the next: their part of a panel stays in the first-level cache.
const DEPTH: usize = 512;

/// Some rows of a product.
pub(crate) struct Rows<'a, T> {
    /// Where the left operand lies.
    pub(crate) x: &'a [T],
    /// Where each row begins in `x`; runs are relative to it.
    pub(crate) starts: &'a [isize],
    /// Where each row is written.
    pub(crate) outs: &'a [usize],
    /// The terms, in the order in which they are summed.
    pub(crate) runs: &'a [Run],
    /// The right operand.
    pub(crate) w: &'a Packed<T>,
    /// Panels of it to use.
    pub(crate) panels: std::ops::Range<usize>,
    /// Whether to add to what `y` holds.
    pub(crate) add: bool,
    /// What follows.
    pub(crate) finish: Finish<'a, T>,
}

/// Computes [`Rows`] into `y`.
///
/// # Safety
/// `y + out .. y + out + columns` must be writable for each of `outs` and written by nobody else; readable where `add`.
#[allow(unsafe_code, reason = "the inner loops of all products; bounds are checked once for all rows")]
pub(crate) unsafe fn rows<T: Element>(job: &Rows<'_, T>, y: *mut T, y_len: usize) {
    check(job, y_len);
    match (&job.w.values, T::single_rows(job)) {
        (Values::Plain(w), _) => pulp::Arch::new().dispatch(Job { job, w: w.as_slice(), y }),
        // SAFETY: `check` has shown that every place lies inside its buffer; the caller owns the places of `y`, which are `f32`.
        (Values::Tiles(tiles), Some(job)) => unsafe { amx::rows(job, tiles, y.cast()) },
        (Values::Tiles(_), None) => unreachable!("tiles are packed for single precision only"),
    }
}

/// Computes [`Rows`] into a slice of one's own.
#[allow(unsafe_code, reason = "the slice is borrowed exclusively")]
pub(crate) fn rows_into<T: Element>(job: &Rows<'_, T>, y: &mut [T]) {
    // SAFETY: `y` is borrowed exclusively and initialised, and `rows` checks that all places lie inside.
    unsafe { rows(job, y.as_mut_ptr(), y.len()) }
}

/// Panics unless every element that the product touches lies inside its buffer.
fn check<T: Element>(job: &Rows<'_, T>, y_len: usize) {
    assert_eq!(job.starts.len(), job.outs.len(), "rows and outputs");
    assert_eq!(job.w.lanes, crate::simd::lanes::<T>(), "packed for other vectors");
    let panels = &job.w.panels[job.panels.clone()];
    let (Some(&first), Some(&last)) = (job.starts.iter().min(), job.starts.iter().max()) else { return };
    for r in job.runs.iter().filter(|r| r.len > 0) {
        let end = last + r.delta + r.len as isize;
        assert!(first + r.delta >= 0 && end <= job.x.len() as isize, "left operand");
        assert!(r.k + r.len <= job.w.k, "right operand");
    }
    let columns = panels.iter().map(|p| p.column + p.columns).max().unwrap_or(0);
    assert!(job.outs.iter().max().is_none_or(|o| o + columns <= y_len), "output");
    job.finish.check(columns, y_len);
}

struct Job<'a, 'b, T> {
    job: &'a Rows<'b, T>,
    w: &'a [T],
    y: *mut T,
}

impl<T: Element> WithSimd for Job<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        for p in &self.job.w.panels[self.job.panels.clone()] {
            by_panel!(S, p.vectors, MR, NV => self.panel::<S, MR, NV>(s, p));
        }
    }
}

impl<T: Element> Job<'_, '_, T> {
    /// All rows of one panel, block of terms by block of terms.
    #[inline(always)]
    fn panel<S: Simd, const MR: usize, const NV: usize>(&self, s: S, p: &Panel) {
        let (rows, depth) = (self.job.starts.len(), DEPTH / NV);
        let mut block = Vec::with_capacity(self.job.runs.len().min(depth));
        let (mut filled, mut first) = (0, true);
        for (i, run) in self.job.runs.iter().enumerate() {
            let mut done = 0;
            while done < run.len {
                let len = (run.len - done).min(depth - filled);
                block.push(Run { delta: run.delta + done as isize, k: run.k + done, len });
                (done, filled) = (done + len, filled + len);
                let last = done == run.len && i + 1 == self.job.runs.len();
                if filled == depth || last {
                    self.block::<S, MR, NV>(s, p, &block, rows, first && !self.job.add, last);
                    block.clear();
                    (filled, first) = (0, false);
                }
            }
        }
        if first {
            self.block::<S, MR, NV>(s, p, &[], rows, !self.job.add, true);
        }
    }

    #[inline(always)]
    fn block<S: Simd, const MR: usize, const NV: usize>(
        &self,
        s: S,
        p: &Panel,
        runs: &[Run],
        rows: usize,
        fresh: bool,
        last: bool,
    ) {
        let mut r = 0;
        while r + MR <= rows {
            self.tile::<S, MR, NV>(s, p, runs, r, fresh, last);
            r += MR;
        }
        while r + 3 <= rows {
            self.tile::<S, 3, NV>(s, p, runs, r, fresh, last);
            r += 3;
        }
        while r < rows {
            self.tile::<S, 1, NV>(s, p, runs, r, fresh, last);
            r += 1;
        }
    }

    #[allow(unsafe_code, reason = "the innermost loop")]
    #[inline(always)]
    fn tile<S: Simd, const MR: usize, const NV: usize>(
        &self,
        s: S,
        p: &Panel,
        runs: &[Run],
        row: usize,
        fresh: bool,
        last: bool,
    ) {
        let (lanes, side) = (T::lanes::<S>(), Side::<T, S>::new(s, NV, p.columns));
        let starts: [isize; MR] = std::array::from_fn(|i| self.job.starts[row + i]);
        let outs: [usize; MR] = std::array::from_fn(|i| self.job.outs[row + i] + p.column);
        let mut acc = [[T::splat(s, T::default()); NV]; MR];
        let width = NV * lanes;
        // SAFETY: `check` has shown for the smallest and the largest start that all runs lie inside `x`, that rows of runs lie
        // inside the panels (whose data holds `k * vectors * lanes` elements from `from`), that `out + column ..` lies inside
        // `y` and the residual for each of `outs`, and that factors and shifts cover the panel's columns; the caller of `rows`
        // owns those places of `y`.
        unsafe {
            if !fresh {
                for i in 0..MR {
                    for v in 0..NV {
                        acc[i][v] = side.load(v, self.y.add(outs[i]));
                    }
                }
            }
            for run in runs {
                let x: [*const T; MR] = std::array::from_fn(|i| self.job.x.as_ptr().offset(starts[i] + run.delta));
                let w = self.w.as_ptr().add(p.from + run.k * width);
                for k in 0..run.len {
                    let b: [T::V<S>; NV] = std::array::from_fn(|v| T::load_all::<S>(w.add(k * width + v * lanes)));
                    for i in 0..MR {
                        let a = T::splat(s, *x[i].add(k));
                        for v in 0..NV {
                            acc[i][v] = T::fma(s, a, b[v], acc[i][v]);
                        }
                    }
                }
            }
            // A copy that is pointed to: without one the sums would not stay in registers during the loop.
            let mut acc = acc;
            if last {
                self.finish(s, side, p.column, &outs, &mut acc);
            }
            for i in 0..MR {
                for v in 0..NV {
                    side.store(v, self.y.add(outs[i]), acc[i][v]);
                }
            }
        }
    }

    /// # Safety
    /// As for [`Self::tile`].
    #[allow(unsafe_code, reason = "the innermost loop")]
    #[inline(always)]
    unsafe fn finish<S: Simd, const MR: usize, const NV: usize>(
        &self,
        s: S,
        side: Side<T, S>,
        column: usize,
        outs: &[usize; MR],
        acc: &mut [[T::V<S>; NV]; MR],
    ) {
        let finish = &self.job.finish;
        for v in 0..NV {
            // SAFETY: `check` has shown that factors and shifts cover the panel's columns and the residual all of `y`.
            unsafe {
                let columns = finish.columns(side, v, column);
                for i in 0..MR {
                    acc[i][v] = finish.value(s, acc[i][v], columns, finish.residual(side, v, outs[i]));
                }
            }
        }
    }
}
