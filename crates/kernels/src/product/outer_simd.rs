//! Sums of outer products on vectors.
#![allow(clippy::needless_range_loop, reason = "indices say which row and which vector of a tile is meant")]

use pulp::{Simd, WithSimd};

use super::outer::ROWS;
use super::{Outer, Panel, by_panel};
use crate::simd::{self, Side};

/// Adds the products to `w`, once `outer` has checked that all places lie inside their buffers.
pub(super) fn outer(job: &Outer<'_, f32>, w: &mut [f32], stride: usize) {
    simd::on_vectors(Job { job, w, stride });
}

struct Job<'a, 'b> {
    job: &'a Outer<'b, f32>,
    w: &'a mut [f32],
    stride: usize,
}

impl WithSimd for Job<'_, '_> {
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

impl Job<'_, '_> {
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

    #[inline(always)]
    fn tile<S: Simd, const MR: usize, const NV: usize>(
        &mut self,
        s: S,
        p: &Panel,
        rows: std::ops::Range<usize>,
        m: usize,
    ) {
        let (lanes, side) = (S::F32_LANES, Side::new(s, NV, p.columns));
        let mut acc = [[s.splat_f32s(0.0); NV]; MR];
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
                let b: [S::f32s; NV] = if start as usize + NV * lanes <= self.job.b.len() {
                    std::array::from_fn(|v| simd::load::<S>(b.add(v * lanes)))
                } else {
                    std::array::from_fn(move |v| side.load(v, b))
                };
                for i in 0..MR {
                    let a = s.splat_f32s(*a.add(i));
                    for v in 0..NV {
                        acc[i][v] = s.mul_add_e_f32s(a, b[v], acc[i][v]);
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
