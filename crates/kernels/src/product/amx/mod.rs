//! Products in bfloat16 on the matrix unit of newer x86 processors (AMX): operands rounded to bfloat16 on the way into
//! tiles, products summed in single precision.
//!
//! It does what [`rows`](super::rows()) and [`outer`](super::outer()) do, some ten times as fast. As there, each sum has one fixed
//! order, in which neither threads nor neighbours have a say.

#[cfg(target_arch = "x86_64")]
mod convert;
#[cfg(target_arch = "x86_64")]
mod outer;
#[cfg(target_arch = "x86_64")]
mod rows;
#[cfg(target_arch = "x86_64")]
mod unit;

#[cfg(target_arch = "x86_64")]
pub(super) use outer::outer;
#[cfg(target_arch = "x86_64")]
pub(crate) use outer::{Part, outer_by_tap};
#[cfg(target_arch = "x86_64")]
pub(super) use rows::{pack, rows};
#[cfg(target_arch = "x86_64")]
pub(crate) use unit::available;

#[cfg(not(target_arch = "x86_64"))]
mod none;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) use none::*;

/// The right operand of a product as tiles: panels of 32 columns, each with its terms in twos of tiles. Terms come in runs,
/// each filled up to whole tiles.
pub(super) struct Tiles {
    data: crate::buffer::Aligned<u16>,
    /// Terms of a run.
    run: usize,
}
