//! Sums whose order is fixed by the data's shape, in lanes that the compiler can vectorise.

use crate::compiled::compiled_here;
use crate::element::Element;
use crate::parallel;

const LANES: usize = 16;

/// Adds the lanes up in double precision.
#[inline(always)]
fn total<T: Element>(lanes: [T; LANES]) -> f64 {
    lanes.iter().map(|a| a.to_f64()).sum()
}

/// The largest value of a slice, as far as comparing finds one; the smallest number when it is empty.
#[inline(always)]
pub fn max_of<T: Element>(x: &[T]) -> T {
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
pub fn dot<T: Element>(x: &[T], y: &[T]) -> f64 {
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

/// The sum of `f` over three slices of one length.
#[inline(always)]
pub fn sum_of3<T: Element>(x: &[T], y: &[T], z: &[T], f: impl Fn(T, T, T) -> T) -> f64 {
    let mut lanes = [T::default(); LANES];
    let ((xs, x), (ys, y), (zs, z)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>(), z.as_chunks::<LANES>());
    let n = xs.len();
    let (xs, ys, zs) = (&xs[..n], &ys[..n], &zs[..n]);
    for i in 0..n {
        for j in 0..LANES {
            lanes[j] += f(xs[i][j], ys[i][j], zs[i][j]);
        }
    }
    let n = x.len();
    let (y, z) = (&y[..n], &z[..n]);
    for j in 0..n {
        lanes[j] += f(x[j], y[j], z[j]);
    }
    total(lanes)
}

/// The sum of `f` over a slice.
#[inline(always)]
pub fn sum_of<T: Element>(x: &[T], f: impl Fn(T) -> T) -> f64 {
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

/// The sums over rows of what `f(row number, sums)` adds to `width` sums: in the type itself over blocks of `block` rows, in
/// parallel, and in double precision between blocks, in their order.
pub fn block_sums<T: Element>(rows: usize, block: usize, width: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<f64> {
    let of_block = |b: usize| {
        let mut sums = vec![T::default(); width];
        T::vectorised(
            #[inline(always)]
            || {
                for row in b * block..rows.min((b + 1) * block) {
                    f(row, &mut sums);
                }
            },
        );
        sums
    };
    let blocks: Vec<Vec<T>> = parallel::map(rows.div_ceil(block), &of_block);
    let mut out = vec![0.0; width];
    for b in blocks {
        out.iter_mut().zip(b).for_each(|(o, b)| *o += b.to_f64());
    }
    out
}

compiled_here! {
    /// Sums of columns.
    pub trait ColumnSums {
        /// The sum of each column of `x [rows, columns]`.
        fn column_sums(x: &[Self], columns: usize) -> Vec<Self> = column_sums;
    }
}

fn column_sums<T: Element>(x: &[T], columns: usize) -> Vec<T> {
    if columns == 0 {
        return Vec::new();
    }
    let sums = block_sums(
        x.len() / columns,
        128,
        columns,
        #[inline(always)]
        |row, sums: &mut [T]| {
            let (x, sums) = (&x[row * columns..][..columns], &mut sums[..columns]);
            for i in 0..columns {
                sums[i] += x[i];
            }
        },
    );
    sums.into_iter().map(T::from_f64).collect()
}
