//! A multilayer perceptron: linear layers, each followed by an activation.
//!
//! For vectors: rows of a table, or features that another network made.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, Architecture, Backbone, BuildCx, Component, Ctx, Field, HIDDEN, Invalid, Plugins, Result, Schema, Scope,
    Stage,
};
use transplant_ops::{Linear, ScopeExt, relu};

/// What follows each linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(0, x)`.
    #[default]
    Relu,
    /// Hyperbolic tangent.
    Tanh,
}

/// A multilayer perceptron: linear layers, each followed by an activation.
///
/// For vectors: rows of a table, or features that another network made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MlpOptions {
    /// Width of each layer, at least one of them; the last is the width of the features.
    pub widths: Vec<usize>,
    /// What follows each linear layer.
    pub activation: Activation,
}

impl Default for MlpOptions {
    fn default() -> Self {
        Self { widths: vec![64, 64], activation: Activation::default() }
    }
}

/// Stages `layer1`, `layer2`, …. Reads and puts out `hidden`, a vector.
#[derive(Debug, Clone)]
pub struct Mlp {
    options: MlpOptions,
    stages: Vec<Stage>,
}

impl Mlp {
    /// With these options.
    ///
    /// # Errors
    /// When there is no layer or one has no unit.
    pub fn new(options: MlpOptions) -> Result<Self, Invalid> {
        if options.widths.is_empty() || options.widths.contains(&0) {
            return Err(Invalid::key("widths", "needs one or more widths of at least 1"));
        }
        let stages = (1..=options.widths.len()).map(|i| Stage::new(&format!("layer{i}"))).collect();
        Ok(Self { options, stages })
    }
}

fn width(inputs: &Schema) -> Result<usize> {
    match inputs.get(HIDDEN) {
        Some(Field::Vector { width }) => Ok(*width),
        _ => {
            let there: Vec<&str> = inputs.keys().map(String::as_str).collect();
            Err(Invalid::new(format!("`mlp` reads a vector `{HIDDEN}`; there are: {}", there.join(", "))).into())
        }
    }
}

impl Component<dyn Architecture> for Mlp {
    const TYPE: &'static str = "mlp";
    type Options = MlpOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl Architecture for Mlp {
    fn stages(&self) -> Vec<Stage> {
        self.stages.clone()
    }

    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        let mut from = width(inputs)?;
        let mut layers = Vec::new();
        for (stage, &to) in self.stages.iter().zip(&self.options.widths) {
            layers.push(scope.stage(stage).pp(&stage.name).linear(from, to)?);
            from = to;
        }
        Ok(Box::new(Built { layers, activation: self.options.activation, stages: self.stages.clone() }))
    }

    fn features(&self, inputs: &Schema) -> Result<Schema> {
        width(inputs)?;
        let width = self.options.widths.last().copied().unwrap_or_default();
        Ok(Schema::from([(HIDDEN.to_owned(), Field::Vector { width })]))
    }
}

struct Built {
    layers: Vec<Linear>,
    activation: Activation,
    stages: Vec<Stage>,
}

impl Backbone for Built {
    fn stage(&self, index: usize, acts: Acts, _: &mut Ctx) -> Result<Acts> {
        let y: Tensor = self.layers[index].forward(acts.get(HIDDEN)?)?;
        let y = match self.activation {
            Activation::Relu => relu(&y)?,
            Activation::Tanh => y.tanh()?,
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
    use transplant_core::{Params, Seeds};

    #[test]
    fn layers_are_named_and_applied_in_order() -> Result<()> {
        let mlp = Mlp::new(MlpOptions { widths: vec![3, 2], activation: Activation::Tanh })?;
        let inputs = Schema::from([(HIDDEN.to_owned(), Field::Vector { width: 4 })]);
        let params = Params::new(&Device::Cpu);
        let net = mlp.build(&inputs, &Scope::new(&params, Arc::default(), Seeds::new(1), DType::F32).pp("backbone"))?;
        let x = Acts::hidden(Tensor::ones((5, 4), DType::F32, &Device::Cpu)?);
        let y = net.forward(x, 0..2, &mut Ctx::eval(&[0, 1, 2, 3, 4]))?;
        assert_eq!(y.get(HIDDEN)?.dims(), [5, 2]);
        assert!(y.get(HIDDEN)?.abs()?.max_all()?.to_scalar::<f32>()? < 1.0);
        let layer = |l: &str| ["bias", "weight"].map(|n| format!("backbone.{l}.{n}"));
        assert_eq!(params.names(), [layer("layer1"), layer("layer2")].concat());
        assert_eq!(mlp.features(&inputs)?[HIDDEN], Field::Vector { width: 2 });
        assert!(
            mlp.features(&Schema::new()).is_err()
                && Mlp::new(MlpOptions { widths: vec![], ..Default::default() }).is_err()
        );
        Ok(())
    }
}
