//! The fully connected layer.

use candle_core::Tensor;
use transplant_core::{Result, Scope, SiteKind};

use super::Affine;

/// `y = x Wᵀ + b`, with whatever adapters the plan attaches.
pub struct Linear(Affine);

impl Linear {
    pub(super) fn new(scope: &Scope, inputs: usize, outputs: usize, bias: bool) -> Result<Self> {
        Affine::new(scope, &[outputs, inputs], bias, SiteKind::Linear { inputs, outputs }).map(Self)
    }

    /// Maps `[.., inputs]` to `[.., outputs]`.
    ///
    /// # Errors
    /// When the input does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = crate::linear(x, &self.0.weight, self.0.bias.as_ref())?;
        self.0.adapt(x, y)
    }

    /// The weight, `[outputs, inputs]`; detached when the plan freezes it.
    pub fn weight(&self) -> &Tensor {
        &self.0.weight
    }

    /// The bias, `[outputs]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.0.bias.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ScopeExt;
    use crate::testing::{max_difference, random};
    use candle_core::{DType, Device};
    use transplant_core::{Adapter, Delta, Gradients, Init, Params, Pattern, Plan, Seeds, backward};

    #[derive(Debug)]
    struct Doubled;

    struct Twice(Tensor);

    impl Adapter for Doubled {
        fn attach(&self, _: &transplant_core::Site, scope: &Scope) -> Result<Option<Box<dyn Delta>>> {
            Ok(Some(Box::new(Twice(scope.weight("factor", 1, Init::Const(2.0))?))))
        }
    }

    impl Delta for Twice {
        fn forward(&self, _: &Tensor, y: Tensor) -> Result<Tensor> {
            Ok(y.broadcast_mul(&self.0)?)
        }

        fn merged(&self, _: &Tensor) -> Result<Option<Tensor>> {
            Ok(None)
        }
    }

    fn scope(params: &Params, plan: Plan) -> Scope {
        Scope::new(params, Arc::new(plan), Seeds::new(1), DType::F64)
    }

    #[test]
    fn a_frozen_weight_gets_nothing_and_a_trained_one_arrives_by_name() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        let s = scope(&params, Plan::frozen(["fc.weight"]));
        let x = random(1, &[4, 3]);
        let y = s.pp("head").linear(2, 5)?.forward(&s.pp("fc").linear(3, 2)?.forward(&x)?)?;
        let mut g = Gradients::new(&params, |n| n != "head.bias");
        backward(&y.sqr()?.sum_all()?, &mut g)?;
        let arrived: Vec<_> = g.iter().map(|(n, _)| n.to_owned()).collect();
        assert_eq!(arrived, ["fc.bias", "head.weight"]);
        Ok(())
    }

    #[test]
    fn an_adapter_changes_the_output_and_is_trained() -> Result<()> {
        let (params, x) = (Params::new(&Device::Cpu), random(1, &[4, 3]));
        let plain = scope(&params, Plan::default()).pp("fc").linear(3, 2)?.forward(&x)?;
        let frozen = Plan::frozen(["fc.weight", "fc.bias"]);
        let plan = Plan { adapters: vec![(Pattern::new("fc"), Arc::new(Doubled))], ..frozen };
        let y = scope(&params, plan).pp("fc").linear(3, 2)?.forward(&x)?;
        assert!(max_difference(&y, &(plain * 2.0)?) < 1e-15);
        let mut g = Gradients::new(&params, |_| true);
        backward(&y.sum_all()?, &mut g)?;
        assert_eq!(g.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["fc.factor"]);
        Ok(())
    }

    #[test]
    fn without_a_bias_there_is_none_and_the_first_values_are_bounded() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        let l = scope(&params, Plan::default()).pp("fc").linear_no_bias(100, 50)?;
        assert!(l.bias().is_none() && params.names() == ["fc.weight"]);
        assert!(crate::testing::values(l.weight()).iter().all(|v| v.abs() <= 0.1));
        Ok(())
    }
}
