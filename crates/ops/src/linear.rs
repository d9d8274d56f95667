//! The affine map of fully connected layers.

use candle_core::{Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::linear::{Linear, Linears};
use transplant_kernels::product::Finish;
use transplant_kernels::reduce::ColumnSums;

use crate::Precision;
use crate::host::{by_dtype, cast, is_fast, own, read, read2, tensor};

/// `x [.., inputs]` times the transpose of `weight [outputs, inputs]`, plus `bias [outputs]`: `[.., outputs]`.
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    if x.dims().last() != Some(&inputs) {
        bail!("linear: weight {:?} does not fit the input {:?}", weight.dims(), x.dims())
    }
    if let Some(bias) = bias.filter(|b| b.dims() != [outputs]) {
        bail!("linear: expected a bias of shape [{outputs}], got {:?}", bias.dims())
    }
    if !is_fast(x) {
        return composed(x, weight, bias);
    }
    let op = Affine(Linear { rows: x.elem_count() / inputs.max(1), inputs, outputs, precision: Precision::current() });
    let y = by_dtype!(x.dtype(), T => {
        let bias = bias.map(|b| read::<T, _>(b, <[T]>::to_vec)).transpose()?;
        let finish = Finish { shift: bias.as_deref(), ..Finish::default() };
        own(read2::<T, _>(x, weight, |x, w| T::linear(&op.0, x, w, finish))?)
    });
    let operands: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
    record(op, &operands, y, outer_dims(x.dims(), outputs), Memory::Plain)
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let precision = Precision::current();
    let y = cast(precision, &x.reshape(((), inputs))?)?.matmul(&cast(precision, weight)?.t()?)?.to_dtype(x.dtype())?;
    let y = bias.map_or_else(|| Ok(y.clone()), |b| y.broadcast_add(b))?;
    y.reshape(outer_dims(x.dims(), outputs))
}

fn outer_dims(dims: &[usize], last: usize) -> Vec<usize> {
    dims[..dims.len() - 1].iter().copied().chain([last]).collect()
}

struct Affine(Linear);

impl Differentiable for Affine {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (x, w, g) = (link.input(0)?, link.input(1)?, link.grad);
        by_dtype!(g.dtype(), T => {
            let dx = link.when_wanted(0, || {
                tensor(read2::<T, _>(w, g, |w, g| T::linear_input_gradient(&self.0, w, g))?, x.shape(), Memory::Plain)
            })?;
            let dw = link.when_wanted(1, || {
                tensor(read2::<T, _>(x, g, |x, g| T::linear_weight_gradient(&self.0, x, g))?, w.shape(), Memory::Plain)
            })?;
            let db = link.when_wanted(2, || {
                let db = read::<T, _>(g, |g| T::column_sums(g, self.0.outputs))?;
                tensor(db, self.0.outputs, Memory::Plain)
            })?;
            Ok(vec![dx, dw, db])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, gradients, max_difference, random, same_bits_on_any_pool, single};

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        for shape in [&[5, 3][..], &[1, 3], &[2, 4, 3], &[3]] {
            let t = [random(1, shape), random(2, &[4, 3]), random(3, &[4])];
            gradcheck(|t| linear(&t[0], &t[1], Some(&t[2])), &t);
            gradcheck(|t| linear(&t[0], &t[1], None), &t[..2]);
            gradcheck(|t| composed(&t[0], &t[1], Some(&t[2])), &t);
            let y = linear(&t[0], &t[1], Some(&t[2])).unwrap();
            assert!(max_difference(&y, &composed(&t[0], &t[1], Some(&t[2])).unwrap()) < 1e-14);
        }
        gradcheck(|t| linear(&t[0].t()?, &t[1].t()?, None), &[random(1, &[3, 5]), random(2, &[3, 4])]);
    }

    #[test]
    fn the_composed_form_rounds_its_operands_too() {
        let t = [random(1, &[5, 3]), random(2, &[4, 3]), random(3, &[4])].map(|t| single(&t));
        let _bf16 = Precision::Bf16.enter();
        let f = |t: &[Tensor]| composed(&t[0], &t[1], Some(&t[2]));
        let fast = |t: &[Tensor]| linear(&t[0], &t[1], Some(&t[2]));
        // Here the product itself is rounded, too.
        assert!(max_difference(&f(&t).unwrap(), &fast(&t).unwrap()) < 0.02);
        for (a, b) in gradients(f, &t).iter().zip(gradients(fast, &t)) {
            assert!(max_difference(a, &b) < 0.02);
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_threads() {
        let t = [random(1, &[130, 300]), random(2, &[111, 300]), random(3, &[111])].map(|t| single(&t));
        same_bits_on_any_pool(|t| linear(&t[0], &t[1], Some(&t[2])), &t);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (x, w) = (random(1, &[2, 3]), random(2, &[4, 3]));
        assert!(linear(&x, &random(1, &[4, 2]), None).is_err());
        assert!(linear(&x, &w, Some(&random(1, &[3]))).is_err());
    }
}
