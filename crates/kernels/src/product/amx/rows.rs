//! Products of rows that may lie anywhere.
#![allow(unsafe_code, reason = "tiles that are written and read through pointers")]

use pulp::{Simd, WithSimd};

use super::unit::{DEPTH, ROWS, SIDE, Sums, TILE, Unit};
use super::{Tiles, convert};
use crate::buffer::{Aligned, Scratch, with_scratch};
use crate::element::{Element, zeros};
use crate::parallel;
use crate::product::{Panel, Rows};
use crate::simd::{self, Side};

/// Numbers of the left operand that are in tiles at a time: half of the second-level cache.
const LEFT: usize = 1 << 19;

/// Tiles that hold a run.
fn blocks(len: usize) -> usize {
    len.div_ceil(DEPTH)
}

/// Packs a matrix of `k` rows, runs of `run` each, in these panels of at most 32 columns. `fill(panel, width, rows)` writes the
/// rows of a panel, each `width` wide.
pub(in crate::product) fn pack<T: Element>(
    (k, run): (usize, usize),
    panels: &mut [Panel],
    fill: &(dyn Fn(&Panel, usize, &mut [T]) + Sync),
) -> Tiles {
    let size = k / run.max(1) * blocks(run) * 2 * TILE;
    let mut data = Aligned::zeros(size * panels.len());
    panels.iter_mut().enumerate().for_each(|(i, p)| p.from = i * size);
    let one = |(p, to): (&Panel, &mut [u16])| {
        let mut plain = zeros::<T>(k * SIDE);
        fill(p, SIDE, &mut plain);
        let plain = T::single(&plain).unwrap_or_default();
        let runs = plain.chunks_exact((run * SIDE).max(1)).zip(to.chunks_exact_mut((blocks(run) * 2 * TILE).max(1)));
        for (run, to) in runs {
            // SAFETY: rows are `SIDE` wide and hold the panel's columns, `to` has two tiles for every 32 of them.
            unsafe { convert::right(run.chunks_exact(SIDE).map(<[f32]>::as_ptr), p.columns, to.as_mut_ptr()) };
        }
    };
    let at_once = if size * panels.len() < 1 << 14 { panels.len().max(1) } else { 1 };
    parallel::chunks_mut(data.as_mut_slice(), (size * at_once).max(1), &|i, to| {
        panels[i * at_once..].iter().zip(to.chunks_exact_mut(size.max(1))).for_each(one);
    });
    Tiles { data, run }
}

/// Computes some rows of a product.
///
/// # Safety
/// As for [`super::super::rows`], whose checks must have passed.
pub(in crate::product) unsafe fn rows(job: &Rows<'_, f32>, tiles: &Tiles, y: *mut f32) {
    assert!(job.runs.iter().all(|r| r.len == tiles.run && r.k.is_multiple_of(tiles.run)), "runs of other lengths");
    simd::on_vectors(Job { job, tiles, y });
}

struct Job<'a, 'b> {
    job: &'a Rows<'b, f32>,
    tiles: &'a Tiles,
    y: *mut f32,
}

impl WithSimd for Job<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let (rows, blocks) = (self.job.starts.len(), self.job.runs.len() * blocks(self.tiles.run));
        let most = (LEFT / (blocks * DEPTH).max(1) / SIDE * SIDE).max(SIDE).min(rows.next_multiple_of(SIDE));
        with_tiles(most * blocks * DEPTH, |left| {
            // SAFETY: tiles are only packed where the unit is available, and nothing below starts another on this thread.
            let mut unit = unsafe { Unit::new() };
            let mut sums = Sums([0.0; SIDE * SIDE]);
            for from in (0..rows).step_by(most) {
                let some = from..(from + most).min(rows);
                self.take(some.clone(), blocks, left);
                for p in &self.job.w.panels[self.job.panels.clone()] {
                    for (i, first) in some.clone().step_by(SIDE).enumerate() {
                        self.multiply(&mut unit, p, &left[i * SIDE * blocks * DEPTH..][..SIDE * blocks * DEPTH]);
                        unit.store(&mut sums);
                        self.finish(s, p, first..(first + SIDE).min(some.end), &sums);
                    }
                }
            }
        });
    }
}

impl Job<'_, '_> {
    /// Brings rows into left tiles: sixteen rows after sixteen, for each the tiles of all runs.
    fn take(&self, rows: std::ops::Range<usize>, blocks: usize, to: &mut [u16]) {
        let of_run = self::blocks(self.tiles.run);
        for (i, to) in to.chunks_exact_mut((blocks * TILE).max(1)).enumerate().take(rows.len().div_ceil(SIDE) * 2) {
            let first = (rows.start + i * ROWS).min(rows.end);
            let starts = &self.job.starts[first..(first + ROWS).min(rows.end)];
            for (run, to) in self.job.runs.iter().zip(to.chunks_exact_mut((of_run * TILE).max(1))) {
                let mut at = [std::ptr::null(); ROWS];
                for (at, start) in at.iter_mut().zip(starts) {
                    *at = self.job.x.as_ptr().wrapping_offset(start + run.delta);
                }
                // SAFETY: `rows` has shown that each run lies inside `x` for the smallest and the largest start; `to` has as
                // many tiles as the run fills.
                unsafe { convert::left(&at[..starts.len()], run.len, to.as_mut_ptr()) }
            }
        }
    }

    /// Sums up one panel's columns for 32 rows.
    #[inline(always)]
    fn multiply(&self, unit: &mut Unit, p: &Panel, left: &[u16]) {
        let of_run = blocks(self.tiles.run);
        let (mut upper, mut lower) = (left, &left[left.len() / 2..]);
        unit.zero();
        for run in self.job.runs {
            let right = &self.tiles.data.as_slice()[p.from + run.k / self.tiles.run.max(1) * of_run * 2 * TILE..];
            assert!(upper.len() >= of_run * TILE && lower.len() >= of_run * TILE && right.len() >= of_run * 2 * TILE);
            // SAFETY: that many tiles are there, as was just shown.
            unsafe { unit.add([upper.as_ptr(), lower.as_ptr()], right.as_ptr(), of_run) }
            (upper, lower) = (&upper[of_run * TILE..], &lower[of_run * TILE..]);
        }
    }

    /// Writes finished sums.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, p: &Panel, rows: std::ops::Range<usize>, sums: &Sums) {
        let (side, finish) = (Side::new(s, p.vectors, p.columns), &self.job.finish);
        for v in 0..p.vectors {
            // SAFETY: `rows` has shown that factors and shifts cover the panel's columns, and that these lie inside `y` and the
            // residual for each of `outs`; its caller owns those places. A row of sums holds two vectors.
            unsafe {
                let columns = finish.columns(side, v, p.column);
                for (i, row) in rows.clone().enumerate() {
                    let out = self.job.outs[row] + p.column;
                    let mut sum = simd::load::<S>(sums.0.as_ptr().add(i * SIDE + v * S::F32_LANES));
                    if self.job.add {
                        sum = s.add_f32s(sum, side.load(v, self.y.add(out)));
                    }
                    let value = finish.value(s, sum, columns, finish.residual(side, v, out));
                    side.store(v, self.y.add(out), value);
                }
            }
        }
    }
}

/// Runs `f` with memory of this thread that keeps its allocation from call to call.
#[inline(always)]
pub(super) fn with_tiles<R>(len: usize, f: impl FnOnce(&mut [u16]) -> R) -> R {
    thread_local!(static SCRATCH: Scratch<u16> = const { Scratch::new(None) });
    with_scratch(&SCRATCH, len, f)
}
