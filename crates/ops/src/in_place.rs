//! Changing tensors where they stand: what optimisers do to a weight and its moments in one pass.

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use std::cell::RefCell;

use transplant_kernels::parallel;

use crate::host::read;

/// Elements a task works on.
const CHUNK: usize = 1 << 15;

/// Whether [`update_in_place`] takes these tensors: contiguous, f32, on the CPU.
pub fn can_update_in_place(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| t.device().is_cpu() && t.dtype() == DType::F32 && t.is_contiguous())
}

/// Calls `f(value, gradient, slots)` on matching parts of tensors of one shape, in parallel; `value` and `slots` are changed
/// where they stand, for everyone who shares their storage.
///
/// # Errors
/// When shapes differ, two tensors share storage, or [`can_update_in_place`] denies one.
pub fn update_in_place(
    value: &Tensor,
    grad: &Tensor,
    slots: &[&Tensor],
    f: impl Fn(&mut [f32], &[f32], &mut [&mut [f32]]) + Sync,
) -> Result<()> {
    let all: Vec<&Tensor> = [&[value, grad], slots].concat();
    if !can_update_in_place(&all) || all.iter().any(|t| t.dims() != value.dims()) {
        bail!("an update in place needs contiguous f32 tensors of one shape on the CPU")
    }
    // Opening one storage twice would wait for itself.
    let mut places = all.iter().map(|t| storage_of(t)).collect::<Result<Vec<_>>>()?;
    places.sort_unstable();
    if places.windows(2).any(|w| w[0] == w[1]) {
        bail!("an update in place needs tensors with storage of their own")
    }
    read::<f32, _>(grad, |grad| {
        open(&[&[value], slots].concat(), Vec::new(), &mut |parts| {
            let Some((value, slots)) = parts.split_first_mut() else { return };
            let mut slots: Vec<_> = slots.iter_mut().map(|s| s.chunks_mut(CHUNK)).collect();
            let mut tasks = Vec::new();
            for (value, grad) in value.chunks_mut(CHUNK).zip(grad.chunks(CHUNK)) {
                tasks.push((value, grad, slots.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>()));
            }
            parallel::chunks_mut(&mut tasks, 1, &|_, task| {
                task.iter_mut().for_each(|(value, grad, slots)| f(value, grad, slots));
            });
        })
    })?
}

/// The address of a tensor's storage.
fn storage_of(t: &Tensor) -> Result<usize> {
    let (storage, _) = t.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("expected a tensor on the CPU") };
    Ok(std::ptr::from_ref(storage).addr())
}

/// Opens one tensor after another for writing, and hands all of them to `then`.
fn open<'a>(
    tensors: &[&Tensor],
    mut opened: Vec<&'a mut [f32]>,
    then: &mut dyn for<'b> FnMut(&mut Vec<&'b mut [f32]>),
) -> Result<()> {
    let Some((first, rest)) = tensors.split_first() else {
        then(&mut opened);
        return Ok(());
    };
    let mut then: &mut dyn for<'b> FnMut(&mut Vec<&'b mut [f32]>) = then;
    first.inplace_op1(&Opened(RefCell::new(Some(Next { rest, opened: &mut opened, then: &mut then }))))
}

struct Next<'s, 'a, 'f> {
    rest: &'s [&'s Tensor],
    opened: &'s mut Vec<&'a mut [f32]>,
    then: &'s mut &'f mut dyn for<'b> FnMut(&mut Vec<&'b mut [f32]>),
}

struct Opened<'s, 'a, 'f>(RefCell<Option<Next<'s, 'a, 'f>>>);

impl InplaceOp1 for Opened<'_, '_, '_> {
    fn name(&self) -> &'static str {
        "update_in_place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (Some(next), CpuStorage::F32(values), Some((from, to))) =
            (self.0.take(), storage, layout.contiguous_offsets())
        else {
            bail!("an update in place needs contiguous f32 tensors")
        };
        let mut opened: Vec<&mut [f32]> = next.opened.drain(..).collect();
        opened.push(&mut values[from..to]);
        open(next.rest, opened, *next.then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{random, single, values};

    #[test]
    fn value_and_slots_change_where_they_stand() -> Result<()> {
        let [value, grad, slot] = [1, 2, 3].map(|s| single(&random(s, &[300, 301])));
        let (before, seen) = (values(&value), value.detach());
        update_in_place(&value, &grad, &[&slot], |v, g, s| {
            s[0].copy_from_slice(g);
            v.iter_mut().zip(g).for_each(|(v, g)| *v -= 2.0 * g);
        })?;
        let want: Vec<f64> =
            before.iter().zip(values(&grad)).map(|(v, g)| f64::from(*v as f32 - 2.0 * g as f32)).collect();
        assert_eq!(values(&seen), want);
        assert_eq!(values(&slot), values(&grad));
        Ok(())
    }

    #[test]
    fn what_shares_storage_or_differs_is_refused() {
        let [a, b] = [1, 2].map(|s| single(&random(s, &[4])));
        let nothing = |_: &mut [f32], _: &[f32], _: &mut [&mut [f32]]| {};
        assert!(update_in_place(&a, &a.detach(), &[], nothing).is_err());
        assert!(update_in_place(&a, &b, &[&a], nothing).is_err());
        assert!(update_in_place(&a, &single(&random(1, &[5])), &[], nothing).is_err());
        assert!(update_in_place(&a, &random(1, &[4]), &[], nothing).is_err());
    }
}
