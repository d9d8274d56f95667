//! LoRA: low-rank updates beside frozen weights (Hu et al. 2022).
//!
//! Each chosen layer gets a product of two thin matrices, `y + alpha / rank · up(down(x))`, of which `up` starts at zero, so
//! that training starts from the source's function. Only these and the heads are trained; no gradient of a frozen weight is
//! computed. A convolution goes down to `rank` channels with the layer's own kernel and up with 1 × 1; grouped convolutions
//! are left as they are. The update can be merged into the weight afterwards.
//!
//! Use it when many tasks share one large network, or memory for the optimiser is short. On small networks `parameter` is
//! as cheap and better.

use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Adapter, BuildCx, Component, Delta, Finish, Init, Invalid, Load, ModelInfo, Needs, NormPolicy, Pattern, Phase,
    Plugins, Result, Scope, Site, SiteKind, Strategy, Use,
};
use transplant_ops::{Conv2dGeometry, conv2d, linear};

use crate::weights::{all_match, is_backbone, is_head, norms, plan, trained};

/// LoRA: trains low-rank updates beside frozen weights.
///
/// Hu et al. 2022. Use it when many tasks share one large network, or when memory for the optimiser is short. On small
/// networks `parameter` is as cheap and better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoraOptions {
    /// Width of the bottleneck, 1 to 1024.
    pub rank: usize,
    /// The update is multiplied by `alpha / rank`; above 0.
    pub alpha: f64,
    /// Layers to adapt, by name: `backbone` is all linear and convolution layers of the network, `*` stands for anything.
    pub targets: Vec<Pattern>,
    /// Whether the updates are added to the weights at the end, so that the network is an ordinary one again and later
    /// steps can start from it; otherwise they stay apart, and the weights as they were.
    pub merge: bool,
}

impl Default for LoraOptions {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, targets: vec![Pattern::new("backbone")], merge: false }
    }
}

/// Trains low-rank updates of a frozen network.
#[derive(Debug, Clone, Default)]
pub struct Lora(LoraOptions);

impl Lora {
    /// With these options.
    ///
    /// # Errors
    /// When an option is out of its range.
    pub fn new(options: LoraOptions) -> Result<Self, Invalid> {
        if !(1..=1024).contains(&options.rank) {
            return Err(Invalid::key("rank", "must lie between 1 and 1024"));
        }
        if !(options.alpha > 0.0 && options.alpha.is_finite()) {
            return Err(Invalid::key("alpha", "must be above 0"));
        }
        if options.targets.is_empty() {
            return Err(Invalid::key("targets", "needs at least one layer"));
        }
        Ok(Self(options))
    }

    /// The layers that are adapted: linear and convolution layers of the backbone that a target matches.
    fn layers<'a>(&self, model: &'a ModelInfo) -> Result<BTreeSet<&'a str>, Invalid> {
        let weights = model.weights().filter(|p| is_backbone(p) && matches!(p.shape.len(), 2 | 4));
        let layers: BTreeSet<&str> = weights.filter_map(|p| p.name.strip_suffix(".weight")).collect();
        all_match("targets", &self.0.targets, layers.iter().copied())?;
        Ok(layers.into_iter().filter(|l| self.0.targets.iter().any(|t| t.matches(l))).collect())
    }
}

impl Component<dyn Strategy> for Lora {
    const TYPE: &'static str = "lora";
    type Options = LoraOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl Strategy for Lora {
    fn needs(&self) -> Needs {
        Needs { load: Load::BackboneAndHeads, source_required: true, ..Needs::default() }
    }

    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>> {
        let mut plan = plan(model, |p| if is_head(p) { trained(p, 1.0) } else { Use::Frozen });
        plan.norms = norms(model.stages.iter().map(|s| s.name.as_str()), NormPolicy::Frozen);
        let adapter: Arc<dyn Adapter> =
            Arc::new(LowRank { rank: self.0.rank, scale: self.0.alpha / self.0.rank as f64 });
        plan.adapters = self.layers(model)?.into_iter().map(|l| (Pattern::new(l), adapter.clone())).collect();
        Ok(vec![Phase::new("train adapters", plan)])
    }

    fn finish(&self) -> Finish {
        Finish { merge: if self.0.merge { self.0.targets.clone() } else { Vec::new() }, ..Finish::default() }
    }
}

/// `up · down` in the shape of the layer's weight, for linear layers and convolutions alike.
fn product(up: &Tensor, down: &Tensor, weight: &Tensor) -> Result<Tensor> {
    Ok(up.flatten_from(1)?.matmul(&down.flatten_from(1)?)?.reshape(weight.shape())?)
}

#[derive(Debug)]
struct LowRank {
    rank: usize,
    scale: f64,
}

impl Adapter for LowRank {
    fn attach(&self, site: &Site, scope: &Scope) -> Result<Option<Box<dyn Delta>>> {
        let (r, scale) = (self.rank, self.scale);
        Ok(match site.kind {
            SiteKind::Linear { inputs, outputs } => Some(Box::new(LinearDelta {
                down: scope.weight("lora.down", (r, inputs), Init::fan_in(inputs))?,
                up: scope.weight("lora.up", (outputs, r), Init::Const(0.0))?,
                scale,
            })),
            SiteKind::Conv2d { inputs, outputs, kernel: (h, w), stride, padding, dilation, groups: 1 } => {
                Some(Box::new(Conv2dDelta {
                    down: scope.weight("lora.down", (r, inputs, h, w), Init::fan_in(inputs * h * w))?,
                    up: scope.weight("lora.up", (outputs, r, 1, 1), Init::Const(0.0))?,
                    at: Conv2dGeometry { stride, padding, dilation, groups: 1 },
                    scale,
                }))
            }
            _ => None,
        })
    }
}

struct LinearDelta {
    down: Tensor,
    up: Tensor,
    scale: f64,
}

impl Delta for LinearDelta {
    fn forward(&self, x: &Tensor, y: Tensor) -> Result<Tensor> {
        let update = linear(&linear(x, &self.down, None)?, &self.up, None)?;
        Ok((y + (update * self.scale)?)?)
    }

    fn merged(&self, weight: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some((weight + (product(&self.up, &self.down, weight)? * self.scale)?)?))
    }
}

struct Conv2dDelta {
    down: Tensor,
    up: Tensor,
    at: Conv2dGeometry,
    scale: f64,
}

impl Delta for Conv2dDelta {
    fn forward(&self, x: &Tensor, y: Tensor) -> Result<Tensor> {
        let narrow = conv2d(x, &self.down, None, self.at)?;
        let update = conv2d(&narrow, &self.up, None, Conv2dGeometry::default())?;
        Ok((y + (update * self.scale)?)?)
    }

    fn merged(&self, weight: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some((weight + (product(&self.up, &self.down, weight)? * self.scale)?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tests::model;
    use candle_core::{DType, Device};
    use transplant_core::{Gradients, Params, Seeds, backward};

    fn of(targets: &[&str]) -> LoraOptions {
        LoraOptions { rank: 2, targets: targets.iter().copied().map(Pattern::new).collect(), ..Default::default() }
    }

    #[test]
    fn the_network_is_frozen_and_each_layer_adapted_once() -> Result<()> {
        let lora = Lora::new(of(&["backbone", "backbone.block1"]))?;
        let plan = lora.phases(&model())?.remove(0).plan;
        let at: Vec<&str> = plan.adapters.iter().map(|(p, _)| p.as_str()).collect();
        assert_eq!(at, ["backbone.block1.conv", "backbone.block2.conv", "backbone.block3.conv"]);
        assert_eq!(plan.use_of("backbone.block1.conv.weight"), Use::Frozen);
        assert_eq!(plan.use_of("backbone.block1.conv.lora.up"), Use::TRAINED);
        assert_eq!(plan.use_of("heads.class.weight"), Use::TRAINED);
        assert_eq!(lora.finish(), Finish::default());
        let merged = Lora::new(LoraOptions { merge: true, ..of(&["backbone"]) })?.finish();
        assert_eq!(merged.merge, [Pattern::new("backbone")]);
        let e = Lora::new(of(&["backbone.block9"]))?.phases(&model()).unwrap_err().to_string();
        assert!(e.contains("targets.0: `backbone.block9` matches nothing"), "{e}");
        assert!(Lora::new(LoraOptions { rank: 0, ..Default::default() }).is_err());
        assert!(Lora::new(LoraOptions { rank: 100_000_000, ..Default::default() }).is_err());
        Ok(())
    }

    #[test]
    fn an_update_starts_at_zero_learns_and_has_a_weight() -> Result<()> {
        let linear_site = SiteKind::Linear { inputs: 3, outputs: 4 };
        let conv_site = SiteKind::Conv2d {
            inputs: 3,
            outputs: 4,
            kernel: (3, 3),
            stride: [2; 2],
            padding: [[1; 2]; 2],
            dilation: [1; 2],
            groups: 1,
        };
        for (kind, x_shape, w_shape) in
            [(linear_site, vec![5, 3], vec![4, 3]), (conv_site, vec![2, 3, 5, 5], vec![4, 3, 3, 3])]
        {
            let params = Params::new(&Device::Cpu);
            let scope = Scope::new(&params, Arc::default(), Seeds::new(3), DType::F32);
            let draw = |name: &str, shape: &[usize]| scope.weight(name, shape, Init::Normal(1.0)).map(|t| t.detach());
            let (x, w) = (draw("x", &x_shape)?, draw("w", &w_shape)?);
            let at = Conv2dGeometry::padded(1).strided(2);
            let layer = |w: &Tensor| if w.rank() == 2 { linear(&x, w, None) } else { conv2d(&x, w, None, at) };
            let y = layer(&w)?;
            let site = Site { name: "layer".into(), kind };
            let below = scope.pp("layer");
            let delta = LowRank { rank: 2, scale: 0.5 }.attach(&site, &below)?.unwrap();
            let apart = |a: &Tensor, b: &Tensor| -> Result<f32> { Ok((a - b)?.abs()?.max_all()?.to_scalar()?) };
            let out = delta.forward(&x, y.clone())?;
            assert_eq!(apart(&out, &y)?, 0.0);
            let mut g = Gradients::new(&params, |n| n.starts_with("layer."));
            backward(&out.sqr()?.sum_all()?, &mut g)?;
            assert!(g.get("layer.lora.up").unwrap().abs()?.max_all()?.to_scalar::<f32>()? > 0.0);
            params.set("layer.lora.up", &draw("up", params.get("layer.lora.up")?.var().dims())?)?;
            let merged = delta.merged(&w)?.unwrap();
            assert!(apart(&delta.forward(&x, y.clone())?, &y)? > 0.1);
            assert!(apart(&delta.forward(&x, y)?, &layer(&merged)?)? < 1e-4);
        }
        Ok(())
    }
}
