//! EfficientNet-Lite, with timm's parameter names.
//!
//! Tan & Le 2019, *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*, in the Lite form of 2020:
//! ReLU6 for swish and no squeeze-and-excitation, so that it also runs fast on phones and in eight bits. Use it where a
//! network must be small and still know photographs well.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Architecture, Backbone, BuildCx, Component, Result, Schema, Scope, Stage};
use transplant_ops::Activation;

use crate::conv_norm::{ConvNorm, Fan, Size, Style};
use crate::image;
use crate::inverted::{Block, Inverted};

/// How large an EfficientNet-Lite is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum EfficientNetLiteVariant {
    /// 3.4 million weights, for images of 224 x 224.
    #[default]
    #[serde(rename = "0")]
    V0,
    /// Deeper: 4.2 million weights, for images of 240 x 240.
    #[serde(rename = "1")]
    V1,
    /// Deeper and wider: 4.9 million weights, for images of 260 x 260.
    #[serde(rename = "2")]
    V2,
}

/// How an EfficientNet-Lite pads images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EfficientNetLitePadding {
    /// As TensorFlow, with 1e-3 added to variances: for weights of timm's `tf_efficientnet_lite*`.
    #[default]
    Same,
    /// Alike on all sides, with 1e-5 added to variances: for weights of timm's `efficientnet_lite*`.
    Symmetric,
}

/// A small, fast network for photographs with timm's parameter names.
///
/// EfficientNet-Lite (Tan & Le 2019): depthwise convolutions and ReLU6, no squeeze-and-excitation. Puts out 1280
/// values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EfficientNetLiteOptions {
    /// Size.
    pub variant: EfficientNetLiteVariant,
    /// Padding of its convolutions; must be that of the weights it starts from.
    pub padding: EfficientNetLitePadding,
}

/// Stages `stem`, `blocks.0` to `blocks.6`, `head` and `pool`. Reads `hidden`, an image; puts out `hidden`, a vector.
#[derive(Debug, Clone)]
pub struct EfficientNetLite {
    options: EfficientNetLiteOptions,
    stages: Vec<Stage>,
}

/// Channels of the stem and of the features, the same for all variants.
const STEM: usize = 32;
const FEATURES: usize = 1280;

/// Repeats, kernel, stride, expansion and channels of the stages of blocks, before scaling.
const BLOCKS: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
];

impl EfficientNetLite {
    /// With these options.
    pub fn new(options: EfficientNetLiteOptions) -> Self {
        let mut stages = vec![Stage::new("stem").over(&["conv_stem", "bn1"])];
        stages.extend((0..BLOCKS.len()).map(|i| Stage::new(&format!("blocks.{i}"))));
        stages.push(Stage::new("head").over(&["conv_head", "bn2"]));
        let mut stages: Vec<Stage> = stages.into_iter().map(|s| Stage { batch_norm: true, ..s }).collect();
        stages.push(Stage::new("pool").over(&[]));
        Self { options, stages }
    }

    fn style(&self) -> Style {
        let same = self.options.padding == EfficientNetLitePadding::Same;
        Style { same, eps: if same { 1e-3 } else { 1e-5 }, fan: Fan::Group }
    }

    /// By how many tenths the variant widens and deepens the network.
    fn tenths(&self) -> (usize, usize) {
        match self.options.variant {
            EfficientNetLiteVariant::V0 => (10, 10),
            EfficientNetLiteVariant::V1 => (10, 11),
            EfficientNetLiteVariant::V2 => (11, 12),
        }
    }
}

/// Scaled channels: the nearest multiple of 8 that is not more than a tenth smaller.
fn widened(channels: usize, tenths: usize) -> usize {
    let nearest = (channels * tenths + 40) / 80 * 8;
    if nearest * 100 < channels * tenths * 9 { nearest + 8 } else { nearest }
}

impl Component<dyn Architecture> for EfficientNetLite {
    const TYPE: &'static str = "efficientnet_lite";
    type Options = EfficientNetLiteOptions;

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self::new(o)))
    }
}

impl Architecture for EfficientNetLite {
    fn stages(&self) -> Vec<Stage> {
        self.stages.clone()
    }

    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        let channels = image::channels(Self::TYPE, inputs)?;
        let (style, (wider, deeper)) = (self.style(), self.tenths());
        let size = Size::new(channels, STEM, 3, 2);
        let s = scope.stage(&self.stages[0]);
        let stem = ConvNorm::new(&s, ("conv_stem", "bn1"), size, style, Activation::Relu6)?;
        let (mut from, mut stages) = (STEM, Vec::new());
        for (i, (repeats, kernel, stride, expansion, to)) in BLOCKS.into_iter().enumerate() {
            let s = scope.stage(&self.stages[i + 1]).pp(&self.stages[i + 1].name);
            let ends = i == 0 || i + 1 == BLOCKS.len();
            let repeats = if ends { repeats } else { (repeats * deeper).div_ceil(10) };
            let to = widened(to, wider);
            let mut blocks = Vec::new();
            for b in 0..repeats {
                let stride = if b == 0 { stride } else { 1 };
                blocks.push(block(&s.pp(&b.to_string()), (from, to), (kernel, stride), expansion, style)?);
                from = to;
            }
            stages.push(blocks);
        }
        let s = scope.stage(&self.stages[BLOCKS.len() + 1]);
        let head = ConvNorm::new(&s, ("conv_head", "bn2"), Size::point(from, FEATURES), style, Activation::Relu6)?;
        Ok(Box::new(Inverted { stem, blocks: stages, head, stages: self.stages.clone() }))
    }

    fn features(&self, inputs: &Schema) -> Result<Schema> {
        image::channels(Self::TYPE, inputs)?;
        Ok(image::vector(FEATURES))
    }
}

/// Widens by 1×1, convolves each channel alone and narrows by 1×1; without the first step where nothing is widened.
fn block(
    s: &Scope,
    (from, to): (usize, usize),
    (kernel, stride): (usize, usize),
    expansion: usize,
    style: Style,
) -> Result<Block> {
    let conv = |conv, bn, size, activation| ConvNorm::new(s, (conv, bn), size, style, activation);
    let wide = from * expansion;
    let depthwise = Size::depthwise(wide, kernel, stride);
    let convs = if expansion == 1 {
        vec![
            conv("conv_dw", "bn1", depthwise, Activation::Relu6)?,
            conv("conv_pw", "bn2", Size::point(wide, to), Activation::Identity)?,
        ]
    } else {
        vec![
            conv("conv_pw", "bn1", Size::point(from, wide), Activation::Relu6)?,
            conv("conv_dw", "bn2", depthwise, Activation::Relu6)?,
            conv("conv_pwl", "bn3", Size::point(wide, to), Activation::Identity)?,
        ]
    };
    Ok(Block { convs, skips: stride == 1 && from == to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_widened_as_published() {
        let widths: Vec<usize> = BLOCKS.iter().map(|b| widened(b.4, 11)).collect();
        assert_eq!(widths, [16, 24, 48, 88, 120, 208, 352]);
        assert!(BLOCKS.iter().all(|b| widened(b.4, 10) == b.4));
    }
}
