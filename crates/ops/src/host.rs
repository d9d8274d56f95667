//! What the CPU paths share: floating point types, slices of tensors, and the choice between CPU and elsewhere.

use candle_core::{CpuStorage, DType, Device, Layout, Result, Shape, Storage, Tensor, WithDType, bail};
use transplant_core::Memory;

use crate::buffer::{Scratch, with_scratch};
use crate::product::Rows;
use crate::simd::Vectors;

/// A type the CPU paths compute in.
pub(crate) trait Element: WithDType + Default + Vectors {
    /// The smallest value.
    const LOWEST: Self;
    /// Whether it is `f32`.
    const IS_SINGLE: bool;

    /// The same values, where they are of single precision.
    fn single(values: &[Self]) -> Option<&[f32]>;

    /// The same values, where they are of single precision.
    fn single_mut(values: &mut [Self]) -> Option<&mut [f32]>;

    /// The same product, where it is of single precision.
    fn single_rows<'a, 'b>(job: &'a Rows<'b, Self>) -> Option<&'a Rows<'b, f32>>;

    /// `self` where it is above zero, else zero; NaN stays.
    fn positive_part(self) -> Self;

    /// e to the power of `self`.
    fn exp(self) -> Self;

    /// The error function of `self`.
    fn erf(self) -> Self;

    /// Runs `f` with a buffer of this thread that keeps its allocation from call to call; its contents are arbitrary.
    fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R;
}

macro_rules! element {
    ($t:ident, $exp:path, $erf:path, $single:expr, |$given:ident| $same:expr) => {
        impl Element for $t {
            const LOWEST: Self = $t::NEG_INFINITY;
            const IS_SINGLE: bool = $single;

            fn single($given: &[Self]) -> Option<&[f32]> {
                $same
            }

            fn single_mut($given: &mut [Self]) -> Option<&mut [f32]> {
                $same
            }

            fn single_rows<'a, 'b>($given: &'a Rows<'b, Self>) -> Option<&'a Rows<'b, f32>> {
                $same
            }

            #[inline]
            fn positive_part(self) -> Self {
                if self <= 0.0 { 0.0 } else { self }
            }

            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }

            #[inline(always)]
            fn erf(self) -> Self {
                $erf(self)
            }

            fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [Self]) -> R) -> R {
                thread_local!(static SCRATCH: Scratch<$t> = const { Scratch::new(None) });
                with_scratch(&SCRATCH, len, f)
            }
        }
    };
}

element!(f32, crate::math::exp32, crate::math::erf32, true, |given| Some(given));
element!(f64, f64::exp, libm::erf, false, |_given| None);

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
pub(crate) fn own<T: Element>(values: Vec<T>) -> CpuStorage {
    T::to_cpu_storage_owned(values)
}

/// The values behind a contiguous layout.
pub(crate) fn slice<'a, T: Element>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Some((from, to)) = layout.contiguous_offsets() else { bail!("expected a contiguous tensor, got {layout:?}") };
    Ok(&T::cpu_storage_as_slice(storage)?[from..to])
}

/// Runs `f` on the values of a tensor on the CPU.
pub(crate) fn read<T: Element, R>(t: &Tensor, f: impl FnOnce(&[T]) -> R) -> Result<R> {
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
pub(crate) fn tensor<T: Element>(values: Vec<T>, shape: impl Into<Shape>, memory: Memory) -> Result<Tensor> {
    let shape = shape.into();
    let t = Tensor::from_vec(values, memory.dims(&shape), &Device::Cpu)?;
    memory.view(&t, &shape)
}

/// Runs `f` on the values of two tensors on the CPU.
pub(crate) fn read2<T: Element, R>(a: &Tensor, b: &Tensor, f: impl FnOnce(&[T], &[T]) -> R) -> Result<R> {
    read(a, |a| read(b, |b| f(a, b)))?
}

/// Runs `f` on the values of three tensors on the CPU.
pub(crate) fn read3<T: Element, R>(
    a: &Tensor,
    b: &Tensor,
    c: &Tensor,
    f: impl FnOnce(&[T], &[T], &[T]) -> R,
) -> Result<R> {
    read(a, |a| read2(b, c, |b, c| f(a, b, c)))?
}

/// Runs `f`, compiled for the widest vectors that this machine has. What `f` calls takes part only when it is inlined.
/// Vectors change the speed and not the bits: the order of sums is the code's.
#[inline]
pub(crate) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// A buffer of zeros.
pub(crate) fn zeros<T: Element>(len: usize) -> Vec<T> {
    vec![T::default(); len]
}

/// Adds all partial results in their order, so that the sum does not depend on who finished first.
pub(crate) fn sum_in_order<T: Element>(partials: Vec<Vec<T>>) -> Vec<T> {
    use rayon::prelude::*;
    let mut partials = partials.into_iter();
    let mut sum = partials.next().unwrap_or_default();
    let rest: Vec<_> = partials.collect();
    sum.par_chunks_mut(1 << 14).enumerate().for_each(|(i, sum)| {
        for p in &rest {
            sum.iter_mut().zip(&p[i << 14..]).for_each(|(s, p)| *s += *p);
        }
    });
    sum
}
