//! Scaled dot-product attention with several heads, over all positions or over those that a mask leaves.
//!
//! Vaswani et al. 2017, *Attention Is All You Need*. The scores of a head exist only while it is computed: backward makes them
//! again from queries and keys, as Dao et al. 2022 (*FlashAttention*) do, so that memory grows with the positions and not with
//! their square.

use candle_core::{D, DType, Result, Tensor, bail};
use rand::Rng;
use rayon::prelude::*;
use transplant_core::{Ctx, Differentiable, Link, Memory, Mode, record};

use crate::Precision;
use crate::host::{Element, by_dtype, is_fast, own, read, tensor, zeros};
use crate::product::{Finish, Outer, Packed, Rows, Run, outer, pack, panels, rows_into};
use crate::reduce::{dot, max_of, sum_of};
use crate::simd::lanes;

/// Attention of `qkv [batch, positions, 3 width]`: queries, keys and values side by side, each in `heads` parts.
/// `softmax(q kᵀ / sqrt(width / heads)) v`, `[batch, positions, width]`. `mask [batch, positions]` is 0 for the positions that
/// nobody looks at; it gets no gradient, and those that fill a row up at its end cost no work. A row that may look nowhere
/// gives zeros.
///
/// # Errors
/// When shapes do not fit.
pub fn attention(qkv: &Tensor, heads: usize, mask: Option<&Tensor>) -> Result<Tensor> {
    apply(qkv, heads, mask, None)
}

/// The same; while training, each weight of the softmax is dropped with probability `p` in `0..1` and the others are divided
/// by `1 - p`. What is dropped depends on `layer`, the step, the stream, the global row, the head and the two positions alone.
///
/// # Errors
/// When shapes do not fit or `p` is out of range.
pub fn attention_dropout(
    qkv: &Tensor,
    heads: usize,
    mask: Option<&Tensor>,
    p: f64,
    layer: &str,
    cx: &Ctx,
) -> Result<Tensor> {
    crate::dropout::check("attention_dropout", p)?;
    if cx.mode == Mode::Eval || p == 0.0 {
        return apply(qkv, heads, mask, None);
    }
    let (batch, positions, _) = qkv.dims3()?;
    apply(qkv, heads, mask, Some(Kept::draw([batch, heads, positions], p, layer, cx)))
}

fn apply(qkv: &Tensor, heads: usize, mask: Option<&Tensor>, kept: Option<Kept>) -> Result<Tensor> {
    let (batch, positions, triple) = qkv.dims3()?;
    if heads == 0 || triple % (3 * heads) != 0 {
        bail!("attention: {:?} cannot be split into queries, keys and values of {heads} heads", qkv.dims())
    }
    if let Some(mask) = mask.filter(|m| m.dims() != [batch, positions]) {
        bail!("attention: expected a mask [{batch}, {positions}], got {:?}", mask.dims())
    }
    let width = triple / 3;
    if !is_fast(qkv) {
        return composed(qkv, heads, mask, kept.as_ref());
    }
    let mask = match mask {
        None => None,
        Some(m) => Some(m.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?.iter().map(|v| *v != 0.0).collect()),
    };
    let op = Attention { positions, width, heads, mask, kept };
    let y = by_dtype!(qkv.dtype(), T => own(read::<T, _>(qkv, |x| op.forward(x))?));
    record(op, &[qkv], y, (batch, positions, width), Memory::Plain)
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(qkv: &Tensor, heads: usize, mask: Option<&Tensor>, kept: Option<&Kept>) -> Result<Tensor> {
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
    let weights = match kept {
        None => weights,
        Some(kept) => {
            let factors: Vec<f64> = kept.bits.iter().map(|b| if *b { kept.factor } else { 0.0 }).collect();
            let factors = Tensor::from_vec(factors, weights.shape(), &candle_core::Device::Cpu)?;
            (weights * factors.to_dtype(qkv.dtype())?.to_device(qkv.device())?)?
        }
    };
    weights.matmul(&v)?.transpose(1, 2)?.reshape((batch, positions, width))
}

/// Which weights of the softmax dropout leaves.
struct Kept {
    /// `[batch, heads, positions, positions]`.
    bits: Vec<bool>,
    /// What they are multiplied by.
    factor: f64,
}

impl Kept {
    fn draw([batch, heads, positions]: [usize; 3], p: f64, layer: &str, cx: &Ctx) -> Self {
        let (head, least) = (positions * positions, (p * 2f64.powi(32)) as u32);
        let mut bits = vec![true; batch * heads * head];
        bits.par_chunks_mut(head.max(1)).enumerate().for_each(|(i, bits)| {
            let layer = format!("{layer}/{}", i % heads);
            let mut stream = crate::dropout::row_streams("attention", &layer, batch, cx)(i / heads);
            let mut draw = || stream.random::<u32>() >= least;
            // In squares of growing size, so that filling a row up changes nothing before its end.
            for last in 0..positions {
                (0..last).for_each(|query| bits[query * positions + last] = draw());
                (0..=last).for_each(|key| bits[last * positions + key] = draw());
            }
        });
        Self { bits, factor: 1.0 / (1.0 - p) }
    }
}

struct Attention {
    positions: usize,
    width: usize,
    heads: usize,
    mask: Option<Vec<bool>>,
    kept: Option<Kept>,
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
        y.par_chunks_mut((self.positions * self.width).max(1)).enumerate().for_each(|(example, y)| {
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
        dx.par_chunks_mut((n * 3 * width).max(1)).enumerate().for_each(|(example, dx)| {
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
                crate::host::vectorised(
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
        pack((self.keys, self.keys), len, Precision::F32, |p, width, to| {
            for (start, to) in starts[..self.keys].iter().zip(to.chunks_exact_mut(width)) {
                to[..p.columns].copy_from_slice(&self.x[*start as usize + p.column..][..p.columns]);
            }
        })
    }

    /// A matrix of part × keys.
    fn packed_transposed(&self, part: Part) -> Packed<T> {
        let (starts, len) = (self.starts(part), self.op.part());
        pack((len, len), self.keys, Precision::F32, |p, width, to| {
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
        crate::host::vectorised(
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
        let panels = panels(self.op.part(), 1, lanes::<T>());
        let job = Outer {
            a: scores,
            a_starts: &starts,
            columns: 0..keys,
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
    use transplant_core::Seeds;

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        for (batch, positions, part, heads) in [(2, 5, 3, 2), (1, 1, 4, 1), (1, 19, 2, 3)] {
            let t = [(random(1, &[batch, positions, 3 * part * heads]) * 2.0).unwrap()];
            let mask: Vec<u8> = (0..batch * positions).map(|i| u8::from(i % 3 != 1)).collect();
            let mask = Tensor::from_vec(mask, (batch, positions), &Device::Cpu).unwrap();
            for mask in [None, Some(&mask)] {
                gradcheck(|t| attention(&t[0], heads, mask), &t);
                gradcheck(|t| composed(&t[0], heads, mask, None), &t);
                let ours = attention(&t[0], heads, mask).unwrap();
                assert!(max_difference(&ours, &composed(&t[0], heads, mask, None).unwrap()) < 1e-12);
                let cx = Ctx::new(Mode::Train, "target", 3, &[7, 9][..batch], Seeds::new(1));
                let kept = Kept::draw([batch, heads, positions], 0.4, "a", &cx);
                gradcheck(|t| attention_dropout(&t[0], heads, mask, 0.4, "a", &cx), &t);
                let ours = attention_dropout(&t[0], heads, mask, 0.4, "a", &cx).unwrap();
                assert!(max_difference(&ours, &composed(&t[0], heads, mask, Some(&kept)).unwrap()) < 1e-12);
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
    fn filling_a_row_up_changes_no_bit_and_no_draw() {
        let long = single(&random(1, &[2, 40, 3 * 2 * 16]));
        let mask: Vec<f32> = (0..80).map(|i| if i < 40 || i % 40 < 11 { 1.0 } else { 0.0 }).collect();
        let mask = Tensor::from_vec(mask, (2, 40), &Device::Cpu).unwrap();
        let cx = |rows: &[u64]| Ctx::new(Mode::Train, "target", 3, rows, Seeds::new(1));
        for p in [0.0, 0.3] {
            let both = attention_dropout(&long, 2, Some(&mask), p, "a", &cx(&[4, 5])).unwrap();
            for length in [11, 16, 32] {
                let cut = |t: &Tensor| t.narrow(0, 1, 1).unwrap().narrow(1, 0, length).unwrap();
                let alone = attention_dropout(&cut(&long), 2, Some(&cut(&mask)), p, "a", &cx(&[5])).unwrap();
                assert_eq!(values(&alone), values(&cut(&both)), "{p} {length}");
            }
        }
        let kept = Kept::draw([3, 2, 40], 0.3, "a", &cx(&[1, 2, 3])).bits;
        let share = kept.iter().filter(|b| **b).count() as f64 / kept.len() as f64;
        assert!((share - 0.7).abs() < 0.02, "{share}");
        assert!(attention_dropout(&long, 2, None, 1.0, "a", &cx(&[4, 5])).is_err());
    }

    #[test]
    fn the_bits_do_not_depend_on_threads() {
        let t = [single(&random(1, &[5, 33, 3 * 2 * 16]))];
        same_bits_on_any_pool(|t| attention(&t[0], 2, None), &t);
    }
}
