//! The layer normalisation layer.

use candle_core::Tensor;
use transplant_core::{Init, Result, Scope};

/// Normalisation of each row over its last dimension, with PyTorch's names `weight` and `bias`.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    pub(super) fn new(scope: &Scope, width: usize, eps: f64) -> Result<Self> {
        let weight = scope.weight("weight", width, Init::Const(1.0))?;
        Ok(Self { weight, bias: scope.weight("bias", width, Init::Const(0.0))?, eps })
    }

    /// Normalises `[.., width]`.
    ///
    /// # Errors
    /// When the input does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(crate::layer_norm(x, &self.weight, &self.bias, self.eps)?)
    }
}
