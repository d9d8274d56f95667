//! Differentiable operations for candle with exact gradients, fast on the CPU.
//!
//! On the CPU, in f32 and f64, each operation is one node of the graph with its own backward pass; elsewhere it is
//! composed of those candle operations whose gradients are right. No gradient is computed that nobody asked for, and
//! those of parameters go straight to [`transplant_core::Gradients`]. Results do not depend on the number of threads.
#![deny(unsafe_code)]

mod activation;
mod add;
mod attention;
mod batch_norm;
mod conv1d;
mod conv2d;
mod dropout;
mod embedding;
mod grad_reverse;
mod group_norm;
mod gru;
mod host;
mod in_place;
mod layer_norm;
mod layers;
mod linear;
mod losses;
mod pool;
mod resize;
mod rms_norm;
mod softmax;
mod stochastic_depth;
#[doc(hidden)]
pub mod testing;

pub use activation::{Activation, activate, relu};
pub use add::add;
pub use attention::{attention, attention_dropout};
pub use batch_norm::{After, BatchStatistics, batch_norm, batch_norm_frozen};
pub use conv1d::{Conv1dGeometry, conv_transpose1d, conv1d};
pub use conv2d::{Conv2dGeometry, Normalised, NormalisedConv, conv_transpose2d, conv2d, conv2d_norm};
pub use dropout::{dropout, dropout_rows};
pub use embedding::embedding;
pub use grad_reverse::grad_reverse;
pub use group_norm::group_norm;
pub use gru::gru;
pub use in_place::{can_update_in_place, update_in_place};
pub use layer_norm::{layer_norm, layer_norm_channels};
pub use layers::{BatchNorm2d, Conv2d, Embedding, LayerNorm, Linear, ScopeExt, conv_norms};
pub use linear::linear;
pub use losses::{bce_with_logits, cosine, cross_entropy_rows, focal, huber, kl_div, soft_cross_entropy};
pub use pool::{Pool2d, adaptive_avg_pool2d, avg_pool2d, global_avg_pool, max_pool2d};
pub use resize::{resize_bilinear, resize_nearest};
pub use rms_norm::rms_norm;
pub use softmax::{log_softmax, softmax};
pub use stochastic_depth::stochastic_depth;
pub use transplant_kernels::precision::{EnteredPrecision, Precision};
