//! A safe door to the `gemm` crate: matrices are slices with strides, and their bounds are checked.

use candle_core::{Result, bail};
use gemm::Parallelism;

use crate::host::Element;

/// Products of fewer multiplications than this run on one thread.
const PARALLEL_FROM: usize = 1 << 20;

/// A matrix in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> Mat<'a, T> {
    /// A row-major matrix whose rows stand `stride` apart.
    pub(crate) fn strided(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        Self { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// A row-major matrix without gaps.
    pub(crate) fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// The transposed matrix.
    pub(crate) fn t(self) -> Self {
        let Self { data, rows, cols, row_stride, col_stride } = self;
        Self { data, rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
    }

    /// Elements from the first to the last that the matrix touches.
    fn extent(&self) -> usize {
        extent(self.rows, self.cols, self.row_stride, self.col_stride)
    }
}

fn extent(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> usize {
    if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + (cols - 1) * col_stride + 1 }
}

/// How many threads a product may use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling one: for use inside parallel loops.
    One,
    /// Those of the surrounding pool, when the product is large. The bits do not depend on their number.
    Pool,
}

/// `dst = a b`, or `dst += a b` when `add`. `dst` is row-major, its rows standing `stride` apart.
pub(crate) fn matmul<T: Element>(
    dst: &mut [T],
    stride: usize,
    add: bool,
    a: Mat<'_, T>,
    b: Mat<'_, T>,
    threads: Threads,
) -> Result<()> {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    let fits = a.extent() <= a.data.len() && b.extent() <= b.data.len() && extent(m, n, stride, 1) <= dst.len();
    if k != b.rows || !fits || (stride < n && m > 1) {
        bail!("matrix product {m}x{k} * {}x{n} does not fit its buffers", b.rows)
    }
    let work = m.saturating_mul(n).saturating_mul(k);
    let parallel = match threads {
        Threads::Pool if work >= PARALLEL_FROM => Parallelism::Rayon(0),
        _ => Parallelism::None,
    };
    let (one, (ars, acs), (brs, bcs)) = (T::from_f64(1.0), (a.row_stride, a.col_stride), (b.row_stride, b.col_stride));
    #[allow(unsafe_code, reason = "gemm has no safe interface")]
    // SAFETY: `fits` shows that every element addressed by rows, columns and strides lies within its slice; rows of `dst`
    // do not overlap (`stride >= n`), and `dst` is borrowed exclusively, so it overlaps neither `a` nor `b`. `T` is f32 or
    // f64, the types `gemm` dispatches on. Slices span at most isize::MAX bytes, so the strides fit an isize.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            stride as isize,
            add,
            a.data.as_ptr(),
            acs as isize,
            ars as isize,
            b.data.as_ptr(),
            bcs as isize,
            brs as isize,
            one,
            one,
            false,
            false,
            false,
            parallel,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_transposes_and_accumulation_are_right() -> Result<()> {
        let (a, b) = ([1f64, 2.0, 3.0, 4.0, 5.0, 6.0], [1f64, 0.0, 2.0, 1.0, 0.0, 3.0]);
        let mut dst = vec![10.0; 6];
        matmul(&mut dst, 3, true, Mat::new(&a, 2, 3), Mat::new(&b, 3, 2), Threads::One)?;
        assert_eq!(dst, [15.0, 21.0, 10.0, 24.0, 33.0, 10.0]);
        let mut dst = vec![f64::NAN; 4];
        matmul(&mut dst, 2, false, Mat::new(&a, 3, 2).t(), Mat::new(&b, 3, 2), Threads::Pool)?;
        assert_eq!(dst, [7.0, 18.0, 10.0, 22.0]);
        Ok(())
    }

    #[test]
    fn a_product_that_does_not_fit_is_refused() {
        let (a, mut dst) = ([1f64; 4], [0.0; 3]);
        let m = Mat::new(&a, 2, 2);
        assert!(matmul(&mut dst, 2, false, m, m, Threads::One).is_err());
        assert!(matmul(&mut dst, 2, false, Mat::new(&a, 3, 2), m, Threads::One).is_err());
        assert!(matmul(&mut [0.0; 9], 1, false, m, m, Threads::One).is_err());
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() -> Result<()> {
        let data: Vec<f32> = (0..600 * 700).map(|i| ((i * 2_654_435_761_usize) % 1009) as f32 / 1009.0 - 0.5).collect();
        for (m, n, k) in
            [(64, 600, 700), (600, 64, 700), (300, 500, 200), (100, 10, 3136), (1, 700, 600), (600, 1, 700)]
        {
            let run = |threads: usize| {
                let mut dst = vec![0f32; m * n];
                let (a, b) = (Mat::new(&data, m, k), Mat::new(&data, n, k).t());
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| matmul(&mut dst, n, false, a, b, Threads::Pool)).unwrap();
                dst.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            };
            assert!(run(1) == run(2) && run(1) == run(5), "{m} {n} {k}");
        }
        Ok(())
    }
}
