//! Applying gradients: clipping, parameter groups, and the optimiser's state.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use candle_core::Tensor;
use transplant_core::{Gradients, Optimiser, Origin, Params, Plan, Result, Role, UpdateAt, Use};
use transplant_ops::{can_update_in_place, update_in_place};

/// The state of all optimisers of a phase: tensors `<update>/<slot>/<parameter>`, and how often each parameter was updated.
pub(crate) struct OptimiserState {
    pub(crate) slots: Params,
    pub(crate) counts: BTreeMap<String, u64>,
}

impl OptimiserState {
    pub(crate) fn new(params: &Params) -> Self {
        Self { slots: Params::new(params.device()), counts: BTreeMap::new() }
    }
}

/// One update of the weights that `gradients` has an entry for.
pub(crate) struct Applied<'a> {
    pub(crate) params: &'a Params,
    pub(crate) plan: &'a Plan,
    pub(crate) optimiser: &'a dyn Optimiser,
    /// The update's name: updates keep their moments apart.
    pub(crate) update: &'a str,
    /// Learning rate before group factors.
    pub(crate) lr: f64,
}

impl Applied<'_> {
    /// Updates every weight that has a gradient. Tensors of one dimension (biases, norms) never decay.
    pub(crate) fn apply(&self, gradients: &Gradients, state: &mut OptimiserState) -> Result<()> {
        for (name, grad) in gradients.iter() {
            let Use::Trained { lr_scale, decay } = self.plan.use_of(name) else { continue };
            let value = self.params.get(name)?.view();
            let mut slots = self.slots(name, &value, state)?;
            let count = state.counts.entry(format!("{}/{name}", self.update)).or_default();
            let weight_decay = if decay && value.rank() > 1 { self.optimiser.weight_decay() } else { 0.0 };
            let at = UpdateAt { lr: self.lr * lr_scale, weight_decay, step: *count };
            *count += 1;
            let together: Vec<&Tensor> = [&value, grad].into_iter().chain(&slots).collect();
            if can_update_in_place(&together)
                && let Some(step) = self.optimiser.in_place(at)
            {
                let failed = OnceLock::new();
                update_in_place(&value, grad, &together[2..], |value, grad, slots| {
                    if let Err(e) = step(value, grad, slots) {
                        failed.set(e).ok();
                    }
                })?;
                match failed.into_inner() {
                    Some(e) => return Err(e),
                    None => continue,
                }
            }
            let new = self.optimiser.update(at, &value, grad, &mut slots)?;
            self.params.set(name, &new)?;
            for (slot, tensor) in self.optimiser.slots().iter().zip(&slots) {
                state.slots.set(&self.slot_name(slot, name), tensor)?;
            }
        }
        Ok(())
    }

    fn slots(&self, name: &str, value: &Tensor, state: &OptimiserState) -> Result<Vec<Tensor>> {
        let slot = |slot: &&str| {
            let full = self.slot_name(slot, name);
            if state.slots.find(&full).is_none() {
                state.slots.insert(&full, &value.zeros_like()?, Role::Buffer, Origin::Fresh)?;
            }
            Ok(state.slots.get(&full)?.view())
        };
        self.optimiser.slots().iter().map(slot).collect()
    }

    fn slot_name(&self, slot: &str, name: &str) -> String {
        format!("{}/{slot}/{name}", self.update)
    }
}

/// Scales all gradients so that their norm is at most `limit`; returns the norm before.
pub(crate) fn clip(gradients: &mut Gradients, limit: f64) -> Result<f64> {
    let norm = gradients.norm()?;
    if norm > limit {
        // PyTorch's clip_grad_norm_ adds the same 1e-6.
        gradients.scale(limit / (norm + 1e-6))?;
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// `goldens/optim.json`: PyTorch's `clip_grad_norm_`.
    #[test]
    fn clipping_scales_as_pytorch_does() {
        let g: serde_json::Value = serde_json::from_str(include_str!("../goldens/optim.json")).unwrap();
        let numbers = |v: &serde_json::Value| -> Vec<f64> {
            v.get("data").unwrap_or(v).as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
        };
        for case in g["clip_grad_norm"].as_array().unwrap() {
            let mut gradients = Gradients::default();
            for name in ["weight", "bias"] {
                gradients.set(name, Tensor::new(numbers(&g["gradients"][0][name]), &Device::Cpu).unwrap());
            }
            let norm = clip(&mut gradients, case["max_norm"].as_f64().unwrap()).unwrap();
            assert!((norm - case["norm"].as_f64().unwrap()).abs() < 1e-9);
            for name in ["weight", "bias"] {
                let ours: Vec<f64> = gradients.get(name).unwrap().to_vec1().unwrap();
                let theirs = numbers(&case["clipped"][name]);
                assert!(ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-9), "{ours:?} {theirs:?}");
            }
        }
    }
}
