//! Two-dimensional convolutions over images with channels innermost: `[n, h, w, c]`.

mod chain;
mod cpu;
mod depthwise;
mod depthwise_simd;
mod geometry;
mod patches;
mod walk;

pub use chain::{Chains, Link};
pub use cpu::Convolutions;
pub use geometry::{Conv2dGeometry, Dims};
