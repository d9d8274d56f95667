//! Residual networks, with torchvision's parameter names.
//!
//! He et al. 2016, *Deep Residual Learning for Image Recognition*. The steady choice for photographs: much is known about how
//! they transfer, and they train fast on a CPU.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, Architecture, Backbone, BuildCx, Component, Ctx, HIDDEN, Result, Schema, Scope, Stage};
use transplant_ops::{Activation, Pool2d, global_avg_pool, max_pool2d};

use crate::conv_norm::{ConvNorm, Fan, Size, Style};
use crate::image;

/// How deep a residual network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ResNetDepth {
    /// 18 layers: two basic blocks in each of four stages, 11 million weights.
    #[default]
    #[serde(rename = "18")]
    D18,
    /// 34 layers: basic blocks, 21 million weights.
    #[serde(rename = "34")]
    D34,
    /// 50 layers: bottleneck blocks, 24 million weights.
    #[serde(rename = "50")]
    D50,
}

/// How a residual network begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResNetStem {
    /// A 7 x 7 convolution with stride 2 and 3 x 3 max pooling with stride 2: torchvision's, for photographs.
    #[default]
    Imagenet,
    /// A 3 x 3 convolution with stride 1 and no pooling: for images of about 32 x 32.
    Cifar,
}

/// A residual network with torchvision's parameter names.
///
/// He et al. 2016. The steady choice for photographs; with the stem `cifar` also for images of about 32 x 32.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResNetOptions {
    /// Layers.
    pub depth: ResNetDepth,
    /// How it begins.
    pub stem: ResNetStem,
}

/// Stages `stem`, `layer1` to `layer4` and `pool`. Reads `hidden`, an image; puts out `hidden`, a vector.
#[derive(Debug, Clone)]
pub struct ResNet {
    options: ResNetOptions,
    stages: Vec<Stage>,
}

impl ResNet {
    /// With these options.
    pub fn new(options: ResNetOptions) -> Self {
        let normalised = |s: Stage| Stage { batch_norm: true, ..s };
        let mut stages = vec![normalised(Stage::new("stem").over(&["conv1", "bn1"]))];
        stages.extend((1..=4).map(|i| normalised(Stage::new(&format!("layer{i}")))));
        stages.push(Stage::new("pool").over(&[]));
        Self { options, stages }
    }

    /// Blocks of each stage, and by how much the last convolution of a block widens it.
    fn shape(&self) -> ([usize; 4], usize) {
        match self.options.depth {
            ResNetDepth::D18 => ([2, 2, 2, 2], 1),
            ResNetDepth::D34 => ([3, 4, 6, 3], 1),
            ResNetDepth::D50 => ([3, 4, 6, 3], 4),
        }
    }
}

impl Component<dyn Architecture> for ResNet {
    const TYPE: &'static str = "resnet";
    type Options = ResNetOptions;

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self::new(o)))
    }
}

impl Architecture for ResNet {
    fn stages(&self) -> Vec<Stage> {
        self.stages.clone()
    }

    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        let channels = image::channels("resnet", inputs)?;
        let s = scope.stage(&self.stages[0]);
        let (kernel, stride) = if self.options.stem == ResNetStem::Imagenet { (7, 2) } else { (3, 1) };
        let stem = conv_norm(&s, ("conv1", "bn1"), Size::new(channels, 64, kernel, stride), Activation::Relu)?;
        let (counts, widening) = self.shape();
        let mut from = 64;
        let mut layers = Vec::new();
        for (i, count) in counts.into_iter().enumerate() {
            let s = scope.stage(&self.stages[i + 1]).pp(&self.stages[i + 1].name);
            let width = 64 << i;
            let mut blocks = Vec::new();
            for b in 0..count {
                let stride = if b == 0 && i > 0 { 2 } else { 1 };
                blocks.push(Block::new(&s.pp(&b.to_string()), from, width, widening, stride)?);
                from = width * widening;
            }
            layers.push(blocks);
        }
        let pools = self.options.stem == ResNetStem::Imagenet;
        Ok(Box::new(Built { stem, pools, layers, stages: self.stages.clone() }))
    }

    fn features(&self, inputs: &Schema) -> Result<Schema> {
        image::channels("resnet", inputs)?;
        Ok(image::vector(512 * self.shape().1))
    }
}

/// Padded alike on all sides, with torchvision's initial weights.
const STYLE: Style = Style { same: false, eps: 1e-5, fan: Fan::All };

fn conv_norm(s: &Scope, names: (&str, &str), size: Size, activation: Activation) -> Result<ConvNorm> {
    ConvNorm::new(s, names, size, STYLE, activation)
}

/// Two 3×3 convolutions, or 1×1, 3×3 and 1×1, beside a shortcut.
struct Block {
    convs: Vec<ConvNorm>,
    shortcut: Option<ConvNorm>,
}

impl Block {
    fn new(s: &Scope, from: usize, width: usize, widening: usize, stride: usize) -> Result<Self> {
        let conv = |i: usize, from, to, kernel, stride| {
            let names = (&*format!("conv{i}"), &*format!("bn{i}"));
            conv_norm(s, names, Size::new(from, to, kernel, stride), Activation::Relu)
        };
        let to = width * widening;
        let convs = if widening == 1 {
            vec![conv(1, from, width, 3, stride)?, conv(2, width, to, 3, 1)?]
        } else {
            vec![conv(1, from, width, 1, 1)?, conv(2, width, width, 3, stride)?, conv(3, width, to, 1, 1)?]
        };
        let shortcut = (stride != 1 || from != to)
            .then(|| conv_norm(&s.pp("downsample"), ("0", "1"), Size::new(from, to, 1, stride), Activation::Identity))
            .transpose()?;
        Ok(Self { convs, shortcut })
    }

    fn forward(&self, x: &Tensor, cx: &Ctx) -> Result<Tensor> {
        let residual = match &self.shortcut {
            None => x.clone(),
            Some(s) => s.forward(x, cx)?,
        };
        ConvNorm::all(&self.convs, x, Some(&residual), cx)
    }
}

struct Built {
    stem: ConvNorm,
    pools: bool,
    layers: Vec<Vec<Block>>,
    stages: Vec<Stage>,
}

impl Backbone for Built {
    fn stage(&self, index: usize, acts: Acts, cx: &mut Ctx) -> Result<Acts> {
        let x = acts.get(HIDDEN)?;
        let y = if index == 0 {
            let y = self.stem.forward(x, cx)?;
            if self.pools { max_pool2d(&y, Pool2d::new(3, 2, 1))? } else { y }
        } else if let Some(blocks) = self.layers.get(index - 1) {
            blocks.iter().try_fold(x.clone(), |x, b| b.forward(&x, cx))?
        } else {
            global_avg_pool(x)?
        };
        Ok(acts.with(HIDDEN, y))
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }
}
