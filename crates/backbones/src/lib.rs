//! Networks as lists of named stages.
//!
//! An [`Architecture`] says what a network is made of and builds it through a `Scope`, so that freezing, adapters and taps
//! work on it without a line of its own: [`ConvNet`] for small images, [`Mlp`] for vectors,
//! [`ResNet`] for photographs.
#![forbid(unsafe_code)]

mod convnet;
mod image;
mod mlp;
mod resnet;

pub use convnet::{ConvNet, ConvNetOptions};
pub use mlp::{Activation, Mlp, MlpOptions};
pub use resnet::{ResNet, ResNetDepth, ResNetOptions, ResNetStem};

use transplant_core::{Architecture, Plugins};

/// Registers all networks.
pub fn plugin(p: &mut Plugins) {
    p.add::<dyn Architecture, ConvNet>();
    p.add::<dyn Architecture, Mlp>();
    p.add::<dyn Architecture, ResNet>();
}
