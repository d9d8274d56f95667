//! BitFit (Ben-Zaken et al. 2022): only biases, norms and the head are trained. A strategy in a crate of one's own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Load, ModelInfo, Needs, Phase, Plan, Result, Strategy};

/// Only biases, norms and the head are trained.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {}

pub struct BitFit;

impl Strategy for BitFit {
    fn needs(&self) -> Needs {
        Needs { load: Load::BackboneAndHeads, source_required: true, ..Needs::default() }
    }

    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>> {
        let frozen = model.weights().filter(|p| p.stage.is_some() && p.shape.len() > 1);
        Ok(vec![Phase::new("bitfit", Plan::frozen(frozen.map(|p| p.name.as_str())))])
    }
}

impl Component<dyn Strategy> for BitFit {
    const TYPE: &'static str = "bitfit";
    type Options = Options;

    fn build(_: Options, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self))
    }
}
