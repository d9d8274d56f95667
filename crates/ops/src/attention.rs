//! Scaled dot-product attention with several heads, over all positions or over those that a mask leaves.
//!
//! Vaswani et al. 2017, *Attention Is All You Need*. The scores of a head exist only while it is computed: backward makes them
//! again from queries and keys, as Dao et al. 2022 (*FlashAttention*) do, so that memory grows with the positions and not with
//! their square.

use candle_core::{D, DType, Result, Tensor, bail};
use rayon::prelude::*;
use transplant_core::{Differentiable, Link, Memory, record};

use crate::Precision;
use crate::host::{Element, by_dtype, is_fast, own, read, tensor, zeros};
use crate::product::{Finish, Outer, Packed, Rows, Run, outer, pack, panels, rows_into};
use crate::reduce::{dot, max_of, sum_of};
use crate::simd::lanes;

/// Attention of `qkv [batch, positions, 3 width]`: queries, keys and values side by side, each in `heads` parts.
/// `softmax(q kᵀ / sqrt(width / heads)) v`, `[batch, positions, width]`. `mask [batch, positions]` is 0 for the positions that
/// nobody looks at; it gets no gradient. A row that may look nowhere gives zeros.
///
/// # Errors
/// When shapes do not fit.
pub fn attention(qkv: &Tensor, heads: usize, mask: Option<&Tensor>) -> Result<Tensor> {
    let (batch, positions, triple) = qkv.dims3()?;
    if heads == 0 || triple % (3 * heads) != 0 {
        bail!("attention: {:?} cannot be split into queries, keys and values of {heads} heads", qkv.dims())
    }
    if let Some(mask) = mask.filter(|m| m.dims() != [batch, positions]) {
        bail!("attention: expected a mask [{batch}, {positions}], got {:?}", mask.dims())
    }
    let width = triple / 3;
    if !is_fast(qkv) {
        return composed(qkv, heads, mask);
    }
    let mask = match mask {
        None => None,
        Some(m) => Some(m.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?.iter().map(|v| *v != 0.0).collect()),
    };
    let op = Attention { positions, width, heads, mask };
    let y = by_dtype!(qkv.dtype(), T => own(read::<T, _>(qkv, |x| op.forward(x))?));
    record(op, &[qkv], y, (batch, positions, width), Memory::Plain)
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(qkv: &Tensor, heads: usize, mask: Option<&Tensor>) -> Result<Tensor> {
    let (batch, positions, triple) = qkv.dims3()?;
    let (width, part) = (triple / 3, triple / 3 / heads);
    let parts = qkv.reshape((batch, positions, 3, heads, part))?;
    let take = |i: usize| parts.narrow(2, i, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
    let (q, k, v) = (take(0)?, take(1)?, take(2)?);
    let scores = (q.matmul(&k.t()?.contiguous()?)? / (part as f64).sqrt())?;
    let weights = match mask {
        None => crate::softmax(&scores)?,
        Some(mask) => {
            let mask = mask.to_dtype(qkv.dtype())?.reshape((batch, 1, 1, positions))?;
            let max = scores.detach().max_keepdim(D::Minus1)?;
            let e = scores.broadcast_sub(&max)?.exp()?.broadcast_mul(&mask)?;
            // Rows that may look nowhere have a sum of 0 and give zeros.
            let sum = e.sum_keepdim(D::Minus1)?;
            let safe = (&sum + sum.detach().eq(0.0)?.to_dtype(sum.dtype())?)?;
            e.broadcast_div(&safe)?
        }
    };
    weights.matmul(&v)?.transpose(1, 2)?.reshape((batch, positions, width))
}

struct Attention {
    positions: usize,
    width: usize,
    heads: usize,
    mask: Option<Vec<bool>>,
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
    head: usize,
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
        Head { op: self, x: &x[of_example(self.positions * 3 * self.width)], mask, head }
    }

    fn forward<T: Element>(&self, x: &[T]) -> Vec<T> {
        let mut y = zeros(x.len() / 3);
        y.par_chunks_mut((self.positions * self.width).max(1)).enumerate().for_each(|(example, y)| {
            let mut scores = zeros(self.positions * self.positions);
            for head in 0..self.heads {
                let h = self.head(x, example, head);
                h.weights(&mut scores);
                let outs: Vec<usize> = (0..self.positions).map(|p| p * self.width + head * self.part()).collect();
                h.times(&scores, &h.packed(Part::Value), &outs, y);
            }
        });
        y
    }

    fn gradient<T: Element>(&self, x: &[T], g: &[T]) -> Vec<T> {
        let (n, part, width) = (self.positions, self.part(), self.width);
        let mut dx = zeros(x.len());
        dx.par_chunks_mut((n * 3 * width).max(1)).enumerate().for_each(|(example, dx)| {
            let g = &g[example * n * width..(example + 1) * n * width];
            let (mut weights, mut slopes) = (zeros(n * n), zeros(n * n));
            for head in 0..self.heads {
                let h = self.head(x, example, head);
                h.weights(&mut weights);
                let g_starts: Vec<usize> = (0..n).map(|p| p * width + head * part).collect();
                // The gradient of the values: weightsᵀ g.
                let signed: Vec<isize> = g_starts.iter().map(|s| *s as isize).collect();
                h.transposed(&weights, g, &signed, &mut dx[h.offset(Part::Value)..]);
                // The gradient of the weights, g vᵀ, and through the softmax.
                let run = [Run { delta: 0, k: 0, len: part }];
                let outs: Vec<usize> = (0..n).map(|p| p * n).collect();
                let values = h.packed_transposed(Part::Value);
                let job = job(g, &signed, &outs, &run, &values, Finish::default());
                rows_into(&job, &mut slopes);
                let scale = T::from_f64(self.scale());
                crate::host::vectorised(
                    #[inline(always)]
                    || {
                        for (slopes, weights) in slopes.chunks_exact_mut(n).zip(weights.chunks_exact(n)) {
                            let mean = T::from_f64(dot(slopes, weights));
                            for i in 0..n {
                                slopes[i] = (slopes[i] - mean) * weights[i] * scale;
                            }
                        }
                    },
                );
                let outs: Vec<usize> = h.starts(Part::Query).iter().map(|s| *s as usize).collect();
                h.times(&slopes, &h.packed(Part::Key), &outs, dx);
                h.transposed(&slopes, h.x, &h.starts(Part::Query), &mut dx[h.offset(Part::Key)..]);
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

    /// A matrix of positions × part.
    fn packed(&self, part: Part) -> Packed<T> {
        let (starts, len) = (self.starts(part), self.op.part());
        pack((self.op.positions, self.op.positions), len, Precision::F32, |p, width, to| {
            for (start, to) in starts.iter().zip(to.chunks_exact_mut(width)) {
                to[..p.columns].copy_from_slice(&self.x[*start as usize + p.column..][..p.columns]);
            }
        })
    }

    /// A matrix of part × positions.
    fn packed_transposed(&self, part: Part) -> Packed<T> {
        let (starts, len) = (self.starts(part), self.op.part());
        pack((len, len), self.op.positions, Precision::F32, |p, width, to| {
            for (i, start) in starts[p.column..p.column + p.columns].iter().enumerate() {
                let from = &self.x[*start as usize..][..len];
                from.iter().zip(to[i..].iter_mut().step_by(width)).for_each(|(f, t)| *t = *f);
            }
        })
    }

    /// The softmax of the scores, `[positions, positions]`.
    fn weights(&self, out: &mut [T]) {
        let n = self.op.positions;
        let scale = vec![T::from_f64(self.op.scale()); n];
        let finish = Finish { scale: Some(&scale), ..Finish::default() };
        let outs: Vec<usize> = (0..n).map(|p| p * n).collect();
        let run = [Run { delta: 0, k: 0, len: self.op.part() }];
        rows_into(
            &job(self.x, &self.starts(Part::Query), &outs, &run, &self.packed_transposed(Part::Key), finish),
            out,
        );
        crate::host::vectorised(
            #[inline(always)]
            || {
                for row in out.chunks_exact_mut(n.max(1)) {
                    softmax_row(row, self.mask);
                }
            },
        );
    }

    /// `scores` times a packed matrix of `positions` rows, written at `outs`.
    fn times(&self, scores: &[T], w: &Packed<T>, outs: &[usize], y: &mut [T]) {
        let n = self.op.positions;
        let starts: Vec<isize> = (0..n).map(|p| (p * n) as isize).collect();
        rows_into(&job(scores, &starts, outs, &[Run { delta: 0, k: 0, len: n }], w, Finish::default()), y);
    }

    /// Adds the transpose of `scores` times rows of `part` elements to rows that stand `3 width` apart.
    fn transposed(&self, scores: &[T], b: &[T], b_starts: &[isize], out: &mut [T]) {
        let n = self.op.positions;
        let starts: Vec<usize> = (0..n).map(|p| p * n).collect();
        let panels = panels(self.op.part(), 1, lanes::<T>());
        let job = Outer {
            a: scores,
            a_starts: &starts,
            columns: 0..n,
            b,
            b_starts,
            delta: 0,
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

impl Differentiable for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let qkv = link.input(0)?;
        by_dtype!(qkv.dtype(), T => {
            let dx = crate::host::read2::<T, _>(qkv, link.grad, |x, g| self.gradient(x, g))?;
            Ok(vec![Some(tensor(dx, qkv.shape(), Memory::Plain)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, single, values};
    use candle_core::Device;

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        for (batch, positions, part, heads) in [(2, 5, 3, 2), (1, 1, 4, 1), (1, 19, 2, 3)] {
            let t = [(random(1, &[batch, positions, 3 * part * heads]) * 2.0).unwrap()];
            let mask: Vec<u8> = (0..batch * positions).map(|i| u8::from(i % 3 != 1)).collect();
            let mask = Tensor::from_vec(mask, (batch, positions), &Device::Cpu).unwrap();
            for mask in [None, Some(&mask)] {
                gradcheck(|t| attention(&t[0], heads, mask), &t);
                gradcheck(|t| composed(&t[0], heads, mask), &t);
                let (ours, other) = (attention(&t[0], heads, mask).unwrap(), composed(&t[0], heads, mask).unwrap());
                assert!(max_difference(&ours, &other) < 1e-12);
            }
        }
    }

    #[test]
    fn nothing_to_look_at_gives_zeros_and_what_does_not_fit_is_refused() {
        let x = random(1, &[1, 3, 6]);
        let none = Tensor::zeros((1, 3), DType::U8, &Device::Cpu).unwrap();
        assert!(values(&attention(&x, 1, Some(&none)).unwrap()).iter().all(|v| *v == 0.0));
        assert!(attention(&x, 4, None).is_err() && attention(&x, 0, None).is_err());
        assert!(attention(&x, 1, Some(&none.t().unwrap())).is_err());
    }

    #[test]
    fn the_bits_do_not_depend_on_threads() {
        let t = [single(&random(1, &[5, 33, 3 * 2 * 16]))];
        same_bits_on_any_pool(|t| attention(&t[0], 2, None), &t);
    }
}
