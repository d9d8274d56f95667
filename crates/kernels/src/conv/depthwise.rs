//! Depthwise convolutions: each channel alone, with channels innermost, so that a vector holds neighbouring channels.

use std::ops::Range;

use super::cpu::{Walk, each};
use super::depthwise_simd;
use super::geometry::Dims;
use super::walk::Class;
use crate::buffer::Shared;
use crate::element::{Element, sum_in_order, zeros};
use crate::parallel;
use crate::product::Finish;
use crate::simd::{Level, level};

/// Positions that a task works on, at most.
const PART: usize = 256;
/// Partial gradients of the weights, at most. Their number does not depend on the threads, so neither do the bits.
const PARTIALS: usize = 16;

/// Positions that meet the same taps, and the taps, by where their inputs stand.
pub(super) struct Places {
    pub(super) starts: Vec<isize>,
    pub(super) outs: Vec<usize>,
    /// Where the weights of a tap begin, and its source from the row's start.
    pub(super) taps: Vec<(usize, isize)>,
    /// From a position's source to that of its neighbour.
    pub(super) step: isize,
    pub(super) channels: usize,
    /// Four, two or one positions, from some number on, that stand side by side.
    pub(super) tiles: Vec<(usize, usize)>,
}

impl Places {
    fn new(class: &Class, range: Range<usize>, walk: &Walk) -> Self {
        let channels = walk.from.channels;
        let (starts, outs) = class.places(range, walk.from, walk.to);
        let mut taps: Vec<(usize, isize)> =
            class.taps.iter().map(|(tap, delta)| (tap * channels, delta * channels as isize)).collect();
        taps.sort_unstable_by_key(|t| t.1);
        let step = class.step() * channels as isize;
        let mut tiles = Vec::with_capacity(starts.len().div_ceil(2));
        let mut at = 0;
        while let left @ [_, ..] = &starts[at..] {
            let together = |n: &usize| left.len() >= *n && left[..*n].windows(2).all(|s| s[1] == s[0] + step);
            tiles.push((at, [4, 2].into_iter().find(together).unwrap_or(1)));
            at += tiles[tiles.len() - 1].1;
        }
        Self { starts, outs, taps, step, channels, tiles }
    }

    /// Taps of which each reads the neighbour of what the one before it reads; 1 where positions do not go on like that.
    pub(super) fn taps_in_a_row(&self) -> usize {
        let one = self.channels as isize;
        let like_that = |k: &usize| {
            self.taps.len().is_multiple_of(*k)
                && self.taps.chunks_exact(*k).all(|row| row.windows(2).all(|t| t[1].1 == t[0].1 + one))
        };
        [5, 3].into_iter().filter(|_| self.step == one).find(like_that).unwrap_or(1)
    }

    /// Panics unless inputs, outputs and weights lie inside buffers of these lengths.
    fn check(&self, x: usize, y: usize, w: usize) {
        let c = self.channels;
        assert_eq!(self.starts.len(), self.outs.len());
        assert!(self.outs.iter().max().is_none_or(|o| o + c <= y), "output");
        if let (Some(first), Some(last)) = (self.starts.iter().min(), self.starts.iter().max()) {
            for (w_start, delta) in &self.taps {
                assert!(first + delta >= 0 && last + delta + c as isize <= x as isize, "input");
                assert!(w_start + c <= w, "weights");
            }
        }
    }
}

/// Weights as `[tap, channel]`.
pub(super) fn by_tap<T: Element>(d: &Dims, weight: &[T]) -> Vec<T> {
    let mut out = zeros(weight.len());
    for (c, of) in weight.chunks_exact(d.taps()).enumerate() {
        of.iter().enumerate().for_each(|(tap, w)| out[tap * d.c + c] = *w);
    }
    out
}

/// Writes all of `y [images, .., c]` from `x [images, .., c]` and weights `[tap, channel]`, on all threads or on this one.
pub(super) fn over<T: Element>(
    (walk, images, spread): (&Walk, usize, bool),
    x: &[T],
    w: &[T],
    finish: Finish<'_, T>,
    y: Shared<T>,
) {
    each(&walk.parts(images, PART), spread, |(class, range)| {
        let at = &Places::new(class, range.clone(), walk);
        at.check(x.len(), y.len(), w.len());
        finish.check(at.channels, y.len());
        // Each position belongs to one class and one part, so no other task writes where this one does.
        match T::single_depthwise(x, w, y, &finish) {
            Some((x, w, y, finish)) if level() != Level::Portable => depthwise_simd::forward(x, w, y, at, finish),
            _ => portable(x, w, y, at, &finish),
        }
    });
}

/// The convolution at some places, in plain loops.
fn portable<T: Element>(x: &[T], w: &[T], y: Shared<T>, at: &Places, finish: &Finish<'_, T>) {
    for (start, out) in at.starts.iter().zip(&at.outs) {
        for c in 0..at.channels {
            let product = |(tap, delta): &(usize, isize)| x[(start + delta) as usize + c] * w[tap + c];
            let sum = at.taps.iter().fold(T::default(), |sum, tap| sum + product(tap));
            // SAFETY: `check` has shown that the channels of each place lie inside `y`; the task owns its positions.
            unsafe { y.ptr().add(out + c).write(finish.scalar(sum, c, out + c)) };
        }
    }
}

/// `[c, 1, kh, kw]`.
pub(super) fn weight_gradient<T: Element>(d: &Dims, x: &[T], g: &[T]) -> Vec<T> {
    let walk = Walk::forward(d);
    let parts = walk.parts(d.n, PART);
    let share = parts.len().div_ceil(PARTIALS).max(1);
    let partials = parallel::map(parts.len().div_ceil(share), &|i| {
        let mut sum = zeros(d.taps() * d.c);
        for (class, range) in &parts[i * share..((i + 1) * share).min(parts.len())] {
            let places = Places::new(class, range.clone(), &walk);
            places.check(x.len(), g.len(), sum.len());
            add_products(x, g, &places, &mut sum);
        }
        sum
    });
    let by_tap = sum_in_order(partials);
    let mut dw = zeros(d.c * d.taps());
    for (tap, from) in by_tap.chunks_exact(d.c).enumerate() {
        from.iter().zip(dw.iter_mut().skip(tap).step_by(d.taps())).for_each(|(f, t)| *t = *f);
    }
    dw
}

/// Adds the products of input and output gradient at some places to `dw [tap, channel]`.
fn add_products<T: Element>(x: &[T], g: &[T], at: &Places, dw: &mut [T]) {
    if level() != Level::Portable
        && let (Some(x), Some(g), Some(dw)) = (T::single(x), T::single(g), T::single_mut(&mut *dw))
    {
        return depthwise_simd::add_products(x, g, at, dw);
    }
    for (start, out) in at.starts.iter().zip(&at.outs) {
        for (tap, delta) in &at.taps {
            let x = &x[(start + delta) as usize..][..at.channels];
            let products = x.iter().zip(&g[*out..][..at.channels]);
            dw[*tap..][..at.channels].iter_mut().zip(products).for_each(|(w, (x, g))| *w += *x * *g);
        }
    }
}
