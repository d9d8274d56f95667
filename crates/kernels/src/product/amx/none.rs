//! What stands in for the matrix unit on processors that never have one.

use std::ops::Range;

use super::Tiles;
use crate::element::Element;
use crate::product::{Panel, Rows};

pub(crate) fn available() -> bool {
    false
}

pub(in crate::product) fn pack<T: Element>(
    _: (usize, usize),
    _: &mut [Panel],
    _: &(dyn Fn(&Panel, usize, &mut [T]) + Sync),
) -> Tiles {
    unreachable!("there is no matrix unit")
}

#[allow(unsafe_code, reason = "the signature of the other")]
pub(in crate::product) unsafe fn rows(_: &Rows<'_, f32>, _: &Tiles, _: *mut f32) {}

pub(in crate::product) fn outer(
    _: (&[f32], &[usize], Range<usize>),
    _: (&[f32], &[isize], isize),
    _: usize,
    _: &mut [f32],
    _: usize,
) {
}

pub(crate) struct Part<'a>(std::marker::PhantomData<&'a ()>);

impl<'a> Part<'a> {
    pub(crate) fn new(_: (&[f32], &[usize], Range<usize>), _: &'a [isize], _: Vec<(usize, isize)>) -> Self {
        Self(std::marker::PhantomData)
    }
}

pub(crate) fn outer_by_tap(_: &[Part<'_>], _: &[f32], _: (&[usize], usize), _: usize, _: &mut [f32]) {}
