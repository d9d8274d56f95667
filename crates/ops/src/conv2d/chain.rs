//! Convolutions one after another, each with its normalisation and activation, without gradients.
//!
//! What stands between them is computed for a few images at a time, so that it stays in the caches: a network's widest maps are
//! many times as large, and writing and reading them takes longer than computing them.

use candle_core::{DType, Result, Tensor, bail};
use transplant_core::Memory;
use transplant_kernels::conv::{Chains, Dims};
use transplant_kernels::product::Act;

use super::dims;
use crate::host::{by_dtype, is_fast, raw, read, read2, tensor};
use crate::{Activation, After, Conv2dGeometry, batch_norm_frozen, conv2d};

/// The constants of a normalisation by given statistics, `[o]` each.
#[derive(Debug, Clone, Copy)]
pub struct Normalised<'a> {
    /// Scale.
    pub gamma: &'a Tensor,
    /// Shift.
    pub beta: &'a Tensor,
    /// Means.
    pub mean: &'a Tensor,
    /// Variances.
    pub var: &'a Tensor,
    /// Added to variances.
    pub eps: f64,
}

/// A convolution without bias, the normalisation after it, and an activation.
#[derive(Debug, Clone, Copy)]
pub struct NormalisedConv<'a> {
    /// `[o, c / groups, kh, kw]`.
    pub weight: &'a Tensor,
    /// Stride, padding, dilation and groups.
    pub at: Conv2dGeometry,
    /// The normalisation.
    pub norm: Normalised<'a>,
    /// Applied last.
    pub activation: Activation,
}

/// [`conv2d`] without bias, [`batch_norm_frozen`] and an activation, as often as there are `convs`, in one pass and without
/// gradients: for evaluation and frozen stages. The `residual`, of the shape of the output, is added before the last activation.
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn conv2d_norm(x: &Tensor, convs: &[NormalisedConv<'_>], residual: Option<&Tensor>) -> Result<Tensor> {
    let (mut shape, mut all) = (x.dims().to_vec(), Vec::with_capacity(convs.len()));
    for conv in convs {
        let d = dims(&shape, conv.weight.dims(), conv.at)?;
        shape = vec![d.n, d.o, d.oh, d.ow];
        all.push(d);
    }
    if let Some(r) = residual.filter(|r| r.dims() != shape) {
        bail!("conv2d: the residual {:?} does not fit the output {shape:?}", r.dims())
    }
    let acts: Option<Vec<Act>> = convs.iter().map(|c| act(c.activation)).collect();
    let (Some(acts), Some(last)) = (acts.filter(|_| is_fast(x)), all.last().copied()) else {
        return one_by_one(x, convs, residual);
    };
    let statistics = convs.iter().zip(&all).map(|(c, d)| scale_and_shift(&c.norm, d)).collect::<Result<Vec<_>>>()?;
    by_dtype!(x.dtype(), T => {
        let mut links = Vec::with_capacity(convs.len());
        for (((conv, d), act), (scale, shift)) in convs.iter().zip(&all).zip(acts).zip(&statistics) {
            let cast = |v: &[f64]| v.iter().map(|v| *v as T).collect();
            links.push(read::<T, _>(conv.weight, |w| T::link(d, w, cast(scale), cast(shift), act))?);
        }
        let x = raw(x)?;
        let y = match residual {
            None => read::<T, _>(&x, |x| T::chain(links, last.n, x, None))?,
            Some(r) => read2::<T, _>(&x, &raw(r)?, |x, r| T::chain(links, last.n, x, Some(r)))?,
        };
        tensor(y, shape, Memory::ChannelsLast)
    })
}

/// The same, operation by operation.
fn one_by_one(x: &Tensor, convs: &[NormalisedConv<'_>], residual: Option<&Tensor>) -> Result<Tensor> {
    let mut y = x.detach();
    for (i, NormalisedConv { weight, at, norm, activation }) in convs.iter().enumerate() {
        let residual = residual.filter(|_| i + 1 == convs.len());
        let after = After { residual, activation: *activation };
        let Normalised { gamma, beta, mean, var, eps } = norm;
        let conv = conv2d(&y, &weight.detach(), None, *at)?;
        y = batch_norm_frozen(&conv, &gamma.detach(), &beta.detach(), mean, var, *eps, after)?;
    }
    Ok(y)
}

/// A normalisation as a factor and a shift of each channel.
fn scale_and_shift(norm: &Normalised<'_>, d: &Dims) -> Result<(Vec<f64>, Vec<f64>)> {
    let Normalised { gamma, beta, mean, var, eps } = norm;
    let host = |t: &Tensor| t.to_dtype(DType::F64)?.to_vec1::<f64>();
    let (gamma, beta, mean, var) = (host(gamma)?, host(beta)?, host(mean)?, host(var)?);
    if [gamma.len(), beta.len(), mean.len(), var.len()] != [d.o; 4] {
        bail!("conv2d: expected {} values of each constant of the normalisation", d.o)
    }
    let scale: Vec<f64> = gamma.iter().zip(&var).map(|(g, v)| g / (v + eps).sqrt()).collect();
    let shift = (0..d.o).map(|c| beta[c] - mean[c] * scale[c]).collect();
    Ok((scale, shift))
}

fn act(activation: Activation) -> Option<Act> {
    match activation {
        Activation::Identity => Some(Act::None),
        Activation::Relu => Some(Act::Relu),
        Activation::Relu6 => Some(Act::Relu6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{max_difference, random, single};

    /// Widens, convolves each channel alone, and narrows to the input's shape: operands of [`chained`].
    fn operands(n: usize, size: usize) -> Vec<Tensor> {
        let mut t = vec![random(1, &[n, 6, size, size])];
        for (i, weight) in [[40, 6, 1, 1], [40, 1, 3, 3], [6, 40, 1, 1]].iter().enumerate() {
            let constant = |j: usize| random((9 * i + j) as u64, &[weight[0]]);
            t.extend([random(i as u64, weight), constant(2), constant(3), constant(4), constant(5).sqr().unwrap()]);
        }
        t
    }

    fn convs(t: &[Tensor], activation: Activation) -> Vec<NormalisedConv<'_>> {
        let at = [Conv2dGeometry::default(), Conv2dGeometry::padded(1).grouped(40), Conv2dGeometry::default()];
        let all = t[1..].chunks_exact(5).zip(at).map(|(t, at)| {
            let norm = Normalised { gamma: &t[1], beta: &t[2], mean: &t[3], var: &t[4], eps: 1e-3 };
            NormalisedConv { weight: &t[0], at, norm, activation }
        });
        all.collect()
    }

    #[test]
    fn a_chain_is_its_operations_one_by_one() {
        for (n, size, activation) in [(23, 5, Activation::Relu6), (1, 9, Activation::Relu), (5, 3, Activation::Silu)] {
            let t = operands(n, size);
            let convs = convs(&t, activation);
            for residual in [None, Some(&t[0])] {
                let (y, want) = (conv2d_norm(&t[0], &convs, residual), one_by_one(&t[0], &convs, residual));
                assert!(max_difference(&y.unwrap(), &want.unwrap()) < 1e-12, "{n} {activation:?}");
            }
            let (first, none) = (conv2d_norm(&t[0], &convs[..1], None), conv2d_norm(&t[0], &[], None));
            assert!(max_difference(&first.unwrap(), &one_by_one(&t[0], &convs[..1], None).unwrap()) < 1e-12);
            assert_eq!(max_difference(&none.unwrap(), &t[0]), 0.0);
        }
    }

    #[test]
    fn the_bits_depend_on_neither_threads_nor_neighbours() {
        let t: Vec<Tensor> = operands(37, 7).iter().map(single).collect();
        let run = |t: &[Tensor]| conv2d_norm(&t[0], &convs(t, Activation::Relu6), Some(&t[0]));
        let all = run(&t).unwrap();
        for (from, n) in [(0, 1), (5, 12), (36, 1)] {
            let some = [&[t[0].narrow(0, from, n).unwrap()], &t[1..]].concat();
            assert_eq!(max_difference(&all.narrow(0, from, n).unwrap(), &run(&some).unwrap()), 0.0, "{from} {n}");
        }
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(max_difference(&all, &pool.install(|| run(&t)).unwrap()), 0.0, "{threads} threads");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let t = operands(2, 4);
        let convs = convs(&t, Activation::Relu);
        assert!(conv2d_norm(&t[0], &convs[1..], None).is_err());
        let wide = random(1, &[2, 40, 4, 4]);
        assert!(conv2d_norm(&t[0], &convs, Some(&wide)).unwrap_err().to_string().contains("residual"));
        let norm = Normalised { gamma: &t[11], ..convs[0].norm };
        assert!(conv2d_norm(&t[0], &[NormalisedConv { norm, ..convs[0] }], None).is_err());
    }
}
