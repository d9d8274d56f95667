//! The mean of word vectors and a hidden layer, for texts.
//!
//! Iyyer et al. 2015, *Deep Unordered Composition Rivals Syntactic Methods for Text Classification*; Joulin et al. 2017
//! (*fastText*). The cheapest network for texts, and hard to beat where words alone tell the class.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, Architecture, Backbone, BuildCx, Component, Ctx, HIDDEN, Init, Invalid, MASK, Plugins, Result, Schema, Scope,
    Stage, TOKENS,
};
use transplant_ops::{Embedding, Linear, ScopeExt, relu};

use crate::text;

/// The mean of word vectors, then a hidden layer.
///
/// Iyyer et al. 2015; Joulin et al. 2017. Reads tokens; the order of words does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WordBagOptions {
    /// Numbers that stand for a word.
    pub width: usize,
    /// Units of the hidden layer, whose output are the features.
    pub hidden: usize,
}

impl Default for WordBagOptions {
    fn default() -> Self {
        Self { width: 64, hidden: 64 }
    }
}

/// Stages `embeddings`, which puts out the mean `[rows, width]`, and `dense`. Reads `tokens` and `mask`; puts out `hidden`,
/// a vector.
#[derive(Debug, Clone)]
pub struct WordBag {
    options: WordBagOptions,
    stages: Vec<Stage>,
}

impl WordBag {
    /// With these options.
    ///
    /// # Errors
    /// When a width is 0.
    pub fn new(options: WordBagOptions) -> Result<Self, Invalid> {
        for (key, value) in [("width", options.width), ("hidden", options.hidden)] {
            if value == 0 {
                return Err(Invalid::key(key, "must be at least 1"));
            }
        }
        let embeddings = Stage { reads: text::reads(), ..Stage::new("embeddings") };
        Ok(Self { options, stages: vec![embeddings, Stage::new("dense")] })
    }
}

impl Component<dyn Architecture> for WordBag {
    const TYPE: &'static str = "word_bag";
    type Options = WordBagOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl Architecture for WordBag {
    fn stages(&self) -> Vec<Stage> {
        self.stages.clone()
    }

    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        let ((_, vocabulary), width) = (text::shape("word_bag", inputs)?, self.options.width);
        let s = scope.stage(&self.stages[0]).pp("embeddings");
        // A mean over many words is to be of the size of one.
        s.weight("weight", (vocabulary, width), Init::Normal(0.5))?;
        let words = s.embedding(vocabulary, width)?;
        let dense = scope.stage(&self.stages[1]).pp("dense").linear(width, self.options.hidden)?;
        Ok(Box::new(Built { words, dense, stages: self.stages.clone() }))
    }

    fn features(&self, inputs: &Schema) -> Result<Schema> {
        text::shape("word_bag", inputs)?;
        Ok(crate::image::vector(self.options.hidden))
    }
}

struct Built {
    words: Embedding,
    dense: Linear,
    stages: Vec<Stage>,
}

impl Backbone for Built {
    fn stage(&self, index: usize, acts: Acts, _: &mut Ctx) -> Result<Acts> {
        let y = if index == 0 {
            let mask = acts.get(MASK)?;
            let n = text::filled(mask)?;
            let words = self.words.forward(&text::narrowed(acts.get(TOKENS)?, n)?)?;
            text::mean(&words, &text::narrowed(mask, n)?)?
        } else {
            relu(&self.dense.forward(acts.get(HIDDEN)?)?)?
        };
        Ok(acts.with(HIDDEN, y))
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};
    use std::sync::Arc;
    use transplant_core::{Field, Params, Seeds};

    #[test]
    fn the_mean_is_over_words_in_any_order_and_an_empty_text_gives_zeros() -> Result<()> {
        let bag = WordBag::new(WordBagOptions { width: 3, hidden: 2 })?;
        let inputs = Schema::from([(TOKENS.to_owned(), Field::Tokens { length: 3, vocabulary: 5 })]);
        let params = Params::new(&Device::Cpu);
        let net = bag.build(&inputs, &Scope::new(&params, Arc::default(), Seeds::new(1), DType::F64))?;
        let tokens = Tensor::new(&[[4u32, 2, 0], [2, 4, 0], [0, 0, 0]], &Device::Cpu)?;
        let mask = Tensor::new(&[[1f32, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0; 3]], &Device::Cpu)?;
        let acts = Acts::new().with(TOKENS, tokens).with(MASK, mask);
        let mut cx = Ctx::eval(&[0, 1, 2]);
        let means = net.stage(0, acts.clone(), &mut cx)?.get(HIDDEN)?.to_vec2::<f64>()?;
        let words = params.get("embeddings.weight")?.view().to_vec2::<f64>()?;
        for i in 0..3 {
            let mean = (words[4][i] + words[2][i]) / 2.0;
            assert!((means[0][i] - mean).abs() < 1e-12 && (means[1][i] - mean).abs() < 1e-12);
        }
        assert_eq!(means[2], [0.0; 3]);
        assert_eq!(net.forward(acts, 0..2, &mut cx)?.get(HIDDEN)?.dims(), [3, 2]);
        assert_eq!(params.names(), ["dense.bias", "dense.weight", "embeddings.weight"]);
        assert!(WordBag::new(WordBagOptions { width: 0, hidden: 2 }).is_err() && bag.features(&Schema::new()).is_err());
        Ok(())
    }
}
