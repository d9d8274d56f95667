//! Depthwise convolutions: each channel alone, with channels innermost, so that a vector holds neighbouring channels.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::cpu::Walk;
use super::geometry::Dims;
use crate::buffer::{Shared, written};
use crate::host::{Element, sum_in_order, zeros};
use crate::product::{Act, Finish};

/// Positions that a task works on, at most.
const PART: usize = 256;
/// Partial gradients of the weights, at most. Their number does not depend on the threads, so neither do the bits.
const PARTIALS: usize = 16;

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
pub(super) fn input_gradient<T: Element>(d: &Dims, weight: &[T], g: &[T]) -> Vec<T> {
    over(d, &Walk::backward(d), g, &by_tap(d, weight), d.n * d.h * d.w * d.c, Finish::default())
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
        assert!([self.finish.scale, self.finish.shift].iter().flatten().all(|v| v.len() >= c), "what follows");
        assert!(self.finish.residual.is_none_or(|r| r.len() >= self.y.len()), "residual");
    }

    #[allow(unsafe_code, reason = "the innermost loop")]
    #[inline(always)]
    fn channels<S: Simd, const NV: usize>(&self, s: S, c: usize) {
        let (lanes, all) = (T::lanes::<S>(), T::first(s, T::lanes::<S>()));
        let edge = T::first(s, (self.channels - c).saturating_sub((NV - 1) * lanes));
        let mask = |v: usize| if v + 1 == NV { edge } else { all };
        let whole = self.channels - c >= NV * lanes;
        let zero = T::splat(s, T::default());
        for (start, out) in self.starts.iter().zip(self.outs) {
            let mut acc = [zero; NV];
            // SAFETY: `check` has shown that `channels` elements from each place lie inside their buffers; lanes beyond the last
            // channel are masked out. The task owns its positions of `y`.
            unsafe {
                for (w, delta) in self.taps {
                    let x = self.x.as_ptr().offset(start + delta).add(c);
                    let w = self.w.as_ptr().add(w + c);
                    for (v, acc) in acc.iter_mut().enumerate() {
                        let (x, w) = (x.add(v * lanes), w.add(v * lanes));
                        let (x, w) = if v + 1 < NV || whole {
                            (T::load_all::<S>(x), T::load_all::<S>(w))
                        } else {
                            (T::load(s, edge, x), T::load(s, edge, w))
                        };
                        *acc = T::fma(s, x, w, *acc);
                    }
                }
                for (v, a) in acc.iter_mut().enumerate() {
                    let of =
                        |o: Option<&[T]>, at: usize| o.map(|o| T::load(s, mask(v), o.as_ptr().add(at + v * lanes)));
                    match (of(self.finish.scale, c), of(self.finish.shift, c)) {
                        (Some(scale), shift) => *a = T::fma(s, *a, scale, shift.unwrap_or(zero)),
                        (None, Some(shift)) => *a = T::plus(s, *a, shift),
                        (None, None) => {}
                    }
                    if let Some(r) = of(self.finish.residual, out + c) {
                        *a = T::plus(s, *a, r);
                    }
                    if self.finish.act != Act::None {
                        *a = T::larger(s, zero, *a);
                    }
                    if self.finish.act == Act::Relu6 {
                        *a = T::smaller(s, T::splat(s, T::from_f64(6.0)), *a);
                    }
                    let at = self.y.ptr().add(out + c + v * lanes);
                    if v + 1 < NV || whole {
                        T::store_all::<S>(at, *a);
                    } else {
                        T::store(s, edge, at, *a);
                    }
                }
            }
        }
    }
}

impl<T: Element> WithSimd for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let lanes = T::lanes::<S>();
        let mut c = 0;
        while c < self.channels {
            let left = (self.channels - c).div_ceil(lanes);
            if left >= 4 {
                self.channels::<S, 4>(s, c);
                c += 4 * lanes;
            } else {
                self.channels::<S, 1>(s, c);
                c += lanes;
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
        let (lanes, all) = (T::lanes::<S>(), T::first(s, T::lanes::<S>()));
        let edge = T::first(s, (self.dw.len() - c).saturating_sub((NV - 1) * lanes));
        let mask = |v: usize| if v + 1 == NV { edge } else { all };
        let whole = self.dw.len() - c >= NV * lanes;
        let dw = self.dw.as_mut_ptr();
        // SAFETY: `check` has shown that as many elements as `dw` has lie inside `x` and `g` from each place; lanes beyond the
        // last channel are masked out.
        unsafe {
            let mut acc: [T::V<S>; NV] = std::array::from_fn(|v| T::load(s, mask(v), dw.add(c + v * lanes)));
            for (start, out) in self.starts.iter().zip(self.outs) {
                let x = self.x.as_ptr().offset(start + self.delta).add(c);
                let g = self.g.as_ptr().add(out + c);
                for (v, acc) in acc.iter_mut().enumerate() {
                    let (x, g) = (x.add(v * lanes), g.add(v * lanes));
                    let (x, g) = if v + 1 < NV || whole {
                        (T::load_all::<S>(x), T::load_all::<S>(g))
                    } else {
                        (T::load(s, edge, x), T::load(s, edge, g))
                    };
                    *acc = T::fma(s, x, g, *acc);
                }
            }
            for (v, acc) in acc.into_iter().enumerate() {
                T::store(s, mask(v), dw.add(c + v * lanes), acc);
            }
        }
    }
}

impl<T: Element> WithSimd for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        let lanes = T::lanes::<S>();
        let mut c = 0;
        while c < self.dw.len() {
            let left = (self.dw.len() - c).div_ceil(lanes);
            if left >= 4 {
                self.channels::<S, 4>(s, c);
                c += 4 * lanes;
            } else {
                self.channels::<S, 1>(s, c);
                c += lanes;
            }
        }
    }
}
