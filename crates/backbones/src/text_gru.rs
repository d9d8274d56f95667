//! A gated recurrent network over word vectors, forwards and backwards.
//!
//! Cho et al. 2014, *Learning Phrase Representations using RNN Encoder–Decoder for Statistical Machine Translation*, with
//! PyTorch's gates and names. Sees the order of words over a whole text; slower than convolutions, as each step waits for
//! the one before.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, Architecture, Backbone, BuildCx, Component, Ctx, HIDDEN, Init, Invalid, MASK, Plugins, Result, Schema, Scope,
    Stage, TOKENS,
};
use transplant_ops::{Embedding, Pool2d, ScopeExt, embedding, gru, linear, max_pool2d};

use crate::text;

/// How the states after each word become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextGruPooling {
    /// The mean over the words.
    #[default]
    Mean,
    /// The largest value of each unit over the words.
    Max,
    /// The state after the last word that a direction reads.
    Last,
}

/// A gated recurrent network over word vectors, and what its states become over the text.
///
/// Cho et al. 2014. Reads tokens, in their order. An empty text gives zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextGruOptions {
    /// Numbers that stand for a word.
    pub width: usize,
    /// Units of each direction; the features are all of them.
    pub hidden: usize,
    /// Whether texts are also read from their end to their beginning, with weights of its own.
    pub bidirectional: bool,
    /// How the states after each word become one vector.
    pub pooling: TextGruPooling,
}

impl Default for TextGruOptions {
    fn default() -> Self {
        Self { width: 64, hidden: 64, bidirectional: true, pooling: TextGruPooling::Mean }
    }
}

/// Stages `embeddings` and `gru`. Reads `tokens` and `mask`; puts out `hidden`, a vector.
#[derive(Debug, Clone)]
pub struct TextGru {
    options: TextGruOptions,
    stages: Vec<Stage>,
}

impl TextGru {
    /// With these options.
    ///
    /// # Errors
    /// When a size is 0.
    pub fn new(options: TextGruOptions) -> Result<Self, Invalid> {
        for (key, value) in [("width", options.width), ("hidden", options.hidden)] {
            if value == 0 {
                return Err(Invalid::key(key, "must be at least 1"));
            }
        }
        let embeddings = Stage { reads: text::reads(), ..Stage::new("embeddings") };
        let gru = Stage { reads: vec![HIDDEN.to_owned(), MASK.to_owned()], ..Stage::new("gru") };
        Ok(Self { options, stages: vec![embeddings, gru] })
    }

    /// For each direction whether it reads from the end.
    fn directions(&self) -> &'static [bool] {
        if self.options.bidirectional { &[false, true] } else { &[false] }
    }
}

impl Component<dyn Architecture> for TextGru {
    const TYPE: &'static str = "text_gru";
    type Options = TextGruOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl Architecture for TextGru {
    fn stages(&self) -> Vec<Stage> {
        self.stages.clone()
    }

    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        let ((_, vocabulary), o) = (text::shape("text_gru", inputs)?, &self.options);
        let words = scope.stage(&self.stages[0]).pp("embeddings").embedding(vocabulary, o.width)?;
        let s = scope.stage(&self.stages[1]).pp("gru");
        let direction = |backwards: &bool| Direction::new(&s, o.width, o.hidden, *backwards);
        let directions = self.directions().iter().map(direction).collect::<Result<_>>()?;
        Ok(Box::new(Built { words, directions, pooling: o.pooling, stages: self.stages.clone() }))
    }

    fn features(&self, inputs: &Schema) -> Result<Schema> {
        text::shape("text_gru", inputs)?;
        Ok(crate::image::vector(self.options.hidden * self.directions().len()))
    }
}

/// Weights `[3 hidden, ..]` and biases `[3 hidden]` of the words and of the states, for the gates r and z and the candidate.
struct Direction {
    words: (Tensor, Tensor),
    states: (Tensor, Tensor),
    backwards: bool,
}

impl Direction {
    fn new(s: &Scope, width: usize, hidden: usize, backwards: bool) -> Result<Self> {
        let (init, suffix) = (Init::fan_in(hidden), if backwards { "_reverse" } else { "" });
        let of = |kind: &str, from: usize| {
            let weight = s.weight(&format!("weight_{kind}_l0{suffix}"), (3 * hidden, from), init)?;
            let bias = s.weight(&format!("bias_{kind}_l0{suffix}"), 3 * hidden, init)?;
            Ok::<_, transplant_core::Error>((weight, bias))
        };
        Ok(Self { words: of("ih", width)?, states: of("hh", hidden)?, backwards })
    }

    /// The state after each step, `[n, rows, hidden]`, of `words [rows n, width]`. A row's steps come first in both directions.
    fn forward(&self, words: &Tensor, n: usize, lengths: &[usize]) -> Result<Tensor> {
        let mut order = Vec::with_capacity(n * lengths.len());
        for t in 0..n {
            for (row, length) in lengths.iter().enumerate() {
                let position = if self.backwards && t < *length { length - 1 - t } else { t };
                order.push((row * n + position) as u32);
            }
        }
        let order = Tensor::from_vec(order, (n, lengths.len()), words.device())?;
        let x = linear(&embedding(&order, words)?, &self.words.0, Some(&self.words.1))?;
        Ok(gru(&x, &self.states.0, &self.states.1, lengths)?)
    }
}

struct Built {
    words: Embedding,
    directions: Vec<Direction>,
    pooling: TextGruPooling,
    stages: Vec<Stage>,
}

impl Built {
    /// `[rows, hidden]` of `states [n, rows, hidden]`. The last state of a row stays, so none beyond its end is larger.
    fn pooled(&self, states: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let n = states.dim(0)?;
        match self.pooling {
            TextGruPooling::Mean => text::mean(&states.transpose(0, 1)?, mask),
            TextGruPooling::Max => {
                let all = Pool2d { kernel: (1, n), stride: (1, n), padding: (0, 0), ceil: false };
                Ok(max_pool2d(&states.permute((1, 2, 0))?.unsqueeze(2)?, all)?.flatten_from(1)?)
            }
            TextGruPooling::Last => Ok(states.get(n - 1)?),
        }
    }
}

impl Backbone for Built {
    fn stage(&self, index: usize, acts: Acts, _: &mut Ctx) -> Result<Acts> {
        let mask = acts.get(MASK)?;
        let (length, n) = (mask.dim(1)?, text::filled(mask)?);
        let mask = text::narrowed(mask, n)?;
        let y = if index == 0 {
            let words = self.words.forward(&text::narrowed(acts.get(TOKENS)?, n)?)?;
            let mask = mask.to_dtype(words.dtype())?.unsqueeze(2)?;
            text::padded(&words.broadcast_mul(&mask)?, length)?
        } else {
            let (words, lengths) = (text::narrowed(acts.get(HIDDEN)?, n)?.flatten(0, 1)?, text::lengths(&mask)?);
            let of = |d: &Direction| self.pooled(&d.forward(&words, n, &lengths)?, &mask);
            Tensor::cat(&self.directions.iter().map(of).collect::<Result<Vec<_>>>()?, 1)?
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
    use candle_core::{DType, Device};
    use serde_json::Value;
    use std::slice::from_ref;
    use std::sync::Arc;
    use transplant_core::{Field, Gradients, Params, Recording, Seeds, backward};
    use transplant_ops::testing::values;

    const POOLINGS: [TextGruPooling; 3] = [TextGruPooling::Mean, TextGruPooling::Max, TextGruPooling::Last];

    fn network(o: &TextGruOptions, params: &Params, dtype: DType) -> Result<Box<dyn Backbone>> {
        let (gru, tokens) = (TextGru::new(o.clone())?, Field::Tokens { length: 20, vocabulary: 9 });
        let inputs = Schema::from([(TOKENS.to_owned(), tokens)]);
        assert_eq!(gru.features(&inputs)?[HIDDEN], Field::Vector { width: o.hidden * gru.directions().len() });
        gru.build(&inputs, &Scope::new(params, Arc::default(), Seeds::new(2), dtype))
    }

    fn run(net: &dyn Backbone, texts: &[Vec<u32>]) -> Result<Tensor> {
        let row = |text: &Vec<u32>| {
            let there: Vec<f32> = (0..20).map(|i| f32::from(u8::from(i < text.len()))).collect();
            ([text.clone(), vec![0; 20 - text.len()]].concat(), there)
        };
        let (tokens, mask): (Vec<_>, Vec<_>) = texts.iter().map(row).unzip();
        let acts = Acts::new().with(TOKENS, Tensor::new(tokens, &Device::Cpu)?);
        let acts = acts.with(MASK, Tensor::new(mask, &Device::Cpu)?);
        Ok(net.forward(acts, 0..2, &mut Ctx::eval(&[]))?.get(HIDDEN)?.clone())
    }

    /// See `tests/goldens/generate_texts.py`.
    #[test]
    fn features_and_gradients_are_those_of_pytorch() -> Result<()> {
        let golden: Value = serde_json::from_str(include_str!("../goldens/text_gru.json")).unwrap();
        let floats = |v: &Value| serde_json::from_value::<Vec<f64>>(v.clone()).unwrap();
        let texts: Vec<Vec<u32>> = serde_json::from_value(golden["texts"].clone()).unwrap();
        for (pooling, want) in POOLINGS.into_iter().zip(["mean", "max", "last"].map(|p| &golden["poolings"][p])) {
            let (params, o) =
                (Params::new(&Device::Cpu), TextGruOptions { width: 3, hidden: 2, pooling, ..Default::default() });
            network(&o, &params, DType::F64)?;
            assert_eq!(params.len(), golden["parameters"].as_object().unwrap().len());
            for (name, p) in params.all() {
                let value = floats(&golden["parameters"][&name]);
                params.set(&name, &Tensor::from_vec(value, p.var().shape(), &Device::Cpu)?)?;
            }
            let _recording = Recording::start()?;
            let y = run(&*network(&o, &params, DType::F64)?, &texts)?;
            let near = |got: &Tensor, want: &Value, what: &str| {
                let off = values(got).iter().zip(floats(want)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(off < 1e-10 && got.elem_count() == floats(want).len(), "{pooling:?}: {what} is {off:.1e} off");
            };
            near(&y, &want["features"], "what comes out");
            let upstream = Tensor::from_vec(floats(&golden["upstream"]), y.shape(), &Device::Cpu)?;
            let mut gradients = Gradients::new(&params, |_| true);
            backward(&(&y * upstream)?.sum_all()?, &mut gradients)?;
            for name in params.names() {
                near(gradients.get(&name).unwrap(), &want["gradients"][&name], &name);
            }
        }
        Ok(())
    }

    #[test]
    fn what_stands_beside_a_row_does_not_change_it_and_an_empty_text_gives_zeros() -> Result<()> {
        let long: Vec<u32> = (0..18).map(|i| i % 8 + 1).collect();
        for (pooling, bidirectional) in POOLINGS.into_iter().flat_map(|p| [(p, true), (p, false)]) {
            let o = TextGruOptions { width: 4, hidden: 3, bidirectional, pooling };
            let net = network(&o, &Params::new(&Device::Cpu), DType::F32)?;
            for text in [vec![], vec![5], vec![1, 2, 3, 4, 5]] {
                let (alone, beside) = (run(&*net, from_ref(&text))?, run(&*net, &[long.clone(), text.clone()])?);
                assert_eq!(values(&alone), values(&beside.get(1)?), "{pooling:?} of {text:?}");
                assert_eq!(values(&alone).iter().all(|v| *v == 0.0), text.is_empty());
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let fault = |o: TextGruOptions| TextGru::new(o).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(fault(TextGruOptions { width: 0, ..Default::default() }).starts_with("width: "));
        assert!(fault(TextGruOptions { hidden: 0, ..Default::default() }).starts_with("hidden: "));
    }
}
