//! Parameter transfer: the source's weights are loaded and fine-tuned.
//!
//! The head is kept too where the labels are the same; otherwise it starts afresh. Lower stages can be frozen, since they
//! hold what is common to most tasks (Yosinski et al. 2014), or learn more slowly than upper ones (Howard and Ruder 2018).
//!
//! Use it by default. With very few labels compare with `feature`; when it overfits, freeze more or compose it with `l2_sp`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    BuildCx, Component, Invalid, Load, ModelInfo, Needs, NormPolicy, ParamInfo, Pattern, Phase, Plugins, Result,
    Strategy, Use,
};

use crate::weights::{all_match, is_head, norms, plan, trained};

/// What becomes of the source's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParameterHead {
    /// Kept where the labels are the same, fresh elsewhere.
    #[default]
    Auto,
    /// Kept; it is an error when the source has no such head for the same labels.
    Keep,
    /// Fresh.
    Reset,
}

/// How normalisation layers behave while fine-tuning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParameterNorm {
    /// In stages that are trained, normalise by the batch and adapt the running statistics to the new data.
    #[default]
    Batch,
    /// Keep the source's statistics: for batches of very few rows.
    Frozen,
}

/// Parameter transfer: the source's weights are the start, and all or some of them are trained on.
///
/// Use it by default. With very few labels compare with `feature`; when it overfits, freeze more (Yosinski et al.
/// 2014), lower the rate of lower stages (Howard and Ruder 2018) or compose it with `l2_sp`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParameterOptions {
    /// The last stage that is frozen; so are all before it. `check` lists the stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze_until: Option<String>,
    /// More weights to freeze, by name: `backbone.block1` is that and all below it, `*` stands for anything.
    pub freeze: Vec<Pattern>,
    /// Factor on the learning rate from one stage to the next below it, in (0, 1]. The head learns at the full rate, the
    /// last stage that has weights at `lr_decay` times that, the one below at its square, and so on.
    pub lr_decay: f64,
    /// What becomes of the source's head.
    pub head: ParameterHead,
    /// Factor on the learning rate of heads, above 0.
    pub head_lr_scale: f64,
    /// How normalisation layers behave.
    pub norm: ParameterNorm,
}

impl Default for ParameterOptions {
    fn default() -> Self {
        Self {
            freeze_until: None,
            freeze: Vec::new(),
            lr_decay: 1.0,
            head: ParameterHead::default(),
            head_lr_scale: 1.0,
            norm: ParameterNorm::default(),
        }
    }
}

/// Fine-tunes loaded weights.
#[derive(Debug, Clone, Default)]
pub struct Parameter(ParameterOptions);

impl Parameter {
    /// With these options.
    ///
    /// # Errors
    /// When a factor is out of its range.
    pub fn new(options: ParameterOptions) -> Result<Self, Invalid> {
        if !(options.lr_decay > 0.0 && options.lr_decay <= 1.0) {
            return Err(Invalid::key("lr_decay", "must be above 0 and at most 1"));
        }
        if !(options.head_lr_scale > 0.0 && options.head_lr_scale.is_finite()) {
            return Err(Invalid::key("head_lr_scale", "must be above 0").help("to freeze a head, name it in `freeze`"));
        }
        Ok(Self(options))
    }
}

impl Component<dyn Strategy> for Parameter {
    const TYPE: &'static str = "parameter";
    type Options = ParameterOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl Strategy for Parameter {
    fn needs(&self) -> Needs {
        let load = if self.0.head == ParameterHead::Reset { Load::Backbone } else { Load::BackboneAndHeads };
        Needs { load, source_required: true, ..Needs::default() }
    }

    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>> {
        let o = &self.0;
        all_match("freeze", &o.freeze, model.weights().map(|p| p.name.as_str()))?;
        let frozen_stages = match &o.freeze_until {
            Some(name) => model.stage(name).map_err(|e| under("freeze_until", e))? + 1,
            None => 0,
        };
        let differs = model.tasks.keys().find(|t| !model.kept_heads.contains(t));
        if let (ParameterHead::Keep, true, Some(task)) = (o.head, model.has_source, differs) {
            let message = format!(
                "the head of task `{task}` cannot be kept: the source has none of this form for the same labels"
            );
            return Err(Invalid::key("head", message).help("`auto` keeps heads where it can").into());
        }
        let frozen =
            |p: &ParamInfo| p.stage.is_some_and(|s| s < frozen_stages) || o.freeze.iter().any(|f| f.matches(&p.name));
        let scale = |p: &ParamInfo| if is_head(p) { o.head_lr_scale } else { o.lr_decay.powi(depth(model, p)) };
        let mut plan = plan(model, |p| if frozen(p) { Use::Frozen } else { trained(p, scale(p)) });
        if plan.uses.values().all(|u| *u == Use::Frozen) {
            return Err(Invalid::key("freeze", "leaves no weight to train").into());
        }
        if o.norm == ParameterNorm::Frozen {
            plan.norms = norms(model.stages.iter().map(|s| s.name.as_str()), NormPolicy::Frozen);
        }
        Ok(vec![Phase::new("fine-tune", plan)])
    }
}

/// How many stages with weights there are from this one to the head, itself included.
fn depth(model: &ModelInfo, p: &ParamInfo) -> i32 {
    let Some(stage) = p.stage else { return 0 };
    let with_weights = |s: &usize| model.weights().any(|p| p.stage == Some(*s));
    (stage..model.stages.len()).filter(with_weights).count() as i32
}

fn under(key: &str, e: transplant_core::Error) -> transplant_core::Error {
    match e {
        transplant_core::Error::Invalid(e) => e.under(key).into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tests::model;
    use transplant_core::Plan;

    fn plan_of(options: ParameterOptions) -> Result<Plan> {
        Ok(Parameter::new(options)?.phases(&model())?.remove(0).plan)
    }

    fn error_of(options: ParameterOptions) -> String {
        plan_of(options).unwrap_err().to_string()
    }

    #[test]
    fn by_default_all_is_trained_and_only_matrices_decay() -> Result<()> {
        let plan = plan_of(ParameterOptions::default())?;
        assert_eq!(plan.uses.len(), 8);
        assert_eq!(plan.use_of("backbone.block1.conv.weight"), Use::TRAINED);
        assert_eq!(plan.use_of("backbone.block1.bn.weight"), Use::Trained { lr_scale: 1.0, decay: false });
        assert!(plan.norms.is_empty());
        Ok(())
    }

    #[test]
    fn stages_up_to_one_and_patterns_are_frozen() -> Result<()> {
        let freeze = vec![Pattern::new("*.bias")];
        let plan = plan_of(ParameterOptions { freeze_until: Some("block2".into()), freeze, ..Default::default() })?;
        let frozen: Vec<&str> = plan.uses.iter().filter(|(_, u)| **u == Use::Frozen).map(|(n, _)| n.as_str()).collect();
        assert_eq!(
            frozen,
            [
                "backbone.block1.bn.weight",
                "backbone.block1.conv.weight",
                "backbone.block2.bn.weight",
                "backbone.block2.conv.weight",
                "heads.class.bias"
            ]
        );
        Ok(())
    }

    #[test]
    fn rates_fall_from_the_head_downwards_over_stages_that_have_weights() -> Result<()> {
        let plan = plan_of(ParameterOptions { lr_decay: 0.5, head_lr_scale: 10.0, ..Default::default() })?;
        let rate = |name: &str| match plan.use_of(name) {
            Use::Trained { lr_scale, .. } => lr_scale,
            Use::Frozen => 0.0,
        };
        assert_eq!(rate("heads.class.weight"), 10.0);
        assert_eq!(rate("backbone.block3.conv.weight"), 0.5);
        assert_eq!(rate("backbone.block1.conv.weight"), 0.125);
        Ok(())
    }

    #[test]
    fn statistics_of_every_stage_can_be_kept() -> Result<()> {
        let plan = plan_of(ParameterOptions { norm: ParameterNorm::Frozen, ..Default::default() })?;
        assert_eq!(plan.norms.get("block3"), Some(&NormPolicy::Frozen));
        Ok(())
    }

    #[test]
    fn what_cannot_be_is_named() {
        let until = |s: &str| ParameterOptions { freeze_until: Some(s.into()), ..Default::default() };
        assert_eq!(
            error_of(until("blok1")),
            "freeze_until: the backbone has no stage `blok1` (did you mean `block1`?)"
        );
        let freeze = |p: &str| ParameterOptions { freeze: vec![Pattern::new(p)], ..Default::default() };
        assert!(error_of(freeze("block1")).contains("freeze.0: `block1` matches nothing"));
        assert!(error_of(freeze("*")).contains("leaves no weight to train"));
        assert!(error_of(ParameterOptions { lr_decay: 1.5, ..Default::default() }).starts_with("lr_decay: "));
        assert!(error_of(ParameterOptions { head_lr_scale: 0.0, ..Default::default() }).starts_with("head_lr_scale: "));
    }

    #[test]
    fn a_head_for_other_labels_cannot_be_kept() -> Result<()> {
        let other = ModelInfo { kept_heads: Vec::new(), ..model() };
        let with = |head| Parameter::new(ParameterOptions { head, ..Default::default() });
        assert!(with(ParameterHead::Auto)?.phases(&other).is_ok());
        let e = with(ParameterHead::Keep)?.phases(&other).unwrap_err().to_string();
        assert!(e.contains("head: the head of task `class` cannot be kept"), "{e}");
        assert_eq!(with(ParameterHead::Reset)?.needs().load, Load::Backbone);
        Ok(())
    }
}
