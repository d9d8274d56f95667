//! Vision transformers, with timm's parameter names; DeiT's have the same ones.
//!
//! Dosovitskiy et al. 2021, *An Image is Worth 16x16 Words*; Touvron et al. 2021 (*DeiT*). Worth their price when weights from
//! a large source are at hand; from scratch on little data convolutions learn more.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, Architecture, Backbone, BuildCx, Component, Ctx, HIDDEN, Init, Invalid, Memory, Result, Schema, Scope, Stage,
};
use transplant_ops::{Activation, Conv2d, Conv2dGeometry, LayerNorm, Linear, ScopeExt, activate, add, attention};

use crate::image;

/// How wide a vision transformer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ViTSize {
    /// 192 channels and 3 heads, 5.5 million weights: `vit_tiny_patch16`, `deit_tiny_patch16`.
    #[default]
    Tiny,
    /// 384 channels and 6 heads, 22 million weights: `vit_small_patch16`, `deit_small_patch16`.
    Small,
}

/// A vision transformer with timm's parameter names: patches of 16 x 16, twelve blocks.
///
/// Dosovitskiy et al. 2021; the weights of DeiT fit, too. Height and width of the images must be multiples of the patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ViTOptions {
    /// Width.
    pub size: ViTSize,
    /// Height and width of a patch, from 1.
    pub patch: usize,
    /// Blocks, from 1.
    pub depth: usize,
}

impl Default for ViTOptions {
    fn default() -> Self {
        Self { size: ViTSize::default(), patch: 16, depth: 12 }
    }
}

/// Stages `embed`, `blocks.0`, `blocks.1`, … and `norm`. Reads `hidden`, an image; puts out `hidden`, a vector: the class token.
#[derive(Debug, Clone)]
pub struct ViT {
    options: ViTOptions,
    stages: Vec<Stage>,
}

/// Added to variances before the square root.
const EPS: f64 = 1e-6;
/// Standard deviation of fresh weights.
const STD: f64 = 0.02;

impl ViT {
    /// With these options.
    ///
    /// # Errors
    /// When the patch is empty or there is no block.
    pub fn new(options: ViTOptions) -> Result<Self, Invalid> {
        if options.patch == 0 {
            return Err(Invalid::key("patch", "must be at least 1"));
        }
        if !(1..=64).contains(&options.depth) {
            return Err(Invalid::key("depth", "must be from 1 to 64"));
        }
        let embed = Stage::new("embed").over(&["patch_embed", "cls_token", "pos_embed"]);
        let blocks = (0..options.depth).map(|i| Stage::new(&format!("blocks.{i}")));
        let stages = std::iter::once(embed).chain(blocks).chain([Stage::new("norm")]).collect();
        Ok(Self { options, stages })
    }

    fn width(&self) -> (usize, usize) {
        match self.options.size {
            ViTSize::Tiny => (192, 3),
            ViTSize::Small => (384, 6),
        }
    }

    /// Channels of the image and its number of patches.
    fn patches(&self, inputs: &Schema) -> Result<(usize, usize)> {
        let ((channels, height, width), patch) = (image::shape("vit", inputs)?, self.options.patch);
        if height % patch != 0 || width % patch != 0 || height * width == 0 {
            let message = format!("an image of {height} x {width} cannot be cut into patches of {patch} x {patch}");
            return Err(Invalid::key("patch", message).into());
        }
        Ok((channels, (height / patch) * (width / patch)))
    }
}

impl Component<dyn Architecture> for ViT {
    const TYPE: &'static str = "vit";
    type Options = ViTOptions;

    fn check(o: &Self::Options, _: &transplant_core::Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl Architecture for ViT {
    fn stages(&self) -> Vec<Stage> {
        self.stages.clone()
    }

    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        let ((channels, count), (width, heads)) = (self.patches(inputs)?, self.width());
        let (s, patch) = (scope.stage(&self.stages[0]), self.options.patch);
        let embed = Embed {
            patches: s.pp("patch_embed").pp("proj").conv2d(
                channels,
                width,
                patch,
                Conv2dGeometry::default().strided(patch),
                true,
            )?,
            class: s.weight("cls_token", (1, 1, width), Init::Normal(1e-6))?,
            positions: s.weight("pos_embed", (1, count + 1, width), Init::Normal(STD))?,
        };
        let block = |stage: &Stage| Block::new(&scope.stage(stage).pp(&stage.name), width, heads);
        let blocks = self.stages[1..=self.options.depth].iter().map(block).collect::<Result<_>>()?;
        let last = &self.stages[self.options.depth + 1];
        let norm = scope.stage(last).pp("norm").layer_norm(width, EPS)?;
        Ok(Box::new(Built { embed, blocks, norm, stages: self.stages.clone() }))
    }

    fn features(&self, inputs: &Schema) -> Result<Schema> {
        self.patches(inputs)?;
        Ok(image::vector(self.width().0))
    }
}

struct Embed {
    patches: Conv2d,
    class: Tensor,
    positions: Tensor,
}

impl Embed {
    /// `[n, c, h, w]` to `[n, 1 + patches, width]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.patches.forward(x)?;
        let (n, width, h, w) = y.dims4()?;
        let tokens = Memory::ChannelsLast.raw(&y)?.reshape((n, h * w, width))?;
        let class = self.class.broadcast_as((n, 1, width))?;
        Ok(Tensor::cat(&[&class, &tokens], 1)?.broadcast_add(&self.positions)?)
    }
}

struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    proj: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
}

impl Block {
    fn new(s: &Scope, width: usize, heads: usize) -> Result<Self> {
        let linear = |s: Scope, from: usize, to: usize| {
            s.weight("weight", (to, from), Init::Normal(STD))?;
            s.weight("bias", to, Init::Const(0.0))?;
            s.linear(from, to)
        };
        Ok(Self {
            norm1: s.pp("norm1").layer_norm(width, EPS)?,
            qkv: linear(s.pp("attn").pp("qkv"), width, 3 * width)?,
            proj: linear(s.pp("attn").pp("proj"), width, width)?,
            norm2: s.pp("norm2").layer_norm(width, EPS)?,
            fc1: linear(s.pp("mlp").pp("fc1"), width, 4 * width)?,
            fc2: linear(s.pp("mlp").pp("fc2"), 4 * width, width)?,
            heads,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let seen = attention(&self.qkv.forward(&self.norm1.forward(x)?)?, self.heads, None)?;
        let x = add(x, &self.proj.forward(&seen)?)?;
        let inner = activate(&self.fc1.forward(&self.norm2.forward(&x)?)?, Activation::Gelu)?;
        Ok(add(&x, &self.fc2.forward(&inner)?)?)
    }
}

struct Built {
    embed: Embed,
    blocks: Vec<Block>,
    norm: LayerNorm,
    stages: Vec<Stage>,
}

impl Backbone for Built {
    fn stage(&self, index: usize, acts: Acts, _: &mut Ctx) -> Result<Acts> {
        let x = acts.get(HIDDEN)?;
        let y = if index == 0 {
            self.embed.forward(x)?
        } else if let Some(block) = self.blocks.get(index - 1) {
            block.forward(x)?
        } else {
            // Rows are normalised one by one, and only the class token is read.
            self.norm.forward(&x.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?)?
        };
        Ok(acts.with(HIDDEN, y))
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }
}
