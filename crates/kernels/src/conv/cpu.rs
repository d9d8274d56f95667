//! The convolution on the CPU, over images with channels innermost: `[n, h, w, c]`.
//!
//! Positions that meet the same taps form the rows of one product, read where they stand. Where a tap reads very few
//! channels (colour images), the inputs of each position are gathered first.

use std::ops::Range;

use super::geometry::Dims;
use super::walk::{self, Class, Plane};
use super::{depthwise, patches};
use crate::buffer::{Shared, written};
use crate::compiled::compiled_here;
use crate::element::{Element, zeros};
use crate::parallel;
use crate::precision::Precision;
use crate::product::{Finish, Outer, Packed, Panel, Part, Rows, Run, Shift, outer, outer_by_tap, pack, parts, rows};

compiled_here! {
    /// Convolutions of images with channels innermost.
    pub trait Convolutions {
        /// `[n, oh, ow, o]` from `x [n, h, w, c]` and `weight [o, c / groups, kh, kw]`, and what follows.
        fn conv2d(d: &Dims, x: &[Self], weight: &[Self], finish: Finish<'_, Self>) -> Vec<Self> = forward;
        /// `[n, h, w, c]` from the weight and the gradient `g [n, oh, ow, o]` of the output, and what follows.
        fn conv2d_input_gradient(d: &Dims, weight: &[Self], g: &[Self], finish: Finish<'_, Self>) -> Vec<Self> =
            input_gradient;
        /// `[o, c / groups, kh, kw]` from the input and the gradient of the output.
        fn conv2d_weight_gradient(d: &Dims, x: &[Self], g: &[Self]) -> Vec<Self> = weight_gradient;
    }
}

/// Rows that a task works on, at most.
const TASK_ROWS: usize = 192;

/// What a call computes: rows of positions, from one plane into another.
pub(super) struct Walk {
    pub(super) from: Plane,
    pub(super) to: Plane,
    pub(super) classes: Vec<Class>,
    /// The taps that some position meets, in order.
    used: Vec<usize>,
}

impl Walk {
    fn new(from: Plane, to: Plane, classes: Vec<Class>) -> Self {
        let mut used: Vec<usize> = classes.iter().flat_map(|c| c.taps.iter().map(|t| t.0)).collect();
        used.sort_unstable();
        used.dedup();
        Self { from, to, classes, used }
    }

    pub(super) fn forward(d: &Dims) -> Self {
        Self::new(input(d), output(d), walk::outputs(d))
    }

    pub(super) fn backward(d: &Dims) -> Self {
        Self::new(output(d), input(d), walk::inputs(d))
    }

    /// The terms of a class: `width` channels from channel `first` of each tap's source.
    fn runs(&self, class: &Class, first: usize, width: usize) -> Vec<Run> {
        let slot = |tap: usize| self.used.binary_search(&tap).unwrap_or(0);
        let channels = self.from.channels as isize;
        let run = |(tap, delta): &(usize, isize)| Run {
            delta: delta * channels + first as isize,
            k: slot(*tap) * width,
            len: width,
        };
        class.taps.iter().map(run).collect()
    }

    /// Classes and parts of their positions, of at most `most` each.
    pub(super) fn parts(&self, images: usize, most: usize) -> Vec<(&Class, Range<usize>)> {
        self.classes.iter().flat_map(|c| parts(c.len(images), most).map(move |r| (c, r))).collect()
    }
}

pub(super) fn input(d: &Dims) -> Plane {
    Plane { height: d.h, width: d.w, channels: d.c }
}

pub(super) fn output(d: &Dims) -> Plane {
    Plane { height: d.oh, width: d.ow, channels: d.o }
}

/// Part of a finish that belongs to some columns.
pub(super) fn columns<'a, T>(f: Finish<'a, T>, of: &Range<usize>) -> Finish<'a, T> {
    let cut = |v: Option<&'a [T]>| v.map(|v| &v[of.clone()]);
    Finish { scale: cut(f.scale), shift: cut(f.shift), ..f }
}

/// Does all tasks, on all threads or on this one.
pub(super) fn each<I: Sync>(tasks: &[I], spread: bool, f: impl Fn(&I) + Sync) {
    if spread { parallel::for_each(tasks.len(), &|i| f(&tasks[i])) } else { tasks.iter().for_each(f) }
}

/// Computes all positions of a walk: `columns` channels written from channel `first_out`, from the channels that `runs` read.
fn product<T: Element>(
    (walk, images, spread): (&Walk, usize, bool),
    x: &[T],
    w: &Packed<T>,
    (first, width): (usize, usize),
    first_out: usize,
    finish: Finish<'_, T>,
    y: Shared<T>,
) {
    let parts = walk.parts(images, TASK_ROWS);
    // With few positions the columns are divided, too. How tasks are cut changes no bit.
    let panels = w.panels.len();
    let split = if spread && parts.len() < 4 * parallel::threads() { panels } else { 1 };
    let tasks: Vec<_> = (0..split).flat_map(|s| parts.iter().map(move |p| (p, s))).collect();
    each(&tasks, spread, |((class, range), s)| {
        let (starts, mut outs) = class.places(range.clone(), walk.from, walk.to);
        outs.iter_mut().for_each(|o| *o += first_out);
        let runs = walk.runs(class, first, width);
        let panels = if split == 1 { 0..panels } else { *s..s + 1 };
        let job = Rows { x, starts: &starts, outs: &outs, runs: &runs, w, panels, add: false, finish };
        // SAFETY: each position belongs to one class and one part, and each column to one panel, so no other task writes
        // where this one does; `y` outlives the loop.
        unsafe { rows(&job, y.ptr(), y.len()) }
    });
}

/// A convolution whose weights are packed.
pub(super) struct Ready<T> {
    d: Dims,
    weights: Weights<T>,
}

/// The weights, one matrix for each group where there are matrices.
enum Weights<T> {
    Depthwise(Walk, Vec<T>),
    Gathered(Vec<Packed<T>>),
    InPlace(Walk, Vec<Packed<T>>),
}

impl<T: Element> Ready<T> {
    /// From `weight [o, c / groups, kh, kw]`.
    pub(super) fn new(d: &Dims, weight: &[T]) -> Self {
        let groups = 0..d.at.groups;
        let weights = if d.is_depthwise() {
            Weights::Depthwise(Walk::forward(d), depthwise::by_tap(d, weight))
        } else if patches::suit(d) {
            let weight = d.precision.rounded(weight);
            Weights::Gathered(groups.map(|g| patches::packed(d, g, &weight)).collect())
        } else {
            let (weight, walk) = (d.precision.rounded(weight), Walk::forward(d));
            let packed = groups.map(|g| by_outputs(d, &walk.used, &weight[g * d.og() * d.cg() * d.taps()..])).collect();
            Weights::InPlace(walk, packed)
        };
        Self { d: *d, weights }
    }

    /// Writes all of `y [images, oh, ow, o]` from `x [images, h, w, c]`, on all threads or on this one. The residual of `finish`
    /// is laid out as `y`.
    pub(super) fn run(&self, (images, spread): (usize, bool), x: &[T], finish: Finish<'_, T>, y: Shared<T>) {
        let d = &Dims { n: images, ..self.d };
        match &self.weights {
            Weights::Depthwise(walk, w) => depthwise::over((walk, images, spread), x, w, finish, y),
            Weights::Gathered(w) => patches::forward((d, spread), &d.precision.rounded(x), w, finish, y),
            Weights::InPlace(walk, w) => {
                let x = d.precision.rounded(x);
                for (g, w) in w.iter().enumerate() {
                    let channels = g * d.og()..(g + 1) * d.og();
                    let finish = columns(finish, &channels);
                    product((walk, images, spread), &x, w, (g * d.cg(), d.cg()), channels.start, finish, y);
                }
            }
        }
    }
}

/// `[n, oh, ow, o]` from `x [n, h, w, c]` and `weight [o, c / groups, kh, kw]`.
fn forward<T: Element>(d: &Dims, x: &[T], weight: &[T], finish: Finish<'_, T>) -> Vec<T> {
    let all = |y: Shared<T>| {
        Ready::new(d, weight).run((d.n, true), x, finish, y);
        Ok::<(), std::convert::Infallible>(())
    };
    // SAFETY: every output position belongs to one class, and every channel to one group, so all elements are written.
    unsafe { written(d.n * d.oh * d.ow * d.o, all) }.unwrap_or_default()
}

/// Weights of a group for the forward pass: rows are (tap, input channel), columns are output channels.
fn by_outputs<T: Element>(d: &Dims, used: &[usize], weight: &[T]) -> Packed<T> {
    let (cg, taps) = (d.cg(), d.taps());
    pack((used.len() * cg, cg), d.og(), d.precision, &|p, width, part| {
        for o in 0..p.columns {
            let of = &weight[(p.column + o) * cg * taps..][..cg * taps];
            for (slot, tap) in used.iter().enumerate() {
                let to = part[slot * cg * width..].iter_mut().skip(o).step_by(width);
                of.iter().skip(*tap).step_by(taps).zip(to).for_each(|(w, to)| *to = *w);
            }
        }
    })
}

/// Weights of a group for the input gradient: rows are (tap, output channel), columns are input channels.
fn by_inputs<T: Element>(d: &Dims, used: &[usize], weight: &[T]) -> Packed<T> {
    let (cg, og, taps) = (d.cg(), d.og(), d.taps());
    pack((used.len() * og, og), cg, d.precision, &|p, width, part| {
        for o in 0..og {
            let of = &weight[(o * cg + p.column) * taps..][..p.columns * taps];
            for (slot, tap) in used.iter().enumerate() {
                let to = &mut part[(slot * og + o) * width..][..p.columns];
                of.iter().skip(*tap).step_by(taps).zip(to).for_each(|(w, to)| *to = *w);
            }
        }
    })
}

/// `[n, h, w, c]` from the gradient `g [n, oh, ow, o]` of the output.
fn input_gradient<T: Element>(d: &Dims, weight: &[T], g: &[T], finish: Finish<'_, T>) -> Vec<T> {
    let all = |dx: Shared<T>| {
        let walk = Walk::backward(d);
        if d.is_depthwise() {
            depthwise::over((&walk, d.n, true), g, &depthwise::by_tap(d, weight), finish, dx);
            return Ok(());
        }
        let (weight, g) = (&*d.precision.rounded(weight), &*d.precision.rounded(g));
        for group in 0..d.at.groups {
            let w = by_inputs(d, &walk.used, &weight[group * d.og() * d.cg() * d.taps()..]);
            let finish = columns(finish, &(group * d.cg()..(group + 1) * d.cg()));
            product((&walk, d.n, true), g, &w, (group * d.og(), d.og()), group * d.cg(), finish, dx);
        }
        Ok::<(), std::convert::Infallible>(())
    };
    // SAFETY: every input position belongs to one class (of no taps, where nothing reads it), every channel to one group.
    unsafe { written(d.n * d.h * d.w * d.c, all) }.unwrap_or_default()
}

/// Output channels that a task of the weight gradient works on, at least and at most.
const TASK_OUTPUTS: [usize; 2] = [24, 192];
/// Positions whose places are found at a time.
const POSITIONS: usize = 384;

/// `[o, c / groups, kh, kw]` from the input and the gradient of the output.
fn weight_gradient<T: Element>(d: &Dims, x: &[T], g: &[T]) -> Vec<T> {
    if d.is_depthwise() {
        return depthwise::weight_gradient(d, x, g);
    }
    let (x, g) = (&*d.precision.rounded(x), &*d.precision.rounded(g));
    if patches::suit(d) {
        return patches::weight_gradient(d, x, g);
    }
    let walk = Walk::forward(d);
    let parts = walk.parts(d.n, POSITIONS);
    let places: Vec<_> =
        parallel::map(parts.len(), &|i| (parts[i].0, parts[i].0.places(parts[i].1.clone(), walk.from, walk.to)));
    let mut dw = zeros(d.o * d.cg() * d.taps());
    if d.precision.takes_tiles::<T>()
        && let (Some(x), Some(g), Some(dw)) = (T::single(x), T::single(g), T::single_mut(&mut dw))
    {
        weight_gradient_by_tiles(d, &walk, &places, x, g, dw);
    } else {
        weight_gradient_by_vectors(d, &walk, &places, x, g, &mut dw);
    }
    dw
}

/// [`weight_gradient`] on vectors.
fn weight_gradient_by_vectors<T: Element>(
    d: &Dims,
    walk: &Walk,
    places: &[Places<'_>],
    x: &[T],
    g: &[T],
    dw: &mut [T],
) {
    let (cg, og, taps) = (d.cg(), d.og(), d.taps());
    let panels = crate::product::panels::<T>(cg, 1);
    let [least, most] = TASK_OUTPUTS;
    let task = (og / parallel::threads()).next_multiple_of(12).clamp(least, most);
    for (group, dw) in dw.chunks_exact_mut((og * cg * taps).max(1)).enumerate() {
        parallel::chunks_mut(dw, (task * cg * taps).max(1), &|i, dw| {
            let outputs = group * og + i * task..group * og + i * task + dw.len() / (cg * taps);
            let by_tap = weight_block(walk, places, (x, group * cg), (g, outputs), &panels, cg);
            scatter_taps(&walk.used, &by_tap, dw, cg, taps);
        });
    }
}

/// [`weight_gradient`] on the matrix unit.
fn weight_gradient_by_tiles(d: &Dims, walk: &Walk, places: &[Places<'_>], x: &[f32], g: &[f32], dw: &mut [f32]) {
    let (cg, og, taps) = (d.cg(), d.og(), d.taps());
    for (group, dw) in dw.chunks_exact_mut((og * cg * taps).max(1)).enumerate() {
        let outputs = group * og..(group + 1) * og;
        let parts = parallel::map(places.len(), &|i| {
            let (class, (starts, outs)) = &places[i];
            let runs = walk.runs(class, group * cg, cg);
            let shifts = runs.iter().map(|r| (r.k / cg.max(1), r.delta)).collect();
            Part::new((g, outs, outputs.clone()), starts, shifts)
        });
        outer_by_tap(&parts, x, (&walk.used, taps), cg, dw);
    }
}

type Places<'a> = (&'a Class, (Vec<isize>, Vec<usize>));

/// The gradient of some output channels' weights, as `[output, used tap, channel]`.
fn weight_block<T: Element>(
    walk: &Walk,
    places: &[Places<'_>],
    (x, first): (&[T], usize),
    (g, outputs): (&[T], Range<usize>),
    panels: &[Panel],
    cg: usize,
) -> Vec<T> {
    let stride = walk.used.len() * cg;
    let mut out = zeros(outputs.len() * stride);
    for (class, (starts, outs)) in places {
        let runs = walk.runs(class, first, cg);
        let shifts: Vec<Shift> = runs.iter().map(|r| Shift { delta: r.delta, column: r.k }).collect();
        let job = Outer {
            a: g,
            a_starts: outs,
            columns: outputs.clone(),
            b: x,
            b_starts: starts,
            shifts: &shifts,
            panels,
            precision: Precision::F32,
        };
        outer(&job, &mut out, stride);
    }
    out
}

/// From `[output, used tap, channel]` to `[output, channel, tap]`.
fn scatter_taps<T: Element>(used: &[usize], from: &[T], to: &mut [T], cg: usize, taps: usize) {
    for (from, to) in from.chunks_exact((used.len() * cg).max(1)).zip(to.chunks_exact_mut((cg * taps).max(1))) {
        for (tap, from) in used.iter().zip(from.chunks_exact(cg.max(1))) {
            from.iter().zip(to.iter_mut().skip(*tap).step_by(taps)).for_each(|(f, t)| *t = *f);
        }
    }
}
