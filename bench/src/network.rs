//! The networks that can be timed, by the names that PyTorch's libraries give them.

use anyhow::{Result, bail};
use transplant_backbones::{ResNet, ResNetDepth, ResNetOptions};
use transplant_core::Architecture;

/// The network of this name.
pub(crate) fn named(name: &str) -> Result<Box<dyn Architecture>> {
    let resnet = |depth| Box::new(ResNet::new(ResNetOptions { depth, ..ResNetOptions::default() }));
    Ok(match name {
        "resnet18" => resnet(ResNetDepth::D18),
        "resnet34" => resnet(ResNetDepth::D34),
        "resnet50" => resnet(ResNetDepth::D50),
        other => bail!("there is no network `{other}` to time"),
    })
}
