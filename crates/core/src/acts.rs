//! [`Acts`]: the named tensors that travel between the stages of a network.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{Error, Result};

/// The name under which a single stream of activations travels.
pub const HIDDEN: &str = "hidden";
/// The name of texts among the inputs.
pub const TEXT: &str = "text";
/// The name of a text's pieces among the inputs.
pub const TOKENS: &str = "tokens";
/// The name of what tells pieces from filling.
pub const MASK: &str = "mask";

/// Named tensors, ordered by name: `hidden`, and whatever else a network carries (`mask`, `edges`, skips, other towers).
#[derive(Debug, Clone, Default)]
pub struct Acts(BTreeMap<String, Tensor>);

impl Acts {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// One tensor under [`HIDDEN`].
    pub fn hidden(t: Tensor) -> Self {
        Self::new().with(HIDDEN, t)
    }

    /// Adds or replaces a tensor.
    #[must_use]
    pub fn with(mut self, name: &str, t: Tensor) -> Self {
        self.set(name, t);
        self
    }

    /// Adds or replaces a tensor.
    pub fn set(&mut self, name: &str, t: Tensor) {
        self.0.insert(name.to_owned(), t);
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// When there is none; the error lists those there are.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        self.0.get(name).ok_or_else(|| {
            let there: Vec<_> = self.0.keys().map(String::as_str).collect();
            Error::contract(format!("no activation named `{name}`; there are: {}", there.join(", ")))
        })
    }

    /// The tensor of this name, if it is there.
    pub fn find(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.0.remove(name)
    }

    /// Name and tensor, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Applies `f` to every tensor.
    ///
    /// # Errors
    /// The first error of `f`.
    pub fn map(&self, mut f: impl FnMut(&str, &Tensor) -> Result<Tensor>) -> Result<Self> {
        self.iter().map(|(k, v)| Ok((k.to_owned(), f(k, v)?))).collect::<Result<BTreeMap<_, _>>>().map(Self)
    }

    /// The same values without their history, so that nothing below gets a gradient.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self(self.0.iter().map(|(k, v)| (k.clone(), v.detach())).collect())
    }
}

impl FromIterator<(String, Tensor)> for Acts {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(it: I) -> Self {
        Self(it.into_iter().collect())
    }
}
