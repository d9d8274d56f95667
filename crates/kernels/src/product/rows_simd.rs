//! Products on vectors: tiles of a few rows and a few vectors whose sums stay in registers.
#![allow(clippy::needless_range_loop, reason = "indices say which row and which vector of a tile is meant")]

use pulp::{Simd, WithSimd};

use super::pack::Values;
use super::{Panel, Rows, Run, by_panel};
use crate::simd::{self, Side};

/// Terms summed before a tile goes on to the next, times the vectors of a panel: their part of a panel stays in the first-level
/// cache.
const DEPTH: usize = 512;

/// Computes [`Rows`] on the vectors of the machine.
///
/// # Safety
/// As [`super::rows`], once its checks have passed.
pub(super) unsafe fn rows(job: &Rows<'_, f32>, y: *mut f32) {
    if let Values::Plain(w) = &job.w.values {
        simd::on_vectors(Job { job, w: w.as_slice(), y });
    }
}

struct Job<'a, 'b> {
    job: &'a Rows<'b, f32>,
    w: &'a [f32],
    y: *mut f32,
}

impl WithSimd for Job<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        for p in &self.job.w.panels[self.job.panels.clone()] {
            by_panel!(S, p.vectors, MR, HALF, NV => self.panel::<S, MR, HALF, NV>(s, p));
        }
    }
}

impl Job<'_, '_> {
    /// All rows of one panel, block of terms by block of terms.
    #[inline(always)]
    fn panel<S: Simd, const MR: usize, const HALF: usize, const NV: usize>(&self, s: S, p: &Panel) {
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
                    self.block::<S, MR, HALF, NV>(s, p, &block, rows, first && !self.job.add, last);
                    block.clear();
                    (filled, first) = (0, false);
                }
            }
        }
        if first {
            self.block::<S, MR, HALF, NV>(s, p, &[], rows, !self.job.add, true);
        }
    }

    #[inline(always)]
    fn block<S: Simd, const MR: usize, const HALF: usize, const NV: usize>(
        &self,
        s: S,
        p: &Panel,
        runs: &[Run],
        rows: usize,
        fresh: bool,
        last: bool,
    ) {
        let mut r = 0;
        while r < rows {
            match rows - r {
                1 => self.tile::<S, 1, NV>(s, p, runs, r, fresh, last),
                left if left <= HALF => self.tile::<S, HALF, NV>(s, p, runs, r, fresh, last),
                _ => self.tile::<S, MR, NV>(s, p, runs, r, fresh, last),
            }
            r += MR;
        }
    }

    /// Rows from `row` on; where there are fewer than `MR`, the last one is computed again in place of those that miss.
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
        let (lanes, side) = (S::F32_LANES, Side::new(s, NV, p.columns));
        let rows = (self.job.starts.len() - row).min(MR);
        let starts: [isize; MR] = std::array::from_fn(|i| self.job.starts[row + i.min(rows - 1)]);
        let outs: [usize; MR] = std::array::from_fn(|i| self.job.outs[row + i.min(rows - 1)] + p.column);
        let mut acc = [[s.splat_f32s(0.0); NV]; MR];
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
                let x: [*const f32; MR] = std::array::from_fn(|i| self.job.x.as_ptr().offset(starts[i] + run.delta));
                let w = self.w.as_ptr().add(p.from + run.k * width);
                for k in 0..run.len {
                    let b: [S::f32s; NV] = std::array::from_fn(|v| simd::load::<S>(w.add(k * width + v * lanes)));
                    for i in 0..MR {
                        let a = s.splat_f32s(*x[i].add(k));
                        for v in 0..NV {
                            acc[i][v] = s.mul_add_e_f32s(a, b[v], acc[i][v]);
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
                    if i < rows {
                        side.store(v, self.y.add(outs[i]), acc[i][v]);
                    }
                }
            }
        }
    }

    /// # Safety
    /// As for [`Self::tile`].
    #[inline(always)]
    unsafe fn finish<S: Simd, const MR: usize, const NV: usize>(
        &self,
        s: S,
        side: Side<S>,
        column: usize,
        outs: &[usize; MR],
        acc: &mut [[S::f32s; NV]; MR],
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
