//! The sum of two tensors of one shape, leaving the order of memory as it is.

use candle_core::{Result, Tensor, bail};
use transplant_core::{Differentiable, Link, Memory, record};
use transplant_kernels::elementwise;

use crate::host::{by_dtype, dense, is_fast, own, read2};

/// `a + b`, of one shape.
///
/// # Errors
/// When shapes or types differ.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() || a.dtype() != b.dtype() {
        bail!("add: {:?} and {:?} differ", a.dims(), b.dims())
    }
    if !is_fast(a) {
        return a + b;
    }
    let m = Memory::of(a)?;
    let (x, y) = (dense(a, m)?, dense(b, m)?);
    let sum = by_dtype!(a.dtype(), T => own(read2::<T, _>(&x, &y, elementwise::add)?));
    record(Add, &[a, b], sum, a.shape(), m)
}

struct Add;

impl Differentiable for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn reads_inputs(&self) -> bool {
        false
    }

    fn backward(&self, link: &Link<'_>) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(link.grad.clone()); 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{gradcheck, max_difference, random};

    #[test]
    fn sums_and_gradients_are_right_in_any_order_of_memory() {
        let t = [random(1, &[2, 3, 4, 5]), random(2, &[2, 3, 4, 5])];
        gradcheck(|t| add(&t[0], &t[1]), &t);
        gradcheck(|t| add(&t[0].permute((0, 3, 1, 2))?, &t[1].permute((0, 3, 1, 2))?), &t);
        assert_eq!(max_difference(&add(&t[0], &t[1]).unwrap(), &(&t[0] + &t[1]).unwrap()), 0.0);
        assert!(add(&t[0], &t[1].narrow(0, 0, 1).unwrap()).is_err());
    }
}
