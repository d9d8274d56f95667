//! The affine map of fully connected layers: products of a matrix of rows with packed weights.

use crate::buffer::{Shared, written};
use crate::compiled::compiled_here;
use crate::element::{Element, zeros};
use crate::parallel;
use crate::precision::Precision;
use crate::product::{Finish, Outer, Packed, Rows, Run, Shift, outer, pack, panels, parts, rows};

/// Rows that a task works on, at most.
const TASK_ROWS: usize = 96;
/// Outputs whose weight gradient a task computes, at least and at most.
const TASK_OUTPUTS: [usize; 2] = [24, 192];

/// `x [count, k]` times a packed matrix of `columns` columns: `[count, columns]`.
fn product<T: Element>(x: &[T], count: usize, w: &Packed<T>, columns: usize, finish: Finish<'_, T>) -> Vec<T> {
    let all = |y: Shared<T>| {
        let ranges = parts(count, TASK_ROWS);
        let split = if ranges.len() < 4 * parallel::threads() { w.panels.len() } else { 1 };
        let tasks: Vec<_> = ranges.flat_map(|p| (0..split).map(move |s| (p.clone(), s))).collect();
        parallel::for_each(tasks.len(), &|i| {
            let (range, s) = tasks[i].clone();
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

/// Sizes of a fully connected layer.
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    /// Rows of the input.
    pub rows: usize,
    /// Numbers in a row of the input.
    pub inputs: usize,
    /// Numbers in a row of the output.
    pub outputs: usize,
    /// What operands are rounded to.
    pub precision: Precision,
}

compiled_here! {
    /// Products of rows with weights.
    pub trait Linears {
        /// `[rows, outputs]` from `x [rows, inputs]` and `w [outputs, inputs]`, and what follows.
        fn linear(d: &Linear, x: &[Self], w: &[Self], finish: Finish<'_, Self>) -> Vec<Self> = Linear::forward;
        /// `[rows, inputs]` from `w [outputs, inputs]` and the gradient `g [rows, outputs]` of the output.
        fn linear_input_gradient(d: &Linear, w: &[Self], g: &[Self]) -> Vec<Self> = Linear::input_gradient;
        /// `[outputs, inputs]` from `x [rows, inputs]` and the gradient `g [rows, outputs]` of the output.
        fn linear_weight_gradient(d: &Linear, x: &[Self], g: &[Self]) -> Vec<Self> = Linear::weight_gradient;
    }
}

impl Linear {
    fn forward<T: Element>(&self, x: &[T], w: &[T], finish: Finish<'_, T>) -> Vec<T> {
        let (x, w) = (self.precision.rounded(x), self.precision.rounded(w));
        let packed = pack((self.inputs, self.inputs), self.outputs, self.precision, &|p, width, part| {
            for o in 0..p.columns {
                let of = &w[(p.column + o) * self.inputs..][..self.inputs];
                of.iter().zip(part[o..].iter_mut().step_by(width)).for_each(|(w, to)| *to = *w);
            }
        });
        product(&x, self.rows, &packed, self.outputs, finish)
    }

    fn input_gradient<T: Element>(&self, w: &[T], g: &[T]) -> Vec<T> {
        let (w, g) = (self.precision.rounded(w), self.precision.rounded(g));
        let packed = pack((self.outputs, self.outputs), self.inputs, self.precision, &|p, width, part| {
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
        let panels = panels::<T>(self.inputs, 1);
        // Each task reads all of `x`: few tasks, but one for every thread.
        let share = self.outputs / parallel::threads();
        let [least, most] = TASK_OUTPUTS;
        let task = share.next_multiple_of(least).clamp(least, most);
        parallel::chunks_mut(&mut dw, (task * self.inputs).max(1), &|i, dw| {
            let columns = i * task..i * task + dw.len() / self.inputs;
            let (a_starts, b_starts) = (&a_starts[..], &b_starts[..]);
            let job = Outer {
                a: g,
                a_starts,
                columns,
                b: x,
                b_starts,
                shifts: &[Shift { delta: 0, column: 0 }],
                panels: &panels,
                precision: self.precision,
            };
            outer(&job, dw, self.inputs);
        });
        dw
    }
}
