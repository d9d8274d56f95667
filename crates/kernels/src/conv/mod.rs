//! Two-dimensional convolutions over images with channels innermost: `[n, h, w, c]`.

mod chain;
mod cpu;
mod depthwise;
mod depthwise_simd;
mod geometry;
mod patches;
mod walk;

pub use chain::{Chain, Link};
pub use cpu::{bias_gradient, forward, input_gradient, weight_gradient};
pub use geometry::{Conv2dGeometry, Dims};
