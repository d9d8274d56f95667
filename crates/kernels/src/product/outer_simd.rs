//! Sums of outer products on vectors: both operands are copied into rows side by side, some rows at a time.
#![allow(clippy::needless_range_loop, reason = "indices say which row and which vector of a tile is meant")]

use pulp::{Simd, WithSimd};

use super::{Outer, Panel, Shift, by_panel};
use crate::buffer::{Scratch, with_scratch};
use crate::simd::{self, Side};

/// Bytes of a panel of right rows that are summed before a tile goes on to the next: they stay in the first-level cache.
const PANEL: usize = 16 << 10;

/// Adds the products to `w`, once `outer` has checked that all places lie inside their buffers.
pub(super) fn outer(job: &Outer<'_, f32>, w: &mut [f32], stride: usize) {
    simd::on_vectors(Job { job, w, stride });
}

struct Job<'a, 'b> {
    job: &'a Outer<'b, f32>,
    w: &'a mut [f32],
    stride: usize,
}

/// Some rows of both operands, side by side.
struct Block<'a> {
    rows: usize,
    /// Tiles of left columns one after the other, each `[rows, columns of a tile]`.
    a: &'a [f32],
    height: usize,
    /// `[rows, vectors]`.
    b: &'a [f32],
    /// First column of the result.
    column: usize,
    /// Columns of the result.
    columns: usize,
}

impl WithSimd for Job<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let (rows, height) = (self.job.a_starts.len(), self.job.columns.len());
        let widest = if S::REGISTER_COUNT >= 32 { 4 } else { 2 } * S::F32_LANES;
        let most = (PANEL / (widest * size_of::<f32>())).min(rows);
        let (left, right) = (most * (height + TALLEST), most * widest);
        with_rows(
            left + right + S::F32_LANES,
            #[inline(always)]
            |scratch: &mut [f32]| {
                let aligned = scratch.as_ptr().align_offset(64);
                let (b, a) = scratch[aligned.min(S::F32_LANES)..].split_at_mut(right);
                for from in (0..rows).step_by(most) {
                    let block = from..(from + most).min(rows);
                    // Panels of one width stand side by side: the left rows are brought into tiles once or twice.
                    let mut tall = 0;
                    for p in self.job.panels {
                        by_panel!(S, p.vectors, MR, HALF, NV => {
                            if tall != MR {
                                self.take_left::<MR>(block.clone(), a);
                                tall = MR;
                            }
                            for shift in self.job.shifts {
                                self.take_right(s, p, shift, block.clone(), b);
                                let (column, columns) = (shift.column + p.column, p.columns);
                                let of = Block { rows: block.len(), a, height, b, column, columns };
                                self.panel::<S, MR, HALF, NV>(s, &of);
                            }
                        });
                    }
                }
            },
        );
    }
}

/// Runs `f` with memory of this thread that keeps its allocation from call to call.
#[inline(always)]
fn with_rows<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local!(static ROWS_SIDE_BY_SIDE: Scratch<f32> = const { Scratch::new(None) });
    with_scratch(&ROWS_SIDE_BY_SIDE, len, f)
}

/// Rows of the highest tile.
const TALLEST: usize = 12;

impl Job<'_, '_> {
    /// Copies the left columns of some rows into tiles of `MR`.
    #[inline(always)]
    fn take_left<const MR: usize>(&self, rows: std::ops::Range<usize>, to: &mut [f32]) {
        let (count, columns) = (rows.len(), self.job.columns.clone());
        for (i, start) in self.job.a_starts[rows].iter().enumerate() {
            let (tiles, rest) = self.job.a[start + columns.start..start + columns.end].as_chunks::<MR>();
            for (t, tile) in tiles.iter().enumerate() {
                to[(t * count + i) * MR..][..MR].copy_from_slice(tile);
            }
            if !rest.is_empty() {
                to[(tiles.len() * count + i) * MR..][..rest.len()].copy_from_slice(rest);
            }
        }
    }

    /// Copies the columns of a panel from some right rows; what lies beyond the last column is zero.
    #[inline(always)]
    fn take_right<S: Simd>(&self, s: S, p: &Panel, shift: &Shift, rows: std::ops::Range<usize>, to: &mut [f32]) {
        let side = Side::new(s, p.vectors, p.columns);
        let width = p.vectors * S::F32_LANES;
        assert!(to.len() >= rows.len() * width);
        for (i, start) in self.job.b_starts[rows].iter().enumerate() {
            for v in 0..p.vectors {
                // SAFETY: `outer` has shown that the panels' columns after `start + delta` lie inside `b` for the smallest and the
                // largest start; vector `v` of row `i` lies inside `to`, as was just shown.
                unsafe {
                    let from = self.job.b.as_ptr().offset(start + shift.delta + p.column as isize);
                    simd::store::<S>(to.as_mut_ptr().add(i * width + v * S::F32_LANES), side.load(v, from));
                }
            }
        }
    }

    #[inline(always)]
    fn panel<S: Simd, const MR: usize, const HALF: usize, const NV: usize>(&mut self, s: S, of: &Block<'_>) {
        let mut m = 0;
        while m < of.height {
            match of.height - m {
                1 => self.tile::<S, 1, MR, NV>(s, of, m),
                left if left <= HALF => self.tile::<S, HALF, MR, NV>(s, of, m),
                _ => self.tile::<S, MR, MR, NV>(s, of, m),
            }
            m += MR;
        }
    }

    /// Rows from `m` on of the result, of which there may be fewer than `MR`; the left tile has `TALL` columns.
    #[inline(always)]
    fn tile<S: Simd, const MR: usize, const TALL: usize, const NV: usize>(&mut self, s: S, of: &Block<'_>, m: usize) {
        let side = Side::new(s, NV, of.columns);
        let width = NV * S::F32_LANES;
        let mut acc = [[s.splat_f32s(0.0); NV]; MR];
        let w = self.w.as_mut_ptr();
        assert!(of.b.len() >= of.rows * width && of.a.len() >= of.rows * (m + TALL));
        // SAFETY: `outer` has shown that all rows and columns of the result lie inside `w`; the operands were just shown to hold
        // their rows, and what is read behind the last left one is there.
        unsafe {
            for i in 0..MR {
                for v in 0..NV {
                    if m + i < of.height {
                        acc[i][v] = side.load(v, w.add((m + i) * self.stride + of.column));
                    }
                }
            }
            let (mut a, mut b) = (of.a.as_ptr().add(of.rows * m), of.b.as_ptr());
            for _ in 0..of.rows {
                let right: [S::f32s; NV] = std::array::from_fn(|v| simd::load::<S>(b.add(v * S::F32_LANES)));
                for i in 0..MR {
                    let left = s.splat_f32s(*a.add(i));
                    for v in 0..NV {
                        acc[i][v] = s.mul_add_e_f32s(left, right[v], acc[i][v]);
                    }
                }
                (a, b) = (a.add(TALL), b.add(width));
            }
            for i in 0..MR {
                for v in 0..NV {
                    if m + i < of.height {
                        side.store(v, w.add((m + i) * self.stride + of.column), acc[i][v]);
                    }
                }
            }
        }
    }
}
