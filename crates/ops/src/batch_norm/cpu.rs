//! Batch normalisation on the CPU: statistics in parallel over channels, maps in parallel over images.

use rayon::prelude::*;

use super::{Dims, Used};
use crate::host::{Element, zeros};
use crate::reduce::{planes, sum, sum_of, sum_of2, sums_of3};

/// Mean and biased variance of each channel.
pub(super) fn statistics<T: Element>(d: &Dims, x: &[T]) -> Used {
    let count = (d.n * d.len) as f64;
    let one = |c: usize| {
        let of_channel = || planes(x, d.channels, d.len, c);
        let mean = of_channel().map(sum).sum::<f64>() / count;
        let m = T::from_f64(mean);
        let var = of_channel().map(|p| sum_of(p, |v| (v - m) * (v - m))).sum::<f64>() / count;
        (mean, var)
    };
    let (mean, var) = (0..d.channels).into_par_iter().map(one).unzip();
    Used { mean, var }
}

/// Applies `f(channel, output plane, index of the plane)` to all planes of a new buffer.
fn map_planes<T: Element>(d: &Dims, f: impl Fn(usize, &mut [T], std::ops::Range<usize>) + Sync) -> Vec<T> {
    let mut out = zeros(d.n * d.channels * d.len);
    if out.is_empty() {
        return out;
    }
    let image = d.channels * d.len;
    out.par_chunks_mut(image).enumerate().for_each(|(n, out)| {
        for (c, out) in out.chunks_exact_mut(d.len).enumerate() {
            let from = n * image + c * d.len;
            f(c, out, from..from + d.len);
        }
    });
    out
}

/// The normalised, scaled and shifted values.
pub(super) fn forward<T: Element>(
    d: &Dims,
    x: &[T],
    gamma: &[T],
    beta: &[T],
    used: &Used,
    eps: f64,
    relu: bool,
) -> Vec<T> {
    map_planes(d, |c, y, at| {
        let scale = gamma[c].to_f64() / (used.var[c] + eps).sqrt();
        let (mean, scale, shift) = (T::from_f64(used.mean[c]), T::from_f64(scale), beta[c]);
        let map = |v: T| (v - mean) * scale + shift;
        let pairs = y.iter_mut().zip(&x[at]);
        if relu {
            pairs.for_each(|(y, x)| *y = map(*x).positive_part());
        } else {
            pairs.for_each(|(y, x)| *y = map(*x));
        }
    })
}

/// Sums over the batch for each channel: the gradients of beta and gamma.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Of the output gradient.
    pub(super) g: Vec<f64>,
    /// Of the output gradient times the normalised input.
    pub(super) g_normal: Vec<f64>,
}

/// The gradient below a ReLU whose output is `y`.
#[inline]
fn masked<T: Element>(y: T, g: T) -> T {
    if y <= T::default() { T::default() } else { g }
}

pub(super) fn sums<T: Element>(d: &Dims, x: &[T], y: &[T], g: &[T], used: &Used, eps: f64, relu: bool) -> Sums {
    let one = |c: usize| {
        let mean = T::from_f64(used.mean[c]);
        let (mut all, mut weighted) = (0.0, 0.0);
        let of_channel = |t| planes(t, d.channels, d.len, c);
        for ((x, y), g) in of_channel(x).zip(of_channel(y)).zip(of_channel(g)) {
            let (a, w) = if relu {
                sums_of3(x, y, g, |x, y, g| {
                    let g = masked(y, g);
                    (g, (x - mean) * g)
                })
            } else {
                (sum(g), sum_of2(x, g, |x, g| (x - mean) * g))
            };
            all += a;
            weighted += w;
        }
        (all, weighted / (used.var[c] + eps).sqrt())
    };
    let (g, g_normal) = (0..d.channels).into_par_iter().map(one).unzip();
    Sums { g, g_normal }
}

/// The gradient of the input; `sums` when the statistics were those of the batch.
pub(super) fn input_gradient<T: Element>(
    d: &Dims,
    [x, y, g]: [&[T]; 3],
    gamma: &[f64],
    used: &Used,
    sums: Option<&Sums>,
    eps: f64,
    relu: bool,
) -> Vec<T> {
    let count = (d.n * d.len) as f64;
    map_planes(d, |c, dx, at| {
        let inv_std = 1.0 / (used.var[c] + eps).sqrt();
        let scale = gamma[c] * inv_std;
        // dx = scale * (g - mean(g) - normal * mean(g * normal)), as a linear function of g and x.
        let (slope, shift) = match sums {
            None => (0.0, 0.0),
            Some(s) => {
                let slope = -scale * s.g_normal[c] * inv_std / count;
                (slope, -scale * s.g[c] / count - slope * used.mean[c])
            }
        };
        let (scale, slope, shift) = (T::from_f64(scale), T::from_f64(slope), T::from_f64(shift));
        let all = dx.iter_mut().zip(&x[at.clone()]).zip(y[at.clone()].iter().zip(&g[at]));
        if relu {
            all.for_each(|((dx, x), (y, g))| *dx = scale * masked(*y, *g) + slope * *x + shift);
        } else {
            all.for_each(|((dx, x), (_, g))| *dx = scale * *g + slope * *x + shift);
        }
    })
}
