//! [`Gradients`], and [`backward`], the one place where candle's backward pass is called.
//!
//! Inside [`backward`] the gradient that an operation of `transplant-ops` computes for a weight goes straight to the place
//! of that weight, and nothing returns to candle: no zero tensor, no extra sum, and nothing at all is computed for weights
//! that are not asked about. Outside, the same operation is an ordinary candle operation.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Tensor, TensorId};

use crate::add::add;
use crate::{Params, Result, tape};

/// The value of a scalar of any float type. It becomes `f64` on the host only: some devices have no such numbers.
///
/// # Errors
/// When it is no scalar.
pub fn scalar(t: &Tensor) -> Result<f64> {
    Ok(match t.dtype() {
        DType::F64 => t.to_scalar::<f64>()?,
        DType::F32 => f64::from(t.to_scalar::<f32>()?),
        _ => f64::from(t.to_dtype(DType::F32)?.to_scalar::<f32>()?),
    })
}

/// Gradients by full parameter name, in order.
#[derive(Debug, Clone, Default)]
pub struct Gradients {
    ids: HashMap<TensorId, String>,
    by_name: BTreeMap<String, Option<Tensor>>,
}

impl Gradients {
    /// Places for the gradients of the parameters that `wanted` names; all others are treated as frozen.
    pub fn new(params: &Params, wanted: impl Fn(&str) -> bool) -> Self {
        let mut out = Self::default();
        for (name, p) in params.all().into_iter().filter(|(n, _)| wanted(n)) {
            out.ids.insert(p.var().as_tensor().id(), name.clone());
            out.by_name.insert(name, None);
        }
        out
    }

    /// The same places, empty.
    #[must_use]
    pub fn empty_like(&self) -> Self {
        Self { ids: self.ids.clone(), by_name: self.by_name.keys().map(|k| (k.clone(), None)).collect() }
    }

    /// The gradient of a parameter; `None` when the loss did not reach it.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name).and_then(Option::as_ref)
    }

    /// Names asked about, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Names and gradients that there are, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.by_name.iter().filter_map(|(k, v)| v.as_ref().map(|t| (k.as_str(), t)))
    }

    /// Replaces one gradient.
    pub fn set(&mut self, name: &str, grad: Tensor) {
        self.by_name.insert(name.to_owned(), Some(grad));
    }

    /// Adds another set of gradients, times `factor`.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn add_scaled(&mut self, other: &Self, factor: f64) -> Result<()> {
        for (name, g) in other.iter() {
            let g = if factor == 1.0 { g.clone() } else { (g * factor)? };
            self.add(name, g)?;
        }
        Ok(())
    }

    /// Multiplies all gradients.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn scale(&mut self, factor: f64) -> Result<()> {
        for g in self.by_name.values_mut().flatten() {
            *g = (&*g * factor)?;
        }
        Ok(())
    }

    /// The inner product with another set of gradients.
    ///
    /// # Errors
    /// When shapes differ.
    pub fn dot(&self, other: &Self) -> Result<f64> {
        let mut sum = 0.0;
        for (name, g) in self.iter() {
            if let Some(h) = other.get(name) {
                sum += scalar(&(g * h)?.sum_all()?)?;
            }
        }
        Ok(sum)
    }

    /// The Euclidean norm over all gradients.
    ///
    /// # Errors
    /// When an operation fails.
    pub fn norm(&self) -> Result<f64> {
        Ok(self.dot(self)?.sqrt())
    }

    fn add(&mut self, name: &str, grad: Tensor) -> Result<()> {
        let place = self.by_name.entry(name.to_owned()).or_default();
        *place = Some(match place.take() {
            None => grad,
            Some(sum) => add(&sum, &grad)?,
        });
        Ok(())
    }
}

thread_local! {
    static SINK: RefCell<Option<Gradients>> = const { RefCell::new(None) };
}

/// Adds the gradients of `loss` (a scalar) to `into`.
///
/// # Errors
/// When an operation on the way has no backward, shapes do not fit, or what was recorded is already forgotten.
pub fn backward(loss: &Tensor, into: &mut Gradients) -> Result<()> {
    differentiate(loss, into, false)
}

/// As [`backward`], for the last time: what a [`Recording`](crate::Recording) holds is freed on the way.
///
/// # Errors
/// As [`backward`].
pub fn backward_last(loss: &Tensor, into: &mut Gradients) -> Result<()> {
    differentiate(loss, into, true)
}

fn differentiate(loss: &Tensor, into: &mut Gradients, free: bool) -> Result<()> {
    if !loss.track_op() {
        return Ok(());
    }
    // The sink is put back whatever happens, so that a failed pass cannot leak into the next.
    SINK.set(Some(std::mem::take(into)));
    let done = tape::run(loss, free, &mut |loss| {
        #[allow(clippy::disallowed_methods, reason = "this is the one place")]
        let store = loss.backward()?;
        SINK.with_borrow_mut(|sink| {
            let Some(sink) = sink else { return Ok(()) };
            for (id, name) in sink.ids.clone() {
                if let Some(g) = store.get_id(id) {
                    sink.add(&name, g.clone()).map_err(candle_core::Error::wrap)?;
                }
            }
            Ok(())
        })
    });
    *into = SINK.take().unwrap_or_default();
    if done.is_err() {
        tape::clear();
    }
    Ok(done?)
}

/// Whether the gradient of a variable is asked for: by name inside [`backward`], always outside.
pub(crate) fn sink_wants(id: TensorId) -> bool {
    SINK.with_borrow(|s| s.as_ref().is_none_or(|g| g.ids.contains_key(&id)))
}

/// Adds the gradient of a variable to its place; it comes back when nobody collects gradients.
pub(crate) fn sink_takes(id: TensorId, grad: Tensor) -> candle_core::Result<Option<Tensor>> {
    SINK.with_borrow_mut(|sink| {
        let Some(sink) = sink else { return Ok(Some(grad)) };
        let Some(name) = sink.ids.get(&id).cloned() else { return Ok(Some(grad)) };
        sink.add(&name, grad).map_err(candle_core::Error::wrap)?;
        Ok(None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Origin, Role};
    use candle_core::Device;

    #[test]
    fn gradients_of_candle_operations_arrive_by_name_and_accumulate() -> Result<()> {
        let p = Params::new(&Device::Cpu);
        p.insert("w", &Tensor::new(&[1f32, 2.0], &Device::Cpu)?, Role::Weight, Origin::Fresh)?;
        p.insert("v", &Tensor::new(&[1f32, 2.0], &Device::Cpu)?, Role::Weight, Origin::Fresh)?;
        let (w, v) = (p.get("w")?, p.get("v")?);
        let mut g = Gradients::new(&p, |n| n == "w");
        for _ in 0..2 {
            let loss = (w.var().as_tensor().sqr()? * v.var().as_tensor())?.sum_all()?;
            backward(&loss, &mut g)?;
        }
        assert_eq!(g.get("w").map(|t| t.to_vec1::<f32>()).transpose()?, Some(vec![4.0, 16.0]));
        assert!(g.get("v").is_none());
        assert_eq!(g.norm()?, (16f64 + 256.0).sqrt());
        Ok(())
    }
}
