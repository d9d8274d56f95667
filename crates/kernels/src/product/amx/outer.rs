//! Sums of outer products of rows, for several shifts of the right rows at once: the gradient of a kernel's taps.
#![allow(unsafe_code, reason = "tiles that are written and read through pointers")]

use std::ops::Range;

use super::convert;
use super::rows::with_tiles;
use super::unit::{DEPTH, ROWS, SIDE, Sums, TILE, Unit};
use crate::buffer::Aligned;
use crate::parallel;

/// Some rows of the left operand in tiles, and where the right rows that belong to them begin.
pub(crate) struct Part<'a> {
    /// For each sixteen columns, one tile after the other.
    left: Aligned<u16>,
    columns: usize,
    blocks: usize,
    starts: &'a [isize],
    /// Numbers of the taps, and what is added to the starts for each.
    taps: Vec<(usize, isize)>,
}

impl<'a> Part<'a> {
    /// Rows `a_starts` of `a`, of which `columns` are taken; the right rows begin at `b_starts`, once the shift of one of `taps` is
    /// added.
    pub(crate) fn new(
        (a, a_starts, columns): (&[f32], &[usize], Range<usize>),
        starts: &'a [isize],
        taps: Vec<(usize, isize)>,
    ) -> Self {
        assert_eq!(a_starts.len(), starts.len(), "left and right rows");
        assert!(a_starts.iter().max().is_none_or(|s| s + columns.end <= a.len()), "left rows");
        let (blocks, height) = (a_starts.len().div_ceil(DEPTH), columns.len().next_multiple_of(SIDE));
        let mut left = Aligned::zeros(blocks * height * DEPTH);
        for (i, to) in left.as_mut_slice().chunks_exact_mut(TILE).enumerate() {
            let (first, rows) = (i / blocks * ROWS, &a_starts[i % blocks * DEPTH..]);
            let width = columns.len().saturating_sub(first).min(ROWS);
            let mut at = [a.as_ptr(); DEPTH];
            for (at, start) in at.iter_mut().zip(rows) {
                *at = a.as_ptr().wrapping_add(start + columns.start + first);
            }
            // SAFETY: the rows' columns lie inside `a`, as was shown; `to` is a tile. Where there are no columns, nothing is read.
            unsafe { convert::left_of_columns(&at[..rows.len().min(DEPTH)], width, to.as_mut_ptr()) }
        }
        Self { left, columns: columns.len(), blocks, starts, taps }
    }
}

/// Rows that are in tiles at a time.
const PART: usize = 1024;

/// Adds the sums of outer products of left and right rows to `w`, whose rows are `stride` apart: [`outer`](crate::product::outer()).
pub(in crate::product) fn outer(
    (a, a_starts, columns): (&[f32], &[usize], Range<usize>),
    (b, b_starts, delta): (&[f32], &[isize], isize),
    width: usize,
    w: &mut [f32],
    stride: usize,
) {
    for (a_starts, b_starts) in a_starts.chunks(PART).zip(b_starts.chunks(PART)) {
        let part = [Part::new((a, a_starts, columns.clone()), b_starts, vec![(0, delta)])];
        for right in (0..width).step_by(SIDE) {
            let right = right..(right + SIDE).min(width);
            let sums = sums_of(&part, b, 1, 0..columns.len(), right.clone());
            for (row, w) in w.chunks_mut(stride).take(columns.len()).enumerate() {
                let from = &sums[row / SIDE].0[row % SIDE * SIDE..][..right.len()];
                w[right.clone()].iter_mut().zip(from).for_each(|(w, f)| *w += *f);
            }
        }
    }
}

/// Left columns that a task sums up for.
const TASK_COLUMNS: usize = 256;

/// The sums over the rows of all parts: `w [left column, right column, tap]` of `width` right columns and `taps` taps, of which
/// `used` are those that parts number from 0 on. The others are left as they are.
pub(crate) fn outer_by_tap(
    parts: &[Part<'_>],
    b: &[f32],
    (used, taps): (&[usize], usize),
    width: usize,
    w: &mut [f32],
) {
    let height = w.len() / (width * taps).max(1);
    let lefts = (0..height).step_by(TASK_COLUMNS).map(|l| l..(l + TASK_COLUMNS).min(height));
    let rights = (0..width).step_by(SIDE).map(|r| r..(r + SIDE).min(width));
    let tasks: Vec<_> = lefts.flat_map(|l| rights.clone().map(move |r| (l.clone(), r))).collect();
    let sums = parallel::map(tasks.len(), &|i| {
        let (left, right) = tasks[i].clone();
        sums_of(parts, b, used.len(), left, right)
    });
    let panels = width.div_ceil(SIDE);
    parallel::chunks_mut(w, (width * taps).max(1), &|row, w| {
        let of_row = &sums[row / TASK_COLUMNS * panels..][..panels];
        let (pairs, row) =
            ((height - row / TASK_COLUMNS * TASK_COLUMNS).min(TASK_COLUMNS).div_ceil(SIDE), row % TASK_COLUMNS);
        for (sums, w) in of_row.iter().zip(w.chunks_mut(SIDE * taps)) {
            for (i, tap) in used.iter().enumerate() {
                let from = &sums[i * pairs + row / SIDE].0[row % SIDE * SIDE..][..SIDE];
                from.iter().zip(w.iter_mut().skip(*tap).step_by(taps)).for_each(|(f, t)| *t = *f);
            }
        }
    });
}

/// The sums for some left columns and at most 32 right ones: blocks of [`SIDE`] left columns, for each of `taps` taps.
fn sums_of(parts: &[Part<'_>], b: &[f32], taps: usize, left: Range<usize>, right: Range<usize>) -> Vec<Sums> {
    assert!(left.start.is_multiple_of(SIDE) && right.len() <= SIDE, "whole tiles");
    let pairs = left.len().div_ceil(SIDE);
    let mut sums = vec![Sums([0.0; SIDE * SIDE]); taps * pairs];
    for part in parts.iter().filter(|p| !p.starts.is_empty()) {
        assert!(left.end <= part.columns, "left columns");
        with_tiles(part.blocks * 2 * TILE, |tiles| {
            // SAFETY: parts are only made where the unit is available, and nothing below starts another on this thread.
            let mut unit = unsafe { Unit::new() };
            for &(tap, delta) in &part.taps {
                let inside = |s: &isize| {
                    let first = s + delta + right.start as isize;
                    first >= 0 && first + right.len() as isize <= b.len() as isize
                };
                let (first, last) = (part.starts.iter().min(), part.starts.iter().max());
                assert!(first.is_none_or(inside) && last.is_none_or(inside), "right rows");
                let rows = part.starts.iter().map(|s| b.as_ptr().wrapping_offset(s + delta + right.start as isize));
                // SAFETY: the columns of all rows lie inside `b`, as was shown for the smallest and the largest start; there
                // are two tiles for every 32 rows.
                unsafe { convert::right(rows, right.len(), tiles.as_mut_ptr()) };
                for pair in 0..pairs {
                    let of_column = &part.left.as_slice()[(left.start / ROWS + pair * 2) * part.blocks * TILE..];
                    assert!(of_column.len() >= 2 * part.blocks * TILE, "left tiles");
                    let sums = &mut sums[tap * pairs + pair];
                    unit.load(sums);
                    // SAFETY: that many left tiles are there, as was just shown, and the right ones were just written.
                    unsafe {
                        let upper = of_column.as_ptr();
                        unit.add([upper, upper.add(part.blocks * TILE)], tiles.as_ptr(), part.blocks);
                    }
                    unit.store(sums);
                }
            }
        });
    }
    sums
}
