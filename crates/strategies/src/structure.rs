//! Structure transfer: the same network with fresh weights.
//!
//! What is transferred is the design alone. It is how a source is pretrained, and the control that says what loaded weights
//! are worth: transfer that does not beat it is negative.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Load, ModelInfo, Needs, Phase, Result, Strategy};

use crate::weights::{plan, trained};

/// Structure transfer: the same network, trained from fresh weights.
///
/// It is how a source is pretrained, and the control that any transfer of weights has to beat.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StructureOptions {}

/// Trains fresh weights.
#[derive(Debug, Clone, Copy, Default)]
pub struct Structure;

impl Component<dyn Strategy> for Structure {
    const TYPE: &'static str = "structure";
    type Options = StructureOptions;

    fn build(_: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self))
    }
}

impl Strategy for Structure {
    fn needs(&self) -> Needs {
        Needs { load: Load::Nothing, fresh: true, ..Needs::default() }
    }

    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>> {
        Ok(vec![Phase::new("train", plan(model, |p| trained(p, 1.0)))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tests::model;
    use transplant_core::Use;

    #[test]
    fn all_weights_are_fresh_and_trained() -> Result<()> {
        assert_eq!(Structure.needs().load, Load::Nothing);
        let plan = Structure.phases(&model())?.remove(0).plan;
        assert!(plan.uses.values().all(|u| *u != Use::Frozen) && plan.uses.len() == 8);
        Ok(())
    }
}
