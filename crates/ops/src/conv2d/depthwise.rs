//! Depthwise convolutions: each channel alone, with channels innermost, so that a vector holds neighbouring channels.

#![allow(clippy::needless_range_loop, reason = "indices say which vector is meant, and are unrolled")]

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::cpu::Walk;
use super::geometry::Dims;
use crate::buffer::{Shared, written};
use crate::host::{Element, sum_in_order, zeros};
use crate::product::Finish;
use crate::simd::Side;

/// Positions that a task works on, at most.
const PART: usize = 256;
/// Partial gradients of the weights, at most. Their number does not depend on the threads, so neither do the bits.
const PARTIALS: usize = 16;

/// Evaluates an expression for blocks of `$channels` channels: `$nv` vectors from channel `$c`.
macro_rules! by_channels {
    ($t:ident, $s:ident, $channels:expr, $nv:ident, $c:ident => $body:expr) => {
        let (channels, lanes) = ($channels, $t::lanes::<$s>());
        let mut $c = 0;
        while $c < channels {
            if channels - $c > 3 * lanes {
                const $nv: usize = 4;
                $body;
                $c += 4 * lanes;
            } else {
                const $nv: usize = 1;
                $body;
                $c += lanes;
            }
        }
    };
}

/// Weights as `[tap, channel]`.
fn by_tap<T: Element>(d: &Dims, weight: &[T]) -> Vec<T> {
    let mut out = zeros(weight.len());
    for (c, of) in weight.chunks_exact(d.taps()).enumerate() {
        of.iter().enumerate().for_each(|(tap, w)| out[tap * d.c + c] = *w);
    }
    out
}

/// `[n, oh, ow, c]`.
pub(super) fn forward<T: Element>(d: &Dims, x: &[T], weight: &[T], finish: Finish<'_, T>) -> Vec<T> {
    over(d, &Walk::forward(d), x, &by_tap(d, weight), d.n * d.oh * d.ow * d.c, finish)
}

/// `[n, h, w, c]`.
pub(super) fn input_gradient<T: Element>(d: &Dims, weight: &[T], g: &[T], finish: Finish<'_, T>) -> Vec<T> {
    over(d, &Walk::backward(d), g, &by_tap(d, weight), d.n * d.h * d.w * d.c, finish)
}

#[allow(unsafe_code, reason = "tasks write to disjoint positions of one buffer")]
fn over<T: Element>(d: &Dims, walk: &Walk, x: &[T], w: &[T], len: usize, finish: Finish<'_, T>) -> Vec<T> {
    let all = |y: Shared<T>| {
        walk.parts(d.n, PART).into_par_iter().for_each(|(class, range)| {
            let (starts, outs) = class.places(range, walk.from, walk.to);
            let taps: Vec<(usize, isize)> =
                class.taps.iter().map(|(tap, delta)| (tap * d.c, delta * d.c as isize)).collect();
            let job = Forward { x, w, y, starts: &starts, outs: &outs, taps: &taps, channels: d.c, finish };
            job.check();
            pulp::Arch::new().dispatch(job);
        });
        Ok::<(), std::convert::Infallible>(())
    };
    // SAFETY: each position belongs to one class and one part, so all elements are written, each by one task.
    unsafe { written(len, all) }.unwrap_or_default()
}

struct Forward<'a, T> {
    x: &'a [T],
    w: &'a [T],
    y: Shared<T>,
    starts: &'a [isize],
    outs: &'a [usize],
    /// Where the weights of a tap begin, and its source from the row's start.
    taps: &'a [(usize, isize)],
    channels: usize,
    finish: Finish<'a, T>,
}

impl<T: Element> Forward<'_, T> {
    /// Panics unless everything that is touched lies inside its buffer.
    fn check(&self) {
        let c = self.channels;
        assert_eq!(self.starts.len(), self.outs.len());
        assert!(self.outs.iter().max().is_none_or(|o| o + c <= self.y.len()), "output");
        if let (Some(first), Some(last)) = (self.starts.iter().min(), self.starts.iter().max()) {
            for (w, delta) in self.taps {
                assert!(first + delta >= 0 && last + delta + c as isize <= self.x.len() as isize, "input");
                assert!(w + c <= self.w.len(), "weights");
            }
        }
        self.finish.check(c, self.y.len());
    }

    #[allow(unsafe_code, reason = "the innermost loop")]
    #[inline(always)]
    fn channels<S: Simd, const NV: usize>(&self, s: S, c: usize) {
        let (side, finish) = (Side::<T, S>::new(s, NV, self.channels - c), &self.finish);
        // SAFETY: `check` has shown that `channels` elements from each place lie inside their buffers, and `side` touches none
        // beyond the last channel. The task owns its positions of `y`.
        unsafe {
            for (start, out) in self.starts.iter().zip(self.outs) {
                let mut acc = [T::splat(s, T::default()); NV];
                for (w, delta) in self.taps {
                    let (x, w) = (self.x.as_ptr().offset(start + delta).add(c), self.w.as_ptr().add(w + c));
                    for v in 0..NV {
                        acc[v] = T::fma(s, side.load(v, x), side.load(v, w), acc[v]);
                    }
                }
                for v in 0..NV {
                    let value = finish.value(s, acc[v], finish.columns(side, v, c), finish.residual(side, v, out + c));
                    side.store(v, self.y.ptr().add(out + c), value);
                }
            }
        }
    }
}

impl<T: Element> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        by_channels!(T, S, self.channels, NV, c => self.channels::<S, NV>(s, c));
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
            let (starts, outs) = class.places(range.clone(), walk.from, walk.to);
            for (tap, delta) in &class.taps {
                let dw = &mut sum[tap * d.c..][..d.c];
                let job = Products { x, g, starts: &starts, outs: &outs, delta: delta * d.c as isize, dw };
                job.check();
                pulp::Arch::new().dispatch(job);
            }
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

/// Adds the products of input and output gradient to `dw`, channel by channel, for one tap.
struct Products<'a, T> {
    x: &'a [T],
    g: &'a [T],
    starts: &'a [isize],
    outs: &'a [usize],
    delta: isize,
    dw: &'a mut [T],
}

impl<T: Element> Products<'_, T> {
    /// Panics unless everything that is touched lies inside its buffer.
    fn check(&self) {
        let c = self.dw.len();
        assert_eq!(self.starts.len(), self.outs.len());
        assert!(self.outs.iter().max().is_none_or(|o| o + c <= self.g.len()), "gradient");
        let inside = |s: &isize| s + self.delta >= 0 && s + self.delta + c as isize <= self.x.len() as isize;
        assert!(self.starts.iter().min().is_none_or(inside) && self.starts.iter().max().is_none_or(inside), "input");
    }

    #[allow(unsafe_code, reason = "the innermost loop")]
    #[inline(always)]
    fn channels<S: Simd, const NV: usize>(&mut self, s: S, c: usize) {
        let side = Side::<T, S>::new(s, NV, self.dw.len() - c);
        let dw = self.dw.as_mut_ptr();
        // SAFETY: `check` has shown that as many elements as `dw` has lie inside `x` and `g` from each place, and `side` touches
        // none beyond the last channel.
        unsafe {
            let mut acc: [T::V<S>; NV] = std::array::from_fn(move |v| side.load(v, dw.add(c)));
            for (start, out) in self.starts.iter().zip(self.outs) {
                let (x, g) = (self.x.as_ptr().offset(start + self.delta).add(c), self.g.as_ptr().add(out + c));
                for v in 0..NV {
                    acc[v] = T::fma(s, side.load(v, x), side.load(v, g), acc[v]);
                }
            }
            for v in 0..NV {
                side.store(v, dw.add(c), acc[v]);
            }
        }
    }
}

impl<T: Element> WithSimd for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        by_channels!(T, S, self.dw.len(), NV, c => self.channels::<S, NV>(s, c));
    }
}
