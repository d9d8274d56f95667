//! The networks that can be timed, by the names that PyTorch's libraries give them.

use anyhow::{Context, Result};
use transplant_backbones::{
    Bert, BertOptions, ConvNeXt, ConvNeXtOptions, EfficientNetLite, EfficientNetLiteOptions, MobileNetV2,
    MobileNetV2Options, ResNet, ResNetDepth, ResNetOptions, ViT, ViTOptions, ViTSize,
};
use transplant_core::{Architecture, Field, HIDDEN, Schema, TOKENS};

/// Words of BERT's uncased English vocabulary.
const VOCABULARY: usize = 30_522;

/// A network that can be timed.
pub(crate) struct Network {
    /// Its name in torchvision or timm; `minilm` is the shape of sentence-transformers' all-MiniLM-L6-v2.
    pub(crate) name: &'static str,
    /// What it reads.
    pub(crate) reads: Reads,
    build: fn(dropout: f64) -> Result<Box<dyn Architecture>>,
}

/// What a network reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Images of three channels; their height and width is the size.
    Images,
    /// Tokens, whose number is the size.
    Tokens,
}

const NETWORKS: [Network; 11] = [
    images("resnet18", |_| resnet(ResNetDepth::D18)),
    images("resnet34", |_| resnet(ResNetDepth::D34)),
    images("resnet50", |_| resnet(ResNetDepth::D50)),
    images("tf_efficientnet_lite0", |_| Ok(Box::new(EfficientNetLite::new(EfficientNetLiteOptions::default())))),
    images("convnext_tiny", |_| Ok(Box::new(ConvNeXt::new(ConvNeXtOptions::default())))),
    images("mobilenet_v2", |_| Ok(Box::new(MobileNetV2::new(MobileNetV2Options::default())))),
    images("vit_tiny_patch16_224", |_| vit(ViTSize::Tiny)),
    images("vit_small_patch16_224", |_| vit(ViTSize::Small)),
    images("deit_tiny_patch16_224", |_| vit(ViTSize::Tiny)),
    images("deit_small_patch16_224", |_| vit(ViTSize::Small)),
    Network { name: "minilm", reads: Reads::Tokens, build: minilm },
];

/// The names of all networks.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    NETWORKS.iter().map(|n| n.name)
}

/// The network of this name.
pub(crate) fn named(name: &str) -> Result<&'static Network> {
    const ALL: &[Network] = &NETWORKS;
    ALL.iter().find(|n| n.name == name).with_context(|| format!("no network `{name}`"))
}

impl Network {
    /// Without weights; `dropout` counts for networks that read tokens.
    pub(crate) fn architecture(&self, dropout: f64) -> Result<Box<dyn Architecture>> {
        (self.build)(dropout)
    }

    /// What it reads at this size.
    pub(crate) fn inputs(&self, size: usize) -> Schema {
        let (name, field) = match self.reads {
            Reads::Images => (HIDDEN, Field::Image { channels: 3, height: size, width: size }),
            Reads::Tokens => (TOKENS, Field::Tokens { length: size, vocabulary: VOCABULARY }),
        };
        Schema::from([(name.to_owned(), field)])
    }
}

const fn images(name: &'static str, build: fn(f64) -> Result<Box<dyn Architecture>>) -> Network {
    Network { name, reads: Reads::Images, build }
}

fn resnet(depth: ResNetDepth) -> Result<Box<dyn Architecture>> {
    Ok(Box::new(ResNet::new(ResNetOptions { depth, ..ResNetOptions::default() })))
}

fn vit(size: ViTSize) -> Result<Box<dyn Architecture>> {
    Ok(Box::new(ViT::new(ViTOptions { size, ..ViTOptions::default() })?))
}

/// Its pooling is the mean, as sentence-transformers does it.
fn minilm(dropout: f64) -> Result<Box<dyn Architecture>> {
    let shape = BertOptions { layers: 6, width: 384, heads: 12, intermediate: 1536, ..BertOptions::default() };
    Ok(Box::new(Bert::new(BertOptions { dropout, attention_dropout: dropout, ..shape })?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_has_a_name_of_its_own_and_is_made() {
        for (i, network) in NETWORKS.iter().enumerate() {
            assert_eq!(names().position(|n| n == network.name), Some(i));
            let size = if network.reads == Reads::Images { 224 } else { 64 };
            assert!(network.architecture(0.1).unwrap().features(&network.inputs(size)).unwrap().contains_key(HIDDEN));
        }
        assert!(named("resnet19").is_err());
    }
}
