//! Equal weights: the sum of the tasks' losses.
//!
//! It is what a step with several tasks does without any of the strategies of this family, under a name of its own: the
//! baseline in a table of them. Well-tuned it is hard to beat: Xin et al. 2022, "Do Current Multi-Task Optimization
//! Methods in Deep Learning Even Help?", NeurIPS.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, ModelInfo, Phase, Plan, Result, Strategy, Weighting};

use super::one_phase;

/// Equal weights: the sum of the tasks' losses, the baseline of every other weighting.
///
/// Use it beside another strategy, `strategy = ["parameter", "equal"]`; alone it trains fresh weights. A step that
/// names no weighting does the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EqualOptions {}

/// See [`EqualOptions`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Equal;

impl Component<dyn Strategy> for Equal {
    const TYPE: &'static str = "equal";
    type Options = EqualOptions;

    fn build(_: EqualOptions, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self))
    }
}

impl Strategy for Equal {
    fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
        Ok(one_phase(Plan::default()))
    }

    fn weighting(&self) -> Option<Arc<dyn Weighting>> {
        Some(Arc::new(*self))
    }
}

/// All weights stay 1.
impl Weighting for Equal {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Parameter, compose, several_tasks::PcGrad};

    #[test]
    fn two_weightings_are_refused() {
        let of = |others: Vec<(&str, Box<dyn Strategy>)>| {
            compose(others.into_iter().map(|(n, s)| (n.to_owned(), s)).collect()).map(|_| ()).map_err(|e| e.to_string())
        };
        let parameter = || -> (&str, Box<dyn Strategy>) { ("parameter", Box::<Parameter>::default()) };
        assert!(of(vec![parameter(), ("equal", Box::new(Equal))]).is_ok());
        let e = of(vec![parameter(), ("equal", Box::new(Equal)), ("pcgrad", Box::new(PcGrad))]).unwrap_err();
        assert!(e.contains("`equal` and `pcgrad` both weigh the terms of the loss"), "{e}");
    }
}
