//! Adam with decoupled weight decay, as PyTorch's `torch.optim.AdamW` computes it.
//!
//! Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization". The usual choice for transformers and adapters.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, InPlace, Invalid, Optimiser, Plugins, Result, UpdateAt};
use transplant_kernels::optimise::AdamWStep;

use super::{below_one, not_negative, wrong_slots};

/// Adam with decoupled weight decay.
///
/// The usual choice for transformers and adapters; Loshchilov and Hutter 2019. It computes what PyTorch's `AdamW` does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWOptions {
    /// Learning rate, at least 0.
    pub lr: f64,
    /// Decay of the mean of gradients, from 0 to below 1.
    pub beta1: f64,
    /// Decay of the mean of squared gradients, from 0 to below 1.
    pub beta2: f64,
    /// Added to the denominator, at least 0.
    pub epsilon: f64,
    /// Decay of weights towards 0, times the learning rate; tensors of one dimension never decay.
    pub weight_decay: f64,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// See [`AdamWOptions`].
#[derive(Debug, Clone)]
pub struct AdamW(pub AdamWOptions);

impl Optimiser for AdamW {
    fn lr(&self) -> f64 {
        self.0.lr
    }

    fn weight_decay(&self) -> f64 {
        self.0.weight_decay
    }

    fn slots(&self) -> &'static [&'static str] {
        &["m", "v"]
    }

    fn update(&self, at: UpdateAt, value: &Tensor, grad: &Tensor, slots: &mut [Tensor]) -> Result<Tensor> {
        let [m, v] = slots else { return Err(wrong_slots(self, slots.len())) };
        let (b1, b2) = (self.0.beta1, self.0.beta2);
        *m = ((&*m * b1)? + (grad * (1.0 - b1))?)?;
        *v = ((&*v * b2)? + (grad.sqr()? * (1.0 - b2))?)?;
        let t = (at.step + 1) as f64;
        let (c1, c2) = (1.0 - b1.powf(t), 1.0 - b2.powf(t));
        let denominator = ((&*v / c2)?.sqrt()? + self.0.epsilon)?;
        let step = ((&*m * (at.lr / c1))? / denominator)?;
        let decayed = if at.weight_decay == 0.0 { value.clone() } else { (value * (1.0 - at.lr * at.weight_decay))? };
        Ok((decayed - step)?)
    }

    fn in_place(&self, at: UpdateAt) -> Option<InPlace> {
        let (b1, b2, t) = (self.0.beta1, self.0.beta2, (at.step + 1) as f64);
        let step = AdamWStep {
            step_size: (at.lr / (1.0 - b1.powf(t))) as f32,
            decay: (1.0 - at.lr * at.weight_decay) as f32,
            betas: [b1, b2].map(|v| v as f32),
            shares: [1.0 - b1, 1.0 - b2].map(|v| v as f32),
            correction: (1.0 / (1.0 - b2.powf(t))) as f32,
            epsilon: self.0.epsilon as f32,
        };
        let of = self.clone();
        Some(Box::new(move |value, grad, slots| {
            let [first, second] = slots else { return Err(wrong_slots(&of, slots.len())) };
            step.update(value, grad, first, second);
            Ok(())
        }))
    }
}

impl Component<dyn Optimiser> for AdamW {
    const TYPE: &'static str = "adamw";
    type Options = AdamWOptions;

    fn check(o: &AdamWOptions, _: &Plugins) -> Result<(), Invalid> {
        not_negative("lr", o.lr)?;
        not_negative("weight_decay", o.weight_decay)?;
        not_negative("epsilon", o.epsilon)?;
        below_one("beta1", o.beta1)?;
        below_one("beta2", o.beta2)
    }

    fn build(o: AdamWOptions, _: &BuildCx<'_>) -> Result<Box<dyn Optimiser>> {
        Ok(Box::new(Self(o)))
    }
}
