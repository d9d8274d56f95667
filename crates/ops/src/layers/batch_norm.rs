//! The batch normalisation layer.

use candle_core::Tensor;
use transplant_core::{Buffer, Ctx, Init, Mode, NormPolicy, Result, Scope};

use crate::{Activation, After, Normalised};

/// Share of the newest batch in the running statistics.
pub(super) const MOMENTUM: f64 = 0.1;
/// Added to variances before the square root.
pub(super) const EPS: f64 = 1e-5;

/// Batch normalisation over all dimensions but the second. While training under [`NormPolicy::Batch`] it normalises by the
/// batch and moves the running statistics; in all other cases it normalises by the running statistics and leaves them. The
/// same holds for a batch with one value a channel, which has no variance.
#[derive(Debug)]
pub struct BatchNorm2d {
    weight: Tensor,
    bias: Tensor,
    mean: Buffer,
    var: Buffer,
    policy: NormPolicy,
    momentum: f64,
    eps: f64,
}

impl BatchNorm2d {
    /// With a share `momentum` of the newest batch in the running statistics, and `eps` added to variances.
    ///
    /// # Errors
    /// When a parameter exists with another shape.
    pub fn new(scope: &Scope, channels: usize, momentum: f64, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: scope.weight("weight", channels, Init::Const(1.0))?,
            bias: scope.weight("bias", channels, Init::Const(0.0))?,
            mean: scope.buffer("running_mean", channels, 0.0)?,
            var: scope.buffer("running_var", channels, 1.0)?,
            policy: scope.norm_policy(),
            momentum,
            eps,
        })
    }

    /// Normalises `[n, channels, ..]`.
    ///
    /// # Errors
    /// When the input does not fit.
    pub fn forward(&self, x: &Tensor, cx: &Ctx) -> Result<Tensor> {
        self.forward_then(x, Activation::Identity, cx)
    }

    /// Running means and variances.
    pub(super) fn statistics(&self) -> (Tensor, Tensor) {
        (self.mean.get(), self.var.get())
    }

    /// Its constants with these statistics, where its statistics are given and nothing of it learns.
    pub(super) fn constants<'a>(&'a self, (mean, var): &'a (Tensor, Tensor), cx: &Ctx) -> Option<Normalised<'a>> {
        let given = cx.mode == Mode::Eval || self.policy == NormPolicy::Frozen;
        let tracked = self.weight.track_op() || self.bias.track_op();
        (given && !tracked).then_some(Normalised { gamma: &self.weight, beta: &self.bias, mean, var, eps: self.eps })
    }

    /// Normalises `[n, channels, ..]` and does what is to come `after`, in one pass.
    ///
    /// # Errors
    /// When the input does not fit.
    pub fn forward_then<'a>(&self, x: &Tensor, after: impl Into<After<'a>>, cx: &Ctx) -> Result<Tensor> {
        let values = x.elem_count() / self.weight.elem_count().max(1);
        if cx.mode == Mode::Eval || self.policy == NormPolicy::Frozen || values < 2 {
            let (mean, var) = self.statistics();
            return Ok(crate::batch_norm_frozen(x, &self.weight, &self.bias, &mean, &var, self.eps, after)?);
        }
        let (y, batch) = crate::batch_norm(x, &self.weight, &self.bias, self.eps, after)?;
        if !cx.updates_statistics {
            return Ok(y);
        }
        for (running, new) in [(&self.mean, &batch.mean), (&self.var, &batch.var)] {
            running.set(&((running.get() * (1.0 - self.momentum))? + (new * self.momentum)?)?)?;
        }
        Ok(y)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::ScopeExt;
    use crate::testing::{max_difference, random, values};
    use candle_core::{DType, Device};
    use transplant_core::{Gradients, Params, Plan, Seeds, Stage, backward};

    fn layer(params: &Params, policy: NormPolicy) -> Result<BatchNorm2d> {
        let plan = Plan { norms: BTreeMap::from([("bn".to_owned(), policy)]), ..Plan::default() };
        Scope::new(params, Arc::new(plan), Seeds::new(1), DType::F64).stage(&Stage::new("bn")).pp("bn").batch_norm2d(2)
    }

    fn train() -> Ctx {
        Ctx::new(Mode::Train, "", 0, &[], Seeds::new(1))
    }

    #[test]
    fn training_moves_the_running_statistics_and_evaluation_uses_them() -> Result<()> {
        let (params, x) = (Params::new(&Device::Cpu), Tensor::new(&[[1f64, 0.0], [3.0, 0.0]], &Device::Cpu)?);
        let bn = layer(&params, NormPolicy::Batch)?;
        let close = |a: Vec<f64>, b: [f64; 2]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        bn.forward(&x, &train())?;
        assert!(close(values(&bn.mean.get()), [0.2, 0.0]) && close(values(&bn.var.get()), [1.1, 0.9]));
        let y = bn.forward(&x, &Ctx::eval(&[]))?;
        assert!((values(&y)[0] - 0.8 / (1.1f64 + EPS).sqrt()).abs() < 1e-12);
        assert!(close(values(&params.get("bn.running_mean")?.view()), [0.2, 0.0]));
        Ok(())
    }

    #[test]
    fn under_a_frozen_policy_statistics_stay_and_weights_learn() -> Result<()> {
        let (params, x) = (Params::new(&Device::Cpu), random(1, &[3, 2, 4]));
        let bn = layer(&params, NormPolicy::Frozen)?;
        let y = bn.forward_then(&x, Activation::Relu, &train())?;
        assert_eq!(values(&bn.mean.get()), [0.0, 0.0]);
        assert_eq!(max_difference(&y, &bn.forward_then(&x, Activation::Relu, &Ctx::eval(&[]))?), 0.0);
        let mut g = Gradients::new(&params, |_| true);
        backward(&y.sum_all()?, &mut g)?;
        assert_eq!(g.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["bn.bias", "bn.weight"]);
        Ok(())
    }

    #[test]
    fn one_value_a_channel_is_normalised_by_the_running_statistics() -> Result<()> {
        let bn = layer(&Params::new(&Device::Cpu), NormPolicy::Batch)?;
        let x = random(1, &[1, 2, 1, 1]);
        assert_eq!(max_difference(&bn.forward(&x, &train())?, &bn.forward(&x, &Ctx::eval(&[]))?), 0.0);
        assert_eq!(values(&bn.mean.get()), [0.0, 0.0]);
        Ok(())
    }
}
