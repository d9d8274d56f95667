//! Independent tasks on all threads of the current rayon pool.
//!
//! The functions take closures behind `dyn`, so that rayon's machinery is compiled once for all callers. A task should
//! take microseconds or more. Results never depend on the number of threads: each task has its own places to write to.
#![allow(unsafe_code, reason = "tasks write to disjoint places of one buffer")]

use std::mem::MaybeUninit;

use rayon::prelude::*;

/// Threads of the current pool.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Calls `task(i)` once for each `i` in `0..tasks`, in any order.
pub fn for_each(tasks: usize, task: &(dyn Fn(usize) + Sync)) {
    match tasks {
        0 => {}
        1 => task(0),
        _ => (0..tasks).into_par_iter().for_each(task),
    }
}

/// The results of `task(i)` for each `i` in `0..tasks`, in their order.
pub fn map<R: Send>(tasks: usize, task: &(dyn Fn(usize) -> R + Sync)) -> Vec<R> {
    let mut results: Vec<MaybeUninit<R>> = Vec::with_capacity(tasks);
    results.resize_with(tasks, MaybeUninit::uninit);
    chunks_mut(&mut results, 1, &|i, place| {
        place[0].write(task(i));
    });
    // SAFETY: every place was written by its task; `MaybeUninit<R>` has the layout of `R`. Where a task panics, this is
    // not reached, and finished results are leaked.
    results.into_iter().map(|r| unsafe { r.assume_init() }).collect()
}

/// Calls `task(i, chunk)` for each chunk of `size` values; the last may be shorter.
///
/// # Panics
/// When `size` is 0.
pub fn chunks_mut<T: Send>(values: &mut [T], size: usize, task: &(dyn Fn(usize, &mut [T]) + Sync)) {
    assert!(size > 0, "chunks of no values");
    let (all, len) = (Shared(values.as_mut_ptr()), values.len());
    for_each(len.div_ceil(size), &|i| {
        let from = i * size;
        // SAFETY: chunks lie inside `values`, which is borrowed exclusively, and do not overlap; each is visited once.
        task(i, unsafe { std::slice::from_raw_parts_mut(all.get().add(from), size.min(len - from)) });
    });
}

/// Work that is done before another thread has woken up.
const SMALL: usize = 1 << 15;

/// As [`chunks_mut`], on one thread where all tasks together are no more than some ten thousand multiplications
/// (`work`). Chunks of no values are of one.
pub fn chunks_of_work(values: &mut [f64], size: usize, work: usize, task: &(dyn Fn(usize, &mut [f64]) + Sync)) {
    if work <= SMALL {
        values.chunks_mut(size.max(1)).enumerate().for_each(|(i, chunk)| task(i, chunk));
    } else {
        chunks_mut(values, size.max(1), task);
    }
}

/// A pointer that tasks write through, each to places of its own.
struct Shared<T>(*mut T);

// SAFETY: see `chunks_mut`, which alone dereferences it.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_once_each_in_order() {
        assert_eq!(map(1000, &|i| i.to_string()), (0..1000).map(|i| i.to_string()).collect::<Vec<_>>());
        assert!(map(0, &|i| i).is_empty());
        let mut values = vec![0; 1001];
        chunks_mut(&mut values, 10, &|i, chunk| {
            let len = chunk.len();
            chunk.iter_mut().for_each(|v| *v += i * len);
        });
        assert!(values[..1000].iter().enumerate().all(|(i, v)| *v == i / 10 * 10) && values[1000] == 100);
    }
}
