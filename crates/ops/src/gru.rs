//! [`gru`]: gated recurrent units over the steps of rows of different lengths (Cho et al. 2014), with PyTorch's gates.

use candle_core::{DType, Result, Tensor, WithDType};
use transplant_core::{Differentiable, Link, Memory, record};

use crate::{Precision, linear};

/// The state after each step, `[steps, rows, width]`, starting from zeros: from what the inputs bring to the gates r and z and
/// to the candidate, `x [steps, rows, 3 width]`, and from the `weight [3 width, width]` and `bias [3 width]` of the states. A row
/// has `lengths[row]` steps; after them its state stays.
///
/// # Errors
/// When shapes do not fit together.
pub fn gru(x: &Tensor, weight: &Tensor, bias: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    match x.dtype() {
        DType::F32 if x.device().is_cpu() => recurrence::<f32>(x, weight, bias, lengths),
        DType::F64 if x.device().is_cpu() => recurrence::<f64>(x, weight, bias, lengths),
        _ => composed(x, weight, bias, lengths),
    }
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, weight: &Tensor, bias: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let (n, rows, width) = (x.dim(0)?, lengths.len(), weight.dim(1)?);
    let mut h = Tensor::zeros((rows, width), x.dtype(), x.device())?;
    let mut all = Vec::with_capacity(n);
    for t in 0..n {
        let (x, u) = (x.get(t)?, h.matmul(&weight.t()?)?.broadcast_add(bias)?);
        let part = |of: &Tensor, i: usize| of.narrow(1, i * width, width);
        // A sigmoid whose gradient stays finite.
        let gate = |i: usize| ((part(&x, i)? + part(&u, i)?)? * 0.5)?.tanh()?.affine(0.5, 0.5);
        let candidate = (part(&x, 2)? + (gate(0)? * part(&u, 2)?)?)?.tanh()?;
        let goes_on: Vec<f32> = lengths.iter().map(|length| f32::from(u8::from(t < *length))).collect();
        let goes_on = Tensor::from_vec(goes_on, (rows, 1), x.device())?.to_dtype(x.dtype())?;
        let share = gate(1)?.affine(-1.0, 1.0)?.broadcast_mul(&goes_on)?;
        h = (&h + ((candidate - &h)? * share)?)?;
        all.push(h.clone());
    }
    Tensor::stack(&all, 0)
}

/// The same on the CPU, as one operation: cut into steps, each would make a gradient of the size of all.
fn recurrence<T: WithDType>(x: &Tensor, weight: &Tensor, bias: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let (n, rows, width) = (x.dim(0)?, lengths.len(), weight.dim(1)?);
    let (of_words, weights, biases, size) = (numbers::<T>(x)?, weight.detach(), bias.detach(), rows * width);
    let mut h = vec![T::from_f64(0.0); size];
    let (mut all, mut kept) = (Vec::with_capacity(n * size), Vec::with_capacity(n * size));
    for t in 0..n {
        let x = &of_words[3 * t * size..];
        let before = Tensor::from_slice(&h, (rows, width), weight.device())?;
        let u = numbers::<T>(&linear(&before, &weights, Some(&biases))?)?;
        for (j, h) in h.iter_mut().enumerate() {
            let part = |i: usize| (x[place(j, i, width)].to_f64(), u[place(j, i, width)].to_f64());
            let gate = |(x, u): (f64, f64)| 1.0 / (1.0 + (-x - u).exp());
            let (r, (x, u)) = (gate(part(0)), part(2));
            let candidate = (x + r * u).tanh();
            // Wholly closed, the gate keeps the state of a row that has ended, and hands its gradient on.
            let z = if t < lengths[j / width] { gate(part(1)) } else { 1.0 };
            *h = T::from_f64(z * h.to_f64() + (1.0 - z) * candidate);
            kept.push([r, z, candidate, u].map(T::from_f64));
        }
        all.extend_from_slice(&h);
    }
    let op = Recurrence { precision: Precision::current(), kept };
    record(op, &[x, weight, bias], T::to_cpu_storage_owned(all), (n, rows, width), Memory::Plain)
}

struct Recurrence<T> {
    precision: Precision,
    /// For each step, row and unit: both gates, the candidate, and what the first gate lets through to it.
    kept: Vec<[T; 4]>,
}

impl<T: WithDType> Differentiable for Recurrence<T> {
    fn name(&self) -> &'static str {
        "gru"
    }

    fn reads_output(&self) -> bool {
        true
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let _as_before = self.precision.enter();
        let ((n, rows, width), device) = (link.grad.dims3()?, link.grad.device());
        let (size, zero) = (rows * width, T::from_f64(0.0));
        let (states, grads) = (numbers::<T>(link.output()?)?, numbers::<T>(link.grad)?);
        let back = link.input(1)?.detach().t()?.contiguous()?;
        let (mut dx, mut du, mut dh) = (vec![zero; 3 * n * size], vec![zero; 3 * n * size], vec![zero; size]);
        for t in (0..n).rev() {
            let step = 3 * t * size..3 * (t + 1) * size;
            let (dx, du) = (&mut dx[step.clone()], &mut du[step]);
            for (j, dh) in dh.iter_mut().enumerate() {
                let [r, z, candidate, u] = self.kept[t * size + j].map(T::to_f64);
                let before = if t == 0 { 0.0 } else { states[(t - 1) * size + j].to_f64() };
                let g = dh.to_f64() + grads[t * size + j].to_f64();
                let inner = g * (1.0 - z) * (1.0 - candidate * candidate);
                let parts = [inner * u * r * (1.0 - r), g * (before - candidate) * z * (1.0 - z), inner];
                for (i, part) in parts.into_iter().enumerate() {
                    dx[place(j, i, width)] = T::from_f64(part);
                    du[place(j, i, width)] = T::from_f64(if i == 2 { part * r } else { part });
                }
                *dh = T::from_f64(g * z);
            }
            let through = linear(&Tensor::from_slice(&*du, (rows, 3 * width), device)?, &back, None)?;
            dh.iter_mut().zip(numbers::<T>(&through)?).for_each(|(dh, more)| *dh += more);
        }
        let du = Tensor::from_vec(du, (n * rows, 3 * width), device)?;
        let dw = link.when_wanted(1, || {
            let before = [&vec![zero; size][..], &states[..states.len() - size]].concat();
            let before = Tensor::from_vec(before, (n * rows, width), device)?;
            linear(&du.t()?.contiguous()?, &before.t()?.contiguous()?, None)
        })?;
        let db = link.when_wanted(2, || du.sum(0))?;
        Ok(vec![Some(Tensor::from_vec(dx, (n, rows, 3 * width), device)?), dw, db])
    }
}

fn numbers<T: WithDType>(t: &Tensor) -> Result<Vec<T>> {
    t.flatten_all()?.to_vec1()
}

/// Where part `i` of three, of the number `j` of `[rows, width]`, stands in `[rows, 3 width]`.
fn place(j: usize, i: usize, width: usize) -> usize {
    j + (2 * (j / width) + i) * width
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, single};

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        let (t, lengths) = ([random(1, &[4, 3, 6]), random(2, &[6, 2]), random(3, &[6])], [4, 2, 0]);
        let fast = |t: &[Tensor]| gru(&t[0], &t[1], &t[2], &lengths);
        let plain = |t: &[Tensor]| composed(&t[0], &t[1], &t[2], &lengths);
        gradcheck(fast, &t);
        gradcheck(plain, &t);
        assert!(max_difference(&fast(&t).unwrap(), &plain(&t).unwrap()) < 1e-14);
        same_bits_on_any_pool(fast, &t.map(|t| single(&t)));
    }
}
