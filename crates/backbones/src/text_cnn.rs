//! Convolutions over word vectors and the maximum over the text.
//!
//! Kim 2014, *Convolutional Neural Networks for Sentence Classification*. Sees phrases as wide as its windows; learns well from
//! some thousand texts without pretrained weights.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, Architecture, Backbone, BuildCx, Component, Ctx, HIDDEN, Init, Invalid, MASK, Plugins, Result, Schema, Scope,
    Stage, TOKENS,
};
use transplant_ops::{Conv1dGeometry, Embedding, Pool2d, ScopeExt, conv1d, dropout_rows, max_pool2d, relu};

use crate::text;

/// Convolutions over word vectors, the maximum of each over the text.
///
/// Kim 2014. Reads tokens. A text shorter than a window is filled up with zeros to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextCnnOptions {
    /// Numbers that stand for a word.
    pub width: usize,
    /// Words that a window spans, one or more sizes of at least 1.
    pub windows: Vec<usize>,
    /// Filters of each size of window; the features are all of them.
    pub filters: usize,
    /// Probability with which features are dropped while training, from 0, below 1.
    pub dropout: f64,
}

impl Default for TextCnnOptions {
    fn default() -> Self {
        Self { width: 64, windows: vec![3, 4, 5], filters: 64, dropout: 0.5 }
    }
}

/// Stages `embeddings` and `convs`. Reads `tokens` and `mask`; puts out `hidden`, a vector.
#[derive(Debug, Clone)]
pub struct TextCnn {
    options: TextCnnOptions,
    stages: Vec<Stage>,
}

impl TextCnn {
    /// With these options.
    ///
    /// # Errors
    /// When a size is 0, there is no window, or the probability is out of range.
    pub fn new(options: TextCnnOptions) -> Result<Self, Invalid> {
        for (key, value) in [("width", options.width), ("filters", options.filters)] {
            if value == 0 {
                return Err(Invalid::key(key, "must be at least 1"));
            }
        }
        if options.windows.is_empty() || options.windows.iter().any(|w| !(1..=64).contains(w)) {
            return Err(Invalid::key("windows", "needs one or more sizes from 1 to 64"));
        }
        if !(0.0..1.0).contains(&options.dropout) {
            return Err(Invalid::key(
                "dropout",
                format!("must be at least 0 and less than 1, not {}", options.dropout),
            ));
        }
        let embeddings = Stage { reads: text::reads(), ..Stage::new("embeddings") };
        let reads = vec![HIDDEN.to_owned(), MASK.to_owned()];
        let convs = Stage { reads, random: options.dropout > 0.0, ..Stage::new("convs") };
        Ok(Self { options, stages: vec![embeddings, convs] })
    }
}

impl Component<dyn Architecture> for TextCnn {
    const TYPE: &'static str = "text_cnn";
    type Options = TextCnnOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Architecture>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl Architecture for TextCnn {
    fn stages(&self) -> Vec<Stage> {
        self.stages.clone()
    }

    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        let ((_, vocabulary), o) = (text::shape("text_cnn", inputs)?, &self.options);
        let s = scope.stage(&self.stages[0]).pp("embeddings");
        s.weight("weight", (vocabulary, o.width), Init::Normal(0.5))?;
        let words = s.embedding(vocabulary, o.width)?;
        let s = scope.stage(&self.stages[1]).pp("convs");
        let conv = |(i, window): (usize, &usize)| {
            let (s, init) = (s.pp(&i.to_string()), Init::fan_in(o.width * window));
            let weight = s.weight("weight", (o.filters, o.width, *window), init)?;
            Ok::<_, transplant_core::Error>((*window, weight, s.weight("bias", o.filters, init)?))
        };
        let convs = o.windows.iter().enumerate().map(conv).collect::<Result<_>>()?;
        Ok(Box::new(Built { words, convs, dropout: o.dropout, stages: self.stages.clone() }))
    }

    fn features(&self, inputs: &Schema) -> Result<Schema> {
        text::shape("text_cnn", inputs)?;
        Ok(crate::image::vector(self.options.filters * self.options.windows.len()))
    }
}

struct Built {
    words: Embedding,
    /// Width of the window, weight `[filters, width, window]` and bias `[filters]`.
    convs: Vec<(usize, Tensor, Tensor)>,
    dropout: f64,
    stages: Vec<Stage>,
}

impl Built {
    /// The largest output of each filter over the windows that lie within a row, `[rows, filters]`. `x [rows, width, n]`.
    fn largest(&self, x: &Tensor, lengths: &[usize], conv: &(usize, Tensor, Tensor)) -> Result<Tensor> {
        let ((window, weight, bias), n) = (conv, x.dim(2)?);
        let at = Conv1dGeometry { padding: [0, window - 1], ..Default::default() };
        let y = relu(&conv1d(x, weight, Some(bias), at)?)?;
        // Nothing is below 0, so windows that reach beyond the end of their row never win.
        let within = |length: &usize| {
            let length = *length;
            (0..n).map(move |t| f32::from(u8::from(t + window <= length || (t == 0 && length > 0))))
        };
        let within: Vec<f32> = lengths.iter().flat_map(within).collect();
        let within = Tensor::from_vec(within, (lengths.len(), 1, n), x.device())?.to_dtype(x.dtype())?;
        let y = y.broadcast_mul(&within)?.unsqueeze(2)?;
        let all = Pool2d { kernel: (1, n), stride: (1, n), padding: (0, 0), ceil: false };
        Ok(max_pool2d(&y, all)?.flatten_from(1)?)
    }
}

impl Backbone for Built {
    fn stage(&self, index: usize, acts: Acts, cx: &mut Ctx) -> Result<Acts> {
        let mask = acts.get(MASK)?;
        let (length, n) = (mask.dim(1)?, text::filled(mask)?);
        let y = if index == 0 {
            let words = self.words.forward(&text::narrowed(acts.get(TOKENS)?, n)?)?;
            let mask = text::narrowed(mask, n)?.to_dtype(words.dtype())?.unsqueeze(2)?;
            text::padded(&words.broadcast_mul(&mask)?, length)?
        } else {
            let lengths = text::lengths(mask)?;
            let x = text::narrowed(acts.get(HIDDEN)?, n)?.transpose(1, 2)?.contiguous()?;
            let each = self.convs.iter().map(|c| self.largest(&x, &lengths, c)).collect::<Result<Vec<_>>>()?;
            dropout_rows(&Tensor::cat(&each, 1)?, self.dropout, "convs", cx)?
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
    use std::sync::Arc;
    use transplant_core::{Field, Params, Seeds};

    fn row(text: &[u32], length: usize) -> (Vec<u32>, Vec<f32>) {
        let mut tokens = text.to_vec();
        tokens.resize(length, 0);
        (tokens, (0..length).map(|i| f32::from(u8::from(i < text.len()))).collect())
    }

    #[test]
    fn windows_stay_within_their_row_and_short_rows_have_one() -> Result<()> {
        let o = TextCnnOptions { width: 2, windows: vec![2, 3], filters: 4, dropout: 0.0 };
        let cnn = TextCnn::new(o)?;
        let inputs = Schema::from([(TOKENS.to_owned(), Field::Tokens { length: 20, vocabulary: 9 })]);
        let params = Params::new(&Device::Cpu);
        let net = cnn.build(&inputs, &Scope::new(&params, Arc::default(), Seeds::new(2), DType::F32))?;
        let run = |texts: &[&[u32]]| {
            let (tokens, mask): (Vec<_>, Vec<_>) = texts.iter().map(|t| row(t, 20)).unzip();
            let acts = Acts::new().with(TOKENS, Tensor::new(tokens, &Device::Cpu)?);
            let acts = acts.with(MASK, Tensor::new(mask, &Device::Cpu)?);
            Ok::<_, transplant_core::Error>(net.forward(acts, 0..2, &mut Ctx::eval(&[0, 1]))?.get(HIDDEN)?.clone())
        };
        let long: Vec<u32> = (0..18).map(|i| i % 8 + 1).collect();
        for text in [&[5u32][..], &[3, 4], &[1, 2, 3, 4, 5]] {
            let (alone, beside) = (run(&[text])?, run(&[&long, text])?);
            let got = alone.get(0)?.to_vec1::<f32>()?;
            assert_eq!(got, beside.get(1)?.to_vec1::<f32>()?);
            // The definition, window by window.
            let words = params.get("embeddings.weight")?.view().to_vec2::<f32>()?;
            let mut want = Vec::new();
            for (i, window) in [2usize, 3].into_iter().enumerate() {
                let weight = params.get(&format!("convs.{i}.weight"))?.view().to_vec3::<f32>()?;
                let bias = params.get(&format!("convs.{i}.bias"))?.view().to_vec1::<f32>()?;
                for f in 0..4 {
                    let starts = 0..text.len().saturating_sub(window) + 1;
                    let at = |s: usize| {
                        let taps = (0..window).filter(|k| s + k < text.len());
                        let of =
                            |k: usize| (0..2).map(|c| weight[f][c][k] * words[text[s + k] as usize][c]).sum::<f32>();
                        taps.map(of).sum::<f32>() + bias[f]
                    };
                    want.push(starts.map(at).fold(0f32, f32::max));
                }
            }
            assert!(got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} for {want:?}");
            assert!(got.iter().any(|v| *v > 0.0));
        }
        assert_eq!(cnn.features(&inputs)?[HIDDEN], Field::Vector { width: 8 });
        Ok(())
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let fault = |o: TextCnnOptions| TextCnn::new(o).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(fault(TextCnnOptions { windows: vec![], ..Default::default() }).starts_with("windows: "));
        assert!(fault(TextCnnOptions { windows: vec![0], ..Default::default() }).starts_with("windows: "));
        assert!(fault(TextCnnOptions { filters: 0, ..Default::default() }).starts_with("filters: "));
        assert!(fault(TextCnnOptions { dropout: 1.0, ..Default::default() }).starts_with("dropout: "));
    }
}
