//! Batch normalisation, optionally with the ReLU that usually follows it.
//!
//! Ioffe & Szegedy 2015, *Batch Normalization*. With batch statistics the gradient runs through mean and variance; with
//! running statistics they are constants. The fused ReLU saves a pass over the activations in each direction.

mod cpu;

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, D, DType, Device, Layout, Result, Shape, Tensor, bail};
use transplant_core::{deposit, wants_gradient};

use crate::host::{by_dtype, dtype, is_fast, own, read3, slice};
use crate::relu;

/// Statistics of a batch, one value a channel, untracked.
#[derive(Debug, Clone)]
pub struct BatchStatistics {
    /// Means, `[channels]`.
    pub mean: Tensor,
    /// Unbiased variances (divided by count - 1), `[channels]`: what running statistics are made of.
    pub var: Tensor,
}

/// Normalises each channel of `x [n, channels, ..]` by its mean and (biased) variance over the batch:
/// `(x - mean) / sqrt(var + eps) * gamma + beta`, and then takes the ReLU when `relu` is set.
///
/// # Errors
/// When shapes do not fit, or a channel has fewer than two values.
pub fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    relu: bool,
) -> Result<(Tensor, BatchStatistics)> {
    let dims = Dims::new(x, gamma, beta)?;
    let count = dims.n * dims.len;
    if count < 2 {
        bail!("batch_norm: a channel needs at least two values, got the input {:?}", x.dims())
    }
    let unbias = count as f64 / (count - 1) as f64;
    if !is_fast(x) {
        let mean = channel_mean(x, &dims)?;
        let var = channel_mean(&x.broadcast_sub(&mean)?.sqr()?, &dims)?;
        let y = composed(x, gamma, beta, &mean, &var, eps, relu)?;
        let flat = |t: &Tensor, by: f64| (t.detach().flatten_all()? * by).map(|t| t.detach());
        return Ok((y, BatchStatistics { mean: flat(&mean, 1.0)?, var: flat(&var, unbias)? }));
    }
    let used = Arc::new(OnceLock::new());
    let op = BatchNorm { dims, eps, relu, by_batch: true, used: used.clone() };
    let y = x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, op)?;
    let Some(used) = used.get() else { bail!("batch_norm: the forward pass left no statistics") };
    let var = used.var.iter().map(|v| v * unbias).collect();
    let tensor = |v: Vec<f64>| Tensor::from_vec(v, dims.channels, &Device::Cpu)?.to_dtype(x.dtype());
    Ok((y, BatchStatistics { mean: tensor(used.mean.clone())?, var: tensor(var)? }))
}

/// Normalises each channel of `x [n, channels, ..]` by given statistics `mean [channels]` and `var [channels]`, which get
/// no gradient, and then takes the ReLU when `relu` is set.
///
/// # Errors
/// When shapes do not fit.
pub fn batch_norm_frozen(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mean: &Tensor,
    var: &Tensor,
    eps: f64,
    relu: bool,
) -> Result<Tensor> {
    let dims = Dims::new(x, gamma, beta)?;
    if [mean.dims(), var.dims()] != [[dims.channels]; 2] {
        let (m, v) = (mean.dims(), var.dims());
        bail!("batch_norm: expected statistics of shape [{}], got {m:?} and {v:?}", dims.channels)
    }
    if !is_fast(x) {
        let wide = |t: &Tensor| t.detach().reshape(dims.broadcast(x.rank()));
        return composed(x, gamma, beta, &wide(mean)?, &wide(var)?, eps, relu);
    }
    let host = |t: &Tensor| t.to_dtype(DType::F64)?.to_vec1::<f64>();
    let used = OnceLock::from(Used { mean: host(mean)?, var: host(var)? });
    let op = BatchNorm { dims, eps, relu, by_batch: false, used: Arc::new(used) };
    x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, op)
}

/// The input as `[n, channels, len]`.
#[derive(Debug, Clone, Copy)]
struct Dims {
    n: usize,
    channels: usize,
    len: usize,
}

impl Dims {
    fn new(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<Self> {
        let [n, channels, rest @ ..] = x.dims() else {
            bail!("batch_norm: expected an input [n, channels, ..], got {:?}", x.dims())
        };
        if [gamma.dims(), beta.dims()] != [[*channels]; 2] {
            let (g, b) = (gamma.dims(), beta.dims());
            bail!("batch_norm: expected gamma and beta of shape [{channels}], got {g:?} and {b:?}")
        }
        Ok(Self { n: *n, channels: *channels, len: rest.iter().product() })
    }

    fn broadcast(&self, rank: usize) -> Vec<usize> {
        (0..rank).map(|i| if i == 1 { self.channels } else { 1 }).collect()
    }
}

fn channel_mean(x: &Tensor, dims: &Dims) -> Result<Tensor> {
    let by_channel = x.transpose(0, 1)?.contiguous()?.reshape((dims.channels, ()))?;
    by_channel.mean(D::Minus1)?.reshape(dims.broadcast(x.rank()))
}

/// The same from candle's operations, for devices other than the CPU; `mean` and `var` broadcast over `x`.
fn composed(x: &Tensor, g: &Tensor, b: &Tensor, mean: &Tensor, var: &Tensor, eps: f64, fuse: bool) -> Result<Tensor> {
    let scale = g.reshape(mean.dims())?.div(&(var + eps)?.sqrt()?)?;
    let y = x.broadcast_sub(mean)?.broadcast_mul(&scale)?.broadcast_add(&b.reshape(mean.dims())?)?;
    if fuse { relu(&y) } else { Ok(y) }
}

/// The statistics that a forward pass used, kept for its backward pass.
#[derive(Debug)]
struct Used {
    mean: Vec<f64>,
    var: Vec<f64>,
}

struct BatchNorm {
    dims: Dims,
    eps: f64,
    relu: bool,
    /// Whether the statistics are the batch's own, and so depend on the input.
    by_batch: bool,
    used: Arc<OnceLock<Used>>,
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        gamma: &CpuStorage,
        gl: &Layout,
        beta: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        by_dtype!(dtype(x), T => {
            let (x, gamma, beta) = (slice::<T>(x, xl)?, slice::<T>(gamma, gl)?, slice::<T>(beta, bl)?);
            let used = self.used.get_or_init(|| cpu::statistics(&self.dims, x));
            let y = cpu::forward(&self.dims, x, gamma, beta, used, self.eps, self.relu);
            Ok((own(y), xl.shape().clone()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        y: &Tensor,
        g: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(used) = self.used.get() else { bail!("batch_norm: the forward pass left no statistics") };
        let d = &self.dims;
        by_dtype!(g.dtype(), T => {
            let (wants, inputs) = (wants_gradient(gamma) || wants_gradient(beta), wants_gradient(x));
            let sums = if wants || (inputs && self.by_batch) {
                read3::<T, _>(x, y, g, |x, y, g| cpu::sums(d, [x, y, g], used, self.eps, self.relu))?
            } else {
                cpu::Sums::default()
            };
            let dx = if inputs {
                let scale = gamma.to_dtype(DType::F64)?.to_vec1::<f64>()?;
                let sums = self.by_batch.then_some(&sums);
                let dx = read3::<T, _>(x, y, g, |x, y, g| {
                    cpu::input_gradient(d, [x, y, g], &scale, used, sums, self.eps, self.relu)
                })?;
                Some(Tensor::from_vec(dx, x.shape(), x.device())?)
            } else {
                None
            };
            let tensor = |v: Vec<f64>| Tensor::from_vec(v, d.channels, x.device())?.to_dtype(x.dtype());
            Ok((dx, deposit(gamma, || tensor(sums.g_normal.clone()))?, deposit(beta, || tensor(sums.g.clone()))?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random, same_bits_on_any_pool, values};

    const EPS: f64 = 1e-5;

    fn case(shape: &[usize]) -> [Tensor; 3] {
        [random(1, shape), random(2, &shape[1..2]), random(3, &shape[1..2])]
    }

    fn statistics(channels: usize) -> (Tensor, Tensor) {
        (random(4, &[channels]), (random(5, &[channels]) + 1.5).unwrap())
    }

    fn train(t: &[Tensor], relu: bool) -> Result<Tensor> {
        Ok(batch_norm(&t[0], &t[1], &t[2], EPS, relu)?.0)
    }

    #[test]
    fn gradients_are_right_with_batch_and_with_running_statistics() {
        for shape in [&[3, 2, 3, 5][..], &[1, 3, 2, 2], &[5, 4], &[2, 3, 17]] {
            let t = case(shape);
            let (mean, var) = statistics(shape[1]);
            for relu in [false, true] {
                gradcheck(|t| train(t, relu), &t);
                gradcheck(|t| batch_norm_frozen(&t[0], &t[1], &t[2], &mean, &var, EPS, relu), &t);
            }
        }
        gradcheck(
            |t| train(&[t[0].t()?, t[1].clone(), t[2].clone()], true),
            &[random(1, &[3, 6]), random(2, &[3]), random(3, &[3])],
        );
    }

    #[test]
    fn the_composed_form_agrees_and_so_do_its_gradients() {
        let t = case(&[3, 2, 3, 4]);
        let by_candle = |t: &[Tensor]| {
            let d = Dims::new(&t[0], &t[1], &t[2])?;
            let mean = channel_mean(&t[0], &d)?;
            let var = channel_mean(&t[0].broadcast_sub(&mean)?.sqr()?, &d)?;
            composed(&t[0], &t[1], &t[2], &mean, &var, EPS, true)
        };
        assert!(max_difference(&train(&t, true).unwrap(), &by_candle(&t).unwrap()) < 1e-12);
        gradcheck(by_candle, &t);
    }

    #[test]
    fn the_variance_for_running_statistics_is_unbiased() {
        let t = [Tensor::new(&[[1f64], [2.0], [6.0]], &Device::Cpu).unwrap(), random(1, &[1]), random(2, &[1])];
        let (_, s) = batch_norm(&t[0], &t[1], &t[2], EPS, false).unwrap();
        assert_eq!((values(&s.mean), values(&s.var)), (vec![3.0], vec![7.0]));
        assert!(!s.mean.track_op() && !s.var.track_op());
    }

    #[test]
    fn the_bits_do_not_depend_on_threads_and_one_value_is_refused() {
        let t: Vec<_> = case(&[33, 5, 6, 7]).iter().map(crate::testing::single).collect();
        same_bits_on_any_pool(|t| train(t, true), &t);
        let t = case(&[1, 3, 1, 1]);
        assert!(train(&t, false).unwrap_err().to_string().contains("two values"));
    }
}
