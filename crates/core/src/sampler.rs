//! [`Sampler`]: which rows of a stream an epoch shows, and how often each.

use crate::{Fact, Invalid, Result, Stream};

/// What a sampler may know of a stream's rows. Labels are there for streams that have them alone.
pub struct SamplerCx<'a> {
    /// The stream's rows, in the fixed order of the split.
    pub rows: &'a [u64],
    /// The class of every row of the data set, by the target that the stream's rows are drawn by; `None`: the stream
    /// has no labels, or the target is no class.
    pub classes: Option<&'a [Option<u32>]>,
    /// A fact of every row of the data set, by name.
    pub fact: &'a dyn Fn(&str) -> Option<&'a Fact>,
}

/// Decides which rows of a stream an epoch shows.
///
/// The loader calls [`check`](Self::check) once, before anything is trained, and [`epoch`](Self::epoch) once for each
/// epoch of a stream, from any thread. Both must be pure: the same arguments give the same answer.
pub trait Sampler: Send + Sync {
    /// Checks that the rows have what the sampler goes by.
    ///
    /// # Errors
    /// [`Invalid`] that says what is missing.
    fn check(&self, cx: &SamplerCx<'_>) -> Result<(), Invalid> {
        let _ = cx;
        Ok(())
    }

    /// The rows of an epoch: as many as [`SamplerCx::rows`], in the order in which they are shown. Batches are cut from
    /// them one after another.
    fn epoch(&self, cx: &SamplerCx<'_>, rng: &mut Stream) -> Vec<u64>;
}
