//! ConvNeXt-Tiny, with timm's parameter names.
//!
//! Liu et al. 2022, *A ConvNet for the 2020s* (<https://arxiv.org/abs/2201.03545>): a ResNet with the habits of vision
//! transformers, that is patches, layer normalisation, GELU and few, wide blocks. Use it where weights from a large source
//! are at hand and images have many sizes: it transfers as transformers do and needs no positions.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, Architecture, Backbone, BuildCx, Component, Ctx, HIDDEN, Init, Invalid, Memory, Result, Schema, Scope, Stage,
};
use transplant_ops::{
    Activation, After, Conv2d, Conv2dGeometry, Linear, ScopeExt, activate, batch_norm_frozen, global_avg_pool,
    layer_norm_channels,
};

use crate::image;

/// A convolutional network built like a transformer, with timm's parameter names.
///
/// ConvNeXt-Tiny (Liu et al. 2022): 27.8 million weights. Images have at least 32 x 32 pixels. Puts out 768 values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConvNeXtOptions {}

/// Stages `stem`, `stages.0` to `stages.3` and `head`, which averages over all positions and normalises. Reads `hidden`, an
/// image; puts out `hidden`, a vector.
#[derive(Debug, Clone)]
pub struct ConvNeXt {
    stages: Vec<Stage>,
}

/// Blocks and channels of each stage.
const STAGES: [(usize, usize); 4] = [(3, 96), (3, 192), (9, 384), (3, 768)];
/// Width of the features.
const FEATURES: usize = STAGES[3].1;
/// Pixels that become one on the way through all stages, in each direction.
const REDUCTION: usize = 32;
/// Added to variances before the square root.
const EPS: f64 = 1e-6;
/// Standard deviation of fresh weights.
const STD: f64 = 0.02;

impl ConvNeXt {
    /// With these options.
    pub fn new(ConvNeXtOptions {}: ConvNeXtOptions) -> Self {
        let mut stages = vec![Stage::new("stem")];
        stages.extend((0..STAGES.len()).map(|i| Stage::new(&format!("stages.{i}"))));
        stages.push(Stage::new("head").over(&["head.norm"]));
        Self { stages }
    }

    /// Channels of the image, when there is a pixel left after the last stage.
    fn channels(inputs: &Schema) -> Result<usize> {
        let (channels, height, width) = image::shape(Self::TYPE, inputs)?;
        if height.min(width) < REDUCTION {
            let message = format!("`convnext` reads images from {REDUCTION} x {REDUCTION}, not {height} x {width}");
            return Err(Invalid::new(message).into());
        }
        Ok(channels)
    }
}

impl Component<dyn Architecture> for ConvNeXt {
    const TYPE: &'static str = "convnext";
    type Options = ConvNeXtOptions;

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self::new(o)))
    }
}

impl Architecture for ConvNeXt {
    fn stages(&self) -> Vec<Stage> {
        self.stages.clone()
    }

    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        let (channels, mut from) = (Self::channels(inputs)?, STAGES[0].1);
        let at = |i: usize| scope.stage(&self.stages[i]).pp(&self.stages[i].name);
        let stem = conv(at(0).pp("0"), channels, from, 4, Conv2dGeometry::default().strided(4))?;
        let stem_norm = Norm::new(&at(0).pp("1"), from)?;
        let (mut halvings, mut blocks) = (Vec::new(), Vec::new());
        for (i, (count, to)) in STAGES.into_iter().enumerate() {
            if i > 0 {
                let (s, by_two) = (at(i + 1).pp("downsample"), Conv2dGeometry::default().strided(2));
                halvings.push((Norm::new(&s.pp("0"), from)?, conv(s.pp("1"), from, to, 2, by_two)?));
            }
            let block = |b: usize| Block::new(&at(i + 1).pp("blocks").pp(&b.to_string()), to);
            blocks.push((0..count).map(block).collect::<Result<_>>()?);
            from = to;
        }
        let norm = Norm::new(&at(STAGES.len() + 1).pp("norm"), from)?;
        Ok(Box::new(Built { stem, stem_norm, halvings, blocks, norm, stages: self.stages.clone() }))
    }

    fn features(&self, inputs: &Schema) -> Result<Schema> {
        Self::channels(inputs)?;
        Ok(image::vector(FEATURES))
    }
}

/// Draws weight and bias as published, before the layer asks for them.
fn drawn(s: Scope, shape: &[usize]) -> Result<Scope> {
    s.weight("weight", shape, Init::Normal(STD))?;
    s.weight("bias", shape[0], Init::Const(0.0))?;
    Ok(s)
}

fn conv(s: Scope, from: usize, to: usize, kernel: usize, at: Conv2dGeometry) -> Result<Conv2d> {
    drawn(s, &[to, from / at.groups, kernel, kernel])?.conv2d(from, to, kernel, at, true)
}

/// timm's `LayerNorm2d`: each position of `[n, c, ..]` by its own channels.
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(s: &Scope, channels: usize) -> Result<Self> {
        let weight = s.weight("weight", channels, Init::Const(1.0))?;
        Ok(Self { weight, bias: s.weight("bias", channels, Init::Const(0.0))? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(layer_norm_channels(x, &self.weight, &self.bias, EPS)?)
    }
}

/// `x + gamma * mlp(norm(conv(x)))`, with a 7×7 convolution of each channel alone; `gamma` starts near zero.
struct Block {
    conv: Conv2d,
    norm: Norm,
    fc1: Linear,
    fc2: Linear,
    gamma: Tensor,
}

impl Block {
    fn new(s: &Scope, width: usize) -> Result<Self> {
        let (mlp, wide) = (s.pp("mlp"), 4 * width);
        Ok(Self {
            conv: conv(s.pp("conv_dw"), width, width, 7, Conv2dGeometry::padded(3).grouped(width))?,
            norm: Norm::new(&s.pp("norm"), width)?,
            fc1: drawn(mlp.pp("fc1"), &[wide, width])?.linear(width, wide)?,
            fc2: drawn(mlp.pp("fc2"), &[width, wide])?.linear(wide, width)?,
            gamma: s.weight("gamma", width, Init::Const(1e-6))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.norm.forward(&self.conv.forward(x)?)?;
        // Channels are innermost in memory already, so both changes of order only rename dimensions.
        let inner = activate(&self.fc1.forward(&Memory::ChannelsLast.raw(&y)?)?, Activation::Gelu)?;
        let y = Memory::ChannelsLast.view(&self.fc2.forward(&inner)?, x.shape())?;
        // The layer scale and the sum are one pass: a normalisation by mean 0 and variance 1.
        let (zeros, ones) = (self.gamma.zeros_like()?, self.gamma.ones_like()?);
        let after = After { residual: Some(x), activation: Activation::Identity };
        Ok(batch_norm_frozen(&y, &self.gamma, &zeros, &zeros, &ones, 0.0, after)?)
    }
}

struct Built {
    stem: Conv2d,
    stem_norm: Norm,
    /// What stands before the blocks of all stages but the first.
    halvings: Vec<(Norm, Conv2d)>,
    blocks: Vec<Vec<Block>>,
    norm: Norm,
    stages: Vec<Stage>,
}

impl Backbone for Built {
    fn stage(&self, index: usize, acts: Acts, _: &mut Ctx) -> Result<Acts> {
        let x = acts.get(HIDDEN)?;
        let y = if index == 0 {
            self.stem_norm.forward(&self.stem.forward(x)?)?
        } else if let Some(blocks) = self.blocks.get(index - 1) {
            let x = match index.checked_sub(2).and_then(|i| self.halvings.get(i)) {
                Some((norm, conv)) => conv.forward(&norm.forward(x)?)?,
                None => x.clone(),
            };
            blocks.iter().try_fold(x, |x, b| b.forward(&x))?
        } else {
            self.norm.forward(&global_avg_pool(x)?)?
        };
        Ok(acts.with(HIDDEN, y))
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use std::sync::Arc;
    use transplant_core::{Field, Gradients, Params, Seeds, backward};
    use transplant_ops::testing::{max_difference, random};

    #[test]
    fn a_fresh_block_changes_little_learns_everywhere_and_keeps_the_order_of_memory() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        let block = Block::new(&Scope::new(&params, Arc::default(), Seeds::new(1), DType::F64), 4)?;
        let x = Memory::ChannelsLast.view(&random(1, &[2, 3, 5, 4]), &(2, 4, 3, 5).into())?;
        let normed = block.norm.forward(&block.conv.forward(&x)?)?;
        assert!(Memory::ChannelsLast.raw(&normed)?.is_contiguous());
        let y = block.forward(&x)?;
        assert!(Memory::of(&y)? == Memory::ChannelsLast && (1e-12..1e-5).contains(&max_difference(&y, &x)));
        let mut g = Gradients::new(&params, |_| true);
        backward(&y.sqr()?.sum_all()?, &mut g)?;
        assert_eq!((g.iter().count(), params.names().len()), (9, 9));
        Ok(())
    }

    #[test]
    fn any_image_that_leaves_a_pixel_will_do() -> Result<()> {
        let schema = |height, width| Schema::from([(HIDDEN.to_owned(), Field::Image { channels: 2, height, width })]);
        let (params, net) = (Params::new(&Device::Cpu), ConvNeXt::new(ConvNeXtOptions {}));
        let scope = Scope::new(&params, Arc::default(), Seeds::new(1), DType::F64).pp("backbone");
        let built = net.build(&schema(33, 47), &scope)?;
        let y = built.forward(Acts::hidden(random(1, &[1, 2, 33, 47])), 0..6, &mut Ctx::eval(&[0]))?;
        assert_eq!(y.get(HIDDEN)?.dims(), [1, FEATURES]);
        let error = net.features(&schema(64, 31)).unwrap_err().to_string();
        assert!(error.contains("from 32 x 32, not 64 x 31"), "{error}");
        Ok(())
    }
}
