//! The sum of two gradients, in parallel, whatever order of memory they share.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};

use crate::Memory;

/// `a + b`, untracked. Two tensors whose second dimension is innermost in memory give a third one.
pub(crate) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (a.detach(), b.detach());
    if a.dims() != b.dims() || !a.device().is_cpu() || a.dtype() != DType::F32 {
        return a + b;
    }
    if a.is_contiguous() || a.rank() < 3 {
        return a.contiguous()?.apply_op2_no_bwd(&b.contiguous()?, &Add);
    }
    let raw = |t: &Tensor| Memory::ChannelsLast.raw(t)?.contiguous();
    Memory::ChannelsLast.view(&raw(&a)?.apply_op2_no_bwd(&raw(&b)?, &Add)?, a.shape())
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(a), CpuStorage::F32(b)) = (a, b) else { bail!("add: expected f32") };
        let (Some((a0, a1)), Some((b0, b1))) = (al.contiguous_offsets(), bl.contiguous_offsets()) else {
            bail!("add: expected contiguous tensors")
        };
        let sums = transplant_kernels::elementwise::add(&a[a0..a1], &b[b0..b1]);
        Ok((CpuStorage::F32(sums), al.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn sums_are_those_of_candle_in_any_order_of_memory() -> Result<()> {
        let t = |slope: f32, shape: (usize, usize, usize, usize)| {
            let values: Vec<f32> = (0..210).map(|i| (i as f32 * slope).sin()).collect();
            Tensor::from_vec(values, shape, &Device::Cpu)
        };
        let (a, b) = (t(0.7, (2, 5, 7, 3))?, t(1.3, (2, 5, 7, 3))?);
        let last = |t: &Tensor| t.permute((0, 3, 1, 2));
        for (a, b) in [(a.clone(), b.clone()), (last(&a)?, last(&b)?), (last(&a)?, t(0.9, (2, 3, 5, 7))?)] {
            let (ours, theirs) = (add(&a, &b)?, (&a + &b)?);
            assert_eq!(ours.flatten_all()?.to_vec1::<f32>()?, theirs.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(())
    }
}
