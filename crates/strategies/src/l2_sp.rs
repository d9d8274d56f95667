//! L2-SP: fine-tuning with a pull towards where the weights came from (Li, Grandvalet and Davoine 2018).
//!
//! Plain weight decay pulls towards zero and so undoes what was transferred; this pulls each loaded weight towards its
//! loaded value and only fresh ones towards zero. Beside it the optimiser's own weight decay should be 0.
//!
//! Use it, alone or with `parameter`, when fine-tuning on few labels overfits.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Boundary, BuildCx, Component, Finish, Invalid, Load, ModelInfo, Needs, Params, Pass, Pattern, Phase, Plan, Plugins,
    Result, Role, Step, Strategy, Term, Update,
};

/// Where the loaded values are kept while it trains.
const START: &str = "modules.l2_sp";

/// L2-SP: pulls weights towards the source's while they are trained.
///
/// Use it, alone or with `parameter`, when fine-tuning on few labels overfits; set the optimiser's own weight decay to
/// 0. Li, Grandvalet and Davoine 2018.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct L2SpOptions {
    /// Strength of the pull of loaded weights towards their loaded values, at least 0.
    pub alpha: f64,
    /// Strength of the pull of fresh heads towards zero, at least 0.
    pub beta: f64,
}

impl Default for L2SpOptions {
    fn default() -> Self {
        Self { alpha: 0.1, beta: 0.01 }
    }
}

/// Adds `alpha / 2 · |w − w₀|²` over loaded weights and `beta / 2 · |w|²` over fresh heads to the loss.
#[derive(Debug, Clone, Default)]
pub struct L2Sp(L2SpOptions);

impl L2Sp {
    /// With these options.
    ///
    /// # Errors
    /// When a strength is negative.
    pub fn new(options: L2SpOptions) -> Result<Self, Invalid> {
        for (key, v) in [("alpha", options.alpha), ("beta", options.beta)] {
            if !(v >= 0.0 && v.is_finite()) {
                return Err(Invalid::key(key, "must be at least 0"));
            }
        }
        Ok(Self(options))
    }
}

impl Component<dyn Strategy> for L2Sp {
    const TYPE: &'static str = "l2_sp";
    type Options = L2SpOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl Strategy for L2Sp {
    fn needs(&self) -> Needs {
        Needs { load: Load::BackboneAndHeads, source_required: true, ..Needs::default() }
    }

    fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
        Ok(vec![Phase::new("fine-tune", Plan::default())])
    }

    fn terms(&self, _: &Update, step: &mut dyn Step) -> Result<Vec<Term>> {
        let (apart, size) = penalties(step.params())?;
        let penalty = |name: &str, strength: f64, value| Term { weight: strength / 2.0, ..Term::new(name, value) };
        let apart = apart.map(|t| penalty("l2_sp", self.0.alpha, t));
        Ok(apart.into_iter().chain(size.map(|t| penalty("l2_sp.fresh", self.0.beta, t))).collect())
    }

    fn at(&self, boundary: Boundary, pass: &mut dyn Pass) -> Result<()> {
        match boundary {
            Boundary::PhaseStart(0) => remember(pass.info(), pass.params()),
            _ => Ok(()),
        }
    }

    fn finish(&self) -> Finish {
        Finish { remove: vec![Pattern::new(START)], ..Finish::default() }
    }
}

/// Keeps a copy of every loaded weight, as buffers, so that a run that resumes still knows them.
fn remember(model: &ModelInfo, params: &Params) -> Result<()> {
    for info in model.weights().filter(|p| p.loaded) {
        let p = params.get(&info.name)?;
        params.insert(&format!("{START}.{}", info.name), &p.view(), Role::Buffer, p.origin)?;
    }
    Ok(())
}

/// The squared distance of loaded weights to where they started, and the squared size of fresh head weights.
fn penalties(params: &Params) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let (mut apart, mut size) = (None, None);
    for (name, p) in params.all() {
        let w = p.var().as_tensor();
        if let Some(start) = params.find(&format!("{START}.{name}")) {
            add(&mut apart, (w - start.view())?.sqr()?.sum_all()?)?;
        } else if p.role == Role::Weight && name.starts_with("heads.") && w.rank() > 1 {
            add(&mut size, w.sqr()?.sum_all()?)?;
        }
    }
    Ok((apart, size))
}

fn add(sum: &mut Option<Tensor>, t: Tensor) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(s) => (s + t)?,
        None => t,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use transplant_core::{Gradients, Origin, ParamInfo, backward};

    #[test]
    fn the_pull_is_towards_the_loaded_value_and_of_fresh_heads_towards_zero() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        let put = |name: &str, v: &[f32], shape: &[usize]| {
            params.insert(name, &Tensor::from_slice(v, shape, &Device::Cpu)?, Role::Weight, Origin::Fresh)
        };
        put("backbone.a.weight", &[1.0, 2.0], &[2])?;
        put("heads.class.weight", &[3.0], &[1, 1])?;
        put("heads.class.bias", &[5.0], &[1])?;
        let info = ParamInfo {
            name: "backbone.a.weight".into(),
            shape: vec![2],
            role: Role::Weight,
            stage: Some(0),
            loaded: true,
        };
        remember(&ModelInfo { params: vec![info], ..ModelInfo::default() }, &params)?;
        params.set("backbone.a.weight", &Tensor::new(&[2f32, 2.0], &Device::Cpu)?)?;
        let (apart, size) = penalties(&params)?;
        let (apart, size) = (apart.unwrap(), size.unwrap());
        assert_eq!((apart.to_scalar::<f32>()?, size.to_scalar::<f32>()?), (1.0, 9.0));
        let mut g = Gradients::new(&params, |n| n.starts_with("backbone."));
        backward(&apart, &mut g)?;
        assert_eq!(g.get("backbone.a.weight").unwrap().to_vec1::<f32>()?, [2.0, 0.0]);
        Ok(())
    }

    #[test]
    fn a_negative_strength_is_refused() {
        assert!(L2Sp::new(L2SpOptions { alpha: -1.0, beta: 0.0 }).unwrap_err().to_string().starts_with("alpha: "));
    }
}
