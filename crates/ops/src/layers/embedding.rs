//! The table of vectors that stand for integers.

use candle_core::Tensor;
use transplant_core::{Init, Result, Scope};

/// A table `weight [count, width]`, with PyTorch's name and standard normal first values.
#[derive(Debug)]
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    pub(super) fn new(scope: &Scope, count: usize, width: usize) -> Result<Self> {
        Ok(Self { weight: scope.weight("weight", (count, width), Init::Normal(1.0))? })
    }

    /// The rows that integers of any shape name: `[.., width]`.
    ///
    /// # Errors
    /// When an index is not below the count; the error names its position.
    pub fn forward(&self, indices: &Tensor) -> Result<Tensor> {
        Ok(crate::embedding(indices, &self.weight)?)
    }

    /// The table, `[count, width]`; detached when the plan freezes it.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ScopeExt;
    use candle_core::{DType, Device};
    use transplant_core::{Gradients, Params, Plan, Seeds, backward};

    #[test]
    fn the_table_is_made_by_name_and_learns() -> Result<()> {
        let params = Params::new(&Device::Cpu);
        let scope = Scope::new(&params, Arc::new(Plan::default()), Seeds::new(1), DType::F64);
        let y = scope.pp("words").embedding(7, 3)?.forward(&Tensor::new(&[[6u32, 0]], &Device::Cpu)?)?;
        assert_eq!((y.dims(), params.names()), (&[1, 2, 3][..], vec!["words.weight".to_owned()]));
        let mut g = Gradients::new(&params, |_| true);
        backward(&y.sum_all()?, &mut g)?;
        assert_eq!(g.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["words.weight"]);
        Ok(())
    }
}
