//! DistilBERT, with Hugging Face's parameter names.
//!
//! Sanh et al. 2019, *DistilBERT, a distilled version of BERT*: half the layers, no types and no pooler. Two thirds of BERT's
//! time for nearly its accuracy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Architecture, Backbone, BuildCx, Component, Invalid, Plugins, Result, Schema, Scope, Stage};

use crate::encoder::{Encoder, Names, Sizes};
use crate::text::TextPooling;

const NAMES: Names = Names {
    network: "distilbert",
    layers: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    out: "attention.out_lin",
    norm1: "sa_layer_norm",
    inner: "ffn.lin1",
    outer: "ffn.lin2",
    norm2: "output_layer_norm",
};

/// DistilBERT with Hugging Face's parameter names; the sizes left out are small ones.
///
/// Sanh et al. 2019: BERT without types and pooler. The published networks have 6 layers, 768 wide, 12 heads and 3072 between
/// the linear layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DistilBertOptions {
    /// Layers, 1 to 64.
    pub layers: usize,
    /// Numbers that stand for a piece between layers, and the width of the features.
    pub width: usize,
    /// Parts of an attention; must divide the width.
    pub heads: usize,
    /// Width between the two linear layers.
    pub intermediate: usize,
    /// Rows of the table of words, no fewer than the inputs need; left out, as many as they need.
    pub vocabulary: Option<usize>,
    /// Rows of the table of positions, no fewer than the inputs are long.
    pub positions: usize,
    /// How the pieces become one vector; `cls_pooler` is BERT's alone.
    pub pooling: TextPooling,
    /// Probability with which outputs of embeddings and layers are dropped while training, from 0, below 1.
    pub dropout: f64,
    /// Probability with which weights of the attention are dropped while training, from 0, below 1.
    pub attention_dropout: f64,
}

impl Default for DistilBertOptions {
    fn default() -> Self {
        Self {
            layers: 2,
            width: 128,
            heads: 2,
            intermediate: 512,
            vocabulary: None,
            positions: 512,
            pooling: TextPooling::default(),
            dropout: 0.1,
            attention_dropout: 0.1,
        }
    }
}

/// Stages `embeddings`, `layer0`, `layer1`, … and `pooling`. Reads `tokens` and `mask`; puts out `hidden`, a vector.
#[derive(Debug, Clone)]
pub struct DistilBert(Encoder);

impl DistilBert {
    /// With these options.
    ///
    /// # Errors
    /// When a size is zero or too large, the heads do not divide the width, a probability is out of range, or the pooler of
    /// BERT is asked for.
    pub fn new(o: DistilBertOptions) -> Result<Self, Invalid> {
        if o.pooling == TextPooling::ClsPooler {
            return Err(Invalid::key("pooling", "must be another: this network has no pooler").help("use `cls`"));
        }
        let sizes = Sizes {
            layers: o.layers,
            width: o.width,
            heads: o.heads,
            intermediate: o.intermediate,
            vocabulary: o.vocabulary,
            positions: o.positions,
            types: None,
            pooling: o.pooling,
            dropout: o.dropout,
            attention_dropout: o.attention_dropout,
        };
        Encoder::new(sizes, &NAMES).map(Self)
    }
}

impl Component<dyn Architecture> for DistilBert {
    const TYPE: &'static str = "distilbert";
    type Options = DistilBertOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl Architecture for DistilBert {
    fn stages(&self) -> Vec<Stage> {
        self.0.stages()
    }

    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        self.0.build(inputs, scope)
    }

    fn features(&self, inputs: &Schema) -> Result<Schema> {
        self.0.features(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn berts_pooler_is_refused_and_a_probability_out_of_range_named() {
        let fault = |o: DistilBertOptions| DistilBert::new(o).err().map(|e| e.to_string()).unwrap_or_default();
        let pooler = DistilBertOptions { pooling: TextPooling::ClsPooler, ..Default::default() };
        assert!(fault(pooler).starts_with("pooling: "));
        assert!(
            fault(DistilBertOptions { attention_dropout: -0.1, ..Default::default() }).starts_with("attention_dropout")
        );
    }
}
