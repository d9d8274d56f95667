//! MobileNetV2, with torchvision's parameter names.
//!
//! Sandler et al. 2018, *MobileNetV2: Inverted Residuals and Linear Bottlenecks*. A light network for photographs: use
//! it where memory or time are short and a checkpoint of torchvision is at hand.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Architecture, Backbone, BuildCx, Component, Result, Schema, Scope, Stage};
use transplant_ops::Activation;

use crate::conv_norm::{ConvNorm, Fan, Size, Style};
use crate::image;
use crate::inverted::{Block, Inverted};

/// A light network for photographs with torchvision's parameter names.
///
/// MobileNetV2 (Sandler et al. 2018) of width 1.0: 2.2 million weights. Puts out 1280 values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MobileNetV2Options {}

/// Stages `features.0` (a convolution), `features.1` to `features.17` (a block each), `features.18` (a convolution) and
/// `pool`. Reads `hidden`, an image; puts out `hidden`, a vector.
#[derive(Debug, Clone)]
pub struct MobileNetV2 {
    stages: Vec<Stage>,
}

const STEM: usize = 32;
const FEATURES: usize = 1280;

/// Expansion, channels, repeats and stride of the groups of blocks.
const BLOCKS: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

const STYLE: Style = Style { same: false, eps: 1e-5, fan: Fan::All };

impl MobileNetV2 {
    /// With these options.
    pub fn new(MobileNetV2Options {}: MobileNetV2Options) -> Self {
        let blocks: usize = BLOCKS.iter().map(|b| b.2).sum();
        let feature = |i| Stage { batch_norm: true, ..Stage::new(&format!("features.{i}")) };
        Self { stages: (0..blocks + 2).map(feature).chain([Stage::new("pool").over(&[])]).collect() }
    }
}

impl Component<dyn Architecture> for MobileNetV2 {
    const TYPE: &'static str = "mobilenet_v2";
    type Options = MobileNetV2Options;

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self::new(o)))
    }
}

impl Architecture for MobileNetV2 {
    fn stages(&self) -> Vec<Stage> {
        self.stages.clone()
    }

    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        let channels = image::channels(Self::TYPE, inputs)?;
        let feature = |i: usize| scope.stage(&self.stages[i]).pp(&self.stages[i].name);
        let conv = |i, size| ConvNorm::new(&feature(i), ("0", "1"), size, STYLE, Activation::Relu6);
        let stem = conv(0, Size::new(channels, STEM, 3, 2))?;
        let (mut from, mut blocks) = (STEM, Vec::new());
        for (expansion, to, repeats, stride) in BLOCKS {
            for b in 0..repeats {
                let stride = if b == 0 { stride } else { 1 };
                // A stage of its own for each block.
                blocks.push(vec![block(&feature(blocks.len() + 1).pp("conv"), (from, to), stride, expansion)?]);
                from = to;
            }
        }
        let head = conv(blocks.len() + 1, Size::point(from, FEATURES))?;
        Ok(Box::new(Inverted { stem, blocks, head, stages: self.stages.clone() }))
    }

    fn features(&self, inputs: &Schema) -> Result<Schema> {
        image::channels(Self::TYPE, inputs)?;
        Ok(image::vector(FEATURES))
    }
}

/// Widens by 1×1, convolves each channel alone and narrows by 1×1; without the first step where nothing is widened.
fn block(s: &Scope, (from, to): (usize, usize), stride: usize, expansion: usize) -> Result<Block> {
    let wide = from * expansion;
    let mut sizes = vec![Size::depthwise(wide, 3, stride)];
    if expansion != 1 {
        sizes.insert(0, Size::point(from, wide));
    }
    let mut convs = Vec::new();
    for (i, size) in sizes.iter().enumerate() {
        convs.push(ConvNorm::new(&s.pp(&i.to_string()), ("0", "1"), *size, STYLE, Activation::Relu6)?);
    }
    let names = [sizes.len(), sizes.len() + 1].map(|i| i.to_string());
    convs.push(ConvNorm::new(s, (&names[0], &names[1]), Size::point(wide, to), STYLE, Activation::Identity)?);
    Ok(Block { convs, skips: stride == 1 && from == to })
}
