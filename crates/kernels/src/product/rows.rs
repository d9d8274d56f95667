//! `y = x w` where each row of `x` and `y` may lie anywhere.

use super::pack::Values;
use super::{Finish, Packed, Run, amx, rows_simd};
use crate::element::Element;
use crate::simd::{Level, level};

/// Some rows of a product.
pub struct Rows<'a, T> {
    /// Where the left operand lies.
    pub x: &'a [T],
    /// Where each row begins in `x`; runs are relative to it.
    pub starts: &'a [isize],
    /// Where each row is written.
    pub outs: &'a [usize],
    /// The terms, in the order in which they are summed.
    pub runs: &'a [Run],
    /// The right operand.
    pub w: &'a Packed<T>,
    /// Panels of it to use.
    pub panels: std::ops::Range<usize>,
    /// Whether to add to what `y` holds.
    pub add: bool,
    /// What follows.
    pub finish: Finish<'a, T>,
}

/// Computes [`Rows`] into `y`.
///
/// # Safety
/// `y + out .. y + out + columns` must be writable for each of `outs` and written by nobody else; readable where `add`.
///
/// # Panics
/// When an operand or an output lies outside of its buffer.
pub unsafe fn rows<T: Element>(job: &Rows<'_, T>, y: *mut T, y_len: usize) {
    check(job, y_len);
    // SAFETY: `check` has shown that every place lies inside its buffer; the caller owns the places of `y`, which are `f32`
    // where the job is.
    unsafe {
        match (&job.w.values, T::single_rows(job)) {
            (Values::Plain(_), Some(job)) if level() != Level::Portable => rows_simd::rows(job, y.cast()),
            (Values::Plain(w), _) => portable(job, w.as_slice(), y),
            (Values::Tiles(tiles), Some(job)) => amx::rows(job, tiles, y.cast()),
            (Values::Tiles(_), None) => unreachable!("tiles are packed for single precision only"),
        }
    }
}

/// Computes [`Rows`] into a slice of one's own.
///
/// # Panics
/// As [`rows`].
pub fn rows_into<T: Element>(job: &Rows<'_, T>, y: &mut [T]) {
    // SAFETY: `y` is borrowed exclusively and initialised, and `rows` checks that all places lie inside.
    unsafe { rows(job, y.as_mut_ptr(), y.len()) }
}

/// Panics unless every element that the product touches lies inside its buffer.
fn check<T: Element>(job: &Rows<'_, T>, y_len: usize) {
    assert_eq!(job.starts.len(), job.outs.len(), "rows and outputs");
    assert_eq!(job.w.lanes, super::pack::lanes::<T>(), "packed for other vectors");
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

/// Columns of a panel where there are no vectors.
pub(super) const PORTABLE: usize = 8;

/// Computes [`Rows`] in plain loops.
///
/// # Safety
/// As [`rows`], once `check` has passed.
unsafe fn portable<T: Element>(job: &Rows<'_, T>, w: &[T], y: *mut T) {
    for p in &job.w.panels[job.panels.clone()] {
        for (start, out) in job.starts.iter().zip(job.outs) {
            let mut sums = [T::default(); PORTABLE];
            // SAFETY: `check` has shown that these columns lie inside `y`; the caller owns them.
            let y = |j: usize| unsafe { y.add(out + p.column + j) };
            if job.add {
                // SAFETY: the caller promises that they can be read where something is added.
                (0..p.columns).for_each(|j| sums[j] = unsafe { y(j).read() });
            }
            for run in job.runs {
                let x = &job.x[(start + run.delta) as usize..][..run.len];
                let (w, _) = w[p.from + run.k * PORTABLE..].as_chunks::<PORTABLE>();
                for (x, w) in x.iter().zip(w) {
                    (0..PORTABLE).for_each(|j| sums[j] += *x * w[j]);
                }
            }
            for (j, sum) in sums[..p.columns].iter().enumerate() {
                // SAFETY: as above; written only.
                unsafe { y(j).write(job.finish.scalar(*sum, p.column + j, out + p.column + j)) };
            }
        }
    }
}
