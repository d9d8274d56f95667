//! Depthwise convolutions: each channel alone, with channels innermost, so that a vector holds neighbouring channels.

#![allow(clippy::needless_range_loop, reason = "indices say which vector is meant, and are unrolled")]

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::cpu::{Walk, each};
use super::geometry::Dims;
use super::walk::Class;
use crate::buffer::Shared;
use crate::host::{Element, sum_in_order, zeros};
use crate::product::Finish;
use crate::simd::Side;

/// Positions that a task works on, at most.
const PART: usize = 256;
/// Partial gradients of the weights, at most. Their number does not depend on the threads, so neither do the bits.
const PARTIALS: usize = 16;

/// Inputs that four positions side by side read by five taps in a row.
const SPAN: usize = 8;

/// Evaluates an expression for blocks of `$channels` channels: `$nv` vectors from channel `$c`.
macro_rules! by_channels {
    ($t:ident, $s:ident, $channels:expr, $nv:ident, $c:ident => $body:expr) => {
        let (channels, lanes) = ($channels, $t::lanes::<$s>());
        let mut $c = 0;
        while $c < channels {
            if channels - $c > lanes {
                const $nv: usize = 2;
                $body;
                $c += 2 * lanes;
            } else {
                const $nv: usize = 1;
                $body;
                $c += lanes;
            }
        }
    };
}

/// Evaluates an expression with `$k` taps in a row: so many inputs side by side are read by one position, and all but one of
/// them by the next.
macro_rules! by_row {
    ($taps:expr, $k:ident => $body:expr) => {
        match $taps {
            5 => {
                const $k: usize = 5;
                $body
            }
            3 => {
                const $k: usize = 3;
                $body
            }
            _ => {
                const $k: usize = 1;
                $body
            }
        }
    };
}

/// Positions that meet the same taps, and the taps, by where their inputs stand.
struct Places {
    starts: Vec<isize>,
    outs: Vec<usize>,
    /// Where the weights of a tap begin, and its source from the row's start.
    taps: Vec<(usize, isize)>,
    /// From a position's source to that of its neighbour.
    step: isize,
    channels: usize,
    /// Four, two or one positions, from some number on, that stand side by side.
    tiles: Vec<(usize, usize)>,
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
    fn taps_in_a_row(&self) -> usize {
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
    each(walk.parts(images, PART), spread, |(class, range)| {
        let at = &Places::new(class, range, walk);
        at.check(x.len(), y.len(), w.len());
        finish.check(at.channels, y.len());
        // Each position belongs to one class and one part, so no other task writes where this one does.
        by_row!(at.taps_in_a_row(), K => pulp::Arch::new().dispatch(Forward::<T, K> { x, w, y, at, finish }));
    });
}

/// Vector number `v` of `count` inputs, at most [`SPAN`], of which each stands `step` after the one before it.
///
/// # Safety
/// The memory of all of them must be readable.
#[allow(unsafe_code, reason = "part of the innermost loops")]
#[inline(always)]
unsafe fn side_by_side<T: Element, S: Simd>(
    s: S,
    side: Side<T, S>,
    v: usize,
    x: *const T,
    step: isize,
    count: usize,
) -> [T::V<S>; SPAN] {
    let mut inputs = [T::splat(s, T::default()); SPAN];
    for j in 0..SPAN {
        if j < count {
            // SAFETY: as the caller promises.
            inputs[j] = unsafe { side.load(v, x.offset(j as isize * step)) };
        }
    }
    inputs
}

/// The convolution at some places, with `K` taps in a row.
struct Forward<'a, T, const K: usize> {
    x: &'a [T],
    w: &'a [T],
    y: Shared<T>,
    at: &'a Places,
    finish: Finish<'a, T>,
}

impl<T: Element, const K: usize> Forward<'_, T, K> {
    /// All channels of `P` positions that stand side by side.
    #[inline(always)]
    fn positions<S: Simd, const P: usize>(&self, s: S, i: usize) {
        by_channels!(T, S, self.at.channels, NV, c => self.channels::<S, P, NV>(s, i, c));
    }

    #[allow(unsafe_code, reason = "the innermost loop")]
    #[inline(always)]
    fn channels<S: Simd, const P: usize, const NV: usize>(&self, s: S, i: usize, c: usize) {
        let (side, finish) = (Side::<T, S>::new(s, NV, self.at.channels - c), &self.finish);
        let mut acc = [[T::splat(s, T::default()); NV]; P];
        // SAFETY: `check` has shown that `channels` elements from each place lie inside their buffers, and `side` touches none
        // beyond the last channel. Input `j` of a row is what tap `k` of position `j - k` reads. The task owns its positions
        // of `y`.
        unsafe {
            for row in self.at.taps.chunks_exact(K) {
                let mut w = [[T::splat(s, T::default()); NV]; K];
                for k in 0..K {
                    for v in 0..NV {
                        w[k][v] = side.load(v, self.w.as_ptr().add(row[k].0 + c));
                    }
                }
                let x = self.x.as_ptr().offset(self.at.starts[i] + row[0].1).add(c);
                for v in 0..NV {
                    let inputs = side_by_side(s, side, v, x, self.at.step, K + P - 1);
                    for k in 0..K {
                        for p in 0..P {
                            acc[p][v] = T::fma(s, inputs[p + k], w[k][v], acc[p][v]);
                        }
                    }
                }
            }
            for p in 0..P {
                let out = self.at.outs[i + p] + c;
                for v in 0..NV {
                    let value = finish.value(s, acc[p][v], finish.columns(side, v, c), finish.residual(side, v, out));
                    side.store(v, self.y.ptr().add(out), value);
                }
            }
        }
    }
}

impl<T: Element, const K: usize> WithSimd for Forward<'_, T, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        for (i, together) in &self.at.tiles {
            match together {
                4 => self.positions::<S, 4>(s, *i),
                2 => self.positions::<S, 2>(s, *i),
                _ => self.positions::<S, 1>(s, *i),
            }
        }
    }
}

/// `[c, 1, kh, kw]`.
pub(super) fn weight_gradient<T: Element>(d: &Dims, x: &[T], g: &[T]) -> Vec<T> {
    let walk = Walk::forward(d);
    let parts = walk.parts(d.n, PART);
    let share = parts.len().div_ceil(PARTIALS).max(1);
    let partials = parts.par_chunks(share).map(|parts| {
        let mut sum = zeros(d.taps() * d.c);
        for (class, range) in parts {
            let places = Places::new(class, range.clone(), &walk);
            places.check(x.len(), g.len(), sum.len());
            let dw = &mut sum;
            by_row!(places.taps_in_a_row(), K => pulp::Arch::new().dispatch(Products::<T, K> { x, g, at: &places, dw }));
        }
        sum
    });
    let by_tap = sum_in_order(partials.collect());
    let mut dw = zeros(d.c * d.taps());
    for (tap, from) in by_tap.chunks_exact(d.c).enumerate() {
        from.iter().zip(dw.iter_mut().skip(tap).step_by(d.taps())).for_each(|(f, t)| *t = *f);
    }
    dw
}

/// Adds the products of input and output gradient to `dw [tap, channel]`, for `K` taps in a row at a time.
struct Products<'a, T, const K: usize> {
    x: &'a [T],
    g: &'a [T],
    at: &'a Places,
    dw: &'a mut [T],
}

impl<T: Element, const K: usize> Products<'_, T, K> {
    #[allow(unsafe_code, reason = "the innermost loop")]
    #[inline(always)]
    fn channels<S: Simd, const NV: usize>(&mut self, s: S, row: &[(usize, isize)], c: usize) {
        let side = Side::<T, S>::new(s, NV, self.at.channels - c);
        let dw = self.dw.as_mut_ptr();
        let mut acc = [[T::splat(s, T::default()); NV]; K];
        // SAFETY: `check` has shown that `channels` elements from each place and of each tap lie inside their buffers, and `side`
        // touches none beyond the last channel.
        unsafe {
            for k in 0..K {
                for v in 0..NV {
                    acc[k][v] = side.load(v, dw.add(row[k].0 + c));
                }
            }
            for (i, together) in &self.at.tiles {
                match together {
                    4 => self.positions::<S, 4, NV>(s, side, (row[0].1, c), *i, &mut acc),
                    2 => self.positions::<S, 2, NV>(s, side, (row[0].1, c), *i, &mut acc),
                    _ => self.positions::<S, 1, NV>(s, side, (row[0].1, c), *i, &mut acc),
                }
            }
            for k in 0..K {
                for v in 0..NV {
                    side.store(v, dw.add(row[k].0 + c), acc[k][v]);
                }
            }
        }
    }

    /// The products of `P` positions that stand side by side.
    ///
    /// # Safety
    /// The places must lie inside their buffers.
    #[allow(unsafe_code, reason = "the innermost loop")]
    #[inline(always)]
    unsafe fn positions<S: Simd, const P: usize, const NV: usize>(
        &self,
        s: S,
        side: Side<T, S>,
        (delta, c): (isize, usize),
        i: usize,
        acc: &mut [[T::V<S>; NV]; K],
    ) {
        // SAFETY: as the caller promises; input `j` of a row is what tap `k` of position `j - k` reads.
        unsafe {
            let mut g = [[T::splat(s, T::default()); NV]; P];
            for p in 0..P {
                for v in 0..NV {
                    g[p][v] = side.load(v, self.g.as_ptr().add(self.at.outs[i + p] + c));
                }
            }
            let x = self.x.as_ptr().offset(self.at.starts[i] + delta).add(c);
            for v in 0..NV {
                let inputs = side_by_side(s, side, v, x, self.at.step, K + P - 1);
                for p in 0..P {
                    for k in 0..K {
                        acc[k][v] = T::fma(s, inputs[p + k], g[p][v], acc[k][v]);
                    }
                }
            }
        }
    }
}

impl<T: Element, const K: usize> WithSimd for Products<'_, T, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        for row in self.at.taps.chunks_exact(K) {
            by_channels!(T, S, self.at.channels, NV, c => self.channels::<S, NV>(s, row, c));
        }
    }
}
