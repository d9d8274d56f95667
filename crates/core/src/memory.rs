//! [`Memory`]: how the values of a tensor lie in memory.

use candle_core::{Result, Shape, Tensor};

use crate::tape::note_view;
use crate::{Differentiable, Link};

/// How the values of an output lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// In the order of the shape.
    Plain,
    /// With the second dimension innermost: `[n, c, h, w]` stands in memory as `[n, h, w, c]`.
    ChannelsLast,
}

impl Memory {
    /// How a tensor's values lie, so that what does not look at its shape can leave them so.
    ///
    /// # Errors
    /// When the operation fails.
    pub fn of(t: &Tensor) -> Result<Self> {
        let last = t.rank() > 2 && !t.is_contiguous() && Self::ChannelsLast.raw(t)?.is_contiguous();
        Ok(if last { Self::ChannelsLast } else { Self::Plain })
    }

    /// Applies `f`, which must keep all dimensions but the first, to the values in the order of their memory.
    ///
    /// # Errors
    /// When `f` fails.
    pub fn keep(t: &Tensor, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let memory = Self::of(t)?;
        let out = f(&memory.raw(t)?)?;
        let dims = [&out.dims()[..1], &t.dims()[1..]].concat();
        memory.view(&out, &dims.into())
    }

    /// The dimensions in the order of the memory.
    pub fn dims(self, shape: &Shape) -> Shape {
        match (self, shape.dims()) {
            (Self::ChannelsLast, [n, c, rest @ ..]) => [&[*n][..], rest, &[*c]].concat().into(),
            _ => shape.clone(),
        }
    }

    /// A tensor in the order of the memory, seen with its logical shape.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn view(self, t: &Tensor, shape: &Shape) -> Result<Tensor> {
        let rank = shape.rank();
        if self == Self::Plain || rank < 3 {
            return Ok(t.clone());
        }
        permuted(t, &[0, rank - 1].into_iter().chain(1..rank - 1).collect::<Vec<_>>())
    }

    /// A logical tensor, seen in the order of the memory.
    ///
    /// # Errors
    /// When the operation fails.
    pub fn raw(self, t: &Tensor) -> Result<Tensor> {
        let rank = t.rank();
        if self == Self::Plain || rank < 3 {
            return Ok(t.clone());
        }
        permuted(t, &[0].into_iter().chain(2..rank).chain([1]).collect::<Vec<_>>())
    }
}

/// The same values with their dimensions in this order. While operations are recorded this is one of them: candle would
/// multiply all values by their gradients to hand the latter on.
fn permuted(t: &Tensor, order: &[usize]) -> Result<Tensor> {
    let view = t.permute(order)?;
    note_view(Permuted(order.to_vec()), t, &view);
    Ok(view)
}

struct Permuted(Vec<usize>);

impl Differentiable for Permuted {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        let back = |dim: usize| self.0.iter().position(|d| *d == dim).unwrap_or(dim);
        Ok(vec![link.when_wanted(0, || link.grad.permute((0..self.0.len()).map(back).collect::<Vec<_>>()))?])
    }
}
