//! The networks that can be timed, by the names that PyTorch's libraries give them.

use anyhow::{Result, bail};
use transplant_backbones::{
    ConvNeXt, ConvNeXtOptions, EfficientNetLite, EfficientNetLiteOptions, MobileNetV2, MobileNetV2Options, ResNet,
    ResNetDepth, ResNetOptions, ViT, ViTOptions, ViTSize,
};
use transplant_core::Architecture;

/// All names, for the error of one that is not there.
const NAMES: &str = "resnet18, resnet34, resnet50, tf_efficientnet_lite0, convnext_tiny, mobilenet_v2, vit_tiny_patch16_224, \
                     vit_small_patch16_224, deit_tiny_patch16_224, deit_small_patch16_224";

/// The network of this name.
pub(crate) fn named(name: &str) -> Result<Box<dyn Architecture>> {
    let resnet = |depth| Box::new(ResNet::new(ResNetOptions { depth, ..ResNetOptions::default() }));
    let vit = |size| ViT::new(ViTOptions { size, ..ViTOptions::default() }).map(Box::new);
    Ok(match name {
        "resnet18" => resnet(ResNetDepth::D18),
        "resnet34" => resnet(ResNetDepth::D34),
        "resnet50" => resnet(ResNetDepth::D50),
        "tf_efficientnet_lite0" => Box::new(EfficientNetLite::new(EfficientNetLiteOptions::default())),
        "convnext_tiny" => Box::new(ConvNeXt::new(ConvNeXtOptions::default())),
        "mobilenet_v2" => Box::new(MobileNetV2::new(MobileNetV2Options::default())),
        "vit_tiny_patch16_224" | "deit_tiny_patch16_224" => vit(ViTSize::Tiny)?,
        "vit_small_patch16_224" | "deit_small_patch16_224" => vit(ViTSize::Small)?,
        other => bail!("there is no network `{other}` to time; there are {NAMES}"),
    })
}
