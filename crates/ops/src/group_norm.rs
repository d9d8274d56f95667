//! Group normalisation: the channels of each example, in groups, by the group's own mean and variance.
//!
//! Wu & He 2018, *Group Normalization*. Examples do not see each other; one group is layer normalisation over an image,
//! as many groups as channels are instance normalisation.

use candle_core::{D, Result, Tensor, WithDType, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::element::Element;
use transplant_kernels::elementwise::fill;
use transplant_kernels::parallel;
use transplant_kernels::reduce::block_sums;

use crate::host::{by_dtype, is_fast, own, raw, read, read2, tensor};

/// Pixels whose sums are taken in the type itself; between blocks of them they are taken in double precision.
const BLOCK: usize = 128;

/// `(x - mean) / sqrt(var + eps) * weight + bias` of `x [n, c, ..]`, with mean and biased variance over the `c /
/// groups` channels of a group and all positions; `weight` and `bias` are `[c]`, or 1 and 0.
///
/// # Errors
/// When the groups do not divide the channels or shapes do not fit.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let ([_, channels, ..], true) = (x.dims(), x.elem_count() > 0) else {
        bail!("group_norm: expected an input [n, c, ..] with values, got {:?}", x.dims())
    };
    let channels = *channels;
    if groups == 0 || !channels.is_multiple_of(groups) {
        bail!("group_norm: {groups} groups do not divide {channels} channels")
    }
    if let Some(p) = [weight, bias].into_iter().flatten().find(|p| p.dims() != [channels]) {
        bail!("group_norm: expected a weight and a bias of shape [{channels}], got {:?}", p.dims())
    }
    // Constants, which get no gradient, stand for what is missing.
    let missing = |value: f64| Tensor::full(value, channels, x.device())?.to_dtype(x.dtype());
    let weight = weight.map_or_else(|| missing(1.0), |w| Ok(w.clone()))?;
    let bias = bias.map_or_else(|| missing(0.0), |b| Ok(b.clone()))?;
    if !is_fast(x) {
        return composed(x, groups, &weight, &bias, eps);
    }
    let (op, y) = by_dtype!(x.dtype(), T => read::<T, _>(&raw(x)?, |x_values| {
        let op = GroupNorm::new(x_values, x.dims()[0], channels, groups, eps);
        let y = read2::<T, _>(&weight, &bias, |w, b| op.forward(x_values, w, b))?;
        Ok::<_, candle_core::Error>((op, own(y)))
    })??);
    record(op, &[x, &weight, &bias], y, x.shape(), Memory::ChannelsLast)
}

/// The same from candle's operations, for devices other than the CPU.
fn composed(x: &Tensor, groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let rows = x.reshape((x.dim(0)?, groups, ()))?;
    let centred = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
    let var = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normal = centred.broadcast_div(&(var + eps)?.sqrt()?)?.reshape(x.shape())?;
    let mut shape = vec![1; x.rank()];
    shape[1] = x.dim(1)?;
    normal.broadcast_mul(&weight.reshape(shape.as_slice())?)?.broadcast_add(&bias.reshape(shape.as_slice())?)
}

struct GroupNorm {
    channels: usize,
    /// Channels of a group.
    members: usize,
    /// Positions of an example.
    pixels: usize,
    /// Mean and inverse standard deviation of each group of each example.
    moments: Vec<(f64, f64)>,
}

impl GroupNorm {
    /// Takes the moments of `x`, which has its channels innermost.
    fn new<T: Element>(x: &[T], n: usize, channels: usize, groups: usize, eps: f64) -> Self {
        let mut op =
            Self { channels, members: channels / groups, pixels: x.len() / (n * channels), moments: Vec::new() };
        let count = (op.members * op.pixels) as f64;
        let per_group = |sums: &[f64]| -> Vec<f64> {
            sums.chunks_exact(op.members).map(|s| s.iter().sum::<f64>() / count).collect()
        };
        let of_example = |x: &[T]| -> Vec<(f64, f64)> {
            let means = per_group(&block_sums(
                op.pixels,
                BLOCK,
                channels,
                #[inline(always)]
                |row, sums: &mut [T]| {
                    let x = &x[row * channels..(row + 1) * channels];
                    sums.iter_mut().zip(x).for_each(|(s, x)| *s += *x);
                },
            ));
            let mean: Vec<T> = (0..channels).map(|c| T::from_f64(means[c / op.members])).collect();
            let vars = per_group(&block_sums(
                op.pixels,
                BLOCK,
                channels,
                #[inline(always)]
                |row, sums: &mut [T]| {
                    let x = &x[row * channels..(row + 1) * channels];
                    for ((s, m), x) in sums.iter_mut().zip(&mean).zip(x) {
                        *s += (*x - *m) * (*x - *m);
                    }
                },
            ));
            means.into_iter().zip(vars).map(|(m, v)| (m, 1.0 / (v + eps).sqrt())).collect()
        };
        let example = channels * op.pixels;
        op.moments = parallel::map(x.len() / example, &|i| of_example(&x[i * example..(i + 1) * example])).concat();
        op
    }

    /// The moments of each channel's group in an example.
    fn of_channels<T: Element>(&self, example: usize) -> (Vec<T>, Vec<T>) {
        let groups = self.channels / self.members;
        let of = |c: usize| self.moments[example * groups + c / self.members];
        (0..self.channels).map(|c| (T::from_f64(of(c).0), T::from_f64(of(c).1))).unzip()
    }

    /// Elements of a task: whole positions of one example.
    fn task(&self) -> usize {
        let most = ((1 << 14) / self.channels).clamp(1, self.pixels);
        // A divisor of the positions, so that no task reaches into the next example.
        (1..=most).rev().find(|t| self.pixels.is_multiple_of(*t)).unwrap_or(1) * self.channels
    }

    fn forward<T: Element>(&self, x: &[T], w: &[T], b: &[T]) -> Vec<T> {
        fill(x.len(), self.task(), |slots, from| {
            let (mean, inv) = self.of_channels::<T>(from / (self.channels * self.pixels));
            let x = &x[from..from + slots.len()];
            let scale: Vec<T> = inv.iter().zip(w).map(|(i, w)| *i * *w).collect();
            T::vectorised(
                #[inline(always)]
                || {
                    slots.rows(
                        self.channels,
                        #[inline(always)]
                        |row, out| {
                            out.map_with4(
                                &x[row],
                                &mean,
                                &scale,
                                b,
                                #[inline(always)]
                                |x, m, s, b| (x - m) * s + b,
                            );
                        },
                    )
                },
            );
        })
    }

    /// For each example the sums over positions of the gradient, then of the gradient times the centred input.
    fn gradient_sums<T: Element>(&self, x: &[T], g: &[T]) -> Vec<Vec<f64>> {
        let (c, len) = (self.channels, self.channels * self.pixels);
        parallel::map(x.len() / len, &|i| {
            let (x, g) = (&x[i * len..(i + 1) * len], &g[i * len..(i + 1) * len]);
            let (mean, _) = self.of_channels::<T>(i);
            block_sums(
                self.pixels,
                BLOCK,
                2 * c,
                #[inline(always)]
                |row, sums: &mut [T]| {
                    let (x, g) = (&x[row * c..(row + 1) * c], &g[row * c..(row + 1) * c]);
                    let (plain, centred) = sums.split_at_mut(c);
                    for i in 0..c {
                        plain[i] += g[i];
                        centred[i] += g[i] * (x[i] - mean[i]);
                    }
                },
            )
        })
    }

    fn input_gradient<T: Element>(&self, x: &[T], g: &[T], w: &[T], sums: &[Vec<f64>]) -> Vec<T> {
        let (c, groups) = (self.channels, self.channels / self.members);
        let share = 1.0 / (self.members * self.pixels) as f64;
        fill(x.len(), self.task(), |slots, from| {
            let example = from / (c * self.pixels);
            let (mean, inv) = self.of_channels::<T>(example);
            let scale: Vec<T> = inv.iter().zip(w).map(|(i, w)| *i * *w).collect();
            // dx = inv (g' - mean(g') - normal mean(g' normal)), with g' the gradient of the normalised values.
            let of_group = |group: usize| {
                let inv = self.moments[example * groups + group].1;
                let members = group * self.members..(group + 1) * self.members;
                let sum = |from: usize| -> f64 {
                    members.clone().map(|i| w[i].to_f64() * sums[example][from + i]).sum::<f64>() * share
                };
                (T::from_f64(inv * sum(0)), T::from_f64(inv * inv * inv * sum(c)))
            };
            let per_group: Vec<(T, T)> = (0..groups).map(of_group).collect();
            let (offset, slope): (Vec<T>, Vec<T>) = (0..c).map(|i| per_group[i / self.members]).unzip();
            let (x, g) = (&x[from..from + slots.len()], &g[from..from + slots.len()]);
            T::vectorised(
                #[inline(always)]
                || {
                    slots.rows(
                        c,
                        #[inline(always)]
                        |row, out| {
                            out.map_with6(
                                &x[row.clone()],
                                &g[row],
                                &scale,
                                &mean,
                                &slope,
                                &offset,
                                #[inline(always)]
                                |x, g, scale, m, s, o| g * scale - (x - m) * s - o,
                            );
                        },
                    )
                },
            );
        })
    }

    /// The sum over examples of `f(sums of the example, channel, inverse deviation)`.
    fn parameter<T: WithDType>(&self, sums: &[Vec<f64>], f: impl Fn(&[f64], usize, f64) -> f64) -> Result<Tensor> {
        let groups = self.channels / self.members;
        let inv = |example: usize, c: usize| self.moments[example * groups + c / self.members].1;
        let of = |c: usize| sums.iter().enumerate().map(|(i, s)| f(s, c, inv(i, c))).sum::<f64>();
        tensor((0..self.channels).map(|c| T::from_f64(of(c))).collect(), self.channels, Memory::Plain)
    }
}

impl Differentiable for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let (x, g, weight) = (raw(link.input(0)?)?, raw(link.grad)?, link.input(1)?);
        by_dtype!(g.dtype(), T => {
            let w = read::<T, _>(weight, <[T]>::to_vec)?;
            let sums = read2::<T, _>(&x, &g, |x, g| self.gradient_sums(x, g))?;
            let dx = link.when_wanted(0, || {
                let dx = read2::<T, _>(&x, &g, |x, g| self.input_gradient(x, g, &w, &sums))?;
                tensor(dx, link.grad.shape(), Memory::ChannelsLast)
            })?;
            let dw = link.when_wanted(1, || self.parameter::<T>(&sums, |s, c, inv| s[self.channels + c] * inv))?;
            let db = link.when_wanted(2, || self.parameter::<T>(&sums, |s, c, _| s[c]))?;
            Ok(vec![dx, dw, db])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, single};

    fn both(t: &[Tensor], groups: usize) -> Result<Tensor> {
        group_norm(&t[0], groups, Some(&t[1]), Some(&t[2]), 1e-5)
    }

    #[test]
    fn gradients_are_right_and_the_composed_form_agrees() {
        for (shape, groups) in [(&[2, 4, 3, 2][..], 2), (&[3, 6, 2], 3), (&[2, 4], 1), (&[1, 3, 2, 2], 3)] {
            let t = [random(1, shape), random(2, &shape[1..2]), random(3, &shape[1..2])];
            gradcheck(|t| both(t, groups), &t);
            gradcheck(|t| composed(&t[0], groups, &t[1], &t[2], 1e-5), &t);
            gradcheck(|t| group_norm(&t[0], groups, None, None, 1e-5), &t[..1]);
            let want = composed(&t[0], groups, &t[1], &t[2], 1e-5).unwrap();
            assert!(max_difference(&both(&t, groups).unwrap(), &want) < 1e-12);
        }
        let t = [random(1, &[2, 3, 2, 4]), random(2, &[4]), random(3, &[4])];
        gradcheck(|t| both(&[t[0].permute((0, 3, 1, 2))?, t[1].clone(), t[2].clone()], 2), &t);
    }

    #[test]
    fn the_bits_do_not_depend_on_threads_and_what_does_not_fit_is_refused() {
        let t = [random(1, &[3, 6, 23, 41]), random(2, &[6]), random(3, &[6])].map(|t| single(&t));
        same_bits_on_any_pool(|t| both(t, 2), &t);
        assert!(both(&t, 4).is_err() && both(&t, 0).is_err());
        assert!(group_norm(&t[0], 2, Some(&random(1, &[3])), None, 1e-5).is_err());
    }
}
