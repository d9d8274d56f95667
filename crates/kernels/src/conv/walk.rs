//! Which taps of a kernel meet which positions: positions that meet the same taps are computed together, so that padding is
//! never multiplied. On maps as small as the kernel most taps are padding.

use super::geometry::Dims;

/// Positions along one axis that meet the same taps.
struct AxisClass {
    taps: Vec<usize>,
    /// Distance from the first tap's source to each tap's.
    deltas: Vec<isize>,
    /// Each position, and the source of its first tap.
    positions: Vec<(usize, isize)>,
}

fn axis_classes(count: usize, taps: usize, source: impl Fn(usize, usize) -> Option<usize>) -> Vec<AxisClass> {
    let mut out: Vec<AxisClass> = Vec::new();
    for position in 0..count {
        let met: Vec<(usize, isize)> = (0..taps).filter_map(|k| source(position, k).map(|s| (k, s as isize))).collect();
        let first = met.first().map_or(0, |m| m.1);
        let taps: Vec<usize> = met.iter().map(|m| m.0).collect();
        let deltas: Vec<isize> = met.iter().map(|m| m.1 - first).collect();
        match out.iter_mut().find(|c| c.taps == taps && c.deltas == deltas) {
            Some(c) => c.positions.push((position, first)),
            None => out.push(AxisClass { taps, deltas, positions: vec![(position, first)] }),
        }
    }
    out
}

/// Positions of a plane that meet the same taps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    /// Number of each tap, and where its source stands from that of the first, in positions of the source plane.
    pub(super) taps: Vec<(usize, isize)>,
    rows: Vec<(usize, isize)>,
    columns: Vec<(usize, isize)>,
}

/// A plane of positions with channels innermost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plane {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
}

impl Plane {
    /// Elements of an image.
    pub(super) fn image(&self) -> usize {
        self.height * self.width * self.channels
    }
}

impl Class {
    /// Positions in `images` images.
    pub(super) fn len(&self, images: usize) -> usize {
        images * self.rows.len() * self.columns.len()
    }

    /// From the source of a position to that of its neighbour in the same row, in positions of the source plane.
    pub(super) fn step(&self) -> isize {
        if let [(_, one), (_, next), ..] = self.columns[..] { next - one } else { 1 }
    }

    /// For some of these positions: where the first tap's source begins, and where the position itself begins.
    pub(super) fn places(&self, range: std::ops::Range<usize>, from: Plane, to: Plane) -> (Vec<isize>, Vec<usize>) {
        let (rows, columns) = (self.rows.len(), self.columns.len());
        let (mut starts, mut outs) = (Vec::with_capacity(range.len()), Vec::with_capacity(range.len()));
        for i in range {
            let (image, (y, from_y), (x, from_x)) =
                (i / (rows * columns), self.rows[i / columns % rows], self.columns[i % columns]);
            let source = from_y * from.width as isize + from_x;
            starts.push((image * from.image()) as isize + source * from.channels as isize);
            outs.push(image * to.image() + (y * to.width + x) * to.channels);
        }
        (starts, outs)
    }
}

fn classes(kw: usize, width: usize, rows: &[AxisClass], columns: &[AxisClass]) -> Vec<Class> {
    let mut out = Vec::with_capacity(rows.len() * columns.len());
    for r in rows {
        for c in columns {
            let taps = r.taps.iter().zip(&r.deltas).flat_map(|(ky, dy)| {
                c.taps.iter().zip(&c.deltas).map(move |(kx, dx)| (ky * kw + kx, dy * width as isize + dx))
            });
            out.push(Class { taps: taps.collect(), rows: r.positions.clone(), columns: c.positions.clone() });
        }
    }
    out
}

/// Output positions by the inputs that their taps read.
pub(super) fn outputs(d: &Dims) -> Vec<Class> {
    let axis = |i: usize, count: usize, k: usize| axis_classes(count, k, |p, k| d.source(i, p, k));
    classes(d.kw, d.w, &axis(0, d.oh, d.kh), &axis(1, d.ow, d.kw))
}

/// Input positions by the outputs that read them.
pub(super) fn inputs(d: &Dims) -> Vec<Class> {
    let axis = |i: usize, count: usize, k: usize| axis_classes(count, k, |p, k| d.reader(i, p, k));
    classes(d.kw, d.ow, &axis(0, d.h, d.kh), &axis(1, d.w, d.kw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::Conv2dGeometry;

    #[test]
    fn on_a_single_pixel_only_the_centre_is_met() -> Result<(), String> {
        let d = Dims::new(&[5, 4, 1, 1], &[8, 4, 3, 3], Conv2dGeometry::padded(1))?;
        let all = outputs(&d);
        assert_eq!((all.len(), &all[0].taps[..], all[0].len(5)), (1, &[(4, 0)][..], 5));
        assert_eq!(inputs(&d), all);
        Ok(())
    }

    #[test]
    fn classes_cover_every_position_once_and_name_the_right_sources() -> Result<(), String> {
        let at = Conv2dGeometry { stride: [2, 1], padding: [[1, 0], [2, 1]], dilation: [1, 2], groups: 1 };
        let d = Dims::new(&[2, 3, 6, 5], &[4, 3, 3, 2], at)?;
        let (from, to) =
            (Plane { height: d.h, width: d.w, channels: 1 }, Plane { height: d.oh, width: d.ow, channels: 1 });
        let mut seen = vec![0; d.n * to.image()];
        for class in outputs(&d) {
            let (starts, outs) = class.places(0..class.len(d.n), from, to);
            for (start, out) in starts.into_iter().zip(outs) {
                seen[out] += 1;
                let (image, oy, ox) = (out / to.image(), out / d.ow % d.oh, out % d.ow);
                let mut want = Vec::new();
                for k in 0..d.taps() {
                    if let (Some(y), Some(x)) = (d.source(0, oy, k / d.kw), d.source(1, ox, k % d.kw)) {
                        want.push((k, (image * from.image() + y * d.w + x) as isize));
                    }
                }
                assert_eq!(class.taps.iter().map(|t| (t.0, t.1 + start)).collect::<Vec<_>>(), want);
            }
        }
        assert!(seen.iter().all(|s| *s == 1));
        Ok(())
    }
}
