//! A small convolutional network: blocks of 3×3 convolution, batch normalisation and ReLU, with 2×2 max pooling between.
//!
//! After the last block each channel is averaged over all positions, so images of any size that survives the pooling fit.
//! Use it for small images such as digits: it trains in seconds on a CPU.

use crate::image;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, Architecture, Backbone, BuildCx, Component, Ctx, HIDDEN, Init, Invalid, Plugins, Result, Schema, Scope, Stage,
};
use transplant_ops::{Activation, BatchNorm2d, Conv2d, Conv2dGeometry, Pool2d, ScopeExt, global_avg_pool, max_pool2d};

/// A small convolutional network: blocks of 3 x 3 convolution, batch normalisation and ReLU.
///
/// For small images such as digits: it trains in seconds on a CPU. Between blocks 2 x 2 max pooling halves the image;
/// at the end each channel is averaged over all positions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConvNetOptions {
    /// Channels of each block, 1 to 8 of them; the last is the width of the features.
    pub widths: Vec<usize>,
}

impl Default for ConvNetOptions {
    fn default() -> Self {
        Self { widths: vec![16, 32, 64] }
    }
}

/// Blocks `block1`, `block2`, … and a `pool`. Reads `hidden`, an image; puts out `hidden`, a vector.
#[derive(Debug, Clone)]
pub struct ConvNet {
    widths: Vec<usize>,
    stages: Vec<Stage>,
}

impl ConvNet {
    /// With these options.
    ///
    /// # Errors
    /// When there is no block, there are too many, or one has no channel.
    pub fn new(options: ConvNetOptions) -> Result<Self, Invalid> {
        let widths = options.widths;
        if widths.is_empty() || widths.len() > 8 || widths.contains(&0) {
            return Err(Invalid::key("widths", "needs 1 to 8 widths of at least 1"));
        }
        let block = |i| Stage { batch_norm: true, ..Stage::new(&format!("block{i}")) };
        let stages = (1..=widths.len()).map(block).chain([Stage::new("pool")]).collect();
        Ok(Self { widths, stages })
    }

    /// Image channels, when the image is large enough to be halved between blocks.
    fn channels(&self, inputs: &Schema) -> Result<usize> {
        let (channels, height, width) = image::shape("convnet", inputs)?;
        let halvings = self.widths.len() - 1;
        let least = 1usize << halvings;
        if height.min(width) < least {
            return Err(Invalid::key(
                "widths",
                format!("these blocks halve an image {halvings} times, and {height}×{width} is too small"),
            )
            .into());
        }
        Ok(channels)
    }
}

impl Component<dyn Architecture> for ConvNet {
    const TYPE: &'static str = "convnet";
    type Options = ConvNetOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl Architecture for ConvNet {
    fn stages(&self) -> Vec<Stage> {
        self.stages.clone()
    }

    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        let mut channels = self.channels(inputs)?;
        let mut blocks = Vec::new();
        for (stage, &width) in self.stages.iter().zip(&self.widths) {
            let s = scope.stage(stage).pp(&stage.name);
            let at = s.pp("conv");
            // Drawn here, before the layer asks for it, since what follows is a ReLU.
            at.weight("weight", (width, channels, 3, 3), Init::he(channels * 9))?;
            // The normalisation's own shift makes a bias of the convolution useless.
            let conv = at.conv2d(channels, width, 3, Conv2dGeometry::padded(1), false)?;
            blocks.push(Block { conv, bn: s.pp("bn").batch_norm2d(width)? });
            channels = width;
        }
        Ok(Box::new(Built { blocks, stages: self.stages.clone() }))
    }

    fn features(&self, inputs: &Schema) -> Result<Schema> {
        self.channels(inputs)?;
        let width = self.widths.last().copied().unwrap_or_default();
        Ok(image::vector(width))
    }
}

struct Block {
    conv: Conv2d,
    bn: BatchNorm2d,
}

struct Built {
    blocks: Vec<Block>,
    stages: Vec<Stage>,
}

impl Backbone for Built {
    fn stage(&self, index: usize, acts: Acts, cx: &mut Ctx) -> Result<Acts> {
        let x = acts.get(HIDDEN)?;
        let y = match self.blocks.get(index) {
            Some(b) => {
                let y = b.bn.forward_then(&b.conv.forward(x)?, Activation::Relu, cx)?;
                if index + 1 < self.blocks.len() { max_pool2d(&y, Pool2d::square(2))? } else { y }
            }
            None => global_avg_pool(x)?,
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
    use candle_core::{DType, Device, Tensor};
    use std::sync::Arc;
    use transplant_core::{Field, Gradients, Mode, NormPolicy, Params, Plan, Seeds, backward};

    fn images(height: usize, width: usize) -> Schema {
        Schema::from([(HIDDEN.to_owned(), Field::Image { channels: 1, height, width })])
    }

    fn net(widths: &[usize]) -> Result<ConvNet, Invalid> {
        ConvNet::new(ConvNetOptions { widths: widths.to_vec() })
    }

    /// Rows of pixels that differ, without a random number.
    fn pixels(rows: usize) -> Result<Tensor> {
        let values: Vec<f32> = (0..rows * 64).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
        Ok(Tensor::from_vec(values, (rows, 1, 8, 8), &Device::Cpu)?)
    }

    fn build(params: &Params, plan: Plan) -> Result<Box<dyn Backbone>> {
        let scope = Scope::new(params, Arc::new(plan), Seeds::new(1), DType::F32).pp("backbone");
        net(&[3, 4])?.build(&images(8, 8), &scope)
    }

    fn run(net: &dyn Backbone, x: Tensor, mode: Mode) -> Result<Tensor> {
        let rows: Vec<u64> = (0..x.dim(0)? as u64).collect();
        let mut cx = Ctx::new(mode, "target", 0, &rows, Seeds::new(1));
        Ok(net.forward(Acts::hidden(x), 0..net.stages().len(), &mut cx)?.get(HIDDEN)?.clone())
    }

    #[test]
    fn stages_have_the_names_of_their_parameters_and_the_promised_width() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        let built = build(&params, Plan::default())?;
        assert_eq!(run(built.as_ref(), pixels(2)?, Mode::Eval)?.dims(), [2, 4]);
        assert_eq!(net(&[3, 4])?.features(&images(8, 8))?[HIDDEN], Field::Vector { width: 4 });
        let names: Vec<String> = built.stages().iter().map(|s| s.name.clone()).collect();
        assert_eq!(names, ["block1", "block2", "pool"]);
        let block = |b: &str| {
            ["bn.bias", "bn.running_mean", "bn.running_var", "bn.weight", "conv.weight"]
                .map(|n| format!("backbone.{b}.{n}"))
        };
        assert_eq!(params.names(), [block("block1"), block("block2")].concat());
        Ok(())
    }

    #[test]
    fn every_weight_learns_and_a_frozen_block_keeps_its_statistics() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        let loss = |net: &dyn Backbone| -> Result<Gradients> {
            let mut g = Gradients::new(&params, |_| true);
            backward(&run(net, pixels(3)?, Mode::Train)?.sqr()?.sum_all()?, &mut g)?;
            Ok(g)
        };
        let g = loss(build(&params, Plan::default())?.as_ref())?;
        let mut names: Vec<String> = g.iter().map(|(n, _)| n.to_owned()).collect();
        names.retain(|n| {
            g.get(n).is_some_and(|g| g.abs().and_then(|g| g.max_all()?.to_scalar::<f32>()).is_ok_and(|v| v > 0.0))
        });
        assert_eq!(names.len(), 6, "{names:?}");

        let frozen = ["backbone.block1.bn.bias", "backbone.block1.bn.weight", "backbone.block1.conv.weight"];
        let before = params.hash(|n| n.starts_with("backbone.block1"))?;
        let norms = [("block1".to_owned(), NormPolicy::Frozen)].into();
        let g = loss(build(&params, Plan { norms, ..Plan::frozen(frozen) })?.as_ref())?;
        assert!(g.iter().all(|(n, _)| n.starts_with("backbone.block2")));
        assert_eq!(params.hash(|n| n.starts_with("backbone.block1"))?, before);
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let error = |e: Result<Schema>| e.unwrap_err().to_string();
        assert!(net(&[]).unwrap_err().to_string().starts_with("widths: "));
        assert!(net(&[4, 0]).is_err());
        let net = net(&[4, 4, 4]).unwrap();
        assert!(error(net.features(&images(3, 28))).contains("3×28 is too small"));
        assert!(error(net.features(&Schema::new())).contains("reads an image `hidden`"));
    }
}
