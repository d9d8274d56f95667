//! The plainest backbone for images: all pixels through one linear layer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, Architecture, Backbone, BuildCx, Component, Ctx, Error, Field, HIDDEN, Result, Schema, Scope, Stage,
};
use transplant_ops::{Linear, ScopeExt, relu};

/// All pixels through one linear layer and a ReLU.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Width of the features.
    pub width: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { width: 32 }
    }
}

pub struct Flat(Options);

impl Component<dyn Architecture> for Flat {
    const TYPE: &'static str = "flat";
    type Options = Options;

    fn build(o: Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self(o)))
    }
}

impl Architecture for Flat {
    fn stages(&self) -> Vec<Stage> {
        vec![Stage::new("project")]
    }

    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        let Some(Field::Image { channels, height, width }) = inputs.get(HIDDEN) else {
            return Err(Error::contract("`flat` reads an image"));
        };
        let scope = scope.stage(&self.stages()[0]).pp("project");
        let fc = scope.pp("fc").linear(channels * height * width, self.0.width)?;
        Ok(Box::new(Built { stages: self.stages(), fc }))
    }

    fn features(&self, _: &Schema) -> Result<Schema> {
        Ok(Schema::from([(HIDDEN.to_owned(), Field::Vector { width: self.0.width })]))
    }
}

struct Built {
    stages: Vec<Stage>,
    fc: Linear,
}

impl Backbone for Built {
    fn stage(&self, _: usize, acts: Acts, _: &mut Ctx) -> Result<Acts> {
        let pixels = acts.get(HIDDEN)?.flatten_from(1)?;
        Ok(acts.with(HIDDEN, relu(&self.fc.forward(&pixels)?)?))
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }
}
