//! The affine map of fully connected layers.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;
use transplant_core::{Differentiable, Link, Memory, record};

use crate::Precision;
use crate::buffer::{Shared, written};
use crate::host::{Element, by_dtype, is_fast, own, read, read2, tensor, zeros};
use crate::product::{Finish, Outer, Packed, Rows, Run, outer, pack, panels, parts, rows};
use crate::simd::lanes;

/// Rows that a task works on, at most.
const TASK_ROWS: usize = 96;
/// Outputs whose weight gradient a task computes, at least.
const TASK_OUTPUTS: usize = 24;

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
    let op = Linear { rows: x.elem_count() / inputs.max(1), inputs, outputs, precision: Precision::current() };
    let y = by_dtype!(x.dtype(), T => {
        let bias = bias.map(|b| read::<T, _>(b, <[T]>::to_vec)).transpose()?;
        let finish = Finish { shift: bias.as_deref(), ..Finish::default() };
        own(read2::<T, _>(x, weight, |x, w| op.forward(x, w, finish))?)
    });
    let operands: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
    record(op, &operands, y, outer_dims(x.dims(), outputs), Memory::Plain)
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let precision = Precision::current();
    let y = precision.cast(&x.reshape(((), inputs))?)?.matmul(&precision.cast(weight)?.t()?)?.to_dtype(x.dtype())?;
    let y = bias.map_or_else(|| Ok(y.clone()), |b| y.broadcast_add(b))?;
    y.reshape(outer_dims(x.dims(), outputs))
}

fn outer_dims(dims: &[usize], last: usize) -> Vec<usize> {
    dims[..dims.len() - 1].iter().copied().chain([last]).collect()
}

/// `x [count, k]` times a packed matrix of `columns` columns: `[count, columns]`.
#[allow(unsafe_code, reason = "the output is written once, by tasks with rows of their own")]
pub(crate) fn product<T: Element>(
    x: &[T],
    count: usize,
    w: &Packed<T>,
    columns: usize,
    finish: Finish<'_, T>,
) -> Vec<T> {
    let all = |y: Shared<T>| {
        let ranges = parts(count, TASK_ROWS);
        let split = if ranges.len() < 4 * rayon::current_num_threads() { w.panels.len() } else { 1 };
        let tasks: Vec<_> = ranges.flat_map(|p| (0..split).map(move |s| (p.clone(), s))).collect();
        tasks.into_par_iter().for_each(|(range, s)| {
            let starts: Vec<isize> = range.clone().map(|r| (r * w.k) as isize).collect();
            let outs: Vec<usize> = range.map(|r| r * columns).collect();
            let panels = if split == 1 { 0..w.panels.len() } else { s..s + 1 };
            let runs = [Run { delta: 0, k: 0, len: w.k }];
            let job = Rows { x, starts: &starts, outs: &outs, runs: &runs, w, panels, add: false, finish };
            // SAFETY: each row belongs to one part, and each column to one panel, so no other task writes there.
            unsafe { rows(&job, y.ptr(), y.len()) }
        });
        Ok::<(), std::convert::Infallible>(())
    };
    // SAFETY: every row belongs to a part and every column to a panel, so all elements are written.
    unsafe { written(count * columns, all) }.unwrap_or_default()
}

#[derive(Clone, Copy)]
struct Linear {
    rows: usize,
    inputs: usize,
    outputs: usize,
    precision: Precision,
}

impl Linear {
    fn forward<T: Element>(&self, x: &[T], w: &[T], finish: Finish<'_, T>) -> Vec<T> {
        let (x, w) = (self.precision.rounded(x), self.precision.rounded(w));
        let packed = pack((self.inputs, self.inputs), self.outputs, self.precision, |p, width, part| {
            for o in 0..p.columns {
                let of = &w[(p.column + o) * self.inputs..][..self.inputs];
                of.iter().zip(part[o..].iter_mut().step_by(width)).for_each(|(w, to)| *to = *w);
            }
        });
        product(&x, self.rows, &packed, self.outputs, finish)
    }

    fn input_gradient<T: Element>(&self, w: &[T], g: &[T]) -> Vec<T> {
        let (w, g) = (self.precision.rounded(w), self.precision.rounded(g));
        let packed = pack((self.outputs, self.outputs), self.inputs, self.precision, |p, width, part| {
            for (of, to) in w.chunks_exact(self.inputs.max(1)).zip(part.chunks_exact_mut(width)) {
                to[..p.columns].copy_from_slice(&of[p.column..p.column + p.columns]);
            }
        });
        product(&g, self.rows, &packed, self.inputs, Finish::default())
    }

    fn weight_gradient<T: Element>(&self, x: &[T], g: &[T]) -> Vec<T> {
        let (x, g) = (&*self.precision.rounded(x), &*self.precision.rounded(g));
        let a_starts: Vec<usize> = (0..self.rows).map(|r| r * self.outputs).collect();
        let b_starts: Vec<isize> = (0..self.rows).map(|r| (r * self.inputs) as isize).collect();
        let mut dw = zeros(self.outputs * self.inputs);
        let panels = panels(self.inputs, 1, lanes::<T>());
        // Each task reads all of `x`: few tasks, but one for every thread.
        let share = self.outputs / rayon::current_num_threads();
        let task = share.next_multiple_of(TASK_OUTPUTS).clamp(TASK_OUTPUTS, 4 * TASK_OUTPUTS);
        dw.par_chunks_mut((task * self.inputs).max(1)).enumerate().for_each(|(i, dw)| {
            let columns = i * task..i * task + dw.len() / self.inputs;
            let (a_starts, b_starts) = (&a_starts[..], &b_starts[..]);
            let job =
                Outer { a: g, a_starts, columns, b: x, b_starts, delta: 0, panels: &panels, precision: self.precision };
            outer(&job, dw, self.inputs);
        });
        dw
    }
}

impl Differentiable for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (x, w, g) = (link.input(0)?, link.input(1)?, link.grad);
        by_dtype!(g.dtype(), T => {
            let dx = link.when_wanted(0, || {
                tensor(read2::<T, _>(w, g, |w, g| self.input_gradient(w, g))?, x.shape(), Memory::Plain)
            })?;
            let dw = link.when_wanted(1, || {
                tensor(read2::<T, _>(x, g, |x, g| self.weight_gradient(x, g))?, w.shape(), Memory::Plain)
            })?;
            let db = link.when_wanted(2, || {
                let db = read::<T, _>(g, |g| crate::reduce::column_sums(g, self.outputs))?;
                tensor(db, self.outputs, Memory::Plain)
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
