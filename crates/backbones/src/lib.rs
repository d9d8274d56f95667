//! Networks as lists of named stages.
//!
//! An [`Architecture`] says what a network is made of and builds it through a `Scope`, so that freezing, adapters and taps
//! work on it without a line of its own: [`ConvNet`] for small images, [`Mlp`] for vectors, [`ResNet`], [`ConvNeXt`],
//! [`EfficientNetLite`], [`MobileNetV2`] and [`ViT`] for photographs, [`Bert`], [`DistilBert`], [`TextCnn`], [`TextGru`] and
//! [`WordBag`] for text, and [`RawText`] for heads that read texts themselves.
#![forbid(unsafe_code)]

mod bert;
mod conv_norm;
mod convnet;
mod convnext;
mod distilbert;
mod efficientnet_lite;
mod encoder;
mod image;
mod inverted;
mod mlp;
mod mobilenet_v2;
mod raw_text;
mod resnet;
mod text;
mod text_cnn;
mod text_gru;
mod vit;
pub mod weights;
mod word_bag;

pub use bert::{Bert, BertOptions};
pub use convnet::{ConvNet, ConvNetOptions};
pub use convnext::{ConvNeXt, ConvNeXtOptions};
pub use distilbert::{DistilBert, DistilBertOptions};
pub use efficientnet_lite::{
    EfficientNetLite, EfficientNetLiteOptions, EfficientNetLitePadding, EfficientNetLiteVariant,
};
pub use mlp::{Activation, Mlp, MlpOptions};
pub use mobilenet_v2::{MobileNetV2, MobileNetV2Options};
pub use raw_text::{RawText, RawTextOptions};
pub use resnet::{ResNet, ResNetDepth, ResNetOptions, ResNetStem};
pub use text::TextPooling;
pub use text_cnn::{TextCnn, TextCnnOptions};
pub use text_gru::{TextGru, TextGruOptions, TextGruPooling};
pub use vit::{ViT, ViTOptions, ViTSize};
pub use word_bag::{WordBag, WordBagOptions};

use transplant_core::{Architecture, Plugins};

/// Registers all networks.
pub fn plugin(p: &mut Plugins) {
    p.add::<dyn Architecture, Bert>();
    p.add::<dyn Architecture, ConvNet>();
    p.add::<dyn Architecture, ConvNeXt>();
    p.add::<dyn Architecture, DistilBert>();
    p.add::<dyn Architecture, EfficientNetLite>();
    p.add::<dyn Architecture, Mlp>();
    p.add::<dyn Architecture, MobileNetV2>();
    p.add::<dyn Architecture, RawText>();
    p.add::<dyn Architecture, ResNet>();
    p.add::<dyn Architecture, TextCnn>();
    p.add::<dyn Architecture, TextGru>();
    p.add::<dyn Architecture, ViT>();
    p.add::<dyn Architecture, WordBag>();
}
