//! Inverted residual networks (Sandler et al. 2018): what MobileNetV2 and EfficientNet-Lite have in common.

use candle_core::Tensor;
use transplant_core::{Acts, Backbone, Ctx, HIDDEN, Result, Stage};
use transplant_ops::global_avg_pool;

use crate::conv_norm::ConvNorm;

/// Convolutions, the last without activation, and the block's input added to the output where `skips` says so.
pub(crate) struct Block {
    pub(crate) convs: Vec<ConvNorm>,
    pub(crate) skips: bool,
}

impl Block {
    pub(crate) fn forward(&self, x: &Tensor, cx: &Ctx) -> Result<Tensor> {
        ConvNorm::all(&self.convs, x, self.skips.then_some(x), cx)
    }
}

/// A convolution, stages of blocks, another convolution, and the mean of each channel.
pub(crate) struct Inverted {
    pub(crate) stem: ConvNorm,
    pub(crate) blocks: Vec<Vec<Block>>,
    pub(crate) head: ConvNorm,
    pub(crate) stages: Vec<Stage>,
}

impl Backbone for Inverted {
    fn stage(&self, index: usize, acts: Acts, cx: &mut Ctx) -> Result<Acts> {
        let x = acts.get(HIDDEN)?;
        let y = if index == 0 {
            self.stem.forward(x, cx)?
        } else if let Some(blocks) = self.blocks.get(index - 1) {
            blocks.iter().try_fold(x.clone(), |x, b| b.forward(&x, cx))?
        } else if index == self.blocks.len() + 1 {
            self.head.forward(x, cx)?
        } else {
            global_avg_pool(x)?
        };
        Ok(acts.with(HIDDEN, y))
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }
}
