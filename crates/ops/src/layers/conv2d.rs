//! The convolution layer.

use candle_core::Tensor;
use transplant_core::{Error, Result, Scope, SiteKind};

use super::Affine;
use crate::Conv2dGeometry;

/// A 2-D convolution, with whatever adapters the plan attaches.
pub struct Conv2d {
    inner: Affine,
    at: Conv2dGeometry,
}

impl Conv2d {
    /// A convolution with a kernel of any (height, width); [`ScopeExt::conv2d`](crate::ScopeExt::conv2d) makes square ones.
    ///
    /// # Errors
    /// When the groups do not divide the channels, a parameter exists with another shape or an adapter cannot be made.
    pub fn new(
        scope: &Scope,
        inputs: usize,
        outputs: usize,
        kernel: (usize, usize),
        at: Conv2dGeometry,
        bias: bool,
    ) -> Result<Self> {
        let Conv2dGeometry { stride, padding, dilation, groups } = at;
        if !inputs.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            let message = format!("{groups} groups do not divide {inputs} input and {outputs} output channels");
            return Err(Error::param(scope.full("weight"), message));
        }
        let site = SiteKind::Conv2d { inputs, outputs, kernel, stride, padding, dilation, groups };
        let inner = Affine::new(scope, &[outputs, inputs / groups, kernel.0, kernel.1], bias, site)?;
        Ok(Self { inner, at })
    }

    /// Maps `[n, inputs, h, w]` to `[n, outputs, oh, ow]`.
    ///
    /// # Errors
    /// When the input does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = crate::conv2d(x, &self.inner.weight, self.inner.bias.as_ref(), self.at)?;
        self.inner.adapt(x, y)
    }

    /// The weight, `[outputs, inputs / groups, kh, kw]`; detached when the plan freezes it.
    pub fn weight(&self) -> &Tensor {
        &self.inner.weight
    }

    /// Its geometry.
    pub fn geometry(&self) -> Conv2dGeometry {
        self.at
    }

    /// Whether the plan attached an adapter.
    pub fn is_adapted(&self) -> bool {
        !self.inner.adapters.is_empty()
    }

    /// The bias, `[outputs]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.inner.bias.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ScopeExt;
    use crate::testing::random;
    use candle_core::{DType, Device};
    use transplant_core::{Gradients, Params, Plan, Seeds, backward};

    #[test]
    fn a_frozen_convolution_passes_the_gradient_on_and_keeps_none() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        let s = Scope::new(&params, Arc::new(Plan::frozen(["b.weight"])), Seeds::new(1), DType::F64);
        let a = s.pp("a").conv2d(1, 4, 3, Conv2dGeometry::padded(1), false)?;
        let b = s.pp("b").conv2d(4, 2, 3, Conv2dGeometry::padded(1).grouped(2), true)?;
        let y = b.forward(&a.forward(&random(1, &[2, 1, 5, 5]))?)?;
        assert_eq!((y.dims(), b.weight().dims()), (&[2, 2, 5, 5][..], &[2, 2, 3, 3][..]));
        let mut g = Gradients::new(&params, |_| true);
        backward(&y.sqr()?.sum_all()?, &mut g)?;
        assert_eq!(g.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["a.weight", "b.bias"]);
        Ok(())
    }

    #[test]
    fn groups_that_do_not_divide_are_named() {
        let s = Scope::new(&Params::new(&Device::Cpu), Arc::default(), Seeds::new(1), DType::F32);
        let at = Conv2dGeometry::default().grouped(2);
        let e = s.pp("stem").conv2d(3, 4, 3, at, false).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(e.contains("stem.weight") && e.contains("2 groups"), "{e}");
    }
}
