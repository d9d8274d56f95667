//! The sum of outer products of rows: `w[m][n] += Σ_r a[r][m] b[r][n]`, the gradient of weights.

use super::{Panel, amx, outer_simd};
use crate::element::Element;
use crate::precision::Precision;
use crate::simd::{Level, level};

/// Where the right rows of a tap stand, and where their products go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// Added to where each right row begins.
    pub delta: isize,
    /// First column of the result.
    pub column: usize,
}

/// Rows whose outer products are summed.
pub struct Outer<'a, T> {
    /// Where the left rows lie.
    pub a: &'a [T],
    /// Where each left row begins.
    pub a_starts: &'a [usize],
    /// Columns of the left rows: rows of the result.
    pub columns: std::ops::Range<usize>,
    /// Where the right rows lie.
    pub b: &'a [T],
    /// Where each right row begins, once a shift is added.
    pub b_starts: &'a [isize],
    /// Taps: each multiplies the left rows with other right ones.
    pub shifts: &'a [Shift],
    /// Columns of the right rows, in panels.
    pub panels: &'a [Panel],
    /// What both are rounded to.
    pub precision: Precision,
}

/// Adds the products to `w`: column `m` of the left rows and `n` of the right ones to
/// `w[(m - columns.start) * stride + shift.column + n]`, for each shift.
///
/// # Panics
/// When an operand or the result lies outside of its buffer.
pub fn outer<T: Element>(job: &Outer<'_, T>, w: &mut [T], stride: usize) {
    let width = job.panels.iter().map(|p| p.column + p.columns).max().unwrap_or(0);
    let height = job.columns.len();
    if height == 0 || width == 0 || job.a_starts.is_empty() {
        return;
    }
    assert_eq!(job.a_starts.len(), job.b_starts.len(), "left and right rows");
    assert!(job.a_starts.iter().max().is_none_or(|s| s + job.columns.end <= job.a.len()), "left rows");
    let (first, last) = (job.b_starts.iter().min(), job.b_starts.iter().max());
    for Shift { delta, column } in job.shifts {
        let end = column + width;
        assert!((height - 1) * stride + end <= w.len() && (end <= stride || height == 1), "result");
        let inside = |s: &isize| s + delta >= 0 && s + delta + width as isize <= job.b.len() as isize;
        assert!(first.is_none_or(inside) && last.is_none_or(inside), "right rows");
    }
    let single = || Some((T::single(job.a)?, T::single(job.b)?));
    match (single(), T::single_mut(&mut *w)) {
        (Some((a, b)), Some(w)) if job.precision.takes_tiles::<T>() => {
            for Shift { delta, column } in job.shifts {
                let left = (a, job.a_starts, job.columns.clone());
                amx::outer(left, (b, job.b_starts, *delta), width, &mut w[*column..], stride);
            }
        }
        (Some((a, b)), Some(w)) if level() != Level::Portable => {
            let Outer { a_starts, ref columns, b_starts, shifts, panels, precision, .. } = *job;
            let job = Outer { a, a_starts, columns: columns.clone(), b, b_starts, shifts, panels, precision };
            outer_simd::outer(&job, w, stride);
        }
        _ => portable(job, w, stride),
    }
}

/// The sums in plain loops.
fn portable<T: Element>(job: &Outer<'_, T>, w: &mut [T], stride: usize) {
    for (a_start, b_start) in job.a_starts.iter().zip(job.b_starts) {
        let a = &job.a[a_start + job.columns.start..a_start + job.columns.end];
        for shift in job.shifts {
            for p in job.panels {
                let b = &job.b[(b_start + shift.delta) as usize + p.column..][..p.columns];
                for (a, w) in a.iter().zip(w.chunks_mut(stride)) {
                    let w = &mut w[shift.column + p.column..][..p.columns];
                    w.iter_mut().zip(b).for_each(|(w, b)| *w += *a * *b);
                }
            }
        }
    }
}
