//! Convolutions, each with the normalisation and the activation after it.

use candle_core::Tensor;
use transplant_core::{Ctx, Result};

use crate::conv2d::dims;
use crate::{Activation, After, BatchNorm2d, Conv2d, NormalisedConv};

/// Convolves, normalises and activates, as often as there are `layers`; the `residual`, of the shape of the output, is added
/// before the last activation. Where nothing learns and the statistics are given, all of it is one operation.
///
/// # Errors
/// When the input does not fit.
pub fn conv_norms(
    layers: &[(&Conv2d, &BatchNorm2d, Activation)],
    x: &Tensor,
    residual: Option<&Tensor>,
    cx: &Ctx,
) -> Result<Tensor> {
    let statistics: Vec<_> = layers.iter().map(|(_, norm, _)| norm.statistics()).collect();
    let (mut shape, mut given) = (x.dims().to_vec(), Vec::with_capacity(layers.len()));
    for ((conv, norm, activation), statistics) in layers.iter().zip(&statistics) {
        let plain = !conv.weight().track_op() && !conv.is_adapted() && conv.bias().is_none();
        let Some(norm) = norm.constants(statistics, cx).filter(|_| plain) else { break };
        let at = conv.geometry(&shape);
        let d = dims(&shape, conv.weight().dims(), at)?;
        shape = vec![d.n, d.o, d.oh, d.ow];
        given.push(NormalisedConv { weight: conv.weight(), at, norm, activation: *activation });
    }
    if given.len() == layers.len() && !x.track_op() && !residual.is_some_and(Tensor::track_op) {
        return Ok(crate::conv2d_norm(x, &given, residual)?);
    }
    if let [(conv, norm, activation)] = layers {
        return norm.forward_then(&conv.forward(x)?, After { residual, activation: *activation }, cx);
    }
    let mut y = x.clone();
    for (i, layer) in layers.iter().enumerate() {
        y = conv_norms(&[*layer], &y, residual.filter(|_| i + 1 == layers.len()), cx)?;
    }
    Ok(y)
}
