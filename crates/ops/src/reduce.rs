//! Sums whose order is fixed by the data's shape, in lanes that the compiler can vectorise.

use crate::host::Element;

const LANES: usize = 16;

/// Adds the lanes up in double precision.
#[inline(always)]
fn total<T: Element>(lanes: [T; LANES]) -> f64 {
    lanes.iter().map(|a| a.to_f64()).sum()
}

/// The sum of a slice.
#[inline(always)]
pub(crate) fn sum<T: Element>(x: &[T]) -> f64 {
    sum_of(x, |x| x)
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

/// The sum of `f` over two slices of one length.
#[inline(always)]
pub(crate) fn sum_of2<T: Element>(x: &[T], y: &[T], f: impl Fn(T, T) -> T) -> f64 {
    let mut lanes = [T::default(); LANES];
    let ((xs, x), (ys, y)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    lanes.iter_mut().zip(x.iter().zip(y)).for_each(|(l, (x, y))| *l += f(*x, *y));
    total(lanes)
}

/// The sums of both parts of `f` over three slices of one length.
#[inline(always)]
pub(crate) fn sums_of3<T: Element>(x: &[T], y: &[T], z: &[T], f: impl Fn(T, T, T) -> (T, T)) -> (f64, f64) {
    let (mut first, mut second) = ([T::default(); LANES], [T::default(); LANES]);
    let ((xs, x), (ys, y), (zs, z)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>(), z.as_chunks::<LANES>());
    for ((x, y), z) in xs.iter().zip(ys).zip(zs) {
        for i in 0..LANES {
            let (a, b) = f(x[i], y[i], z[i]);
            first[i] += a;
            second[i] += b;
        }
    }
    for (i, ((x, y), z)) in x.iter().zip(y).zip(z).enumerate() {
        let (a, b) = f(*x, *y, *z);
        first[i] += a;
        second[i] += b;
    }
    (total(first), total(second))
}

/// The planes of one channel in `[n, channels, len]`.
pub(crate) fn planes<T>(x: &[T], channels: usize, len: usize, channel: usize) -> impl Iterator<Item = &[T]> {
    x.chunks_exact(len.max(1)).skip(channel).step_by(channels.max(1))
}
