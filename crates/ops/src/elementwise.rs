//! Parallel maps over slices. Each element is computed alone, so the split over threads does not matter.

use rayon::prelude::*;

use crate::host::{Element, vectorised, zeros};

/// Elements a task works on.
const CHUNK: usize = 1 << 14;

/// `f` of every element.
pub(crate) fn map<T: Element>(x: &[T], f: impl Fn(T) -> T + Sync) -> Vec<T> {
    let mut out = zeros(x.len());
    let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(out, x)| {
        vectorised(
            #[inline(always)]
            || out.iter_mut().zip(x).for_each(|(o, x)| *o = f(*x)),
        )
    });
    out
}

/// `f` of every pair of elements.
pub(crate) fn map2<T: Element>(x: &[T], y: &[T], f: impl Fn(T, T) -> T + Sync) -> Vec<T> {
    let mut out = zeros(x.len());
    let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(y.par_chunks(CHUNK));
    chunks.for_each(|((out, x), y)| {
        vectorised(
            #[inline(always)]
            || out.iter_mut().zip(x.iter().zip(y)).for_each(|(o, (x, y))| *o = f(*x, *y)),
        );
    });
    out
}
