//! Batch normalisation on the CPU over rows of channels. Sums are taken over blocks of rows whose size depends on the number
//! of channels alone, in parallel, and merged in order in double precision.

use crate::element::Element;
use crate::elementwise::fill_rows;
use crate::parallel;
use crate::reduce::block_sums;

use crate::activation::{Activation, by_activation};
use crate::compiled::compiled_here;

/// Mean and biased variance that a forward pass used, one value a channel.
#[derive(Debug)]
pub struct Used {
    /// Means.
    pub mean: Vec<f64>,
    /// Variances, divided by the count.
    pub var: Vec<f64>,
}

compiled_here! {
    /// Batch normalisation of `x [rows, channels]` by a scale and a shift of each channel.
    pub trait BatchNorms {
        /// Mean and biased variance of each channel.
        fn batch_statistics(channels: usize, x: &[Self]) -> Used = statistics;
        /// `act(x scale + shift + residual)`.
        fn batch_norm(
            x: &[Self],
            scale: &[Self],
            shift: &[Self],
            residual: Option<&[Self]>,
            act: Activation,
        ) -> Vec<Self> = forward;
        /// The gradient below the activation; with a residual it is also the residual's.
        fn batch_norm_below(
            x: &[Self],
            g: &[Self],
            scale: &[Self],
            shift: &[Self],
            residual: &[Self],
            act: Activation,
        ) -> Vec<Self> = below;
        /// The sums that gradients need, below an activation without residual.
        fn batch_norm_sums(
            x: &[Self],
            g: &[Self],
            scale: &[Self],
            shift: &[Self],
            mean: &[Self],
            act: Activation,
        ) -> Sums = sums;
        /// The gradient of the input: `scale g' + slope x + offset`, with `g'` the gradient below the activation.
        fn batch_norm_input_gradient(
            x: &[Self],
            g: &[Self],
            scale_shift: (&[Self], &[Self]),
            slope_offset: (&[Self], &[Self]),
            act: Activation,
        ) -> Vec<Self> = input_gradient;
    }
}

/// Elements of a block: what stays in a core's first cache while it is read twice.
const BLOCK: usize = 4096;

/// Rows of a block.
fn rows(channels: usize) -> usize {
    (BLOCK / channels.max(1)).max(4)
}

/// Mean and biased variance of each channel of `[rows, channels]`.
fn statistics<T: Element>(channels: usize, x: &[T]) -> Used {
    let of_block = |x: &[T]| {
        let mut sums = vec![T::default(); 2 * channels];
        T::vectorised(
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
    let block = (rows(channels) * channels).max(1);
    let blocks = parallel::map(x.len().div_ceil(block), &|i| of_block(&x[i * block..((i + 1) * block).min(x.len())]));
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
fn forward<T: Element>(x: &[T], scale: &[T], shift: &[T], residual: Option<&[T]>, act: Activation) -> Vec<T> {
    let channels = scale.len();
    let block = rows(channels) * channels;
    by_activation!(act, A => match residual {
        None => fill_rows(x.len(), channels, block, #[inline(always)] |row, out| {
            out.map_with(&x[row], scale, shift, #[inline(always)] |x, a, b| A.value(x * a + b));
        }),
        Some(r) => fill_rows(x.len(), channels, block, #[inline(always)] |row, out| {
            let (x, r) = (&x[row.clone()], &r[row]);
            out.map_with4(x, scale, shift, r, #[inline(always)] |x, a, b, r| A.value(x * a + b + r));
        }),
    })
}

/// Sums over the rows for each channel.
#[derive(Debug, Default)]
pub struct Sums {
    /// Of the gradient below the activation.
    pub g: Vec<f64>,
    /// Of that gradient times the centred input.
    pub g_centred: Vec<f64>,
}

/// The gradient below the activation; with a residual it is also the residual's.
fn below<T: Element>(x: &[T], g: &[T], scale: &[T], shift: &[T], residual: &[T], act: Activation) -> Vec<T> {
    let channels = scale.len();
    by_activation!(act, A => fill_rows(x.len(), channels, rows(channels) * channels, #[inline(always)] |row, out| {
        let (x, g, r) = (&x[row.clone()], &g[row.clone()], &residual[row]);
        out.map_with5(x, scale, shift, r, g, #[inline(always)] |x, a, b, r, g| A.slope(x * a + b + r, g));
    }))
}

/// The sums that gradients need, below an activation without residual.
fn sums<T: Element>(x: &[T], g: &[T], scale: &[T], shift: &[T], mean: &[T], act: Activation) -> Sums {
    let channels = scale.len();
    let mut g = by_activation!(act, A => block_sums(
        x.len() / channels,
        rows(channels),
        2 * channels,
        #[inline(always)]
        |row, sums: &mut [T]| {
            let n = channels;
            let (x, g) = (&x[row * n..][..n], &g[row * n..][..n]);
            // All of one length that the compiler can see, or each element would be checked.
            let (scale, shift, mean) = (&scale[..n], &shift[..n], &mean[..n]);
            let (sum, weighted) = sums.split_at_mut(n);
            let weighted = &mut weighted[..n];
            for c in 0..n {
                let below = A.slope(x[c] * scale[c] + shift[c], g[c]);
                sum[c] += below;
                weighted[c] += below * (x[c] - mean[c]);
            }
        },
    ));
    let g_centred = g.split_off(channels);
    Sums { g, g_centred }
}

/// The gradient of the input: `scale g' + slope x + offset`, with `g'` the gradient below the activation.
fn input_gradient<T: Element>(
    x: &[T],
    g: &[T],
    (scale, shift): (&[T], &[T]),
    (slope, offset): (&[T], &[T]),
    act: Activation,
) -> Vec<T> {
    let channels = scale.len();
    by_activation!(act, A => fill_rows(x.len(), channels, rows(channels) * channels, #[inline(always)] |row, out| {
        let (x, g) = (&x[row.clone()], &g[row]);
        out.map_with6(x, scale, shift, g, slope, offset, #[inline(always)] |x, a, b, g, s, o| {
            A.slope(x * a + b, g) * a + x * s + o
        });
    }))
}
