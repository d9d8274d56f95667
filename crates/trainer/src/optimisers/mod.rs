//! Optimisers, one file each.

mod adamw;
mod sam;
mod sgd;

pub use adamw::{AdamW, AdamWOptions};
pub use sam::{Sam, SamOptions};
pub use sgd::{Sgd, SgdOptions};

use transplant_core::{Invalid, Optimiser, Plugins};

pub(crate) fn plugin(p: &mut Plugins) {
    p.add::<dyn Optimiser, Sgd>();
    p.add::<dyn Optimiser, AdamW>();
    p.add::<dyn Optimiser, Sam>();
}

/// `value` is a finite number of at least 0.
fn not_negative(key: &str, value: f64) -> Result<(), Invalid> {
    if value.is_finite() && value >= 0.0 {
        Ok(())
    } else {
        Err(Invalid::key(key, format!("must be at least 0, and is {value}")))
    }
}

/// `value` lies in 0..1.
pub(crate) fn below_one(key: &str, value: f64) -> Result<(), Invalid> {
    if (0.0..1.0).contains(&value) {
        Ok(())
    } else {
        Err(Invalid::key(key, format!("must be at least 0 and below 1, and is {value}")))
    }
}

/// The error of an update that is given another number of slots than the optimiser keeps.
fn wrong_slots(optimiser: &dyn Optimiser, given: usize) -> transplant_core::Error {
    let kept = optimiser.slots();
    transplant_core::Error::contract(format!(
        "the optimiser keeps {} tensors a parameter ({kept:?}), not {given}",
        kept.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Tensor};
    use transplant_core::UpdateAt;

    /// Both forms of an update over three steps, from the same values and gradients.
    fn agree(optimiser: &dyn Optimiser) -> Result<f64, transplant_core::Error> {
        let count = 257;
        let numbers = |slope: f32| (0..count).map(|i| (i as f32 * slope).sin()).collect::<Vec<f32>>();
        let mut values = numbers(0.3);
        let mut tensor = Tensor::new(values.as_slice(), &Device::Cpu)?;
        let mut slots = vec![tensor.zeros_like()?; optimiser.slots().len()];
        let mut slices = vec![vec![0f32; count]; slots.len()];
        for step in 0..3 {
            let at = UpdateAt { lr: 0.05, weight_decay: optimiser.weight_decay(), step };
            let grad = numbers(0.7 + step as f32);
            tensor = optimiser.update(at, &tensor, &Tensor::new(grad.as_slice(), &Device::Cpu)?, &mut slots)?;
            let in_place =
                optimiser.in_place(at).ok_or_else(|| transplant_core::Error::contract("no form in place"))?;
            let mut parts: Vec<&mut [f32]> = slices.iter_mut().map(Vec::as_mut_slice).collect();
            in_place(&mut values, &grad, &mut parts)?;
        }
        let far = |a: &Tensor, b: &[f32]| -> Result<f64, transplant_core::Error> {
            let a = a.to_vec1::<f32>()?;
            Ok(a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max))
        };
        let slots = slots.iter().zip(&slices).map(|(t, s)| far(t, s)).collect::<Result<Vec<_>, _>>()?;
        Ok(slots.into_iter().fold(far(&tensor, &values)?, f64::max))
    }

    #[test]
    fn wrong_slots_are_an_error() {
        let all: [Box<dyn Optimiser>; 2] =
            [Box::new(Sgd(SgdOptions::default())), Box::new(AdamW(AdamWOptions::default()))];
        for optimiser in all {
            let (at, value) = (UpdateAt { lr: 0.1, weight_decay: 0.0, step: 0 }, &mut [1f32, 2.0]);
            let e = optimiser.in_place(at).unwrap()(value, &[1.0, 1.0], &mut []).unwrap_err();
            assert!(e.to_string().contains("a parameter"), "{e}");
            assert_eq!(*value, [1.0, 2.0]);
            let t = Tensor::new(&[1f32], &Device::Cpu).unwrap();
            assert!(optimiser.update(at, &t, &t, &mut []).is_err());
        }
    }

    #[test]
    fn updates_in_place_are_those_of_tensors() -> Result<(), transplant_core::Error> {
        for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
            let sgd = Sgd(SgdOptions { momentum, nesterov, weight_decay: 0.1, ..SgdOptions::default() });
            assert!(agree(&sgd)? < 1e-6, "momentum {momentum}, nesterov {nesterov}");
        }
        assert!(agree(&AdamW(AdamWOptions { weight_decay: 0.1, ..AdamWOptions::default() }))? < 1e-6);
        Ok(())
    }
}
