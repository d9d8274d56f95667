//! How pixels between pixels are read: what `resize`, `random_resized_crop` and all turning and shifting share.
//!
//! Pixel centres lie at halves. The numbers are those of PyTorch's `interpolate(align_corners=False)`, `antialias` included,
//! and of `grid_sample` as torchvision uses it for affine maps.

use std::f64::consts::PI;

use transplant_core::Filter;

use super::Image;

/// Filters that are too wide, or too coarse, to be read at points.
pub(super) fn needs_antialias(filter: Filter) -> bool {
    matches!(filter, Filter::Box | Filter::Lanczos)
}

/// How far a filter reaches, in pixels of the smaller scale.
fn reach(filter: Filter) -> f64 {
    match filter {
        Filter::Nearest | Filter::Box => 0.5,
        Filter::Bilinear => 1.,
        Filter::Bicubic => 2.,
        Filter::Lanczos => 3.,
    }
}

/// The weight of a pixel at this distance, before all are brought to a sum of 1.
fn weight(filter: Filter, distance: f64, sharpness: f64) -> f64 {
    let x = distance.abs();
    match filter {
        // Of two pixels that the edge lies on, one counts.
        Filter::Nearest | Filter::Box => f64::from(-0.5 < distance && distance <= 0.5),
        Filter::Bilinear => (1. - x).max(0.),
        Filter::Bicubic if x < 1. => ((sharpness + 2.) * x - (sharpness + 3.)) * x * x + 1.,
        Filter::Bicubic if x < 2. => (((x - 5.) * x + 8.) * x - 4.) * sharpness,
        Filter::Lanczos if x < 3. => sinc(x) * sinc(x / 3.),
        Filter::Bicubic | Filter::Lanczos => 0.,
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0. { 1. } else { (x * PI).sin() / (x * PI) }
}

/// The source places that a place along an axis is made of, and their shares.
type Taps = Vec<(usize, f32)>;

/// For each of `to` places along an axis, what it is made of, out of `from` places that start at `first`.
pub(super) fn taps(filter: Filter, antialias: bool, first: usize, from: usize, to: usize) -> Vec<Taps> {
    let ratio = from as f32 / to as f32;
    let place = |i: usize| -> Taps {
        match filter {
            Filter::Nearest => vec![(((i as f32 * ratio) as usize).min(from - 1), 1.)],
            // Between two pixels both ways agree, but for rounding.
            Filter::Bilinear if !antialias || to >= from => {
                let at = (ratio * (i as f32 + 0.5) - 0.5).max(0.);
                let low = (at as usize).min(from - 1);
                let share = at - low as f32;
                vec![(low, 1. - share), ((low + 1).min(from - 1), share)]
            }
            _ if antialias => wide(filter, from, to, i),
            _ => {
                let at = from as f64 / to as f64 * (i as f64 + 0.5) - 0.5;
                let low = at.floor();
                let tap = |k: i32| {
                    let from_there = low + f64::from(k);
                    // PyTorch's cubic is sharper without antialias: OpenCV's rather than Pillow's.
                    (from_there.clamp(0., from as f64 - 1.) as usize, weight(filter, from_there - at, -0.75) as f32)
                };
                (-1..3).map(tap).collect()
            }
        }
    };
    (0..to).map(|i| place(i).into_iter().map(|(at, share)| (first + at, share)).collect()).collect()
}

/// The taps of a filter that is as wide as a pixel of the result; what would lie outside is left out.
fn wide(filter: Filter, from: usize, to: usize, i: usize) -> Taps {
    let ratio = from as f64 / to as f64;
    let stretch = ratio.max(1.);
    let (centre, reach) = (ratio * (i as f64 + 0.5), reach(filter) * stretch);
    let start = (centre - reach + 0.5).max(0.) as usize;
    let end = ((centre + reach + 0.5) as usize).min(from);
    let share = |at: usize| weight(filter, (at as f64 - centre + 0.5) / stretch, -0.5);
    let sum: f64 = (start..end).map(share).sum();
    (start..end).map(|at| (at, (share(at) / sum) as f32)).collect()
}

/// Writes the image as read by these taps along the height and along the width.
pub(super) fn resample(image: &Image<'_>, ys: &[Taps], xs: &[Taps], out: &mut [f32]) {
    // The first product stands by itself: adding it to zero would change the sign of a zero.
    let sum = |taps: &Taps, at: &dyn Fn(usize) -> f32| {
        let mut products = taps.iter().map(|(i, share)| at(*i) * share);
        let first = products.next().unwrap_or_default();
        products.fold(first, |a, b| a + b)
    };
    let read = || ys.iter().flatten().map(|(y, _)| *y);
    let (start, end) = (read().min().unwrap_or_default(), read().max().unwrap_or_default() + 1);
    let mut rows = vec![0f32; (end - start) * xs.len()];
    for (from, to) in image.planes().zip(out.chunks_mut(ys.len() * xs.len())) {
        for (from, row) in from[start * image.width..].chunks(image.width).zip(rows.chunks_mut(xs.len())) {
            for (taps, x) in xs.iter().zip(row) {
                *x = sum(taps, &|i| from[i]);
            }
        }
        for (taps, to) in ys.iter().zip(to.chunks_mut(xs.len())) {
            for (x, to) in to.iter_mut().enumerate() {
                *to = sum(taps, &|i| rows[(i - start) * xs.len() + x]);
            }
        }
    }
}

/// The map from a place in the result to the place in the source, both from the image's centre: `x' = m0 x + m1 y + m2`,
/// `y' = m3 x + m4 y + m5`. The inverse of shear (along x and y, in degrees), then rotation (clockwise, in degrees), then
/// scale, all about `about`, then shift.
pub(super) fn backwards(angle: f64, shift: [f64; 2], scale: f64, shear: [f64; 2], about: [f64; 2]) -> [f64; 6] {
    let (rotation, shear_y) = (angle.to_radians(), shear[1].to_radians());
    let (tan_x, cos_y) = (shear[0].to_radians().tan(), shear_y.cos());
    let (sin, cos) = rotation.sin_cos();
    let (turned_sin, turned_cos) = (rotation - shear_y).sin_cos();
    let (a, c) = (turned_cos / cos_y, turned_sin / cos_y);
    let (b, d) = (-a * tan_x - sin, -c * tan_x + cos);
    let [a, b, c, d] = [d / scale, -b / scale, -c / scale, a / scale];
    let ([about_x, about_y], [x, y]) = (about, shift);
    let (x, y) = (about_x + x, about_y + y);
    [a, b, about_x + (-a * x - b * y), c, d, about_y + (-c * x - d * y)]
}

/// Writes the image as seen through the map: pixels are interpolated bilinearly, what comes from outside is `fill`.
pub(super) fn warp(image: &Image<'_>, map: &[f64; 6], fill: f32, out: &mut [f32]) {
    let (h, w) = (image.height, image.width);
    let [a, b, c, d, e, f] = map.map(|v| v as f32);
    let (middle_x, middle_y) = ((w as f32 - 1.) / 2., (h as f32 - 1.) / 2.);
    for y in 0..h {
        for x in 0..w {
            let (u, v) = (x as f32 - middle_x, y as f32 - middle_y);
            let (from_x, from_y) = (a * u + b * v + c + middle_x, d * u + e * v + f + middle_y);
            let (left, top) = (from_x.floor(), from_y.floor());
            let (right_share, low_share) = (from_x - left, from_y - top);
            let (left, top) = (left as isize, top as isize);
            for (from, to) in image.planes().zip(out.chunks_mut(h * w)) {
                let at = |y: isize, x: isize| {
                    let inside = (0..h as isize).contains(&y) && (0..w as isize).contains(&x);
                    if inside { from[y as usize * w + x as usize] } else { fill }
                };
                let upper = at(top, left) * (1. - right_share) + at(top, left + 1) * right_share;
                let lower = at(top + 1, left) * (1. - right_share) + at(top + 1, left + 1) * right_share;
                to[y * w + x] = upper * (1. - low_share) + lower * low_share;
            }
        }
    }
}
