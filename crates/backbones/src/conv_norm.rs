//! A convolution and the normalisation after it, of which most networks for images are made.

use candle_core::Tensor;
use transplant_core::{Ctx, Init, Result, Scope};
use transplant_ops::{Activation, BatchNorm2d, Conv2d, Conv2dGeometry, ScopeExt, conv_norms};

/// How many values a channel's weights are drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fan {
    /// Those that a value goes out to within its group, as timm.
    Group,
    /// Those that it would go out to without groups, as torchvision.
    All,
}

/// What the convolutions of a network have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Style {
    /// Whether padding is TensorFlow's "same"; otherwise it is alike on all sides.
    pub(crate) same: bool,
    /// Added to variances.
    pub(crate) eps: f64,
    /// For the initial weights.
    pub(crate) fan: Fan,
}

/// Sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) groups: usize,
}

impl Size {
    /// A convolution of all channels together.
    pub(crate) fn new(from: usize, to: usize, kernel: usize, stride: usize) -> Self {
        Self { from, to, kernel, stride, groups: 1 }
    }

    /// A 1×1 convolution.
    pub(crate) fn point(from: usize, to: usize) -> Self {
        Self::new(from, to, 1, 1)
    }

    /// A convolution of each channel alone.
    pub(crate) fn depthwise(channels: usize, kernel: usize, stride: usize) -> Self {
        Self { from: channels, to: channels, kernel, stride, groups: channels }
    }
}

/// A convolution without bias, the normalisation after it, and an activation.
pub(crate) struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm2d,
    activation: Activation,
}

impl ConvNorm {
    /// With the names of convolution and normalisation below `s`.
    pub(crate) fn new(
        s: &Scope,
        names: (&str, &str),
        size: Size,
        style: Style,
        activation: Activation,
    ) -> Result<Self> {
        let Size { from, to, kernel, stride, groups } = size;
        let at = s.pp(names.0);
        let fan = kernel * kernel * if style.fan == Fan::Group { to / groups } else { to };
        at.weight("weight", (to, from / groups, kernel, kernel), Init::he(fan))?;
        let padding = if style.same { 0 } else { kernel / 2 };
        let geometry = Conv2dGeometry::padded(padding).strided(stride).grouped(groups);
        let conv = at.conv2d(from, to, kernel, geometry, false)?;
        let conv = if style.same { conv.same() } else { conv };
        Ok(Self { conv, norm: BatchNorm2d::new(&s.pp(names.1), to, 0.1, style.eps)?, activation })
    }

    pub(crate) fn forward(&self, x: &Tensor, cx: &Ctx) -> Result<Tensor> {
        Self::all(std::slice::from_ref(self), x, None, cx)
    }

    /// Several, one after another; the `residual` is added before the last activation.
    pub(crate) fn all(layers: &[Self], x: &Tensor, residual: Option<&Tensor>, cx: &Ctx) -> Result<Tensor> {
        let layers: Vec<_> = layers.iter().map(|l| (&l.conv, &l.norm, l.activation)).collect();
        conv_norms(&layers, x, residual, cx)
    }
}
