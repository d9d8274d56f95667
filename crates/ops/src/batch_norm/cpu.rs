//! Batch normalisation on the CPU: statistics in parallel over channels, maps in parallel over images.

use rayon::prelude::*;

use super::{Dims, Used};
use crate::host::{Element, vectorised, zeros};
use crate::reduce::{planes, sum, sum_of, sum_of2, sums_of3};

/// Mean and biased variance of each channel.
pub(super) fn statistics<T: Element>(d: &Dims, x: &[T]) -> Used {
    let (mean, var) = each_channel(
        d,
        #[inline(always)]
        |c| moments(d, x, c),
    );
    Used { mean, var }
}

/// `f` of every channel.
fn each_channel(d: &Dims, f: impl Fn(usize) -> (f64, f64) + Sync) -> (Vec<f64>, Vec<f64>) {
    (0..d.channels)
        .into_par_iter()
        .map(|c| {
            vectorised(
                #[inline(always)]
                || f(c),
            )
        })
        .unzip()
}

#[inline(always)]
fn moments<T: Element>(d: &Dims, x: &[T], channel: usize) -> (f64, f64) {
    let count = (d.n * d.len) as f64;
    let of_channel = || planes(x, d.channels, d.len, channel);
    let mean = of_channel().map(|p| sum(p)).sum::<f64>() / count;
    let m = T::from_f64(mean);
    (mean, of_channel().map(|p| sum_of(p, |v| (v - m) * (v - m))).sum::<f64>() / count)
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
            vectorised(
                #[inline(always)]
                || f(c, out, from..from + d.len),
            );
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
    map_planes(
        d,
        #[inline(always)]
        |c, y, at| {
            let scale = gamma[c].to_f64() / (used.var[c] + eps).sqrt();
            let (mean, scale, shift) = (T::from_f64(used.mean[c]), T::from_f64(scale), beta[c]);
            let map = |v: T| (v - mean) * scale + shift;
            let pairs = y.iter_mut().zip(&x[at]);
            if relu {
                pairs.for_each(|(y, x)| *y = map(*x).positive_part());
            } else {
                pairs.for_each(|(y, x)| *y = map(*x));
            }
        },
    )
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
#[inline(always)]
fn masked<T: Element>(y: T, g: T) -> T {
    if y <= T::default() { T::default() } else { g }
}

/// The sums that gradients need; `[x, y, g]` are input, output and output gradient.
pub(super) fn sums<T: Element>(d: &Dims, xyg: [&[T]; 3], used: &Used, eps: f64, relu: bool) -> Sums {
    let (g, g_normal) = each_channel(
        d,
        #[inline(always)]
        |c| {
            let (g, weighted) = channel_sums(d, xyg, c, T::from_f64(used.mean[c]), relu);
            (g, weighted / (used.var[c] + eps).sqrt())
        },
    );
    Sums { g, g_normal }
}

/// The sums over a channel of the gradient, and of the gradient times the centred input.
#[inline(always)]
fn channel_sums<T: Element>(d: &Dims, xyg: [&[T]; 3], channel: usize, mean: T, relu: bool) -> (f64, f64) {
    let [x, y, g] = xyg.map(|t| planes(t, d.channels, d.len, channel));
    let (mut all, mut weighted) = (0.0, 0.0);
    for ((x, y), g) in x.zip(y).zip(g) {
        let (a, w) = if relu {
            sums_of3(x, y, g, |x, y, g| (masked(y, g), (x - mean) * masked(y, g)))
        } else {
            (sum(g), sum_of2(x, g, |x, g| (x - mean) * g))
        };
        all += a;
        weighted += w;
    }
    (all, weighted)
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
    map_planes(
        d,
        #[inline(always)]
        |c, dx, at| {
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
        },
    )
}
