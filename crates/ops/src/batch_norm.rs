//! Batch normalisation, with the residual and the activation that usually follow it.
//!
//! Ioffe & Szegedy 2015, *Batch Normalization*. With batch statistics the gradient runs through mean and variance; with
//! running statistics they are constants. What follows in the same pass saves reading the activations once more in each
//! direction.

use candle_core::{D, DType, Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::batch_norm::{BatchNorms, Sums, Used};
use transplant_kernels::element::Element;

use crate::activation::{Activation, activate};
use crate::add::add;
use crate::host::{by_dtype, is_fast, own, raw, read, read2, read3, tensor};

/// Statistics of a batch, one value a channel, untracked.
#[derive(Debug, Clone)]
pub struct BatchStatistics {
    /// Means, `[channels]`.
    pub mean: Tensor,
    /// Unbiased variances (divided by count - 1), `[channels]`: what running statistics are made of.
    pub var: Tensor,
}

/// What follows a normalisation in the same pass: `activation(normalised + residual)`.
#[derive(Debug, Clone, Copy)]
pub struct After<'a> {
    /// Added to the normalised values; of their shape.
    pub residual: Option<&'a Tensor>,
    /// Applied last.
    pub activation: Activation,
}

impl From<Activation> for After<'_> {
    fn from(activation: Activation) -> Self {
        Self { residual: None, activation }
    }
}

/// Normalises each channel of `x [n, channels, ..]` by its mean and (biased) variance over the batch:
/// `(x - mean) / sqrt(var + eps) * gamma + beta`, and then does what is to come `after`.
///
/// # Errors
/// When shapes do not fit, or a channel has fewer than two values.
pub fn batch_norm<'a>(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    after: impl Into<After<'a>>,
) -> Result<(Tensor, BatchStatistics)> {
    let (channels, after) = (channels(x, gamma, beta)?, after.into());
    let count = x.elem_count() / channels.max(1);
    if count < 2 {
        bail!("batch_norm: a channel needs at least two values, got the input {:?}", x.dims())
    }
    let unbias = count as f64 / (count - 1) as f64;
    if !is_fast(x) {
        let mean = channel_mean(x)?;
        let var = channel_mean(&x.broadcast_sub(&mean)?.sqr()?)?;
        let y = composed(x, gamma, beta, &mean, &var, eps, after)?;
        let flat = |t: &Tensor, by: f64| (t.detach().flatten_all()? * by).map(|t| t.detach());
        return Ok((y, BatchStatistics { mean: flat(&mean, 1.0)?, var: flat(&var, unbias)? }));
    }
    let used = by_dtype!(x.dtype(), T => read::<T, _>(&raw(x)?, |x| T::batch_statistics(channels, x))?);
    let as_tensor = |v: Vec<f64>| Tensor::from_vec(v, channels, x.device())?.to_dtype(x.dtype());
    let var = used.var.iter().map(|v| v * unbias).collect();
    let statistics = BatchStatistics { mean: as_tensor(used.mean.clone())?, var: as_tensor(var)? };
    Ok((apply(x, gamma, beta, BatchNorm::new(used, gamma, beta, eps, after, true)?, after)?, statistics))
}

/// Normalises each channel of `x [n, channels, ..]` by given statistics `mean [channels]` and `var [channels]`, which get
/// no gradient, and then does what is to come `after`.
///
/// # Errors
/// When shapes do not fit.
pub fn batch_norm_frozen<'a>(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mean: &Tensor,
    var: &Tensor,
    eps: f64,
    after: impl Into<After<'a>>,
) -> Result<Tensor> {
    let (channels, after) = (channels(x, gamma, beta)?, after.into());
    if [mean.dims(), var.dims()] != [[channels]; 2] {
        let (m, v) = (mean.dims(), var.dims());
        bail!("batch_norm: expected statistics of shape [{channels}], got {m:?} and {v:?}")
    }
    if !is_fast(x) {
        let wide = |t: &Tensor| t.detach().reshape(broadcast(channels, x.rank()));
        return composed(x, gamma, beta, &wide(mean)?, &wide(var)?, eps, after);
    }
    let used = Used { mean: host(mean)?, var: host(var)? };
    apply(x, gamma, beta, BatchNorm::new(used, gamma, beta, eps, after, false)?, after)
}

fn channels(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<usize> {
    let [_, channels, ..] = x.dims() else {
        bail!("batch_norm: expected an input [n, channels, ..], got {:?}", x.dims())
    };
    if [gamma.dims(), beta.dims()] != [[*channels]; 2] {
        let (g, b) = (gamma.dims(), beta.dims());
        bail!("batch_norm: expected gamma and beta of shape [{channels}], got {g:?} and {b:?}")
    }
    Ok(*channels)
}

fn broadcast(channels: usize, rank: usize) -> Vec<usize> {
    (0..rank).map(|i| if i == 1 { channels } else { 1 }).collect()
}

fn host(t: &Tensor) -> Result<Vec<f64>> {
    t.to_dtype(DType::F64)?.to_vec1::<f64>()
}

fn channel_mean(x: &Tensor) -> Result<Tensor> {
    let channels = x.dim(1)?;
    let by_channel = x.transpose(0, 1)?.contiguous()?.reshape((channels, ()))?;
    by_channel.mean(D::Minus1)?.reshape(broadcast(channels, x.rank()))
}

/// The same from candle's operations, for devices other than the CPU; `mean` and `var` broadcast over `x`.
fn composed(
    x: &Tensor,
    g: &Tensor,
    b: &Tensor,
    mean: &Tensor,
    var: &Tensor,
    eps: f64,
    after: After<'_>,
) -> Result<Tensor> {
    let scale = g.reshape(mean.dims())?.div(&(var + eps)?.sqrt()?)?;
    let y = x.broadcast_sub(mean)?.broadcast_mul(&scale)?.broadcast_add(&b.reshape(mean.dims())?)?;
    activate(&after.residual.map_or_else(|| Ok(y.clone()), |r| &y + r)?, after.activation)
}

struct BatchNorm {
    mean: Vec<f64>,
    inv_std: Vec<f64>,
    scale: Vec<f64>,
    shift: Vec<f64>,
    /// Whether the statistics are the batch's own, and so depend on the input.
    by_batch: bool,
    residual: bool,
    activation: Activation,
}

impl BatchNorm {
    fn new(used: Used, gamma: &Tensor, beta: &Tensor, eps: f64, after: After<'_>, by_batch: bool) -> Result<Self> {
        let inv_std: Vec<f64> = used.var.iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
        let scale: Vec<f64> = host(gamma)?.iter().zip(&inv_std).map(|(g, s)| g * s).collect();
        let shift = host(beta)?.iter().zip(&used.mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        let (residual, activation) = (after.residual.is_some(), after.activation);
        Ok(Self { mean: used.mean, inv_std, scale, shift, by_batch, residual, activation })
    }
}

fn narrow<T: Element>(v: &[f64]) -> Vec<T> {
    v.iter().map(|v| T::from_f64(*v)).collect()
}

fn apply(x: &Tensor, gamma: &Tensor, beta: &Tensor, mut op: BatchNorm, after: After<'_>) -> Result<Tensor> {
    let tracked = [Some(x), Some(gamma), Some(beta), after.residual].into_iter().flatten().filter(|t| t.track_op());
    if tracked.count() > 3 && !transplant_core::is_recording() {
        // An operation of candle's graph has at most three operands.
        (op.residual, op.activation) = (false, Activation::Identity);
        let y = apply(x, gamma, beta, op, Activation::Identity.into())?;
        return activate(&after.residual.map_or_else(|| Ok(y.clone()), |r| add(&y, r))?, after.activation);
    }
    let y = by_dtype!(x.dtype(), T => {
        let (scale, shift) = (narrow::<T>(&op.scale), narrow::<T>(&op.shift));
        own(match after.residual {
            None => read::<T, _>(&raw(x)?, |x| T::batch_norm(x, &scale, &shift, None, op.activation))?,
            Some(r) if r.dims() != x.dims() => {
                bail!("batch_norm: the residual {:?} does not fit the input {:?}", r.dims(), x.dims())
            }
            Some(r) => read2::<T, _>(&raw(x)?, &raw(r)?, |x, r| T::batch_norm(x, &scale, &shift, Some(r), op.activation))?,
        })
    });
    let inputs: Vec<&Tensor> = [Some(x), Some(gamma), Some(beta), after.residual].into_iter().flatten().collect();
    record(op, &inputs, y, x.shape(), Memory::ChannelsLast)
}

impl Differentiable for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let input = link.input(0)?;
        let (x, g, shape) = (raw(input)?, raw(link.grad)?, input.shape());
        let channels = self.scale.len();
        by_dtype!(g.dtype(), T => {
            let [scale, shift, mean] = [&self.scale, &self.shift, &self.mean].map(|v| narrow::<T>(v));
            // With a residual the gradient below the activation is needed by itself; without, it is made where it is used.
            let (below, activation) = if self.residual && self.activation != Activation::Identity {
                let r = raw(link.input(3)?)?;
                let below = read3::<T, _>(&x, &g, &r, |x, g, r| T::batch_norm_below(x, g, &scale, &shift, r, self.activation))?;
                (raw(&tensor(below, shape, Memory::ChannelsLast)?)?, Activation::Identity)
            } else {
                (g, self.activation)
            };
            let params = link.wants(1) || link.wants(2);
            let sums = if params || (link.wants(0) && self.by_batch) {
                read2::<T, _>(&x, &below, |x, g| T::batch_norm_sums(x, g, &scale, &shift, &mean, activation))?
            } else {
                Sums::default()
            };
            let dx = link.when_wanted(0, || {
                let count = (x.elem_count() / channels.max(1)) as f64;
                // dx = scale (g - mean(g) - normal mean(g normal)), as a linear function of g and x.
                let slope: Vec<f64> = (0..channels).map(|c| match self.by_batch {
                    true => -self.scale[c] * sums.g_centred[c] * self.inv_std[c] * self.inv_std[c] / count,
                    false => 0.0,
                }).collect();
                let offset: Vec<f64> = (0..channels).map(|c| match self.by_batch {
                    true => -self.scale[c] * sums.g[c] / count - slope[c] * self.mean[c],
                    false => 0.0,
                }).collect();
                let (slope, offset) = (narrow::<T>(&slope), narrow::<T>(&offset));
                let dx = read2::<T, _>(&x, &below, |x, g| {
                    T::batch_norm_input_gradient(x, g, (&scale, &shift), (&slope, &offset), activation)
                })?;
                tensor(dx, shape, Memory::ChannelsLast)
            })?;
            let of = |v: Vec<f64>| tensor(narrow::<T>(&v), channels, Memory::Plain);
            let normal = || sums.g_centred.iter().zip(&self.inv_std).map(|(g, s)| g * s).collect();
            let d_gamma = link.when_wanted(1, || of(normal()))?;
            let d_beta = link.when_wanted(2, || of(sums.g.clone()))?;
            let d_residual = link.when_wanted(3, || Memory::ChannelsLast.view(&below, shape))?;
            Ok(vec![dx, d_gamma, d_beta, d_residual])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, values};
    use candle_core::Device;

    const EPS: f64 = 1e-5;

    fn case(shape: &[usize]) -> [Tensor; 3] {
        [random(1, shape), random(2, &shape[1..2]), random(3, &shape[1..2])]
    }

    fn statistics(channels: usize) -> (Tensor, Tensor) {
        (random(4, &[channels]), (random(5, &[channels]) + 1.5).unwrap())
    }

    fn train(t: &[Tensor], act: Activation) -> Result<Tensor> {
        Ok(batch_norm(&t[0], &t[1], &t[2], EPS, act)?.0)
    }

    #[test]
    fn gradients_are_right_with_batch_and_with_running_statistics() {
        for shape in [&[3, 2, 3, 5][..], &[1, 3, 2, 2], &[5, 4], &[2, 3, 17]] {
            let t = case(shape);
            let (mean, var) = statistics(shape[1]);
            let residual = [&t[..], &[random(6, shape)]].concat();
            for act in [Activation::Identity, Activation::Relu, Activation::HardSwish] {
                gradcheck(|t| train(t, act), &t);
                gradcheck(|t| batch_norm_frozen(&t[0], &t[1], &t[2], &mean, &var, EPS, act), &t);
                fn after(r: &Tensor, activation: Activation) -> After<'_> {
                    After { residual: Some(r), activation }
                }
                gradcheck(|t| Ok(batch_norm(&t[0], &t[1], &t[2], EPS, after(&t[3], act))?.0), &residual);
                gradcheck(|t| batch_norm_frozen(&t[0], &t[1], &t[2], &mean, &var, EPS, after(&t[3], act)), &residual);
            }
        }
        gradcheck(
            |t| train(&[t[0].t()?, t[1].clone(), t[2].clone()], Activation::Relu),
            &[random(1, &[3, 6]), random(2, &[3]), random(3, &[3])],
        );
    }

    #[test]
    fn the_composed_form_agrees_and_so_do_its_gradients() {
        let t = case(&[3, 2, 3, 4]);
        let by_candle = |t: &[Tensor]| {
            let mean = channel_mean(&t[0])?;
            let var = channel_mean(&t[0].broadcast_sub(&mean)?.sqr()?)?;
            composed(&t[0], &t[1], &t[2], &mean, &var, EPS, Activation::Relu.into())
        };
        assert!(max_difference(&train(&t, Activation::Relu).unwrap(), &by_candle(&t).unwrap()) < 1e-12);
        gradcheck(by_candle, &t);
    }

    #[test]
    fn the_variance_for_running_statistics_is_unbiased() {
        let t = [Tensor::new(&[[1f64], [2.0], [6.0]], &Device::Cpu).unwrap(), random(1, &[1]), random(2, &[1])];
        let (_, s) = batch_norm(&t[0], &t[1], &t[2], EPS, Activation::Identity).unwrap();
        assert_eq!((values(&s.mean), values(&s.var)), (vec![3.0], vec![7.0]));
        assert!(!s.mean.track_op() && !s.var.track_op());
    }

    #[test]
    fn the_bits_do_not_depend_on_threads_and_one_value_is_refused() {
        let t: Vec<_> = case(&[133, 5, 16, 7]).iter().map(crate::testing::single).collect();
        same_bits_on_any_pool(|t| train(t, Activation::Relu), &t);
        let t = case(&[1, 3, 1, 1]);
        assert!(train(&t, Activation::Identity).unwrap_err().to_string().contains("two values"));
    }
}
