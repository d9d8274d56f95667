//! Convolutions whose taps read few channels: the inputs of each position are gathered into a row first.

use super::cpu::each;
use super::geometry::Dims;
use crate::buffer::Shared;
use crate::element::{Element, sum_in_order, zeros};
use crate::parallel;
use crate::product::{Finish, Outer, Packed, Rows, Run, Shift, outer, pack, panels, rows};

/// Channels of a tap from which positions are read where they stand.
const FEW: usize = 12;
/// Positions gathered at a time.
const BLOCK: usize = 96;
/// Partial gradients of the weights, at most. Their number does not depend on the threads, so neither do the bits.
const PARTIALS: usize = 16;

/// Whether gathering pays.
pub(super) fn suit(d: &Dims) -> bool {
    d.cg() < FEW && d.taps() > 1
}

/// Gathers the inputs of some positions in a group's channels: rows of `taps * channels`.
fn gather<T: Element>(d: &Dims, group: usize, x: &[T], positions: std::ops::Range<usize>, to: &mut [T]) {
    let (cg, plane) = (d.cg(), d.oh * d.ow);
    for (i, row) in positions.zip(to.chunks_exact_mut(d.taps() * cg)) {
        let (image, oy, ox) = (i / plane, i / d.ow % d.oh, i % d.ow);
        let inside = d.source(1, ox, 0).is_some() && d.source(1, ox, d.kw - 1).is_some();
        for (ky, row) in row.chunks_exact_mut(d.kw * cg).enumerate() {
            let Some(y) = d.source(0, oy, ky) else {
                row.fill(T::default());
                continue;
            };
            let line = &x[(image * d.h + y) * d.w * d.c..][..d.w * d.c];
            if inside && d.at.groups == 1 && d.at.dilation[1] == 1 {
                let from = d.source(1, ox, 0).unwrap_or(0) * d.c;
                row.copy_from_slice(&line[from..from + row.len()]);
                continue;
            }
            for (kx, tap) in row.chunks_exact_mut(cg).enumerate() {
                match d.source(1, ox, kx) {
                    Some(x) => tap.copy_from_slice(&line[x * d.c + group * cg..][..cg]),
                    None => tap.fill(T::default()),
                }
            }
        }
    }
}

/// Weights of a group: rows are (tap, channel), columns are output channels.
pub(super) fn packed<T: Element>(d: &Dims, group: usize, weight: &[T]) -> Packed<T> {
    let (cg, taps) = (d.cg(), d.taps());
    pack((taps * cg, taps * cg), d.og(), d.precision, &|p, width, part| {
        for o in 0..p.columns {
            let of = &weight[(group * d.og() + p.column + o) * cg * taps..][..cg * taps];
            for k in 0..taps * cg {
                part[k * width + o] = of[k % cg * taps + k / cg];
            }
        }
    })
}

/// Writes `y [n, oh, ow, o]`, on all threads or on this one.
pub(super) fn forward<T: Element>(
    (d, spread): (&Dims, bool),
    x: &[T],
    w: &[Packed<T>],
    finish: Finish<'_, T>,
    y: Shared<T>,
) {
    let (positions, k) = (d.n * d.oh * d.ow, d.taps() * d.cg());
    for (group, w) in w.iter().enumerate() {
        let channels = group * d.og()..(group + 1) * d.og();
        let finish = super::cpu::columns(finish, &channels);
        let blocks: Vec<usize> = (0..positions.div_ceil(BLOCK)).collect();
        each(&blocks, spread, |b| {
            let range = b * BLOCK..((b + 1) * BLOCK).min(positions);
            T::with_scratch(range.len() * k, |gathered| {
                gather(d, group, x, range.clone(), gathered);
                let starts: Vec<isize> = (0..range.len()).map(|i| (i * k) as isize).collect();
                let outs: Vec<usize> = range.clone().map(|i| i * d.o + channels.start).collect();
                let runs = [Run { delta: 0, k: 0, len: k }];
                let panels = 0..w.panels.len();
                let (starts, outs) = (&starts[..], &outs[..]);
                let job = Rows { x: gathered, starts, outs, runs: &runs, w, panels, add: false, finish };
                // SAFETY: each position belongs to one block, so no other task writes where this one does.
                unsafe { rows(&job, y.ptr(), y.len()) }
            });
        });
    }
}

/// `[o, c / groups, kh, kw]`.
pub(super) fn weight_gradient<T: Element>(d: &Dims, x: &[T], g: &[T]) -> Vec<T> {
    let (positions, k, taps) = (d.n * d.oh * d.ow, d.taps() * d.cg(), d.taps());
    let panels = panels::<T>(k, 1);
    let mut dw = zeros(d.o * k);
    for (group, dw) in dw.chunks_exact_mut((d.og() * k).max(1)).enumerate() {
        let share = positions.div_ceil(PARTIALS).next_multiple_of(BLOCK).max(1);
        let partials = parallel::map(positions.div_ceil(share), &|i| {
            let mut sum = zeros(d.og() * k);
            let end = ((i + 1) * share).min(positions);
            for from in (i * share..end).step_by(BLOCK) {
                let range = from..(from + BLOCK).min(end);
                T::with_scratch(range.len() * k, |gathered| {
                    gather(d, group, x, range.clone(), gathered);
                    let job = Outer {
                        a: g,
                        a_starts: &range.clone().map(|i| i * d.o).collect::<Vec<_>>(),
                        columns: group * d.og()..(group + 1) * d.og(),
                        b: gathered,
                        b_starts: &(0..range.len()).map(|i| (i * k) as isize).collect::<Vec<_>>(),
                        shifts: &[Shift { delta: 0, column: 0 }],
                        panels: &panels,
                        precision: d.precision,
                    };
                    outer(&job, &mut sum, k);
                });
            }
            sum
        });
        let sum = sum_in_order(partials);
        for (to, from) in dw.chunks_exact_mut(k).zip(sum.chunks_exact(k.max(1))) {
            (0..k).for_each(|i| to[i % d.cg() * taps + i / d.cg()] = from[i]);
        }
    }
    dw
}
