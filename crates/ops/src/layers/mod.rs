//! Layers: parameters made through a [`Scope`], with PyTorch's names, shapes and initial distributions.

mod batch_norm;
mod conv2d;
mod conv_norms;
mod embedding;
mod layer_norm;
mod linear;

pub use batch_norm::BatchNorm2d;
pub use conv_norms::conv_norms;
pub use conv2d::Conv2d;
pub use embedding::Embedding;
pub use layer_norm::LayerNorm;
pub use linear::Linear;

use candle_core::Tensor;
use transplant_core::{Delta, Init, Result, Scope, SiteKind};

use crate::Conv2dGeometry;

/// Makes layers in a [`Scope`]. Parameters stand directly in it (`weight`, `bias`, ..), so call these on `scope.pp(name)`.
pub trait ScopeExt {
    /// A fully connected layer with bias.
    ///
    /// # Errors
    /// When a parameter exists with another shape or an adapter cannot be made.
    fn linear(&self, inputs: usize, outputs: usize) -> Result<Linear>;

    /// A fully connected layer without bias.
    ///
    /// # Errors
    /// When a parameter exists with another shape or an adapter cannot be made.
    fn linear_no_bias(&self, inputs: usize, outputs: usize) -> Result<Linear>;

    /// A convolution with a square kernel.
    ///
    /// # Errors
    /// When the groups do not divide the channels, a parameter exists with another shape or an adapter cannot be made.
    fn conv2d(&self, inputs: usize, outputs: usize, kernel: usize, at: Conv2dGeometry, bias: bool) -> Result<Conv2d>;

    /// A batch normalisation of `[n, channels, ..]`, with PyTorch's momentum 0.1 and epsilon 1e-5.
    ///
    /// # Errors
    /// When a parameter exists with another shape.
    fn batch_norm2d(&self, channels: usize) -> Result<BatchNorm2d>;

    /// A normalisation of each row over its last dimension.
    ///
    /// # Errors
    /// When a parameter exists with another shape.
    fn layer_norm(&self, width: usize, eps: f64) -> Result<LayerNorm>;

    /// A table of `count` vectors of `width` numbers, looked up by integers.
    ///
    /// # Errors
    /// When a parameter exists with another shape.
    fn embedding(&self, count: usize, width: usize) -> Result<Embedding>;
}

impl ScopeExt for Scope {
    fn layer_norm(&self, width: usize, eps: f64) -> Result<LayerNorm> {
        LayerNorm::new(self, width, eps)
    }

    fn embedding(&self, count: usize, width: usize) -> Result<Embedding> {
        Embedding::new(self, count, width)
    }

    fn linear(&self, inputs: usize, outputs: usize) -> Result<Linear> {
        Linear::new(self, inputs, outputs, true)
    }

    fn linear_no_bias(&self, inputs: usize, outputs: usize) -> Result<Linear> {
        Linear::new(self, inputs, outputs, false)
    }

    fn conv2d(&self, inputs: usize, outputs: usize, kernel: usize, at: Conv2dGeometry, bias: bool) -> Result<Conv2d> {
        Conv2d::new(self, inputs, outputs, (kernel, kernel), at, bias)
    }

    fn batch_norm2d(&self, channels: usize) -> Result<BatchNorm2d> {
        BatchNorm2d::new(self, channels, batch_norm::MOMENTUM, batch_norm::EPS)
    }
}

/// Weight, bias and adapters: what linear and convolution layers have in common.
struct Affine {
    weight: Tensor,
    bias: Option<Tensor>,
    adapters: Vec<Box<dyn Delta>>,
}

impl Affine {
    fn new(scope: &Scope, shape: &[usize], bias: bool, site: SiteKind) -> Result<Self> {
        let init = Init::fan_in(shape[1..].iter().product());
        let weight = scope.weight("weight", shape, init)?;
        let bias = if bias { Some(scope.weight("bias", shape[0], init)?) } else { None };
        Ok(Self { weight, bias, adapters: scope.adapters(site)? })
    }

    fn adapt(&self, x: &Tensor, y: Tensor) -> Result<Tensor> {
        self.adapters.iter().try_fold(y, |y, a| a.forward(x, y))
    }
}
