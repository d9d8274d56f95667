//! Sharpness-aware minimisation: Foret et al. 2021, "Sharpness-Aware Minimization for Efficiently Improving
//! Generalization", ICLR. With `adaptive` it is ASAM: Kwon et al. 2021, ICML.
//!
//! Each step takes its gradient not where the weights are but a short way uphill from there, where the loss is worst
//! nearby: minima in flat valleys generalise better. The trainer goes that way ([`Optimiser::ascent`]); this file says
//! how far, and which optimiser makes the step.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Ascent, BuildCx, Component, InPlace, Invalid, Optimiser, Plugins, Result, Spec, UpdateAt};

use super::not_negative;

/// Sharpness-aware minimisation: another optimiser, given the gradients at weights perturbed uphill.
///
/// Use it where fine-tuning overfits: each step takes twice the time. Learning rate and weight decay are those of
/// `base`. Running statistics of batch normalisation are updated once a step. Foret et al. 2021; `adaptive`: Kwon et
/// al. 2021.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SamOptions {
    /// The optimiser that makes the step.
    pub base: Spec<dyn Optimiser>,
    /// How far uphill, in the norm of all weights that are trained, at least 0. With `adaptive` about ten times as far.
    pub rho: f64,
    /// Whether each weight moves uphill by its own size, so that the scale of a layer does not matter.
    pub adaptive: bool,
}

impl Default for SamOptions {
    fn default() -> Self {
        Self { base: Spec::new("sgd"), rho: 0.05, adaptive: false }
    }
}

/// See [`SamOptions`].
pub struct Sam {
    base: Box<dyn Optimiser>,
    ascent: Ascent,
}

impl Optimiser for Sam {
    fn lr(&self) -> f64 {
        self.base.lr()
    }

    fn weight_decay(&self) -> f64 {
        self.base.weight_decay()
    }

    fn slots(&self) -> &'static [&'static str] {
        self.base.slots()
    }

    fn update(&self, at: UpdateAt, value: &Tensor, grad: &Tensor, slots: &mut [Tensor]) -> Result<Tensor> {
        self.base.update(at, value, grad, slots)
    }

    fn in_place(&self, at: UpdateAt) -> Option<InPlace> {
        self.base.in_place(at)
    }

    fn ascent(&self) -> Option<Ascent> {
        Some(self.ascent)
    }
}

impl Component<dyn Optimiser> for Sam {
    const TYPE: &'static str = "sam";
    type Options = SamOptions;

    fn check(o: &SamOptions, plugins: &Plugins) -> Result<(), Invalid> {
        not_negative("rho", o.rho)?;
        plugins.check(&o.base).map(drop).map_err(|e| e.under("base"))?;
        match o.base.tag == Self::TYPE {
            true => Err(Invalid::key("base", "must be another optimiser than `sam`")),
            false => Ok(()),
        }
    }

    fn build(o: SamOptions, cx: &BuildCx<'_>) -> Result<Box<dyn Optimiser>> {
        let base = cx.make(&o.base)?;
        if base.ascent().is_some() {
            return Err(Invalid::key("base", "must be an optimiser that makes no step uphill of its own").into());
        }
        Ok(Box::new(Self { base, ascent: Ascent { rho: o.rho, adaptive: o.adaptive } }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use transplant_core::Seeds;

    fn make(spec: Spec<dyn Optimiser>) -> Result<Box<dyn Optimiser>> {
        let plugins = Plugins::new().with(super::super::plugin);
        plugins.build(&spec, &BuildCx { plugins: &plugins, base: Path::new("."), seeds: Seeds::new(0) })
    }

    #[test]
    fn all_but_the_way_uphill_is_the_bases() {
        let base = serde_json::json!({ "type": "adamw", "lr": 0.25, "weight_decay": 0.5 });
        let sam = make(Spec::new("sam").with("base", base).with("rho", 0.1)).unwrap();
        assert_eq!((sam.lr(), sam.weight_decay(), sam.slots()), (0.25, 0.5, &["m", "v"][..]));
        assert_eq!(sam.ascent(), Some(Ascent { rho: 0.1, adaptive: false }));
        assert_eq!(make(Spec::new("sam")).unwrap().slots(), ["momentum"]);
    }

    #[test]
    fn wrong_options_are_named() {
        let fails = |spec: Spec<dyn Optimiser>| make(spec).map(|_| ()).unwrap_err().to_string();
        assert!(fails(Spec::new("sam").with("rho", -1.0)).starts_with("rho: "));
        assert!(fails(Spec::new("sam").with("base", "sam")).starts_with("base: "));
        let wrong = serde_json::json!({ "type": "sgd", "lr": -1.0 });
        assert!(fails(Spec::new("sam").with("base", wrong)).starts_with("base.lr: "));
    }
}
