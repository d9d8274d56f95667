//! The same rate throughout.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Progress, Result, Schedule};

/// The same rate throughout.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConstantOptions {}

/// See [`ConstantOptions`].
#[derive(Debug, Clone)]
pub struct Constant;

impl Schedule for Constant {
    fn factor(&self, _: Progress) -> f64 {
        1.0
    }
}

impl Component<dyn Schedule> for Constant {
    const TYPE: &'static str = "constant";
    type Options = ConstantOptions;

    fn build(_: ConstantOptions, _: &BuildCx<'_>) -> Result<Box<dyn Schedule>> {
        Ok(Box::new(Self))
    }
}
