//! Networks as lists of named stages.
//!
//! An [`Architecture`] says what a network is made of and builds it through a `Scope`, so that freezing, adapters and taps
//! work on it without a line of its own: [`ConvNet`] for small images, [`Mlp`] for vectors.
#![forbid(unsafe_code)]

mod convnet;
mod mlp;

pub use convnet::{ConvNet, ConvNetOptions};
pub use mlp::{Activation, Mlp, MlpOptions};

use transplant_core::{Architecture, Plugins};

/// Registers all networks.
pub fn plugin(p: &mut Plugins) {
    p.add::<dyn Architecture, ConvNet>();
    p.add::<dyn Architecture, Mlp>();
}
