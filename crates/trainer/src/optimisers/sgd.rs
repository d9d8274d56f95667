//! Stochastic gradient descent with momentum, as PyTorch's `torch.optim.SGD` computes it.
//!
//! Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning". The steady choice for
//! fine-tuning convolutional networks.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, InPlace, Invalid, Optimiser, Plugins, Result, UpdateAt};
use transplant_kernels::optimise::SgdStep;

use super::{below_one, not_negative, wrong_slots};

/// Stochastic gradient descent with momentum.
///
/// The steady choice for fine-tuning convolutional networks; Sutskever et al. 2013. It computes what PyTorch's `SGD`
/// does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SgdOptions {
    /// Learning rate, at least 0.
    pub lr: f64,
    /// Share of the last update that is kept, from 0 to below 1.
    pub momentum: f64,
    /// Nesterov's look-ahead.
    pub nesterov: bool,
    /// Decay of weights towards 0, added to the gradient; tensors of one dimension never decay.
    pub weight_decay: f64,
}

impl Default for SgdOptions {
    fn default() -> Self {
        Self { lr: 0.01, momentum: 0.9, nesterov: false, weight_decay: 0.0 }
    }
}

/// See [`SgdOptions`].
#[derive(Debug, Clone)]
pub struct Sgd(pub SgdOptions);

impl Optimiser for Sgd {
    fn lr(&self) -> f64 {
        self.0.lr
    }

    fn weight_decay(&self) -> f64 {
        self.0.weight_decay
    }

    fn slots(&self) -> &'static [&'static str] {
        if self.0.momentum == 0.0 { &[] } else { &["momentum"] }
    }

    fn update(&self, at: UpdateAt, value: &Tensor, grad: &Tensor, slots: &mut [Tensor]) -> Result<Tensor> {
        let grad = if at.weight_decay == 0.0 { grad.clone() } else { (grad + (value * at.weight_decay)?)? };
        let direction = match slots {
            _ if slots.len() != self.slots().len() => return Err(wrong_slots(self, slots.len())),
            [] => grad,
            [velocity, ..] => {
                *velocity = ((&*velocity * self.0.momentum)? + &grad)?;
                if self.0.nesterov { (grad + (&*velocity * self.0.momentum)?)? } else { velocity.clone() }
            }
        };
        Ok((value - (direction * at.lr)?)?)
    }

    fn in_place(&self, at: UpdateAt) -> Option<InPlace> {
        let [lr, weight_decay, momentum] = [at.lr, at.weight_decay, self.0.momentum].map(|v| v as f32);
        let step = SgdStep { lr, weight_decay, momentum, nesterov: self.0.nesterov };
        let of = self.clone();
        Some(Box::new(move |value, grad, slots| {
            if slots.len() != of.slots().len() {
                return Err(wrong_slots(&of, slots.len()));
            }
            step.update(value, grad, slots.first_mut().map(|v| &mut **v));
            Ok(())
        }))
    }
}

impl Component<dyn Optimiser> for Sgd {
    const TYPE: &'static str = "sgd";
    type Options = SgdOptions;

    fn check(o: &SgdOptions, _: &Plugins) -> Result<(), Invalid> {
        not_negative("lr", o.lr)?;
        not_negative("weight_decay", o.weight_decay)?;
        below_one("momentum", o.momentum)?;
        if o.nesterov && o.momentum == 0.0 {
            return Err(Invalid::key("nesterov", "needs a momentum above 0"));
        }
        Ok(())
    }

    fn build(o: SgdOptions, _: &BuildCx<'_>) -> Result<Box<dyn Optimiser>> {
        Ok(Box::new(Self(o)))
    }
}
