//! Domain-adversarial training: Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks", JMLR 17.
//!
//! A discriminator learns to tell from which domain features come; its gradient is reversed on the way to the network,
//! which so unlearns what tells the domains apart. The reversal is raised from 0 to 1 over the phase, as in the paper:
//! `2 / (1 + exp(-sharpness · progress)) - 1`.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, BuildCx, Component, Ctx, Finish, HIDDEN, Invalid, ModelInfo, Modules, Needs, Pattern, Phase, Plan, Plugins,
    Result, Scope, Step, Strategy, Term, Update,
};
use transplant_ops::{ScopeExt, cross_entropy_rows, grad_reverse, relu};

use super::{check_weight, features, two_domains};

/// The discriminator; its weights stand below `modules.dann`.
const MODULE: &str = "dann";

/// DANN: features that a discriminator cannot tell the domains by.
///
/// Use it with `parameter`, where source and target show the same classes in other styles and the target has no labels.
/// It is unstable with few rows a batch; choose by a validator, never by labels of the target. Ganin et al. 2016.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DannOptions {
    /// Weight of the discriminator's loss, at least 0.
    pub weight: f64,
    /// Width of the discriminator's two hidden layers, at least 1.
    pub width: usize,
    /// How quickly the reversal rises from 0 to 1, at least 0.
    pub sharpness: f64,
}

impl Default for DannOptions {
    fn default() -> Self {
        Self { weight: 1.0, width: 256, sharpness: 10.0 }
    }
}

/// See [`DannOptions`].
#[derive(Debug, Clone, Default)]
pub struct Dann(DannOptions);

impl Component<dyn Strategy> for Dann {
    const TYPE: &'static str = "dann";
    type Options = DannOptions;

    fn check(o: &DannOptions, _: &Plugins) -> Result<(), Invalid> {
        check_weight("weight", o.weight)?;
        check_weight("sharpness", o.sharpness)?;
        match o.width {
            0 => Err(Invalid::key("width", "must be at least 1")),
            _ => Ok(()),
        }
    }

    fn build(o: DannOptions, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self(o)))
    }
}

impl Strategy for Dann {
    fn needs(&self) -> Needs {
        two_domains()
    }

    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>> {
        model.feature_width()?;
        Ok(vec![Phase::new("adapt", Plan::default())])
    }

    fn modules(&self, model: &ModelInfo, scope: &Scope) -> Result<Modules> {
        let (s, width) = (scope.pp(MODULE), self.0.width);
        let layers = [
            s.pp("0").linear(model.feature_width()?, width)?,
            s.pp("1").linear(width, width)?,
            s.pp("2").linear(width, 2)?,
        ];
        let run = move |acts: &Acts, _: &mut Ctx| {
            let [a, b, c] = &layers;
            let hidden = relu(&b.forward(&relu(&a.forward(acts.get(HIDDEN)?)?)?)?)?;
            Ok(Acts::hidden(c.forward(&hidden)?))
        };
        Ok(Modules::from([(MODULE.to_owned(), Box::new(run) as _)]))
    }

    fn terms(&self, _: &Update, step: &mut dyn Step) -> Result<Vec<Term>> {
        let reversal = reversal(self.0.sharpness, step.progress().fraction());
        let mut losses = Vec::new();
        for (domain, features) in features(step)?.iter().enumerate() {
            let logits = step.module(MODULE, &Acts::hidden(grad_reverse(features, reversal)?))?;
            let label = Tensor::full(domain as u32, features.dim(0)?, features.device())?;
            losses.push(cross_entropy_rows(logits.get(HIDDEN)?, &label, 0.0, None, None)?.mean_all()?);
        }
        let mean = ((&losses[0] + &losses[1])? * 0.5)?;
        Ok(vec![Term { weight: self.0.weight, ..Term::new(MODULE, mean) }])
    }

    fn finish(&self) -> Finish {
        Finish { remove: vec![Pattern::new(format!("modules.{MODULE}"))], ..Finish::default() }
    }
}

/// The factor of the reversed gradient when `progress` of the phase, from 0 to 1, has passed.
fn reversal(sharpness: f64, progress: f64) -> f64 {
    2.0 / (1.0 + (-sharpness * progress).exp()) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reversal_rises_from_zero_to_one() {
        assert_eq!(reversal(10.0, 0.0), 0.0);
        // The paper's schedule with gamma = 10.
        assert!((reversal(10.0, 0.5) - 0.986_614_298).abs() < 1e-8 && reversal(10.0, 1.0) > 0.9999);
        assert_eq!(reversal(0.0, 0.7), 0.0);
    }

    #[test]
    fn options_are_checked() {
        let check = |o| Dann::check(&o, &Plugins::new()).map_err(|e| e.path);
        assert_eq!(check(DannOptions { weight: -1.0, ..DannOptions::default() }), Err(vec!["weight".to_owned()]));
        assert_eq!(check(DannOptions { width: 0, ..DannOptions::default() }), Err(vec!["width".to_owned()]));
        assert!(check(DannOptions::default()).is_ok());
    }
}
