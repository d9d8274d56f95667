//! Compute kernels over slices of floats, without tensors: what `transplant-ops` wraps into differentiable operations.
//!
//! This crate depends on neither candle nor any other crate of the workspace. Its loops are compiled once, at full
//! optimisation, and a change in the contracts or in an operation does not compile them again.

pub mod parallel;
pub mod peak;
pub mod simd;
