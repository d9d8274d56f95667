//! The patch matrix of an image (one row a tap of the kernel, one column an output position), and its transpose operation.

use std::ops::Range;

use super::geometry::Dims;
use crate::host::Element;

/// Where the patches of some output rows of one image stand in a patch matrix.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Output rows.
    pub(crate) rows: Range<usize>,
    /// The first column.
    pub(crate) column: usize,
    /// Columns of the whole matrix.
    pub(crate) columns: usize,
}

/// One tap of the kernel over one input plane.
struct Tap {
    plane: usize,
    dy: isize,
    dx: isize,
    /// Output columns whose input column exists.
    xs: Range<usize>,
}

/// Outputs `i` in `0..out` for which `i * stride + offset` lies in `0..len`.
fn valid(offset: isize, stride: usize, len: usize, out: usize) -> Range<usize> {
    let from = if offset < 0 { offset.unsigned_abs().div_ceil(stride) } else { 0 };
    let room = len as isize - offset;
    let to = if room <= 0 { 0 } else { (room as usize).div_ceil(stride).min(out) };
    from.min(to)..to
}

/// The taps in the order of the matrix's rows.
fn taps(d: &Dims) -> impl Iterator<Item = Tap> + '_ {
    let offset = |k: usize| (k * d.at.dilation) as isize - d.at.padding as isize;
    let kernel = move || (0..d.kh).flat_map(move |ky| (0..d.kw).map(move |kx| (ky, kx)));
    (0..d.cg()).flat_map(move |plane| {
        kernel().map(move |(ky, kx)| {
            let (dy, dx) = (offset(ky), offset(kx));
            Tap { plane, dy, dx, xs: valid(dx, d.at.stride, d.w, d.ow) }
        })
    })
}

/// For a tap of a convolution of stride 1 that keeps the width, the patch row is the plane itself, shifted: the positions
/// (relative to the first row) that have a source, and the source of the first of them.
fn shifted(d: &Dims, tap: &Tap, rows: &Range<usize>) -> Option<(Range<usize>, usize)> {
    if d.at.stride != 1 || d.ow != d.w {
        return None;
    }
    let first = (rows.start as isize + tap.dy) * d.w as isize + tap.dx;
    let len = rows.len() * d.ow;
    let from = first.min(0).unsigned_abs().min(len);
    let room = (d.h * d.w) as isize - first;
    let to = room.clamp(from as isize, len as isize) as usize;
    // An empty range may lie anywhere; its source must still be one.
    Some(if to > from { (from..to, (first + from as isize) as usize) } else { (from..from, 0) })
}

/// Writes the patches of the planes of one image.
pub(crate) fn im2col<T: Element>(d: &Dims, x: &[T], place: &Place, patches: &mut [T]) {
    let len = place.rows.len() * d.ow;
    for (i, tap) in taps(d).enumerate() {
        let row = &mut patches[i * place.columns + place.column..][..len];
        let plane = &x[tap.plane * d.h * d.w..][..d.h * d.w];
        if let Some((at, source)) = shifted(d, &tap, &place.rows) {
            row[..at.start].fill(T::default());
            row[at.end..].fill(T::default());
            let count = at.len();
            row[at].copy_from_slice(&plane[source..source + count]);
            clear_edges(row, d.ow, &tap.xs);
            continue;
        }
        for (out, oy) in row.chunks_exact_mut(d.ow).zip(place.rows.clone()) {
            let iy = (oy * d.at.stride) as isize + tap.dy;
            if iy < 0 || iy >= d.h as isize || tap.xs.is_empty() {
                out.fill(T::default());
                continue;
            }
            out[..tap.xs.start].fill(T::default());
            out[tap.xs.end..].fill(T::default());
            let first = (iy as usize * d.w) as isize + (tap.xs.start * d.at.stride) as isize + tap.dx;
            let source = plane[first as usize..].iter().step_by(d.at.stride);
            out[tap.xs.clone()].iter_mut().zip(source).for_each(|(o, s)| *o = *s);
        }
    }
}

/// Adds the patches back to the planes of one image. Clobbers `patches`.
pub(crate) fn col2im<T: Element>(d: &Dims, patches: &mut [T], place: &Place, x: &mut [T]) {
    let len = place.rows.len() * d.ow;
    for (i, tap) in taps(d).enumerate() {
        let row = &mut patches[i * place.columns + place.column..][..len];
        let plane = &mut x[tap.plane * d.h * d.w..][..d.h * d.w];
        if let Some((at, source)) = shifted(d, &tap, &place.rows) {
            clear_edges(row, d.ow, &tap.xs);
            plane[source..].iter_mut().zip(&row[at]).for_each(|(p, r)| *p += *r);
            continue;
        }
        for (out, oy) in row.chunks_exact(d.ow).zip(place.rows.clone()) {
            let iy = (oy * d.at.stride) as isize + tap.dy;
            if iy < 0 || iy >= d.h as isize || tap.xs.is_empty() {
                continue;
            }
            let first = (iy as usize * d.w) as isize + (tap.xs.start * d.at.stride) as isize + tap.dx;
            let target = plane[first as usize..].iter_mut().step_by(d.at.stride);
            target.zip(&out[tap.xs.clone()]).for_each(|(p, o)| *p += *o);
        }
    }
}

/// Zeroes the columns of a shifted plane that wrapped around from the neighbouring rows.
fn clear_edges<T: Element>(row: &mut [T], width: usize, keep: &Range<usize>) {
    if keep.len() < width {
        for line in row.chunks_exact_mut(width) {
            line[..keep.start].fill(T::default());
            line[keep.end..].fill(T::default());
        }
    }
}
