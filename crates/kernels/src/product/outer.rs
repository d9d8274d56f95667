//! The sum of outer products of rows: `w[m][n] += Σ_r a[r][m] b[r][n]`, the gradient of weights.

use super::{Panel, amx, outer_simd};
use crate::element::Element;
use crate::precision::Precision;
use crate::simd::{Level, level};

/// Rows summed before a tile goes on to the next: what they touch stays in the second-level cache.
pub(crate) const ROWS: usize = 96;

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
    /// Where each right row begins, once `delta` is added.
    pub b_starts: &'a [isize],
    /// Added to each of them.
    pub delta: isize,
    /// Columns of the right rows, in panels.
    pub panels: &'a [Panel],
    /// What both are rounded to.
    pub precision: Precision,
}

/// Adds the products to `w`: column `m` of the left rows and `n` of the right ones to `w[(m - columns.start) * stride + n]`.
pub fn outer<T: Element>(job: &Outer<'_, T>, w: &mut [T], stride: usize) {
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
    if level() == Level::Portable || !T::IS_SINGLE {
        return portable(job, w, stride);
    }
    if let (Some(a), Some(b), Some(w)) = (T::single(job.a), T::single(job.b), T::single_mut(w)) {
        let Outer { a_starts, ref columns, b_starts, delta, panels, precision, .. } = *job;
        let job = Outer { a, a_starts, columns: columns.clone(), b, b_starts, delta, panels, precision };
        outer_simd::outer(&job, w, stride);
    }
}

/// The sums in plain loops.
fn portable<T: Element>(job: &Outer<'_, T>, w: &mut [T], stride: usize) {
    for (a_start, b_start) in job.a_starts.iter().zip(job.b_starts) {
        let a = &job.a[a_start + job.columns.start..a_start + job.columns.end];
        for p in job.panels {
            let b = &job.b[(b_start + job.delta) as usize + p.column..][..p.columns];
            for (a, w) in a.iter().zip(w.chunks_mut(stride)) {
                w[p.column..][..p.columns].iter_mut().zip(b).for_each(|(w, b)| *w += *a * *b);
            }
        }
    }
}
