//! Depthwise convolutions on vectors of neighbouring channels.
#![allow(clippy::needless_range_loop, reason = "indices say which vector is meant, and are unrolled")]

use pulp::{Simd, WithSimd};

use super::depthwise::Places;
use crate::buffer::Shared;
use crate::product::Finish;
use crate::simd::{self, Side};

/// Evaluates an expression for blocks of `$channels` channels: `$nv` vectors from channel `$c`.
macro_rules! by_channels {
    ($s:ident, $channels:expr, $nv:ident, $c:ident => $body:expr) => {
        let (channels, lanes) = ($channels, $s::F32_LANES);
        let mut $c = 0;
        while $c < channels {
            if $s::REGISTER_COUNT >= 32 && channels - $c > lanes {
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

/// Inputs that four positions side by side read by five taps in a row.
const SPAN: usize = 8;

/// The convolution at some places.
pub(super) fn forward(x: &[f32], w: &[f32], y: Shared<f32>, at: &Places, finish: &Finish<'_, f32>) {
    by_row!(at.taps_in_a_row(), K => { simd::on_vectors(Forward::<K> { x, w, y, at, finish }); });
}

/// Adds the products of input and output gradient at some places to `dw [tap, channel]`.
pub(super) fn add_products(x: &[f32], g: &[f32], at: &Places, dw: &mut [f32]) {
    by_row!(at.taps_in_a_row(), K => { simd::on_vectors(Products::<K> { x, g, at, dw }); });
}

/// The convolution at some places, with `K` taps in a row.
struct Forward<'a, 'b, const K: usize> {
    x: &'a [f32],
    w: &'a [f32],
    y: Shared<f32>,
    at: &'a Places,
    finish: &'a Finish<'b, f32>,
}

impl<const K: usize> Forward<'_, '_, K> {
    /// All channels of `P` positions that stand side by side.
    #[inline(always)]
    fn positions<S: Simd, const P: usize>(&self, s: S, i: usize) {
        by_channels!(S, self.at.channels, NV, c => self.channels::<S, P, NV>(s, i, c));
    }

    #[inline(always)]
    fn channels<S: Simd, const P: usize, const NV: usize>(&self, s: S, i: usize, c: usize) {
        let (side, finish) = (Side::new(s, NV, self.at.channels - c), self.finish);
        let mut acc = [[s.splat_f32s(0.0); NV]; P];
        // SAFETY: `check` has shown that `channels` elements from each place lie inside their buffers, and `side` touches none
        // beyond the last channel. Input `j` of a row is what tap `k` of position `j - k` reads; each is loaded once, so that sums and
        // weights leave registers for it. The task owns its positions
        // of `y`.
        unsafe {
            for row in self.at.taps.chunks_exact(K) {
                let mut w = [[s.splat_f32s(0.0); NV]; K];
                for k in 0..K {
                    for v in 0..NV {
                        w[k][v] = side.load(v, self.w.as_ptr().add(row[k].0 + c));
                    }
                }
                let x = self.x.as_ptr().offset(self.at.starts[i] + row[0].1).add(c);
                for v in 0..NV {
                    // Where there are registers for all inputs of a row, they are loaded first: that is faster there.
                    if S::REGISTER_COUNT >= 32 {
                        let mut inputs = [s.splat_f32s(0.0); SPAN];
                        for j in 0..K + P - 1 {
                            inputs[j] = side.load(v, x.offset(j as isize * self.at.step));
                        }
                        for k in 0..K {
                            for p in 0..P {
                                acc[p][v] = s.mul_add_e_f32s(inputs[p + k], w[k][v], acc[p][v]);
                            }
                        }
                        continue;
                    }
                    for j in 0..K + P - 1 {
                        let input = side.load(v, x.offset(j as isize * self.at.step));
                        for k in 0..K {
                            if j >= k && j - k < P {
                                acc[j - k][v] = s.mul_add_e_f32s(input, w[k][v], acc[j - k][v]);
                            }
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

impl<const K: usize> WithSimd for Forward<'_, '_, K> {
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

/// Adds the products of input and output gradient to `dw [tap, channel]`, for `K` taps in a row at a time.
struct Products<'a, const K: usize> {
    x: &'a [f32],
    g: &'a [f32],
    at: &'a Places,
    dw: &'a mut [f32],
}

impl<const K: usize> Products<'_, K> {
    #[inline(always)]
    fn channels<S: Simd, const NV: usize>(&mut self, s: S, row: &[(usize, isize)], c: usize) {
        let side = Side::new(s, NV, self.at.channels - c);
        let dw = self.dw.as_mut_ptr();
        let mut acc = [[s.splat_f32s(0.0); NV]; K];
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
    #[inline(always)]
    unsafe fn positions<S: Simd, const P: usize, const NV: usize>(
        &self,
        s: S,
        side: Side<S>,
        (delta, c): (isize, usize),
        i: usize,
        acc: &mut [[S::f32s; NV]; K],
    ) {
        // SAFETY: as the caller promises; input `j` of a row is what tap `k` of position `j - k` reads.
        unsafe {
            let mut g = [[s.splat_f32s(0.0); NV]; P];
            for p in 0..P {
                for v in 0..NV {
                    g[p][v] = side.load(v, self.g.as_ptr().add(self.at.outs[i + p] + c));
                }
            }
            let x = self.x.as_ptr().offset(self.at.starts[i] + delta).add(c);
            for v in 0..NV {
                for j in 0..K + P - 1 {
                    let input = side.load(v, x.offset(j as isize * self.at.step));
                    for k in 0..K {
                        if j >= k && j - k < P {
                            acc[k][v] = s.mul_add_e_f32s(input, g[j - k][v], acc[k][v]);
                        }
                    }
                }
            }
        }
    }
}

impl<const K: usize> WithSimd for Products<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, s: S) {
        for row in self.at.taps.chunks_exact(K) {
            by_channels!(S, self.at.channels, NV, c => self.channels::<S, NV>(s, row, c));
        }
    }
}
