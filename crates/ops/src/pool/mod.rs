//! Pooling over windows and planes.

mod avg;
mod max;
mod window;

pub use avg::{adaptive_avg_pool2d, avg_pool2d, global_avg_pool};
pub use max::max_pool2d;
pub use window::Pool2d;
