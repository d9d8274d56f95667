//! The sum of outer products of rows: `w[m][n] += Σ_r a[r][m] b[r][n]`, the gradient of weights.

#![allow(clippy::needless_range_loop, reason = "indices say which row and which vector of a tile is meant")]

use pulp::{Simd, WithSimd};

use super::{Panel, amx, by_panel};
use crate::Precision;
use crate::host::Element;
use crate::simd::Side;

/// Rows summed before a tile goes on to the next: what they touch stays in the second-level cache.
pub(crate) const ROWS: usize = 96;

/// Rows whose outer products are summed.
pub(crate) struct Outer<'a, T> {
    /// Where the left rows lie.
    pub(crate) a: &'a [T],
    /// Where each left row begins.
    pub(crate) a_starts: &'a [usize],
    /// Columns of the left rows: rows of the result.
    pub(crate) columns: std::ops::Range<usize>,
    /// Where the right rows lie.
    pub(crate) b: &'a [T],
    /// Where each right row begins, once `delta` is added.
    pub(crate) b_starts: &'a [isize],
    /// Added to each of them.
    pub(crate) delta: isize,
    /// Columns of the right rows, in panels.
    pub(crate) panels: &'a [Panel],
    /// What both are rounded to.
    pub(crate) precision: Precision,
}

/// Adds the products to `w`: column `m` of the left rows and `n` of the right ones to `w[(m - columns.start) * stride + n]`.
pub(crate) fn outer<T: Element>(job: &Outer<'_, T>, w: &mut [T], stride: usize) {
    let width = job.panels.iter().map(|p| p.column + p.columns).max().unwrap_or(0);
    let height = job.columns.len();
    if height == 0 || width == 0 || job.a_starts.is_empty() {
        return;
    }
    assert_eq!(job.a_starts.len(), job.b_starts.len(), "left and right rows");
    assert!((height - 1) * stride + width <= w.len() && (width <= stride || height == 1), "result");
    assert!(job.a_starts.iter().max().is_none_or(|s| s + job.columns.end <= job.a.len()), "left rows");
    let inside = |s: &isize| s + job.delta >= 0 && s + job.delta + width as isize <= job.b.len() as isize;
    assert!(job.b_starts.iter().min().is_none_or(inside) && job.b_starts.iter().max().is_none_or(inside), "right rows");
    if job.precision.takes_tiles::<T>() {
        if let (Some(a), Some(b), Some(w)) = (T::single(job.a), T::single(job.b), T::single_mut(w)) {
            amx::outer((a, job.a_starts, job.columns.clone()), (b, job.b_starts, job.delta), width, w, stride);
        }
        return;
    }
    pulp::Arch::new().dispatch(Job { job, w, stride });
}

struct Job<'a, 'b, T> {
    job: &'a Outer<'b, T>,
    w: &'a mut [T],
    stride: usize,
}

impl<T: Element> WithSimd for Job<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let rows = self.job.a_starts.len();
        for from in (0..rows).step_by(ROWS) {
            let block = from..(from + ROWS).min(rows);
            for p in self.job.panels {
                by_panel!(S, p.vectors, MR, NV => self.panel::<S, MR, NV>(s, p, block.clone()));
            }
        }
    }
}

impl<T: Element> Job<'_, '_, T> {
    #[inline(always)]
    fn panel<S: Simd, const MR: usize, const NV: usize>(&mut self, s: S, p: &Panel, rows: std::ops::Range<usize>) {
        let height = self.job.columns.len();
        let mut m = 0;
        while m + MR <= height {
            self.tile::<S, MR, NV>(s, p, rows.clone(), m);
            m += MR;
        }
        while m + 3 <= height {
            self.tile::<S, 3, NV>(s, p, rows.clone(), m);
            m += 3;
        }
        while m < height {
            self.tile::<S, 1, NV>(s, p, rows.clone(), m);
            m += 1;
        }
    }

    #[allow(unsafe_code, reason = "the innermost loop")]
    #[inline(always)]
    fn tile<S: Simd, const MR: usize, const NV: usize>(
        &mut self,
        s: S,
        p: &Panel,
        rows: std::ops::Range<usize>,
        m: usize,
    ) {
        let (lanes, side) = (T::lanes::<S>(), Side::<T, S>::new(s, NV, p.columns));
        let mut acc = [[T::splat(s, T::default()); NV]; MR];
        let w = self.w.as_mut_ptr();
        // SAFETY: `outer` has shown that `start + columns.end` lies inside `a` for the largest start, that the panels' columns
        // after `start + delta` lie inside `b` for the smallest and the largest start, and that all tiles lie inside `w`.
        // Lanes beyond a panel's columns are masked out, or read from within `b` and never written.
        unsafe {
            for i in 0..MR {
                for v in 0..NV {
                    acc[i][v] = side.load(v, w.add((m + i) * self.stride + p.column));
                }
            }
            for r in rows {
                let a = self.job.a.as_ptr().add(*self.job.a_starts.get_unchecked(r) + self.job.columns.start + m);
                let start = *self.job.b_starts.get_unchecked(r) + self.job.delta + p.column as isize;
                let b = self.job.b.as_ptr().offset(start);
                // A masked load is slow: elements after the panel's columns may be read, too, where there are any.
                let b: [T::V<S>; NV] = if start as usize + NV * lanes <= self.job.b.len() {
                    std::array::from_fn(|v| T::load_all::<S>(b.add(v * lanes)))
                } else {
                    std::array::from_fn(move |v| side.load(v, b))
                };
                for i in 0..MR {
                    let a = T::splat(s, *a.add(i));
                    for v in 0..NV {
                        acc[i][v] = T::fma(s, a, b[v], acc[i][v]);
                    }
                }
            }
            for i in 0..MR {
                for v in 0..NV {
                    side.store(v, w.add((m + i) * self.stride + p.column), acc[i][v]);
                }
            }
        }
    }
}
