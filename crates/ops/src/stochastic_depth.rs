//! Stochastic depth: whole rows of a residual branch are dropped, so that each example passes a network of random
//! depth.
//!
//! Huang et al. 2016, *Deep Networks with Stochastic Depth*; what is kept is divided by the probability of being kept.

use candle_core::{Result, Tensor};
use rand::Rng;
use transplant_core::{Ctx, Differentiable, Link, Memory, Mode, record};
use transplant_kernels::element::Element;

use crate::dropout::{check, row_streams};
use crate::host::{by_dtype, dense, is_fast, own, read, tensor};
use crate::softmax::map_rows;

/// Sets each row of `x [rows, ..]` to zero with probability `p` in `0..1` and divides the others by `1 - p`; nothing
/// while evaluating. The draw of a row depends on `layer`, the step, the stream and the global row alone. Where `x` has
/// not the rows of the batch, positions take the place of rows.
///
/// # Errors
/// When `p` is out of range or `x` is a scalar.
pub fn stochastic_depth(x: &Tensor, p: f64, layer: &str, cx: &Ctx) -> Result<Tensor> {
    check("stochastic_depth", p)?;
    let count = x.dim(0)?;
    if cx.mode == Mode::Eval || p == 0.0 || x.elem_count() == 0 {
        return Ok(x.clone());
    }
    let stream = row_streams("stochastic_depth", layer, count, cx);
    let dropped = |i: usize| stream(i).random::<f64>() < p;
    let op = Factors((0..count).map(|i| if dropped(i) { 0.0 } else { 1.0 / (1.0 - p) }).collect());
    if !is_fast(x) {
        return op.composed(x);
    }
    let memory = Memory::of(x)?;
    let y = by_dtype!(x.dtype(), T => own(read::<T, _>(&dense(x, memory)?, |x| op.times(x))?));
    record(op, &[x], y, x.shape(), memory)
}

/// The product of each row with a constant of its own.
struct Factors(Vec<f64>);

impl Factors {
    fn times<T: Element>(&self, x: &[T]) -> Vec<T> {
        let width = x.len() / self.0.len();
        map_rows(
            x.len(),
            width,
            #[inline(always)]
            |y: &mut [T], from| {
                let factor = T::from_f64(self.0[from / width]);
                // A dropped row stays zero, also where its input is infinite.
                if factor != T::default() {
                    y.iter_mut().zip(&x[from..from + width]).for_each(|(y, x)| *y = *x * factor);
                }
            },
        )
    }

    /// The same from candle's operations, for devices other than the CPU.
    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let mut shape = vec![1; x.rank()];
        shape[0] = self.0.len();
        x.broadcast_mul(&Tensor::from_vec(self.0.clone(), shape, x.device())?.to_dtype(x.dtype())?)
    }
}

impl Differentiable for Factors {
    fn name(&self) -> &'static str {
        "stochastic_depth"
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let memory = Memory::of(link.grad)?;
        by_dtype!(link.grad.dtype(), T => {
            let dx = read::<T, _>(&dense(link.grad, memory)?, |g| self.times(g))?;
            Ok(vec![Some(tensor(dx, link.grad.shape(), memory)?)])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, values};
    use transplant_core::Seeds;

    fn cx(rows: &[u64], step: u64, mode: Mode) -> Ctx {
        Ctx::new(mode, "source", step, rows, Seeds::new(3))
    }

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        let cx = cx(&[0, 1, 2, 3, 4], 1, Mode::Train);
        let x = [random(1, &[5, 2, 3, 2])];
        gradcheck(|t| stochastic_depth(&t[0], 0.4, "block", &cx), &x);
        gradcheck(|t| stochastic_depth(&t[0].permute((0, 3, 1, 2))?, 0.4, "block", &cx), &x);
        let op = Factors(vec![0.0, 2.0, 2.0, 0.0, 2.0]);
        gradcheck(|t| op.composed(&t[0]), &x);
        let want = tensor(op.times(&values(&x[0])), x[0].shape(), Memory::Plain).unwrap();
        assert_eq!(max_difference(&op.composed(&x[0]).unwrap(), &want), 0.0);
        same_bits_on_any_pool(|t| stochastic_depth(&t[0], 0.4, "block", &cx), &[random(2, &[50, 3, 70])]);
    }

    #[test]
    fn whole_rows_are_dropped_by_their_own_draw_and_the_mean_is_kept() {
        let rows: Vec<u64> = (100..5100).collect();
        let x = Tensor::ones((5000, 2), candle_core::DType::F64, &candle_core::Device::Cpu).unwrap();
        let run = |rows: &[u64], step: u64, mode: Mode| {
            let x = x.narrow(0, 0, rows.len()).unwrap();
            values(&stochastic_depth(&x, 0.5, "block", &cx(rows, step, mode)).unwrap())
        };
        let all = run(&rows, 0, Mode::Train);
        assert!(all.chunks_exact(2).all(|r| r[0] == r[1] && (r[0] == 0.0 || r[0] == 2.0)));
        assert!((all.iter().sum::<f64>() / 1e4 - 1.0).abs() < 0.05);
        let some = run(&[103, 101], 0, Mode::Train);
        assert_eq!([some[0], some[2]], [all[6], all[2]]);
        assert!(all != run(&rows, 1, Mode::Train));
        assert_eq!(values(&x), run(&rows, 0, Mode::Eval));
        assert!(stochastic_depth(&x, 1.0, "block", &cx(&rows, 0, Mode::Train)).is_err());
    }
}
