//! A sparse matrix as the features of a softmax regression.
//!
//! It is kept twice, by rows and by columns, so that each number of a product is one sum in one fixed order, wherever
//! it is made.

use transplant_kernels::parallel::chunks_of_work;

use super::softmax::Design;

/// Rows or columns that one thread takes at a time.
const CHUNK: usize = 256;

/// What stands in the lines of a matrix, line by line.
struct Lines {
    starts: Vec<usize>,
    entries: Vec<(u32, f64)>,
}

impl Lines {
    fn line(&self, i: usize) -> &[(u32, f64)] {
        &self.entries[self.starts[i]..self.starts[i + 1]]
    }

    /// The same entries by the other index, of which there are `count`.
    fn turned(&self, count: usize) -> Self {
        let mut starts = vec![0; count + 1];
        self.entries.iter().for_each(|(at, _)| starts[*at as usize + 1] += 1);
        for i in 0..count {
            starts[i + 1] += starts[i];
        }
        let (mut next, mut entries) = (starts.clone(), vec![(0, 0.0); self.entries.len()]);
        for i in 0..self.starts.len() - 1 {
            for (at, value) in self.line(i) {
                let place = &mut next[*at as usize];
                entries[*place] = (i as u32, *value);
                *place += 1;
            }
        }
        Self { starts, entries }
    }
}

/// Rows of few entries, with a column of ones behind.
pub(super) struct Sparse {
    columns: usize,
    by_row: Lines,
    by_column: Lines,
}

impl Sparse {
    /// Each row as column and value of its entries.
    pub(super) fn of(rows: &[Vec<(u32, f64)>], columns: usize) -> Self {
        let mut starts = vec![0];
        starts.extend(rows.iter().scan(0, |sum, row| {
            *sum += row.len();
            Some(*sum)
        }));
        let by_row = Lines { starts, entries: rows.concat() };
        Self { columns, by_column: by_row.turned(columns), by_row }
    }

    fn rows(&self) -> usize {
        self.by_row.starts.len() - 1
    }
}

impl Design for Sparse {
    fn width(&self) -> usize {
        self.columns + 1
    }

    fn times(&self, t: &[f64], classes: usize) -> Vec<f64> {
        let mut out = vec![0.0; self.rows() * classes];
        let work = self.by_row.entries.len() * classes;
        chunks_of_work(&mut out, CHUNK * classes, work, &|chunk, out| {
            for (i, out) in out.chunks_exact_mut(classes).enumerate() {
                let row = self.by_row.line(chunk * CHUNK + i);
                out.iter_mut().zip(t.chunks_exact(self.width())).for_each(|(o, t)| *o = product(row, t));
            }
        });
        out
    }

    fn transposed_times(&self, r: &[f64], classes: usize) -> Vec<f64> {
        let mut out = vec![0.0; classes * self.width()];
        for (k, out) in out.chunks_exact_mut(self.width()).enumerate() {
            let (out, bias) = out.split_at_mut(self.columns);
            chunks_of_work(out, CHUNK, self.by_row.entries.len(), &|chunk, out| {
                for (j, out) in out.iter_mut().enumerate() {
                    let column = self.by_column.line(chunk * CHUNK + j);
                    *out = column.iter().map(|(i, v)| v * r[*i as usize * classes + k]).sum();
                }
            });
            bias[0] = r.iter().skip(k).step_by(classes).sum();
        }
        out
    }
}

/// The product of a row with coefficients, of which the last is added as it is.
pub(super) fn product(row: &[(u32, f64)], t: &[f64]) -> f64 {
    row.iter().map(|(j, v)| v * t[*j as usize]).sum::<f64>() + t[t.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::super::Rows;
    use super::*;

    #[test]
    fn products_are_those_of_the_same_matrix_written_out() {
        let rows: Vec<Vec<(u32, f64)>> = (0..700u32)
            .map(|i| {
                (0..40).filter(|j| (i * 7 + j * j) % 5 == 0).map(|j| (j, f64::from(i % 13) - f64::from(j))).collect()
            })
            .collect();
        let (x, classes) = (Sparse::of(&rows, 40), 3);
        let mut dense = Rows { width: 41, values: vec![0.0; 700 * 41] };
        for (i, row) in rows.iter().enumerate() {
            row.iter().for_each(|(j, v)| dense.values[i * 41 + *j as usize] = *v);
            dense.values[i * 41 + 40] = 1.0;
        }
        let numbers = |n: usize| (0..n).map(|i| ((i * 37) % 11) as f64 - 5.0).collect::<Vec<_>>();
        let (t, r) = (numbers(41 * classes), numbers(700 * classes));
        // Whole numbers, so every order of a sum gives the same.
        assert_eq!(x.times(&t, classes), dense.times(&t, classes));
        assert_eq!(x.transposed_times(&r, classes), dense.transposed_times(&r, classes));
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| x.transposed_times(&r, classes)), x.transposed_times(&r, classes));
    }
}
