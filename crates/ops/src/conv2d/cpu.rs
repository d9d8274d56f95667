//! The convolution on the CPU: tiles of images in parallel, each a patch matrix and a product that stay in a core's cache.

use candle_core::Result;
use rayon::prelude::*;

use super::geometry::Dims;
use super::im2col::{Place, col2im, im2col};
use crate::host::{Element, sum_in_order, zeros};
use crate::matmul::{Mat, Threads::One, matmul};
use crate::reduce;

/// Bytes that all partial weight gradients together may take.
const PARTIALS_BYTES: usize = 64 << 20;
/// Partial weight gradients, at most.
const MAX_PARTIALS: usize = 32;

/// Part of a tile: a group of channels, some output rows of all images.
struct Block {
    group: usize,
    first_row: usize,
    /// Columns of the patch matrix that belong to one image.
    per_image: usize,
    /// All columns.
    columns: usize,
}

impl Block {
    fn all(d: &Dims, images: usize, rows: usize) -> impl Iterator<Item = Self> + '_ {
        (0..d.at.groups).flat_map(move |group| {
            (0..d.oh).step_by(rows.max(1)).map(move |first_row| {
                let per_image = rows.min(d.oh - first_row) * d.ow;
                Self { group, first_row, per_image, columns: images * per_image }
            })
        })
    }

    fn place(&self, d: &Dims, image: usize) -> Place {
        let rows = self.first_row..self.first_row + self.per_image / d.ow;
        Place { rows, column: image * self.per_image, columns: self.columns }
    }

    /// The planes of this group in one of the tile's images.
    fn planes(&self, d: &Dims, image: usize) -> std::ops::Range<usize> {
        let (from, len) = (image * d.x_len() + self.group * d.cg() * d.h * d.w, d.cg() * d.h * d.w);
        from..from + len
    }

    /// Where output channel `o` of this group starts in one of the tile's images.
    fn output(&self, d: &Dims, image: usize, o: usize) -> usize {
        image * d.y_len() + (self.group * d.og() + o) * d.positions() + self.first_row * d.ow
    }

    fn patches<'a, T: Element>(&self, d: &Dims, x: &'a [T], scratch: &'a mut [T]) -> Mat<'a, T> {
        if d.is_pointwise() {
            return Mat::new(&x[self.planes(d, 0)], d.taps(), self.columns);
        }
        for i in 0..self.columns / self.per_image {
            im2col(d, &x[self.planes(d, i)], &self.place(d, i), scratch);
        }
        Mat::new(scratch, d.taps(), self.columns)
    }

    /// The output gradient of the block as a matrix of channels × columns.
    fn gradient<'a, T: Element>(&self, d: &Dims, g: &'a [T], scratch: &'a mut [T]) -> Mat<'a, T> {
        if self.columns == self.per_image {
            return Mat::strided(&g[self.output(d, 0, 0)..], d.og(), self.columns, d.positions());
        }
        for (o, row) in scratch.chunks_exact_mut(self.columns).enumerate().take(d.og()) {
            for (i, part) in row.chunks_exact_mut(self.per_image).enumerate() {
                part.copy_from_slice(&g[self.output(d, i, o)..][..self.per_image]);
            }
        }
        Mat::new(scratch, d.og(), self.columns)
    }
}

/// Lengths of the scratch buffers of a tile: patches, and channels × columns.
fn scratch(d: &Dims) -> (usize, usize) {
    let (images, rows) = d.tile();
    let columns = images * rows * d.ow;
    let patches = if d.is_pointwise() { 0 } else { d.taps() * columns };
    (patches, if images > 1 { d.og() * columns } else { 0 })
}

/// `[n, o, oh, ow]`.
pub(crate) fn forward<T: Element>(d: &Dims, x: &[T], weight: &[T], bias: Option<&[T]>) -> Result<Vec<T>> {
    let (images, rows) = d.tile();
    let (patches_len, out_len) = scratch(d);
    let mut y = zeros(d.n * d.y_len());
    if y.is_empty() {
        return Ok(y);
    }
    let tiles = y.par_chunks_mut(images * d.y_len()).zip(x.par_chunks(images * d.x_len()));
    tiles.try_for_each(|(y, x)| -> Result<()> {
        T::with_scratch(patches_len + out_len, |scratch| {
            let (patches, out) = scratch.split_at_mut(patches_len);
            for b in Block::all(d, y.len() / d.y_len(), rows) {
                let w = Mat::new(&weight[b.group * d.og() * d.taps()..], d.og(), d.taps());
                let patches = b.patches(d, x, patches);
                if b.columns == b.per_image {
                    matmul(&mut y[b.output(d, 0, 0)..], d.positions(), false, w, patches, One)?;
                    continue;
                }
                matmul(out, b.columns, false, w, patches, One)?;
                for (o, row) in out.chunks_exact(b.columns).enumerate().take(d.og()) {
                    for (i, part) in row.chunks_exact(b.per_image).enumerate() {
                        y[b.output(d, i, o)..][..b.per_image].copy_from_slice(part);
                    }
                }
            }
            if let Some(bias) = bias {
                for (plane, o) in y.chunks_exact_mut(d.positions()).zip((0..d.o).cycle()) {
                    plane.iter_mut().for_each(|v| *v += bias[o]);
                }
            }
            Ok(())
        })
    })?;
    Ok(y)
}

/// The gradient of the input, `[n, c, h, w]`, from that of the output.
pub(crate) fn input_gradient<T: Element>(d: &Dims, weight: &[T], g: &[T]) -> Result<Vec<T>> {
    let (images, rows) = d.tile();
    let (patches_len, out_len) = scratch(d);
    let mut dx = zeros(d.n * d.x_len());
    if g.is_empty() || dx.is_empty() {
        return Ok(dx);
    }
    let tiles = dx.par_chunks_mut(images * d.x_len()).zip(g.par_chunks(images * d.y_len()));
    tiles.try_for_each(|(dx, g)| -> Result<()> {
        T::with_scratch(patches_len + out_len, |scratch| {
            let (patches, out) = scratch.split_at_mut(patches_len);
            for b in Block::all(d, g.len() / d.y_len(), rows) {
                let w = Mat::new(&weight[b.group * d.og() * d.taps()..], d.og(), d.taps()).t();
                let g = b.gradient(d, g, out);
                if d.is_pointwise() {
                    matmul(&mut dx[b.planes(d, 0)], b.columns, false, w, g, One)?;
                    continue;
                }
                matmul(patches, b.columns, false, w, g, One)?;
                for i in 0..b.columns / b.per_image {
                    col2im(d, patches, &b.place(d, i), &mut dx[b.planes(d, i)]);
                }
            }
            Ok(())
        })
    })?;
    Ok(dx)
}

/// The gradient of the weight, `[o, c / groups, kh, kw]`. Each chunk of images makes a partial sum, and the partial sums
/// are added in order: which images form a chunk depends on the sizes alone.
pub(crate) fn weight_gradient<T: Element>(d: &Dims, x: &[T], g: &[T]) -> Result<Vec<T>> {
    let (images, rows) = d.tile();
    let (patches_len, out_len) = scratch(d);
    let len = d.o * d.taps();
    if g.is_empty() || x.is_empty() {
        return Ok(zeros(len));
    }
    let partials = (PARTIALS_BYTES / (len * size_of::<T>()).max(1)).clamp(2, MAX_PARTIALS);
    let chunk = d.n.div_ceil(images).div_ceil(partials) * images;
    let chunks = x.par_chunks(chunk * d.x_len()).zip(g.par_chunks(chunk * d.y_len()));
    let partials = chunks.map(|(x, g)| -> Result<Vec<T>> {
        let mut dw = zeros(len);
        T::with_scratch(patches_len + out_len, |scratch| {
            let (patches, out) = scratch.split_at_mut(patches_len);
            for (x, g) in x.chunks(images * d.x_len()).zip(g.chunks(images * d.y_len())) {
                for b in Block::all(d, g.len() / d.y_len(), rows) {
                    let (patches, g) = (b.patches(d, x, patches), b.gradient(d, g, out));
                    matmul(&mut dw[b.group * d.og() * d.taps()..], d.taps(), true, g, patches.t(), One)?;
                }
            }
            Ok(dw)
        })
    });
    Ok(sum_in_order(partials.collect::<Result<_>>()?))
}

/// The gradient of the bias, `[o]`.
pub(crate) fn bias_gradient<T: Element>(d: &Dims, g: &[T]) -> Vec<T> {
    let sum = |o: usize| reduce::planes(g, d.o, d.positions(), o).map(reduce::sum).sum::<f64>();
    (0..d.o).into_par_iter().map(|o| T::from_f64(sum(o))).collect()
}
