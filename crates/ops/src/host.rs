//! What the CPU paths share: slices of tensors, and the choice between CPU and elsewhere.

use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Storage, Tensor, WithDType, bail};
use transplant_core::Memory;

use crate::Precision;

/// Evaluates an expression with `$t` standing for the Rust type of a `DType`.
macro_rules! by_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            other => candle_core::bail!("expected f32 or f64, got {other:?}"),
        }
    };
}
pub(crate) use by_dtype;

/// Whether the CPU path takes this tensor; all others are computed by candle's own operations.
pub(crate) fn is_fast(x: &Tensor) -> bool {
    x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64)
}

/// Values as the storage of a tensor.
pub(crate) fn own<T: WithDType>(values: Vec<T>) -> CpuStorage {
    T::to_cpu_storage_owned(values)
}

/// The values behind a contiguous layout.
pub(crate) fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Some((from, to)) = layout.contiguous_offsets() else { bail!("expected a contiguous tensor, got {layout:?}") };
    Ok(&T::cpu_storage_as_slice(storage)?[from..to])
}

/// Runs `f` on the values of a tensor on the CPU.
pub(crate) fn read<T: WithDType, R>(t: &Tensor, f: impl FnOnce(&[T]) -> R) -> Result<R> {
    let t = t.contiguous()?;
    let (storage, layout) = t.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("expected a tensor on the CPU, got {:?}", t.device()) };
    Ok(f(slice(storage, layout)?))
}

/// The values with the second dimension innermost: `[n, c, h, w]` as a contiguous `[n, h, w, c]`.
pub(crate) fn raw(t: &Tensor) -> Result<Tensor> {
    dense(t, Memory::ChannelsLast)
}

/// The values as a contiguous tensor in this order of memory.
pub(crate) fn dense(t: &Tensor, memory: Memory) -> Result<Tensor> {
    memory.raw(&t.detach())?.contiguous()
}

/// An untracked tensor of this (logical) shape from values in this order of memory.
pub(crate) fn tensor<T: WithDType>(values: Vec<T>, shape: impl Into<Shape>, memory: Memory) -> Result<Tensor> {
    let shape = shape.into();
    let t = Tensor::from_vec(values, memory.dims(&shape), &Device::Cpu)?;
    memory.view(&t, &shape)
}

/// Runs `f` on the values of two tensors on the CPU.
pub(crate) fn read2<T: WithDType, R>(a: &Tensor, b: &Tensor, f: impl FnOnce(&[T], &[T]) -> R) -> Result<R> {
    read(a, |a| read(b, |b| f(a, b)))?
}

/// Runs `f` on the values of three tensors on the CPU.
pub(crate) fn read3<T: WithDType, R>(
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    f: impl FnOnce(&[T], &[T], &[T]) -> R,
) -> Result<R> {
    read(a, |a| read2(b, c, |b, c| f(a, b, c)))?
}

/// An operand of candle's own products, on devices other than the CPU.
pub(crate) fn cast(precision: Precision, operand: &Tensor) -> Result<Tensor> {
    if precision == Precision::Bf16 { operand.to_dtype(DType::BF16) } else { Ok(operand.clone()) }
}
