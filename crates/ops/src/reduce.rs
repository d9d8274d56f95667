//! Sums whose order is fixed by the data's shape, in lanes that the compiler can vectorise.

use crate::host::Element;

const LANES: usize = 16;

/// Adds the lanes up in double precision.
#[inline(always)]
fn total<T: Element>(lanes: [T; LANES]) -> f64 {
    lanes.iter().map(|a| a.to_f64()).sum()
}

/// The largest value of a slice, as far as comparing finds one; the smallest number when it is empty.
#[inline(always)]
pub(crate) fn max_of<T: Element>(x: &[T]) -> T {
    let mut lanes = [T::LOWEST; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for i in 0..LANES {
            lanes[i] = if x[i] > lanes[i] { x[i] } else { lanes[i] };
        }
    }
    for (l, x) in lanes.iter_mut().zip(rest) {
        *l = if *x > *l { *x } else { *l };
    }
    let mut max = lanes[0];
    for l in lanes {
        max = if l > max { l } else { max };
    }
    max
}

/// The inner product of two slices of one length.
#[inline(always)]
pub(crate) fn dot<T: Element>(x: &[T], y: &[T]) -> f64 {
    let mut lanes = [T::default(); LANES];
    let ((xs, x), (ys, y)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    for (l, (x, y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
        *l += *x * *y;
    }
    total(lanes)
}

/// The sum of `f` over a slice.
#[inline(always)]
pub(crate) fn sum_of<T: Element>(x: &[T], f: impl Fn(T) -> T) -> f64 {
    let mut lanes = [T::default(); LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for i in 0..LANES {
            lanes[i] += f(x[i]);
        }
    }
    lanes.iter_mut().zip(rest).for_each(|(l, x)| *l += f(*x));
    total(lanes)
}

/// The sum of each column of `[rows, columns]`, over blocks of rows of one size, in double precision between them.
pub(crate) fn column_sums<T: Element>(x: &[T], columns: usize) -> Vec<T> {
    use rayon::prelude::*;
    if columns == 0 {
        return Vec::new();
    }
    let block = |x: &[T]| {
        let mut sum = vec![T::default(); columns];
        crate::host::vectorised(
            #[inline(always)]
            || {
                for row in x.chunks_exact(columns) {
                    sum.iter_mut().zip(row).for_each(|(s, v)| *s += *v);
                }
            },
        );
        sum
    };
    let partials: Vec<Vec<T>> = x.par_chunks(columns * 128).map(block).collect();
    let mut out = vec![0f64; columns];
    for p in partials {
        out.iter_mut().zip(p).for_each(|(o, p)| *o += p.to_f64());
    }
    out.into_iter().map(T::from_f64).collect()
}
