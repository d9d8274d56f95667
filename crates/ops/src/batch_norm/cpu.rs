//! Batch normalisation on the CPU over rows of channels. Sums are taken over blocks of rows whose size depends on the number
//! of channels alone, in parallel, and merged in order in double precision.

use rayon::prelude::*;

use super::Used;
use crate::Activation;
use crate::activation::by_activation;
use crate::elementwise::fill;
use crate::host::{Element, vectorised};

/// Elements of a block: what stays in a core's first cache while it is read twice.
const BLOCK: usize = 4096;

/// Elements in a block of whole rows.
fn block(channels: usize) -> usize {
    (BLOCK / channels.max(1)).max(4) * channels.max(1)
}

/// Mean and biased variance of each channel of `[rows, channels]`.
pub(super) fn statistics<T: Element>(channels: usize, x: &[T]) -> Used {
    let of_block = |x: &[T]| {
        let mut sums = vec![T::default(); 2 * channels];
        vectorised(
            #[inline(always)]
            || {
                let (mean, m2) = sums.split_at_mut(channels);
                let rows = x.len() / channels;
                for row in x.chunks_exact(channels) {
                    mean.iter_mut().zip(row).for_each(|(s, v)| *s += *v);
                }
                let share = T::from_f64(1.0 / rows as f64);
                mean.iter_mut().for_each(|m| *m *= share);
                for row in x.chunks_exact(channels) {
                    for ((m2, m), v) in m2.iter_mut().zip(&*mean).zip(row) {
                        *m2 += (*v - *m) * (*v - *m);
                    }
                }
            },
        );
        (sums, x.len() / channels)
    };
    let blocks: Vec<_> = x.par_chunks(block(channels)).map(of_block).collect();
    let (mut mean, mut m2, mut count) = (vec![0f64; channels], vec![0f64; channels], 0f64);
    // Chan, Golub & LeVeque 1983: merging means and squared deviations of two parts.
    for (sums, rows) in blocks {
        let (rows, total) = (rows as f64, count + rows as f64);
        for c in 0..channels {
            let delta = sums[c].to_f64() - mean[c];
            mean[c] += delta * rows / total;
            m2[c] += sums[channels + c].to_f64() + delta * delta * count * rows / total;
        }
        count = total;
    }
    Used { mean, var: m2.into_iter().map(|v| v / count.max(1.0)).collect() }
}

/// `act(x scale + shift + residual)`.
pub(super) fn forward<T: Element>(
    x: &[T],
    scale: &[T],
    shift: &[T],
    residual: Option<&[T]>,
    act: Activation,
) -> Vec<T> {
    let channels = scale.len();
    by_activation!(act, A => fill(x.len(), block(channels), |slots, from| {
        let range = from..from + slots.len();
        let (x, r) = (&x[range.clone()], residual.map(|r| &r[range]));
        vectorised(
            #[inline(always)]
            || slots.rows(channels, #[inline(always)] |row, out| {
                let x = &x[row.clone()];
                match r {
                    None => out.map_with(x, scale, shift, #[inline(always)] |x, a, b| A.value(x * a + b)),
                    Some(r) => out.map_with4(x, scale, shift, &r[row], #[inline(always)] |x, a, b, r| A.value(x * a + b + r)),
                }
            }),
        );
    }))
}

/// Sums over the rows for each channel.
#[derive(Debug, Default)]
pub(super) struct Sums {
    /// Of the gradient below the activation.
    pub(super) g: Vec<f64>,
    /// Of that gradient times the centred input.
    pub(super) g_centred: Vec<f64>,
}

/// The gradient below the activation; with a residual it is also the residual's.
pub(super) fn below<T: Element>(x: &[T], g: &[T], scale: &[T], shift: &[T], residual: &[T], act: Activation) -> Vec<T> {
    let channels = scale.len();
    by_activation!(act, A => fill(x.len(), block(channels), |slots, from| {
        let range = from..from + slots.len();
        let (x, g, r) = (&x[range.clone()], &g[range.clone()], &residual[range]);
        vectorised(
            #[inline(always)]
            || slots.rows(channels, #[inline(always)] |row, out| {
                let (x, g, r) = (&x[row.clone()], &g[row.clone()], &r[row]);
                out.map_with5(x, scale, shift, r, g, #[inline(always)] |x, a, b, r, g| A.slope(x * a + b + r, g));
            }),
        );
    }))
}

/// The sums that gradients need, below an activation without residual.
pub(super) fn sums<T: Element>(x: &[T], g: &[T], scale: &[T], shift: &[T], mean: &[T], act: Activation) -> Sums {
    let channels = scale.len();
    let of_block = |(x, g): (&[T], &[T])| {
        let mut sums = vec![T::default(); 2 * channels];
        by_activation!(act, A => vectorised(
            #[inline(always)]
            || {
                let (sum, weighted) = sums.split_at_mut(channels);
                for (x, g) in x.chunks_exact(channels).zip(g.chunks_exact(channels)) {
                    for c in 0..channels {
                        let below = A.slope(x[c] * scale[c] + shift[c], g[c]);
                        sum[c] += below;
                        weighted[c] += below * (x[c] - mean[c]);
                    }
                }
            },
        ));
        sums
    };
    let len = block(channels);
    let blocks: Vec<Vec<T>> = x.par_chunks(len).zip(g.par_chunks(len)).map(of_block).collect();
    let mut out = Sums { g: vec![0.0; channels], g_centred: vec![0.0; channels] };
    for b in blocks {
        for c in 0..channels {
            out.g[c] += b[c].to_f64();
            out.g_centred[c] += b[channels + c].to_f64();
        }
    }
    out
}

/// The gradient of the input: `scale g' + slope x + offset`, with `g'` the gradient below the activation.
pub(super) fn input_gradient<T: Element>(
    x: &[T],
    g: &[T],
    (scale, shift): (&[T], &[T]),
    (slope, offset): (&[T], &[T]),
    act: Activation,
) -> Vec<T> {
    let channels = scale.len();
    by_activation!(act, A => fill(x.len(), block(channels), |slots, from| {
        let range = from..from + slots.len();
        let (x, g) = (&x[range.clone()], &g[range]);
        vectorised(
            #[inline(always)]
            || slots.rows(channels, #[inline(always)] |row, out| {
                let (x, g) = (&x[row.clone()], &g[row]);
                out.map_with6(x, scale, shift, g, slope, offset, #[inline(always)] |x, a, b, g, s, o| {
                    A.slope(x * a + b, g) * a + x * s + o
                });
            }),
        );
    }))
}
