//! The affine map of fully connected layers.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use transplant_core::{deposit, wants_gradient};

use crate::host::{Element, by_dtype, dtype, is_fast, own, read, read2, slice, zeros};
use crate::matmul::{Mat, Threads::Pool, matmul};

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
    let op = Linear { rows: x.elem_count() / inputs.max(1), inputs, outputs };
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        None => x.apply_op2(&weight, op),
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op),
    }
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let y = x.reshape(((), inputs))?.matmul(&weight.t()?)?;
    let y = bias.map_or_else(|| Ok(y.clone()), |b| y.broadcast_add(b))?;
    y.reshape(outer(x.dims(), outputs))
}

fn outer(dims: &[usize], last: usize) -> Vec<usize> {
    dims[..dims.len() - 1].iter().copied().chain([last]).collect()
}

#[derive(Clone, Copy)]
struct Linear {
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    fn forward<T: Element>(&self, x: &[T], w: &[T], b: Option<&[T]>) -> Result<Vec<T>> {
        let mut y = match b {
            None => zeros(self.rows * self.outputs),
            Some(b) => b.repeat(self.rows),
        };
        let (x, w) = (Mat::new(x, self.rows, self.inputs), Mat::new(w, self.outputs, self.inputs));
        matmul(&mut y, self.outputs, b.is_some(), x, w.t(), Pool)?;
        Ok(y)
    }

    fn input_gradient(&self, x: &Tensor, w: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        if !wants_gradient(x) {
            return Ok(None);
        }
        by_dtype!(g.dtype(), T => {
            let mut dx = zeros::<T>(x.elem_count());
            read2::<T, _>(g, w, |g, w| {
                let (g, w) = (Mat::new(g, self.rows, self.outputs), Mat::new(w, self.outputs, self.inputs));
                matmul(&mut dx, self.inputs, false, g, w, Pool)
            })??;
            Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
        })
    }

    fn weight_gradient(&self, x: &Tensor, w: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        deposit(w, || {
            by_dtype!(g.dtype(), T => {
                let mut dw = zeros::<T>(w.elem_count());
                read2::<T, _>(g, x, |g, x| {
                    let (g, x) = (Mat::new(g, self.rows, self.outputs), Mat::new(x, self.rows, self.inputs));
                    matmul(&mut dw, self.inputs, false, g.t(), x, Pool)
                })??;
                Tensor::from_vec(dw, w.shape(), w.device())
            })
        })
    }

    fn bias_gradient(&self, b: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        deposit(b, || {
            by_dtype!(g.dtype(), T => {
                let mut sum = zeros::<T>(self.outputs);
                read::<T, _>(g, |g| {
                    for row in g.chunks_exact(self.outputs.max(1)) {
                        sum.iter_mut().zip(row).for_each(|(s, v)| *s += *v);
                    }
                })?;
                Tensor::from_vec(sum, b.shape(), b.device())
            })
        })
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(dtype(x), T => {
            let y = self.forward::<T>(slice(x, xl)?, slice(w, wl)?, None)?;
            Ok((own(y), outer(xl.dims(), self.outputs).into()))
        })
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.input_gradient(x, w, g)?, self.weight_gradient(x, w, g)?))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(dtype(x), T => {
            let y = self.forward::<T>(slice(x, xl)?, slice(w, wl)?, Some(slice(b, bl)?))?;
            Ok((own(y), outer(xl.dims(), self.outputs).into()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok((self.input_gradient(x, w, g)?, self.weight_gradient(x, w, g)?, self.bias_gradient(b, g)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, single};

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
