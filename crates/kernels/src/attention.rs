//! Scaled dot-product attention of single heads. The scores of a head exist only while it is computed: backward makes them again
//! from queries and keys.

use crate::compiled::compiled_here;
use crate::element::{Element, zeros};
use crate::parallel;
use crate::precision::Precision;
use crate::product::{Finish, Outer, Packed, Rows, Run, Shift, outer, pack, panels, rows_into};
use crate::reduce::{dot, max_of, sum_of};

/// Which weights of the softmax dropout leaves.
#[derive(Debug)]
pub struct Kept {
    /// `[batch, heads, positions, positions]`.
    pub bits: Vec<bool>,
    /// What they are multiplied by.
    pub factor: f64,
}

/// Sizes of one call, and what it leaves out.
#[derive(Debug)]
pub struct Attention {
    /// Positions of an example.
    pub positions: usize,
    /// Numbers of a position's queries, keys or values.
    pub width: usize,
    /// Heads, which divide the width.
    pub heads: usize,
    /// `[batch, positions]`: false for positions that get no weight.
    pub mask: Option<Vec<bool>>,
    /// Dropout.
    pub kept: Option<Kept>,
}

/// Which of queries, keys and values.
#[derive(Clone, Copy)]
enum Part {
    Query = 0,
    Key = 1,
    Value = 2,
}

/// One head of one example.
struct Head<'a, T> {
    op: &'a Attention,
    /// `[positions, 3 width]`.
    x: &'a [T],
    mask: Option<&'a [bool]>,
    /// Positions up to the last that somebody looks at.
    keys: usize,
    kept: Option<&'a [bool]>,
    head: usize,
}

compiled_here! {
    /// Attention of all heads.
    pub trait Attentions {
        /// `[batch, positions, width]` from queries, keys and values `x [batch, positions, 3 width]`.
        fn attention(of: &Attention, x: &[Self]) -> Vec<Self> = Attention::forward;
        /// The gradient of `x` from that of the output, `g`.
        fn attention_gradient(of: &Attention, x: &[Self], g: &[Self]) -> Vec<Self> = Attention::gradient;
    }
}

impl Attention {
    fn part(&self) -> usize {
        self.width / self.heads
    }

    fn scale(&self) -> f64 {
        1.0 / (self.part() as f64).sqrt()
    }

    fn head<'a, T>(&'a self, x: &'a [T], example: usize, head: usize) -> Head<'a, T> {
        let of_example = |len: usize| example * len..(example + 1) * len;
        let mask = self.mask.as_ref().map(|m| &m[of_example(self.positions)]);
        let keys = mask.map_or(self.positions, |m| m.iter().rposition(|m| *m).map_or(0, |last| last + 1));
        let square = self.positions * self.positions;
        let kept = self.kept.as_ref().map(|k| &k.bits[(example * self.heads + head) * square..][..square]);
        let x = &x[of_example(self.positions * 3 * self.width)];
        Head { op: self, x, mask: mask.map(|m| &m[..keys]), keys, kept, head }
    }

    fn forward<T: Element>(&self, x: &[T]) -> Vec<T> {
        let mut y = zeros(x.len() / 3);
        parallel::chunks_mut(&mut y, (self.positions * self.width).max(1), &|example, y| {
            let mut scores = zeros(self.positions * self.positions);
            for head in 0..self.heads {
                let h = self.head(x, example, head);
                if h.keys == 0 {
                    return;
                }
                let scores = &mut scores[..self.positions * h.keys];
                h.weights(scores);
                h.drop(scores);
                let outs: Vec<usize> = (0..self.positions).map(|p| p * self.width + head * self.part()).collect();
                h.times(scores, &h.packed(Part::Value), &outs, y);
            }
        });
        y
    }

    fn gradient<T: Element>(&self, x: &[T], g: &[T]) -> Vec<T> {
        let (n, part, width) = (self.positions, self.part(), self.width);
        let mut dx = zeros(x.len());
        parallel::chunks_mut(&mut dx, (n * 3 * width).max(1), &|example, dx| {
            let g = &g[example * n * width..(example + 1) * n * width];
            let (mut weights, mut slopes) = (zeros(n * n), zeros(n * n));
            for head in 0..self.heads {
                let h = self.head(x, example, head);
                let keys = h.keys;
                if keys == 0 {
                    return;
                }
                let (weights, slopes) = (&mut weights[..n * keys], &mut slopes[..n * keys]);
                h.weights(weights);
                let g_starts: Vec<usize> = (0..n).map(|p| p * width + head * part).collect();
                // The gradient of the values: weightsᵀ g.
                let signed: Vec<isize> = g_starts.iter().map(|s| *s as isize).collect();
                if h.kept.is_some() {
                    slopes.copy_from_slice(weights);
                    h.drop(slopes);
                    h.transposed(slopes, g, &signed, &mut dx[h.offset(Part::Value)..]);
                } else {
                    h.transposed(weights, g, &signed, &mut dx[h.offset(Part::Value)..]);
                }
                // The gradient of the weights, g vᵀ, and through the softmax.
                let run = [Run { delta: 0, k: 0, len: part }];
                let outs: Vec<usize> = (0..n).map(|p| p * keys).collect();
                let values = h.packed_transposed(Part::Value);
                let job = job(g, &signed, &outs, &run, &values, Finish::default());
                rows_into(&job, slopes);
                h.drop(slopes);
                let scale = T::from_f64(self.scale());
                T::vectorised(
                    #[inline(always)]
                    || {
                        for (slopes, weights) in slopes.chunks_exact_mut(keys).zip(weights.chunks_exact(keys)) {
                            let mean = T::from_f64(dot(slopes, weights));
                            for i in 0..keys {
                                slopes[i] = (slopes[i] - mean) * weights[i] * scale;
                            }
                        }
                    },
                );
                let outs: Vec<usize> = h.starts(Part::Query).iter().map(|s| *s as usize).collect();
                h.times(slopes, &h.packed(Part::Key), &outs, dx);
                h.transposed(slopes, h.x, &h.starts(Part::Query), &mut dx[h.offset(Part::Key)..]);
            }
        });
        dx
    }
}

fn job<'a, T>(
    x: &'a [T],
    starts: &'a [isize],
    outs: &'a [usize],
    runs: &'a [Run],
    w: &'a Packed<T>,
    finish: Finish<'a, T>,
) -> Rows<'a, T> {
    Rows { x, starts, outs, runs, w, panels: 0..w.panels.len(), add: false, finish }
}

impl<T: Element> Head<'_, T> {
    /// Where the first position's queries, keys or values of this head begin.
    fn offset(&self, part: Part) -> usize {
        part as usize * self.op.width + self.head * self.op.part()
    }

    fn starts(&self, part: Part) -> Vec<isize> {
        (0..self.op.positions).map(|p| (p * 3 * self.op.width + self.offset(part)) as isize).collect()
    }

    /// A matrix of keys × part.
    fn packed(&self, part: Part) -> Packed<T> {
        let (starts, len) = (self.starts(part), self.op.part());
        pack((self.keys, self.keys), len, Precision::F32, &|p, width, to| {
            for (start, to) in starts[..self.keys].iter().zip(to.chunks_exact_mut(width)) {
                to[..p.columns].copy_from_slice(&self.x[*start as usize + p.column..][..p.columns]);
            }
        })
    }

    /// A matrix of part × keys.
    fn packed_transposed(&self, part: Part) -> Packed<T> {
        let (starts, len) = (self.starts(part), self.op.part());
        pack((len, len), self.keys, Precision::F32, &|p, width, to| {
            for (i, start) in starts[p.column..p.column + p.columns].iter().enumerate() {
                let from = &self.x[*start as usize..][..len];
                from.iter().zip(to[i..].iter_mut().step_by(width)).for_each(|(f, t)| *t = *f);
            }
        })
    }

    /// The softmax of the scores, `[positions, keys]`.
    fn weights(&self, out: &mut [T]) {
        let (n, keys) = (self.op.positions, self.keys);
        let scale = vec![T::from_f64(self.op.scale()); keys];
        let finish = Finish { scale: Some(&scale), ..Finish::default() };
        let outs: Vec<usize> = (0..n).map(|p| p * keys).collect();
        let run = [Run { delta: 0, k: 0, len: self.op.part() }];
        rows_into(
            &job(self.x, &self.starts(Part::Query), &outs, &run, &self.packed_transposed(Part::Key), finish),
            out,
        );
        T::vectorised(
            #[inline(always)]
            || {
                for row in out.chunks_exact_mut(keys.max(1)) {
                    softmax_row(row, self.mask);
                }
            },
        );
    }

    /// Dropout's share in `[positions, keys]`.
    fn drop(&self, weights: &mut [T]) {
        let (Some(kept), Some(all)) = (self.kept, &self.op.kept) else { return };
        let factor = T::from_f64(all.factor);
        let rows = weights.chunks_exact_mut(self.keys.max(1)).zip(kept.chunks_exact(self.op.positions.max(1)));
        for (weights, kept) in rows {
            weights.iter_mut().zip(kept).for_each(|(w, k)| *w = if *k { *w * factor } else { T::default() });
        }
    }

    /// `scores` times a packed matrix of `keys` rows, written at `outs`.
    fn times(&self, scores: &[T], w: &Packed<T>, outs: &[usize], y: &mut [T]) {
        let (n, keys) = (self.op.positions, self.keys);
        let starts: Vec<isize> = (0..n).map(|p| (p * keys) as isize).collect();
        rows_into(&job(scores, &starts, outs, &[Run { delta: 0, k: 0, len: keys }], w, Finish::default()), y);
    }

    /// Adds the transpose of `scores` times rows of `part` elements to rows that stand `3 width` apart.
    fn transposed(&self, scores: &[T], b: &[T], b_starts: &[isize], out: &mut [T]) {
        let (n, keys) = (self.op.positions, self.keys);
        let starts: Vec<usize> = (0..n).map(|p| p * keys).collect();
        let panels = panels::<T>(self.op.part(), 1);
        let job = Outer {
            a: scores,
            a_starts: &starts,
            columns: 0..keys,
            b,
            b_starts,
            shifts: &[Shift { delta: 0, column: 0 }],
            panels: &panels,
            precision: Precision::F32,
        };
        outer(&job, out, 3 * self.op.width);
    }
}

#[inline(always)]
fn softmax_row<T: Element>(row: &mut [T], mask: Option<&[bool]>) {
    if let Some(mask) = mask {
        row.iter_mut().zip(mask).for_each(|(v, m)| *v = if *m { *v } else { T::LOWEST });
    }
    let max = max_of(row);
    if max == T::LOWEST {
        return row.fill(T::default());
    }
    // Loops, not adaptors: what is not inlined is compiled without vectors.
    for v in row.iter_mut() {
        *v = (*v - max).exp();
    }
    let share = T::from_f64(
        1.0 / sum_of(
            row,
            #[inline(always)]
            |v| v,
        ),
    );
    for v in row.iter_mut() {
        *v *= share;
    }
}
