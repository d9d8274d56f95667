//! Products of a tall matrix with a few vectors, in `f64`, over all threads.
//!
//! Every sum is made in one fixed order, so the number of threads does not change a bit; nor do the machine's vectors,
//! which hold sums that stand side by side.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::parallel::chunks_of_work;
use crate::simd::{on_any_vectors, vectorised};

/// Sums side by side in a product of two vectors.
const LANES: usize = 8;
/// Rows whose products are made together, each with two vectors.
const FEW: usize = 4;
/// Rows that one thread takes at a time.
const ROWS: usize = 64;
/// Sums over rows that threads make by themselves.
const PARTS: usize = 16;
/// Rows that are added at a time.
const TOGETHER: usize = 8;
/// Columns of those rows that the nearest cache holds.
const COLUMNS: usize = 256;

/// A matrix of so many columns, row-major.
#[derive(Debug, Clone, Copy)]
pub struct Tall<'a> {
    /// Columns, at least 1.
    pub width: usize,
    /// Its values, row after row.
    pub values: &'a [f64],
}

impl Tall<'_> {
    fn len(&self) -> usize {
        self.values.len() / self.width
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.width..(i + 1) * self.width]
    }
}

/// The product of every row with each of some vectors `t [count × width]`: `[rows × count]`.
pub fn products(x: Tall<'_>, t: &[f64], count: usize) -> Vec<f64> {
    let mut out = vec![0.0; x.len() * count];
    let work = x.values.len() * count;
    chunks_of_work(&mut out, ROWS * count, work, &|block, out| {
        on_any_vectors(RowProducts { x, from: block * ROWS, t, count, out });
    });
    out
}

/// The sum of all rows, times what `r [rows × count]` says of them: `[count × width]`.
pub fn outer_products(x: Tall<'_>, r: &[f64], count: usize) -> Vec<f64> {
    let size = count * x.width;
    // How many parts there are depends on the rows alone, and their sums are added in order.
    let block = x.len().div_ceil(PARTS).max(ROWS);
    let mut parts = vec![0.0; x.len().div_ceil(block) * size];
    chunks_of_work(&mut parts, size, x.values.len() * count, &|part, sums| {
        let rows = part * block..((part + 1) * block).min(x.len());
        vectorised(|| add_all(x, rows, r, count, sums));
    });
    let mut out = parts[..size].to_vec();
    for part in parts[size..].chunks_exact(size) {
        out.iter_mut().zip(part).for_each(|(o, p)| *o += p);
    }
    out
}

/// The products of rows from number `from` on: as many as `out [rows × count]` has room for.
struct RowProducts<'a> {
    x: Tall<'a>,
    from: usize,
    t: &'a [f64],
    count: usize,
    out: &'a mut [f64],
}

impl WithSimd for RowProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Self { x, from, t, count, out } = self;
        let (rows, width) = (out.len() / count, x.width);
        for row in (0..rows).step_by(FEW) {
            // Where rows or vectors run out, the last ones stand in for those that are missing.
            let a = std::array::from_fn(|i| x.row(from + (row + i).min(rows - 1)));
            for k in (0..count).step_by(2) {
                let b = std::array::from_fn(|j| (k + j).min(count - 1)).map(|k| &t[k * width..(k + 1) * width]);
                let sums = eight_products(s, a, b);
                for (i, sums) in sums.iter().enumerate().take(rows - row) {
                    for (j, sum) in sums.iter().enumerate().take(count - k) {
                        out[(row + i) * count + k + j] = *sum;
                    }
                }
            }
        }
    }
}

/// The products of four vectors with each of two, which share what is read of them.
#[inline(always)]
fn eight_products<S: Simd>(s: S, a: [&[f64]; FEW], b: [&[f64]; 2]) -> [[f64; 2]; FEW] {
    // A narrow machine makes the sums that stand side by side in turns.
    let turns = LANES / S::F64_LANES;
    let width = a[0].len();
    let whole = width / LANES * turns;
    let [a0, a1, a2, a3] = a.map(|v| &S::as_simd_f64s(v).0[..whole]);
    let [p, q] = b.map(|v| &S::as_simd_f64s(v).0[..whole]);
    let mut lanes = [[[0.0; LANES]; 2]; FEW];
    for turn in 0..turns {
        let [mut p0, mut p1, mut p2, mut p3, mut q0, mut q1, mut q2, mut q3] = [s.splat_f64s(0.0); 8];
        let mut at = turn;
        while at < whole {
            p0 = s.add_f64s(p0, s.mul_f64s(a0[at], p[at]));
            q0 = s.add_f64s(q0, s.mul_f64s(a0[at], q[at]));
            p1 = s.add_f64s(p1, s.mul_f64s(a1[at], p[at]));
            q1 = s.add_f64s(q1, s.mul_f64s(a1[at], q[at]));
            p2 = s.add_f64s(p2, s.mul_f64s(a2[at], p[at]));
            q2 = s.add_f64s(q2, s.mul_f64s(a2[at], q[at]));
            p3 = s.add_f64s(p3, s.mul_f64s(a3[at], p[at]));
            q3 = s.add_f64s(q3, s.mul_f64s(a3[at], q[at]));
            at += turns;
        }
        let from = turn * S::F64_LANES;
        for (lanes, sums) in lanes.iter_mut().zip([[p0, q0], [p1, q1], [p2, q2], [p3, q3]]) {
            for (lanes, sum) in lanes.iter_mut().zip(sums) {
                lanes[from..from + S::F64_LANES].copy_from_slice(pulp::bytemuck::cast_slice(&[sum]));
            }
        }
    }
    let done = width / LANES * LANES;
    let mut out = [[0.0; 2]; FEW];
    for i in 0..FEW {
        for j in 0..2 {
            let rest = a[i][done..].iter().zip(&b[j][done..]).map(|(a, b)| a * b).sum::<f64>();
            out[i][j] = lanes[i][j].iter().sum::<f64>() + rest;
        }
    }
    out
}

/// Adds some rows, times what `r` says of them, to `sums [count × width]`.
#[inline(always)]
fn add_all(x: Tall<'_>, rows: Range<usize>, r: &[f64], count: usize, sums: &mut [f64]) {
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
            let values: Vec<f64> = (0..n * width).map(number).collect();
            let x = Tall { width, values: &values };
            let t: Vec<f64> = (0..count * width).map(|i| number(i + 17)).collect();
            let r: Vec<f64> = (0..n * count).map(|i| number(i + 71)).collect();
            let both = || (products(x, &t, count), outer_products(x, &r, count));
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
