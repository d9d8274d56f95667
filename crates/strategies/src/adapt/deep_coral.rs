//! Deep CORAL: Sun & Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation", ECCV workshops.
//!
//! The squared Frobenius distance of the two domains' covariance matrices, divided by four times the squared width,
//! is added to the loss.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    BuildCx, Component, Invalid, ModelInfo, Needs, Phase, Plan, Plugins, Result, Step, Strategy, Term, Update,
};

use super::{check_weight, features, two_domains};

/// Deep CORAL: features with one covariance in both domains.
///
/// Use it with `parameter`, where source and target show the same classes in other styles and the target has no labels:
/// steadier than a discriminator, and weaker where domains are far apart. Sun & Saenko 2016.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeepCoralOptions {
    /// Weight of the distance, at least 0. It is small for wide features: raise it until the distance and the
    /// supervised loss are of one size at the end.
    pub weight: f64,
}

impl Default for DeepCoralOptions {
    fn default() -> Self {
        Self { weight: 1.0 }
    }
}

/// See [`DeepCoralOptions`].
#[derive(Debug, Clone, Default)]
pub struct DeepCoral(DeepCoralOptions);

impl Component<dyn Strategy> for DeepCoral {
    const TYPE: &'static str = "deep_coral";
    type Options = DeepCoralOptions;

    fn check(o: &DeepCoralOptions, _: &Plugins) -> Result<(), Invalid> {
        check_weight("weight", o.weight)
    }

    fn build(o: DeepCoralOptions, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self(o)))
    }
}

impl Strategy for DeepCoral {
    fn needs(&self) -> Needs {
        two_domains()
    }

    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>> {
        model.feature_width()?;
        Ok(vec![Phase::new("adapt", Plan::default())])
    }

    fn terms(&self, _: &Update, step: &mut dyn Step) -> Result<Vec<Term>> {
        let [source, target] = features(step)?;
        Ok(vec![Term { weight: self.0.weight, ..Term::new(Self::TYPE, coral(&source, &target)?) }])
    }
}

/// The distance of two sets of features, `f32 [rows, width]` each: a scalar.
fn coral(source: &Tensor, target: &Tensor) -> Result<Tensor> {
    let width = source.dim(1)? as f64;
    let apart = (covariance(source)? - covariance(target)?)?;
    Ok((apart.sqr()?.sum_all()? / (4.0 * width * width))?)
}

/// The covariance matrix of the columns, with one degree of freedom less than rows.
fn covariance(x: &Tensor) -> Result<Tensor> {
    let rows = x.dim(0)?;
    let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
    Ok((centred.t()?.contiguous()?.matmul(&centred)? / rows.saturating_sub(1).max(1) as f64)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Against NumPy 2.4.6: `((np.cov(a.T) - np.cov(b.T)) ** 2).sum() / (4 * 2 * 2)`.
    #[test]
    fn the_distance_is_that_of_numpy() -> Result<()> {
        let a = Tensor::new(&[[0f64, 1.0], [2.0, 5.0], [1.0, -2.0]], &Device::Cpu)?;
        let b = Tensor::new(&[[1f64, 0.0], [3.0, 1.0], [2.0, 2.0], [6.0, 1.0]], &Device::Cpu)?;
        let ours = coral(&a, &b)?.to_scalar::<f64>()?;
        assert!((ours - 9.694_444_444_444_446).abs() < 1e-9, "{ours}");
        assert_eq!(coral(&a, &a)?.to_scalar::<f64>()?, 0.0);
        Ok(())
    }
}
