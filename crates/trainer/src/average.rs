//! [`Average`]: the weights of many steps as one.

use std::collections::BTreeMap;

use candle_core::Tensor;
use transplant_core::{Averaging, Params, Plan, Progress, Result, Role, Use};
use transplant_ops::{can_update_in_place, update_in_place};

/// The average of what changes during a phase, by name: weights that are trained, and buffers.
#[derive(Default)]
pub(crate) struct Average {
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

impl Average {
    /// Takes in the weights after a step.
    pub(crate) fn take(&mut self, params: &Params, plan: &Plan, by: &dyn Averaging, at: Progress) -> Result<()> {
        let share = by.share(at);
        if share <= 0.0 {
            return Ok(());
        }
        for (name, param) in params.all() {
            let changes = param.role == Role::Buffer || plan.use_of(&name) != Use::Frozen;
            let present = param.view();
            if !changes || !present.dtype().is_float() {
                continue;
            }
            match self.tensors.get_mut(&name).filter(|a| share < 1.0 && a.dims() == present.dims()) {
                Some(average) => approach(average, &present, share)?,
                None => drop(self.tensors.insert(name, present.copy()?)),
            }
        }
        Ok(())
    }

    /// Puts the average in the place of the present weights, which are returned.
    pub(crate) fn swap(&self, params: &Params) -> Result<BTreeMap<String, Tensor>> {
        let present = params.snapshot(|n| self.tensors.contains_key(n))?;
        put(params, &self.tensors)?;
        Ok(present)
    }

    /// Ends with the average as the weights.
    pub(crate) fn settle(&mut self, params: &Params) -> Result<()> {
        put(params, &std::mem::take(&mut self.tensors))
    }
}

/// Writes those values whose tensors are still there: a strategy may have removed its own.
pub(crate) fn put(params: &Params, values: &BTreeMap<String, Tensor>) -> Result<()> {
    values.iter().filter(|(n, _)| params.find(n).is_some()).try_for_each(|(n, t)| params.set(n, t))
}

/// Moves `average` towards `present` by this share of the way.
fn approach(average: &mut Tensor, present: &Tensor, share: f64) -> Result<()> {
    if can_update_in_place(&[average, present]) {
        let share = share as f32;
        return Ok(update_in_place(average, present, &[], |average, present, _| {
            transplant_kernels::optimise::approach(average, present, share);
        })?);
    }
    *average = (&*average + ((present - &*average)? * share)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::averaging::{Ema, EmaOptions, Swa, SwaOptions};
    use candle_core::{DType, Device};
    use transplant_core::Origin;

    /// `goldens/optim.json`: PyTorch's `AveragedModel`, which begins with the weights of its first update.
    #[test]
    fn averages_are_pytorchs() -> Result<()> {
        let g: serde_json::Value = serde_json::from_str(include_str!("../goldens/optim.json")).unwrap();
        let numbers = |v: &serde_json::Value| -> Vec<f64> {
            v.get("data").unwrap_or(v).as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
        };
        for case in g["averages"].as_array().unwrap() {
            let averaging: Box<dyn Averaging> = match case["name"].as_str().unwrap() {
                "ema" => Box::new(Ema(EmaOptions { decay: 0.7, warmup: false })),
                _ => Box::new(Swa(SwaOptions { from: 0.0 })),
            };
            for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-6)] {
                let tensor =
                    |v| Ok::<_, transplant_core::Error>(Tensor::new(numbers(v), &Device::Cpu)?.to_dtype(dtype)?);
                let (params, mut average) = (Params::new(&Device::Cpu), Average::default());
                for (i, expected) in case["values"].as_array().unwrap().iter().enumerate() {
                    for (name, role) in [("weight", Role::Weight), ("bias", Role::Buffer)] {
                        params.insert(name, &tensor(&g["gradients"][i][name])?, role, Origin::Fresh)?;
                    }
                    let at = Progress { step: i as u64 + 1, steps: 6, steps_per_epoch: 1 };
                    average.take(&params, &Plan::default(), &*averaging, at)?;
                    for name in ["weight", "bias"] {
                        let ours: Vec<f64> = average.tensors[name].to_dtype(DType::F64)?.to_vec1()?;
                        let far =
                            ours.iter().zip(numbers(&expected[name])).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                        assert!(far < tolerance, "{} of {name}, step {i}, {dtype:?}: {far}", case["name"]);
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn frozen_weights_have_none_and_present_ones_come_back() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        let number = |v: f64| Tensor::new(&[v], &Device::Cpu);
        for name in ["moves", "frozen"] {
            params.insert(name, &number(0.0)?, Role::Weight, Origin::Fresh)?;
        }
        let (plan, ema) = (Plan::frozen(["frozen"]), Ema(EmaOptions { decay: 0.5, warmup: false }));
        let mut average = Average::default();
        for step in 1..=3 {
            params.set("moves", &number(step as f64)?)?;
            average.take(&params, &plan, &ema, Progress { step, steps: 3, steps_per_epoch: 1 })?;
        }
        let moves = || Ok::<_, transplant_core::Error>(params.get("moves")?.view().to_vec1::<f64>()?[0]);
        assert_eq!(average.tensors.keys().collect::<Vec<_>>(), ["moves"]);
        let present = average.swap(&params)?;
        assert_eq!(moves()?, 2.25);
        put(&params, &present)?;
        assert_eq!(moves()?, 3.0);
        average.settle(&params)?;
        assert_eq!((moves()?, average.tensors.len()), (2.25, 0));
        Ok(())
    }
}
