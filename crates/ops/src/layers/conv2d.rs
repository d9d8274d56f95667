//! The convolution layer.

use candle_core::Tensor;
use transplant_core::{Error, Result, Scope, SiteKind};

use super::Affine;
use crate::Conv2dGeometry;

/// A 2-D convolution, with whatever adapters the plan attaches.
pub struct Conv2d {
    inner: Affine,
    at: Conv2dGeometry,
    same: bool,
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
        Ok(Self { inner, at, same: false })
    }

    /// The same layer with TensorFlow's padding "same" (see [`Conv2dGeometry::same`]), computed anew for the size of
    /// each input. The layer is to be made without padding of its own: that is what its adapters see, beside the padded
    /// input.
    #[must_use]
    pub fn same(self) -> Self {
        Self { same: true, ..self }
    }

    /// Maps `[n, inputs, h, w]` to `[n, outputs, oh, ow]`.
    ///
    /// # Errors
    /// When the input does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (mut x, mut at) = (x.clone(), self.geometry(x.dims()));
        if self.same && self.is_adapted() {
            for (axis, [before, after]) in at.padding.into_iter().enumerate() {
                x = x.pad_with_zeros(axis + 2, before, after)?;
            }
            at.padding = [[0; 2]; 2];
        }
        let y = crate::conv2d(&x, &self.inner.weight, self.inner.bias.as_ref(), at)?;
        self.inner.adapt(&x, y)
    }

    /// The weight, `[outputs, inputs / groups, kh, kw]`; detached when the plan freezes it.
    pub fn weight(&self) -> &Tensor {
        &self.inner.weight
    }

    /// Its geometry over inputs of this shape.
    pub fn geometry(&self, x: &[usize]) -> Conv2dGeometry {
        match (x, self.inner.weight.dims()) {
            (&[_, _, h, w], &[_, _, kh, kw]) if self.same => self.at.same([h, w], [kh, kw]),
            _ => self.at,
        }
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

    /// Adds a convolution by ones, without padding.
    #[derive(Debug)]
    struct SumOfPatches;

    impl transplant_core::Adapter for SumOfPatches {
        fn attach(&self, _: &transplant_core::Site, _: &Scope) -> Result<Option<Box<dyn transplant_core::Delta>>> {
            Ok(Some(Box::new(Self)))
        }
    }

    impl transplant_core::Delta for SumOfPatches {
        fn forward(&self, x: &Tensor, y: Tensor) -> Result<Tensor> {
            let ones = Tensor::ones((y.dim(1)?, x.dim(1)?, 3, 3), DType::F64, x.device())?;
            Ok((y + crate::conv2d(x, &ones, None, Conv2dGeometry::default().strided(2))?)?)
        }

        fn merged(&self, _: &Tensor) -> Result<Option<Tensor>> {
            Ok(None)
        }
    }

    #[test]
    fn same_padding_follows_the_input_and_adapters_see_it() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        let conv = |plan: Plan| -> Result<Conv2d> {
            let s = Scope::new(&params, Arc::new(plan), Seeds::new(1), DType::F64);
            Ok(s.pp("a").conv2d(2, 3, 3, Conv2dGeometry::default().strided(2), false)?.same())
        };
        let (plain, mut plan) = (conv(Plan::default())?, Plan::default());
        plan.adapters.push((transplant_core::Pattern::new("a"), Arc::new(SumOfPatches)));
        let adapted = conv(plan)?;
        for (h, w) in [(4, 5), (7, 6)] {
            let x = random(1, &[1, 2, h, w]);
            let at = plain.geometry(x.dims());
            assert_eq!(at.padding, [h, w].map(|len| if len % 2 == 0 { [0, 1] } else { [1, 1] }));
            let y = plain.forward(&x)?;
            assert_eq!(y.dims(), [1, 3, h.div_ceil(2), w.div_ceil(2)]);
            let want = (&y + crate::conv2d(&x, &plain.weight().ones_like()?, None, at)?)?;
            assert!(crate::testing::max_difference(&adapted.forward(&x)?, &want) < 1e-12);
        }
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
