//! Differentiable operations for candle with exact gradients, fast on the CPU.
//!
//! On the CPU, in f32 and f64, each operation is one node of the graph with its own backward pass; elsewhere it is
//! composed of those candle operations whose gradients are right. No gradient is computed that nobody asked for, and
//! those of parameters go to [`transplant_core::deposit`]. Results do not depend on the number of threads.
#![deny(unsafe_code)]

mod activation;
mod add;
mod attention;
mod batch_norm;
mod buffer;
mod conv2d;
mod cross_entropy;
mod dropout;
mod elementwise;
mod grad_reverse;
mod host;
mod in_place;
mod layer_norm;
mod layers;
mod linear;
mod math;
mod pool;
mod product;
mod reduce;
mod simd;
mod softmax;
#[doc(hidden)]
pub mod testing;

pub use activation::{Activation, relu};
pub use add::add;
pub use attention::attention;
pub use batch_norm::{After, BatchStatistics, batch_norm, batch_norm_frozen};
pub use conv2d::{Conv2dGeometry, Normalised, conv2d, conv2d_norm};
pub use cross_entropy::cross_entropy_rows;
pub use dropout::{dropout, dropout_rows};
pub use grad_reverse::grad_reverse;
pub use in_place::{can_update_in_place, update_in_place};
pub use layer_norm::layer_norm;
pub use layers::{BatchNorm2d, Conv2d, LayerNorm, Linear, ScopeExt};
pub use linear::linear;
pub use pool::{Pool2d, adaptive_avg_pool2d, avg_pool2d, global_avg_pool, max_pool2d};
pub use softmax::{log_softmax, softmax};
