//! BERT, with Hugging Face's parameter names.
//!
//! Devlin et al. 2019, *BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding*. Worth its price with
//! weights that learned from much text; sentence encoders such as MiniLM have the same form.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Architecture, Backbone, BuildCx, Component, Invalid, Plugins, Result, Schema, Scope, Stage};

use crate::encoder::{Encoder, Names, Sizes};
use crate::text::TextPooling;

const NAMES: Names = Names {
    network: "bert",
    layers: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    out: "attention.output.dense",
    norm1: "attention.output.LayerNorm",
    inner: "intermediate.dense",
    outer: "output.dense",
    norm2: "output.LayerNorm",
};

/// BERT with Hugging Face's parameter names; the sizes left out are those of BERT-tiny.
///
/// Devlin et al. 2019. Reads tokens; a text alone, of the first type. Layers of attention and two linear ones, normalised
/// afterwards (epsilon 1e-12), exact GELU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BertOptions {
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
    /// Rows of the table of types, of which the first is used.
    pub types: usize,
    /// How the pieces become one vector.
    pub pooling: TextPooling,
    /// Probability with which outputs of embeddings and layers are dropped while training, from 0, below 1.
    pub dropout: f64,
    /// Probability with which weights of the attention are dropped while training, from 0, below 1.
    pub attention_dropout: f64,
}

impl Default for BertOptions {
    fn default() -> Self {
        Self {
            layers: 2,
            width: 128,
            heads: 2,
            intermediate: 512,
            vocabulary: None,
            positions: 512,
            types: 2,
            pooling: TextPooling::default(),
            dropout: 0.1,
            attention_dropout: 0.1,
        }
    }
}

/// Stages `embeddings`, `layer0`, `layer1`, … and `pooling`. Reads `tokens` and `mask`; puts out `hidden`, a vector.
///
/// Only as many positions are computed as the longest row of a batch needs. Between stages `hidden` is
/// `[rows, length, width]`, filled up with zeros.
#[derive(Debug, Clone)]
pub struct Bert(Encoder);

impl Bert {
    /// With these options.
    ///
    /// # Errors
    /// When a size is zero or too large, the heads do not divide the width, or a probability is out of range.
    pub fn new(o: BertOptions) -> Result<Self, Invalid> {
        let sizes = Sizes {
            layers: o.layers,
            width: o.width,
            heads: o.heads,
            intermediate: o.intermediate,
            vocabulary: o.vocabulary,
            positions: o.positions,
            types: Some(o.types),
            pooling: o.pooling,
            dropout: o.dropout,
            attention_dropout: o.attention_dropout,
        };
        Encoder::new(sizes, &NAMES).map(Self)
    }
}

impl Component<dyn Architecture> for Bert {
    const TYPE: &'static str = "bert";
    type Options = BertOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl Architecture for Bert {
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
    use candle_core::{DType, Device, Tensor};
    use std::sync::Arc;
    use transplant_core::{Acts, Ctx, Field, HIDDEN, MASK, Mode, Params, Plan, Seeds, TOKENS};

    const LENGTH: usize = 40;

    fn inputs() -> Schema {
        Schema::from([(TOKENS.to_owned(), Field::Tokens { length: LENGTH, vocabulary: 50 })])
    }

    /// Rows of so many pieces, by their numbers.
    fn rows(rows: &[(u64, usize)]) -> Acts {
        let token = |row: u64, i: usize| (row as usize * 7 + i * 11) as u32 % 49 + 1;
        let of = |f: &dyn Fn(u64, usize) -> f32| -> Vec<f32> {
            let each = rows.iter().flat_map(|&(r, n)| (0..LENGTH).map(move |i| (r, n, i)));
            each.map(|(r, n, i)| if i < n { f(r, i) } else { 0.0 }).collect()
        };
        let tensor = |v: Vec<f32>| Tensor::from_vec(v, (rows.len(), LENGTH), &Device::Cpu).unwrap();
        let tokens = tensor(of(&|r, i| token(r, i) as f32)).to_dtype(DType::U32).unwrap();
        Acts::new().with(TOKENS, tokens).with(MASK, tensor(of(&|_, _| 1.0)))
    }

    fn small(pooling: TextPooling) -> Bert {
        let o = BertOptions { width: 32, intermediate: 48, positions: 64, pooling, ..Default::default() };
        Bert::new(o).unwrap()
    }

    #[test]
    fn a_row_gives_the_same_bits_alone_and_beside_a_longer_one_in_every_stage() -> Result<()> {
        use TextPooling::{Attention, Cls, ClsPooler, Mean};
        for (pooling, mode) in [(Mean, Mode::Train), (Mean, Mode::Eval), (Cls, Mode::Eval), (ClsPooler, Mode::Eval)]
            .into_iter()
            .chain([(Attention, Mode::Train)])
        {
            let (bert, params) = (small(pooling), Params::new(&Device::Cpu));
            let plan = Arc::new(Plan::default());
            let net = bert.build(&inputs(), &Scope::new(&params, plan, Seeds::new(1), DType::F32))?;
            let run = |of: &[(u64, usize)], end: usize| {
                let numbers: Vec<u64> = of.iter().map(|r| r.0).collect();
                let mut cx = Ctx::new(mode, "target", 2, &numbers, Seeds::new(3));
                let y = net.forward(rows(of), 0..end, &mut cx)?.get(HIDDEN)?.clone();
                let row = y.get(of.len() - 1)?;
                // What stands behind a row's end is nobody's.
                Ok::<_, transplant_core::Error>(if row.rank() == 2 { row.narrow(0, 0, 5)? } else { row })
            };
            for end in 1..=4 {
                let (alone, beside) = (run(&[(4, 5)], end)?, run(&[(9, 37), (4, 5)], end)?);
                let bits = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
                assert_eq!(bits(&alone)?, bits(&beside)?, "{pooling:?} {mode:?}, {end} stages");
                assert!(bits(&alone)?.iter().all(|v| v.is_finite()));
            }
            let acts = net.forward(rows(&[(4, 5)]), 0..2, &mut Ctx::eval(&[4]))?;
            assert_eq!(acts.get(HIDDEN)?.dims(), [1, LENGTH, 32]);
        }
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let fault = |o: BertOptions| Bert::new(o).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(fault(BertOptions { heads: 3, ..Default::default() }).starts_with("heads: must divide"));
        assert!(fault(BertOptions { layers: 0, ..Default::default() }).starts_with("layers: "));
        assert!(fault(BertOptions { types: 0, ..Default::default() }).starts_with("types: "));
        assert!(fault(BertOptions { dropout: 1.0, ..Default::default() }).starts_with("dropout: "));
        let features = |o: BertOptions| Bert::new(o).unwrap().features(&inputs());
        let few = BertOptions { vocabulary: Some(49), ..Default::default() };
        assert_eq!(features(few).unwrap_err().to_string(), "vocabulary: 49 are fewer than the inputs' 50");
        let short = BertOptions { positions: 39, ..Default::default() };
        assert_eq!(features(short).unwrap_err().to_string(), "positions: 39 are fewer than the inputs' 40");
        let image = Schema::from([(HIDDEN.to_owned(), Field::Vector { width: 2 })]);
        assert!(small(TextPooling::Mean).features(&image).unwrap_err().to_string().contains("reads tokens"));
    }
}
