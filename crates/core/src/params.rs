//! [`Params`]: every tensor of a run that can change, ordered by name.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Learned by gradients.
    Weight,
    /// Learned by gradients, and made by an [`Adapter`](crate::Adapter) beside a layer whose weight stands apart.
    Adapter,
    /// State that is not learned by gradients: running statistics, memory banks, fitted projections.
    Buffer,
}

impl Role {
    /// Whether it is learned by gradients.
    pub fn learned(self) -> bool {
        self != Self::Buffer
    }
}

/// Where a tensor's first value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Drawn by its initialisation.
    Fresh,
    /// Copied from a source network.
    Loaded {
        /// The source (a step, a file).
        from: String,
    },
    /// There was a value to load, and it was not taken.
    Reset {
        /// Why not.
        why: String,
    },
    /// Computed from data in closed form.
    Fitted {
        /// By what.
        by: String,
    },
}

/// One tensor: its storage, role and origin.
#[derive(Debug, Clone)]
pub struct Param {
    var: Var,
    /// What it is for.
    pub role: Role,
    /// Where its first value came from.
    pub origin: Origin,
}

impl Param {
    /// The variable itself: operations on it are tracked.
    pub fn var(&self) -> &Var {
        &self.var
    }

    /// The same storage without tracking: it sees updates, and no gradient is computed for it.
    pub fn view(&self) -> Tensor {
        self.var.as_tensor().detach()
    }
}

/// A store of tensors by name. Cloning gives another handle to the same store.
#[derive(Debug, Clone)]
pub struct Params {
    map: Arc<RwLock<BTreeMap<String, Param>>>,
    device: Device,
    /// Whether what is made in it is drawn, or all zeros.
    drawn: bool,
}

impl Params {
    /// An empty store whose tensors live on `device`.
    pub fn new(device: &Device) -> Self {
        Self { map: Arc::default(), device: device.clone(), drawn: true }
    }

    /// [`new`](Self::new) for a network all of whose tensors will be replaced, or only looked at for their shapes: fresh ones are
    /// zeros, since drawing them takes time.
    pub fn blank(device: &Device) -> Self {
        Self { drawn: false, ..Self::new(device) }
    }

    /// Whether fresh tensors are drawn.
    pub(crate) fn draws(&self) -> bool {
        self.drawn
    }

    /// Where the tensors live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Param>> {
        self.map.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Param>> {
        self.map.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The parameter of this name.
    pub fn find(&self, name: &str) -> Option<Param> {
        self.read().get(name).cloned()
    }

    /// The parameter of this name.
    ///
    /// # Errors
    /// When there is none; the error offers the nearest name.
    pub fn get(&self, name: &str) -> Result<Param> {
        self.find(name).ok_or_else(|| {
            let names = self.names();
            let near = crate::nearest(name, names.iter().map(String::as_str));
            let hint = near.map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
            Error::param(name, format!("there is no such tensor{hint}"))
        })
    }

    /// Puts in a tensor (its values are copied), replacing one of the same name.
    ///
    /// # Errors
    /// When the copy fails.
    pub fn insert(&self, name: &str, value: &Tensor, role: Role, origin: Origin) -> Result<()> {
        let value = value.to_device(&self.device)?.contiguous()?;
        #[allow(clippy::disallowed_methods, reason = "this is the place where variables are made")]
        let var = Var::from_tensor(&value.copy()?.detach())?;
        self.write().insert(name.to_owned(), Param { var, role, origin });
        Ok(())
    }

    /// Overwrites the values of a tensor in place; every handed-out view sees them.
    ///
    /// # Errors
    /// When there is no such tensor or its shape differs.
    pub fn set(&self, name: &str, value: &Tensor) -> Result<()> {
        let p = self.get(name)?;
        if p.var.shape() != value.shape() {
            return Err(Error::param(name, format!("expected shape {:?}, got {:?}", p.var.dims(), value.dims())));
        }
        let value = value.to_dtype(p.var.dtype())?.to_device(&self.device)?;
        Ok(p.var.set(&value.detach())?)
    }

    /// Notes where a tensor's value came from.
    pub fn set_origin(&self, name: &str, origin: Origin) {
        if let Some(p) = self.write().get_mut(name) {
            p.origin = origin;
        }
    }

    /// Removes the tensors that `drop` names.
    pub fn remove_where(&self, drop: impl Fn(&str) -> bool) {
        self.write().retain(|name, _| !drop(name));
    }

    /// All names, in order.
    pub fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    /// All parameters, in order of their names.
    pub fn all(&self) -> Vec<(String, Param)> {
        self.read().iter().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// Copies of all tensors, by name; `keep` chooses.
    ///
    /// # Errors
    /// When a copy fails.
    pub fn snapshot(&self, keep: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Tensor>> {
        let kept = self.all().into_iter().filter(|(n, _)| keep(n));
        kept.map(|(n, p)| Ok((n, p.view().copy()?))).collect()
    }

    /// SHA-256 over names, types, shapes and bytes of the tensors that `keep` chooses, in hexadecimal.
    ///
    /// # Errors
    /// When a tensor cannot be read back.
    pub fn hash(&self, keep: impl Fn(&str) -> bool) -> Result<String> {
        let mut h = Sha256::new();
        for (name, p) in self.all().into_iter().filter(|(n, _)| keep(n)) {
            h.update(format!("{name}:{:?}:{:?};", p.var.dtype(), p.var.dims()));
            h.update(bytes_of(&p.view())?);
        }
        Ok(h.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }
}

/// Little-endian bytes of a tensor, row-major.
pub(crate) fn bytes_of(t: &Tensor) -> Result<Vec<u8>> {
    let flat = t.to_device(&Device::Cpu)?.flatten_all()?;
    Ok(match flat.dtype() {
        DType::F32 => flat.to_vec1::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F64 => flat.to_vec1::<f64>()?.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U32 => flat.to_vec1::<u32>()?.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I64 => flat.to_vec1::<i64>()?.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U8 => flat.to_vec1::<u8>()?,
        _ => flat.to_dtype(DType::F32)?.to_vec1::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_sees_updates_and_is_not_tracked() -> Result<()> {
        let p = Params::new(&Device::Cpu);
        p.insert("w", &Tensor::zeros(2, DType::F32, &Device::Cpu)?, Role::Weight, Origin::Fresh)?;
        let view = p.get("w")?.view();
        p.set("w", &Tensor::ones(2, DType::F32, &Device::Cpu)?)?;
        assert_eq!(view.to_vec1::<f32>()?, [1.0, 1.0]);
        assert!(!view.track_op());
        Ok(())
    }

    #[test]
    fn a_wrong_name_offers_the_nearest_and_a_wrong_shape_names_the_tensor() -> Result<()> {
        let p = Params::new(&Device::Cpu);
        p.insert("head.weight", &Tensor::zeros(2, DType::F32, &Device::Cpu)?, Role::Weight, Origin::Fresh)?;
        assert!(p.get("head.wieght").unwrap_err().to_string().contains("`head.weight`?"));
        let e = p.set("head.weight", &Tensor::zeros(3, DType::F32, &Device::Cpu)?).unwrap_err();
        assert!(e.to_string().contains("head.weight") && e.to_string().contains("[2]"));
        Ok(())
    }
}
