//! Convolutions one after another, each with its normalisation and activation, without gradients.
//!
//! What stands between them is computed for a few images at a time, so that it stays in the caches: a network's widest maps are
//! many times as large, and writing and reading them takes longer than computing them.

use candle_core::{DType, Result, Tensor, bail};
use rayon::prelude::*;
use transplant_core::Memory;

use super::cpu::Ready;
use super::geometry::Dims;
use crate::buffer::{Shared, written};
use crate::host::{Element, by_dtype, is_fast, raw, read, read2, tensor};
use crate::product::{Act, Finish};
use crate::{Activation, After, Conv2dGeometry, batch_norm_frozen, conv2d};

/// Bytes between two convolutions that a thread works on, where one image does not need more.
const BETWEEN: usize = 1 << 19;

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
    let (mut shape, mut dims) = (x.dims().to_vec(), Vec::with_capacity(convs.len()));
    for conv in convs {
        let d = Dims::new(&shape, conv.weight.dims(), conv.at)?;
        shape = vec![d.n, d.o, d.oh, d.ow];
        dims.push(d);
    }
    if let Some(r) = residual.filter(|r| r.dims() != shape) {
        bail!("conv2d: the residual {:?} does not fit the output {shape:?}", r.dims())
    }
    let acts: Option<Vec<Act>> = convs.iter().map(|c| act(c.activation)).collect();
    let (Some(acts), Some(last)) = (acts.filter(|_| is_fast(x)), dims.last().copied()) else {
        return one_by_one(x, convs, residual);
    };
    by_dtype!(x.dtype(), T => {
        let link = |((conv, d), act): ((&NormalisedConv<'_>, &Dims), Act)| Link::<T>::new(conv, d, act);
        let chain = Chain { links: convs.iter().zip(&dims).zip(acts).map(link).collect::<Result<_>>()? };
        let x = raw(x)?;
        let y = match residual {
            None => read::<T, _>(&x, |x| chain.run(last.n, x, None))?,
            Some(r) => read2::<T, _>(&x, &raw(r)?, |x, r| chain.run(last.n, x, Some(r)))?,
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

fn act(activation: Activation) -> Option<Act> {
    match activation {
        Activation::Identity => Some(Act::None),
        Activation::Relu => Some(Act::Relu),
        Activation::Relu6 => Some(Act::Relu6),
        _ => None,
    }
}

/// One convolution of a chain, with its weights and constants ready.
struct Link<T> {
    conv: Ready<T>,
    scale: Vec<T>,
    shift: Vec<T>,
    act: Act,
    /// Numbers that it puts out for an image.
    out: usize,
}

impl<T: Element> Link<T> {
    fn new(conv: &NormalisedConv<'_>, d: &Dims, act: Act) -> Result<Self> {
        let Normalised { gamma, beta, mean, var, eps } = conv.norm;
        let host = |t: &Tensor| t.to_dtype(DType::F64)?.to_vec1::<f64>();
        let (gamma, beta, mean, var) = (host(gamma)?, host(beta)?, host(mean)?, host(var)?);
        if [gamma.len(), beta.len(), mean.len(), var.len()] != [d.o; 4] {
            bail!("conv2d: expected {} values of each constant of the normalisation", d.o)
        }
        let scale: Vec<f64> = gamma.iter().zip(&var).map(|(g, v)| g / (v + eps).sqrt()).collect();
        Ok(Self {
            conv: read::<T, _>(conv.weight, |w| Ready::new(d, w))?,
            shift: (0..d.o).map(|c| T::from_f64(beta[c] - mean[c] * scale[c])).collect(),
            scale: scale.into_iter().map(T::from_f64).collect(),
            act,
            out: d.oh * d.ow * d.o,
        })
    }

    fn finish<'a>(&'a self, residual: Option<&'a [T]>) -> Finish<'a, T> {
        Finish { scale: Some(&self.scale), shift: Some(&self.shift), residual, act: self.act }
    }
}

struct Chain<T> {
    links: Vec<Link<T>>,
}

impl<T: Element> Chain<T> {
    /// The output for `n` images.
    #[allow(unsafe_code, reason = "the output is written once")]
    fn run(&self, n: usize, x: &[T], residual: Option<&[T]>) -> Vec<T> {
        let threads = rayon::current_num_threads();
        let between = self.between(0) + self.between(1);
        let block = (BETWEEN / size_of::<T>() / between.max(1)).clamp(1, n.div_ceil(4 * threads).max(1));
        let len = n * self.links.last().map_or(0, |l| l.out);
        let all = |y: Shared<T>| {
            // With fewer images than would keep all threads busy, the threads share each convolution.
            if self.links.len() == 1 || n < 2 * threads {
                self.pass((n, true), x, residual, y);
            } else {
                let parts = (0..n.div_ceil(block)).into_par_iter().map(|b| b * block..((b + 1) * block).min(n));
                parts.for_each(|images| {
                    let of = |len: usize| images.start * (len / n)..images.end * (len / n);
                    self.pass(
                        (images.len(), false),
                        &x[of(x.len())],
                        residual.map(|r| &r[of(r.len())]),
                        y.part(of(len)),
                    );
                });
            }
            Ok::<(), std::convert::Infallible>(())
        };
        // SAFETY: the parts cover all images, and the last convolution writes all that it puts out for each of them.
        unsafe { written(len, all) }.unwrap_or_default()
    }

    /// Numbers that an image needs between convolutions of the chain, in the first or second of two places that take turns.
    fn between(&self, place: usize) -> usize {
        let inner = &self.links[..self.links.len().saturating_sub(1)];
        inner.iter().skip(place).step_by(2).map(|l| l.out).max().unwrap_or(0)
    }

    /// All convolutions for some images.
    fn pass(&self, (images, spread): (usize, bool), x: &[T], residual: Option<&[T]>, y: Shared<T>) {
        let Some((last, inner)) = self.links.split_last() else { return };
        let (first, second) = (self.between(0) * images, self.between(1) * images);
        T::with_scratch(first + second, |scratch| {
            let (mut to, mut from) = scratch.split_at_mut(first);
            for (i, link) in inner.iter().enumerate() {
                let x = if i == 0 { x } else { &*from };
                link.conv.run((images, spread), x, link.finish(None), Shared::of(&mut to[..link.out * images]));
                std::mem::swap(&mut to, &mut from);
            }
            let x = if inner.is_empty() { x } else { &*from };
            last.conv.run((images, spread), x, last.finish(residual), y);
        });
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
