//! Compute kernels over slices of floats, without tensors: what `transplant-ops` wraps into differentiable operations.
//!
//! This crate depends on neither candle nor any other crate of the workspace. Its loops are compiled once, at full
//! optimisation, and a change in the contracts or in an operation does not compile them again.
#![allow(unsafe_code, reason = "vectors, and results that several threads write; each use says why it is sound")]

pub mod activation;
pub mod attention;
pub mod batch_norm;
pub mod buffer;
mod compiled;
pub mod conv;
pub mod element;
pub mod elementwise;
pub mod linear;
pub mod math;
pub mod optimise;
pub mod parallel;
pub mod peak;
pub mod precision;
pub mod product;
pub mod reduce;
pub mod simd;
pub mod tall;
