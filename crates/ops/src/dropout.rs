//! Dropout with seeded masks, made on the host and so the same on every device.
//!
//! Srivastava et al. 2014, *Dropout*; what is kept is divided by the probability of being kept.

use candle_core::{Result, Tensor, bail};
use rand::Rng;
use transplant_core::{Ctx, Differentiable, Link, Memory, Mode, Stream, record};
use transplant_kernels::elementwise::map2;

use crate::host::{by_dtype, is_fast, own, read2, tensor};

/// Drops each element of `x` with probability `p` in `0..1` and divides the others by `1 - p`; `p = 0` draws nothing.
///
/// # Errors
/// When `p` is out of range or the operation fails.
pub fn dropout(x: &Tensor, p: f64, stream: &mut Stream) -> Result<Tensor> {
    check("dropout", p)?;
    if p == 0.0 {
        return Ok(x.clone());
    }
    let mut mask = Vec::new();
    draw(&mut mask, x.elem_count(), p, stream);
    scale(x, mask)
}

/// Dropout for training a network: nothing while evaluating, otherwise a mask for each row of `x [rows, ..]` that depends on
/// `layer`, the step, the stream and the global row alone, so that neither batching nor order changes it. Where `x` has not the
/// rows of the batch (the nodes of a graph, words), positions take the place of rows.
///
/// # Errors
/// When `p` is out of range or `x` is a scalar.
pub fn dropout_rows(x: &Tensor, p: f64, layer: &str, cx: &Ctx) -> Result<Tensor> {
    check("dropout", p)?;
    if cx.mode == Mode::Eval || p == 0.0 {
        return Ok(x.clone());
    }
    let count = x.dim(0)?;
    let (stream, width) = (row_streams("dropout", layer, count, cx), x.elem_count() / count.max(1));
    let mut mask = Vec::with_capacity(x.elem_count());
    for i in 0..count {
        draw(&mut mask, width, p, &mut stream(i));
    }
    scale(x, mask)
}

/// Refuses what is no probability below one.
pub(crate) fn check(name: &str, p: f64) -> Result<()> {
    if !(0.0..1.0).contains(&p) {
        bail!("{name}: the probability must lie in 0..1, got {p}")
    }
    Ok(())
}

/// The random numbers of each of `count` rows, which depend on `kind`, `layer`, the step, the stream and the global row alone.
/// Where there are not as many rows as in the batch, positions take the place of rows.
pub(crate) fn row_streams(kind: &str, layer: &str, count: usize, cx: &Ctx) -> impl Fn(usize) -> Stream {
    let name = format!("{kind}/{}/{layer}", cx.stream);
    move |i| {
        let row = if cx.rows.len() == count { cx.rows[i] } else { i as u64 };
        cx.seeds.stream(&name, &[cx.step, row])
    }
}

fn draw(mask: &mut Vec<f32>, count: usize, p: f64, stream: &mut Stream) {
    let kept = (1.0 / (1.0 - p)) as f32;
    mask.extend((0..count).map(|_| if stream.random::<f64>() < p { 0.0 } else { kept }));
}

fn scale(x: &Tensor, mask: Vec<f32>) -> Result<Tensor> {
    let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
    if !is_fast(x) {
        return x * mask;
    }
    let y = by_dtype!(x.dtype(), T => own(read2::<T, _>(x, &mask, |x, m| map2(x, m, #[inline(always)] |x, m| x * m))?));
    record(Scale(mask), &[x], y, x.shape(), Memory::Plain)
}

/// The product with a constant, for which no gradient is made.
struct Scale(Tensor);

impl Differentiable for Scale {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        by_dtype!(link.grad.dtype(), T => {
            let dx = read2::<T, _>(&self.0, link.grad, |m, g| map2(m, g, #[inline(always)] |m, g| m * g))?;
            Ok(vec![Some(tensor(dx, link.grad.shape(), Memory::Plain)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, values};
    use candle_core::Device;
    use transplant_core::Seeds;

    #[test]
    fn gradients_are_right_and_the_mean_is_kept() {
        let stream = || Seeds::new(1).stream("dropout", &[]);
        gradcheck(|t| dropout(&t[0], 0.4, &mut stream()), &[random(1, &[5, 7])]);
        let ones = Tensor::ones(20_000, candle_core::DType::F64, &Device::Cpu).unwrap();
        let y = values(&dropout(&ones, 0.4, &mut stream()).unwrap());
        let (mean, dropped) = (y.iter().sum::<f64>() / 2e4, y.iter().filter(|v| **v == 0.0).count() as f64 / 2e4);
        assert!((mean - 1.0).abs() < 0.02 && (dropped - 0.4).abs() < 0.02, "{mean} {dropped}");
        assert!(dropout(&ones, 1.0, &mut stream()).is_err());
    }

    #[test]
    fn the_mask_of_a_row_is_its_own() {
        let x = Tensor::ones((4, 50), candle_core::DType::F64, &Device::Cpu).unwrap();
        let run = |rows: &[u64], step: u64, mode: Mode| {
            let cx = Ctx::new(mode, "source", step, rows, Seeds::new(3));
            dropout_rows(&x.narrow(0, 0, rows.len()).unwrap(), 0.5, "fc", &cx).unwrap()
        };
        let all = run(&[10, 11, 12, 13], 0, Mode::Train);
        let some = run(&[12, 10], 0, Mode::Train);
        assert_eq!(max_difference(&all.get(2).unwrap(), &some.get(0).unwrap()), 0.0);
        assert_eq!(max_difference(&all.get(0).unwrap(), &some.get(1).unwrap()), 0.0);
        assert!(max_difference(&all, &run(&[10, 11, 12, 13], 1, Mode::Train)) > 0.0);
        assert_eq!(max_difference(&x, &run(&[10, 11, 12, 13], 0, Mode::Eval)), 0.0);
    }
}
