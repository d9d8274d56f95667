//! Products of a tall matrix with a few vectors, in `f64`, over all threads.
//!
//! Every sum is made in one fixed order, so the number of threads does not change a bit; nor do the machine's vectors, which
//! the compiler fills from sums that stand side by side.

use std::ops::Range;

use pulp::NullaryFnOnce;
use rayon::prelude::*;

use super::Rows;

/// Sums side by side in a product of two vectors.
const LANES: usize = 16;
/// Rows that one thread takes at a time.
const ROWS: usize = 64;
/// Sums over rows that threads make by themselves.
const PARTS: usize = 16;
/// Rows that are added at a time.
const TOGETHER: usize = 8;
/// Columns of those rows that the nearest cache holds.
const COLUMNS: usize = 256;
/// Work that is done before another thread has woken up.
const SMALL: usize = 1 << 15;

/// The product of every row with each of some vectors `t [count × width]`: `[rows × count]`.
pub(super) fn products(x: &Rows, t: &[f64], count: usize) -> Vec<f64> {
    let mut out = vec![0.0; x.len() * count];
    let each = |(block, out): (usize, &mut [f64])| {
        pulp::Arch::new().dispatch(RowProducts { x, from: block * ROWS, t, count, out });
    };
    over_chunks(&mut out, ROWS * count, x.values.len() * count, each);
    out
}

/// The sum of all rows, times what `r [rows × count]` says of them: `[count × width]`.
pub(super) fn outer_products(x: &Rows, r: &[f64], count: usize) -> Vec<f64> {
    let size = count * x.width;
    // How many parts there are depends on the rows alone, and their sums are added in order.
    let block = x.len().div_ceil(PARTS).max(ROWS);
    let mut parts = vec![0.0; x.len().div_ceil(block) * size];
    let each = |(part, sums): (usize, &mut [f64])| {
        let rows = part * block..((part + 1) * block).min(x.len());
        pulp::Arch::new().dispatch(RowSums { x, rows, r, count, sums });
    };
    over_chunks(&mut parts, size, x.values.len() * count, each);
    let mut out = parts[..size].to_vec();
    for part in parts[size..].chunks_exact(size) {
        out.iter_mut().zip(part).for_each(|(o, p)| *o += p);
    }
    out
}

/// Hands chunks of `out` and their numbers to `each`, on all threads when that pays.
pub(super) fn over_chunks(out: &mut [f64], size: usize, work: usize, each: impl Fn((usize, &mut [f64])) + Sync + Send) {
    if work <= SMALL {
        out.chunks_mut(size.max(1)).enumerate().for_each(each);
    } else {
        out.par_chunks_mut(size.max(1)).enumerate().for_each(each);
    }
}

/// The products of rows from number `from` on: as many as `out [rows × count]` has room for. It is compiled for every kind of
/// vectors, as is what it calls, since that is inlined.
struct RowProducts<'a> {
    x: &'a Rows,
    from: usize,
    t: &'a [f64],
    count: usize,
    out: &'a mut [f64],
}

impl NullaryFnOnce for RowProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { x, from, t, count, out } = self;
        for (row, out) in out.chunks_exact_mut(count).enumerate() {
            let row = x.row(from + row);
            let (fours, rest) = out.as_chunks_mut::<4>();
            let (t_fours, t_rest) = t.split_at(4 * fours.len() * x.width);
            fours.iter_mut().zip(t_fours.chunks_exact(4 * x.width)).for_each(|(o, t)| *o = four_products(row, t));
            rest.iter_mut().zip(t_rest.chunks_exact(x.width)).for_each(|(o, t)| *o = product(row, t));
        }
    }
}

/// The product of two vectors.
#[inline(always)]
fn product(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks(), b.as_chunks());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        add_product(&mut sums, a, b);
    }
    total(sums, a_rest, b_rest)
}

/// The products of one vector with each of four, which share what is read of it.
#[inline(always)]
fn four_products(a: &[f64], b: &[f64]) -> [f64; 4] {
    let (a, a_rest) = a.as_chunks();
    let [p, q, r, s] = std::array::from_fn(|k| b[k * (b.len() / 4)..(k + 1) * (b.len() / 4)].as_chunks());
    let [mut p_sums, mut q_sums, mut r_sums, mut s_sums] = [[0.0; LANES]; 4];
    for (a, ((p, q), (r, s))) in a.iter().zip(p.0.iter().zip(q.0).zip(r.0.iter().zip(s.0))) {
        add_product(&mut p_sums, a, p);
        add_product(&mut q_sums, a, q);
        add_product(&mut r_sums, a, r);
        add_product(&mut s_sums, a, s);
    }
    [total(p_sums, a_rest, p.1), total(q_sums, a_rest, q.1), total(r_sums, a_rest, r.1), total(s_sums, a_rest, s.1)]
}

#[inline(always)]
fn add_product(sums: &mut [f64; LANES], a: &[f64; LANES], b: &[f64; LANES]) {
    for i in 0..LANES {
        sums[i] += a[i] * b[i];
    }
}

#[inline(always)]
fn total(sums: [f64; LANES], a: &[f64], b: &[f64]) -> f64 {
    sums.iter().sum::<f64>() + a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>()
}

/// Adds some rows, times what `r` says of them, to `sums [count × width]`.
struct RowSums<'a> {
    x: &'a Rows,
    rows: Range<usize>,
    r: &'a [f64],
    count: usize,
    sums: &'a mut [f64],
}

impl NullaryFnOnce for RowSums<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { x, rows, r, count, sums } = self;
        let mut at = rows.start;
        while at < rows.end {
            if rows.end - at >= TOGETHER {
                let together: [&[f64]; TOGETHER] = std::array::from_fn(|i| x.row(at + i));
                add_rows(together, &r[at * count..(at + TOGETHER) * count], sums);
                at += TOGETHER;
            } else {
                add_rows([x.row(at)], &r[at * count..(at + 1) * count], sums);
                at += 1;
            }
        }
    }
}

/// Adds `N` rows, times what `r [N × count]` says of them, to `out [count × width]`, one row after another.
#[inline(always)]
fn add_rows<const N: usize>(x: [&[f64]; N], r: &[f64], out: &mut [f64]) {
    let (width, count) = (x[0].len(), r.len() / N);
    for from in (0..width).step_by(COLUMNS) {
        let to = (from + COLUMNS).min(width);
        for (k, out) in out.chunks_exact_mut(width).enumerate() {
            let r: [f64; N] = std::array::from_fn(|i| r[i * count + k]);
            let out = &mut out[from..to];
            let x = x.map(|x| &x[from..to][..out.len()]);
            for j in 0..out.len() {
                let mut sum = out[j];
                for i in 0..N {
                    sum += r[i] * x[i][j];
                }
                out[j] = sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_plain_loops_and_the_same_on_any_pool() {
        let number = |i: usize| ((i * 2_654_435_761) % 1000) as f64 / 500.0 - 1.0;
        for (n, width, count) in [(1, 1, 1), (7, 33, 3), (203, 97, 2)] {
            let x = Rows { width, values: (0..n * width).map(number).collect() };
            let t: Vec<f64> = (0..count * width).map(|i| number(i + 17)).collect();
            let r: Vec<f64> = (0..n * count).map(|i| number(i + 71)).collect();
            let both = || (products(&x, &t, count), outer_products(&x, &r, count));
            let (z, g) = both();
            for (at, z) in z.iter().enumerate() {
                let (i, k) = (at / count, at % count);
                let plain: f64 = (0..width).map(|j| x.row(i)[j] * t[k * width + j]).sum();
                assert!((z - plain).abs() < 1e-12);
            }
            for (at, g) in g.iter().enumerate() {
                let (k, j) = (at / width, at % width);
                let plain: f64 = (0..n).map(|i| x.row(i)[j] * r[i * count + k]).sum();
                assert!((g - plain).abs() < 1e-12);
            }
            for threads in [1, 2, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                assert_eq!(pool.install(both), (z.clone(), g.clone()));
            }
        }
    }
}
