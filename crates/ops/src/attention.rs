//! Scaled dot-product attention with several heads, over all positions or over those that a mask leaves.
//!
//! Vaswani et al. 2017, *Attention Is All You Need*. The scores of a head exist only while it is computed: backward makes them
//! again from queries and keys, as Dao et al. 2022 (*FlashAttention*) do, so that memory grows with the positions and not with
//! their square.

use candle_core::{D, DType, Result, Tensor, bail};
use rand::Rng;
use transplant_core::{Ctx, Differentiable, Link, Memory, Mode, record};
use transplant_kernels::attention::{Attention, Attentions, Kept};
use transplant_kernels::parallel;

use crate::host::{by_dtype, is_fast, own, read, tensor};

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
    apply(qkv, heads, mask, Some(draw([batch, heads, positions], p, layer, cx)))
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
    let op = Heads(Attention { positions, width, heads, mask, kept });
    let y = by_dtype!(qkv.dtype(), T => own(read::<T, _>(qkv, |x| T::attention(&op.0, x))?));
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

/// Draws which weights of the softmax dropout leaves.
fn draw([batch, heads, positions]: [usize; 3], p: f64, layer: &str, cx: &Ctx) -> Kept {
    let (head, least) = (positions * positions, (p * 2f64.powi(32)) as u32);
    let mut bits = vec![true; batch * heads * head];
    parallel::chunks_mut(&mut bits, head.max(1), &|i, bits| {
        let layer = format!("{layer}/{}", i % heads);
        let mut stream = crate::dropout::row_streams("attention", &layer, batch, cx)(i / heads);
        let mut draw = || stream.random::<u32>() >= least;
        // In squares of growing size, so that filling a row up changes nothing before its end.
        for last in 0..positions {
            (0..last).for_each(|query| bits[query * positions + last] = draw());
            (0..=last).for_each(|key| bits[last * positions + key] = draw());
        }
    });
    Kept { bits, factor: 1.0 / (1.0 - p) }
}

struct Heads(Attention);

impl Differentiable for Heads {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let qkv = link.input(0)?;
        by_dtype!(qkv.dtype(), T => {
            let dx = crate::host::read2::<T, _>(qkv, link.grad, |x, g| T::attention_gradient(&self.0, x, g))?;
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
                let kept = draw([batch, heads, positions], 0.4, "a", &cx);
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
        let kept = draw([3, 2, 40], 0.3, "a", &cx(&[1, 2, 3])).bits;
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
