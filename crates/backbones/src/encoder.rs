//! The transformer encoder that BERT and DistilBERT share; they differ in the names of their parameters.
//!
//! Vaswani et al. 2017: attention and two linear layers, each added to what went in and normalised afterwards.

use candle_core::Tensor;
use transplant_core::{
    Acts, Architecture, Backbone, Ctx, HIDDEN, Init, Invalid, MASK, Result, Schema, Scope, Stage, TOKENS,
};
use transplant_ops::{
    Activation, Embedding, LayerNorm, Linear, ScopeExt, activate, add, attention_dropout, dropout_rows,
};

use crate::text::{self, Pool, TextPooling};

/// Added to variances before the square root.
const EPS: f64 = 1e-12;
/// Standard deviation of fresh weights.
const STD: f64 = 0.02;

/// The names of a network's parameters.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) network: &'static str,
    /// What stands before the number of a layer.
    pub(crate) layers: &'static str,
    pub(crate) query: &'static str,
    pub(crate) key: &'static str,
    pub(crate) value: &'static str,
    pub(crate) out: &'static str,
    pub(crate) norm1: &'static str,
    pub(crate) inner: &'static str,
    pub(crate) outer: &'static str,
    pub(crate) norm2: &'static str,
}

/// How large a network is.
#[derive(Debug, Clone)]
pub(crate) struct Sizes {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) intermediate: usize,
    pub(crate) vocabulary: Option<usize>,
    pub(crate) positions: usize,
    /// Rows of the table of types; none without one.
    pub(crate) types: Option<usize>,
    pub(crate) pooling: TextPooling,
    pub(crate) dropout: f64,
    pub(crate) attention_dropout: f64,
}

/// Stages `embeddings`, `layer0`, `layer1`, … and `pooling`.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    sizes: Sizes,
    names: &'static Names,
    stages: Vec<Stage>,
}

impl Encoder {
    pub(crate) fn new(sizes: Sizes, names: &'static Names) -> Result<Self, Invalid> {
        if !(1..=64).contains(&sizes.layers) {
            return Err(Invalid::key("layers", "must be from 1 to 64"));
        }
        if sizes.heads == 0 || sizes.width == 0 || !sizes.width.is_multiple_of(sizes.heads) {
            return Err(Invalid::key("heads", format!("must divide the width of {}", sizes.width)));
        }
        for (key, value) in [
            ("intermediate", Some(sizes.intermediate)),
            ("vocabulary", sizes.vocabulary),
            ("positions", Some(sizes.positions)),
            ("types", sizes.types),
        ] {
            if value == Some(0) {
                return Err(Invalid::key(key, "must be at least 1"));
            }
        }
        for (key, p) in [("dropout", sizes.dropout), ("attention_dropout", sizes.attention_dropout)] {
            if !(0.0..1.0).contains(&p) {
                return Err(Invalid::key(key, format!("must be at least 0 and less than 1, not {p}")));
            }
        }
        let mask = |stage: Stage| Stage { reads: vec![HIDDEN.to_owned(), MASK.to_owned()], ..stage };
        let embeddings = Stage { reads: text::reads(), random: sizes.dropout > 0.0, ..Stage::new("embeddings") };
        let random = sizes.dropout > 0.0 || sizes.attention_dropout > 0.0;
        let layer = |i| {
            let prefix = format!("{}.{i}", names.layers);
            mask(Stage { random, ..Stage::new(&format!("layer{i}")).over(&[prefix.as_str()]) })
        };
        let pooling = mask(Stage::new("pooling").over(&["pooler", "pooling"]));
        let stages = std::iter::once(embeddings).chain((0..sizes.layers).map(layer)).chain([pooling]).collect();
        Ok(Self { sizes, names, stages })
    }

    /// Rows of the table of words.
    fn vocabulary(&self, inputs: &Schema) -> Result<usize> {
        let (length, vocabulary) = text::shape(self.names.network, inputs)?;
        if length > self.sizes.positions {
            let message = format!("{} are fewer than the inputs' {length}", self.sizes.positions);
            return Err(Invalid::key("positions", message).into());
        }
        match self.sizes.vocabulary {
            Some(own) if own < vocabulary => {
                let message = format!("{own} are fewer than the inputs' {vocabulary}");
                Err(Invalid::key("vocabulary", message).into())
            }
            own => Ok(own.unwrap_or(vocabulary)),
        }
    }
}

impl Architecture for Encoder {
    fn stages(&self) -> Vec<Stage> {
        self.stages.clone()
    }

    fn build(&self, inputs: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        let (sizes, vocabulary) = (&self.sizes, self.vocabulary(inputs)?);
        let s = scope.stage(&self.stages[0]).pp("embeddings");
        let table = |name: &str, count: usize| {
            let s = s.pp(name);
            s.weight("weight", (count, sizes.width), Init::Normal(STD))?;
            s.embedding(count, sizes.width)
        };
        let embeddings = Embeddings {
            words: table("word_embeddings", vocabulary)?,
            positions: table("position_embeddings", sizes.positions)?,
            types: sizes.types.map(|types| table("token_type_embeddings", types)).transpose()?,
            norm: s.pp("LayerNorm").layer_norm(sizes.width, EPS)?,
        };
        let layer = |stage: &Stage| Layer::new(&scope.stage(stage).pp(&stage.prefixes[0]), sizes, self.names);
        let layers = self.stages[1..=sizes.layers].iter().map(layer).collect::<Result<_>>()?;
        let last = scope.stage(&self.stages[sizes.layers + 1]);
        let pool = Pool::new(sizes.pooling, &last, sizes.width, STD)?;
        Ok(Box::new(Built { embeddings, layers, pool, sizes: sizes.clone(), stages: self.stages.clone() }))
    }

    fn features(&self, inputs: &Schema) -> Result<Schema> {
        self.vocabulary(inputs)?;
        Ok(crate::image::vector(self.sizes.width))
    }
}

struct Embeddings {
    words: Embedding,
    positions: Embedding,
    types: Option<Embedding>,
    norm: LayerNorm,
}

impl Embeddings {
    /// `tokens [rows, n]` to `[rows, n, width]`.
    fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let n = tokens.dim(1)?;
        let mut same = self.positions.weight().narrow(0, 0, n)?;
        if let Some(types) = &self.types {
            // A text alone is of the first type.
            same = same.broadcast_add(&types.weight().narrow(0, 0, 1)?)?;
        }
        self.norm.forward(&self.words.forward(tokens)?.broadcast_add(&same)?)
    }
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm1: LayerNorm,
    inner: Linear,
    outer: Linear,
    norm2: LayerNorm,
}

impl Layer {
    fn new(s: &Scope, sizes: &Sizes, names: &Names) -> Result<Self> {
        let at = |name: &str| s.pp(name);
        let (width, inner) = (sizes.width, sizes.intermediate);
        let square = |name: &str| text::linear(&at(name), width, width, STD);
        Ok(Self {
            query: square(names.query)?,
            key: square(names.key)?,
            value: square(names.value)?,
            out: square(names.out)?,
            norm1: at(names.norm1).layer_norm(width, EPS)?,
            inner: text::linear(&at(names.inner), width, inner, STD)?,
            outer: text::linear(&at(names.outer), inner, width, STD)?,
            norm2: at(names.norm2).layer_norm(width, EPS)?,
        })
    }

    /// `x [rows, n, width]` to the same; `mask [rows, n]`.
    fn forward(&self, x: &Tensor, mask: &Tensor, sizes: &Sizes, name: &str, cx: &Ctx) -> Result<Tensor> {
        let parts = [self.query.forward(x)?, self.key.forward(x)?, self.value.forward(x)?];
        let qkv = Tensor::cat(&parts, 2)?;
        let seen = attention_dropout(&qkv, sizes.heads, Some(mask), sizes.attention_dropout, name, cx)?;
        let drop = |y: &Tensor, part: &str| dropout_rows(y, sizes.dropout, &format!("{name}.{part}"), cx);
        let x = self.norm1.forward(&add(x, &drop(&self.out.forward(&seen)?, "attention")?)?)?;
        let inner = activate(&self.inner.forward(&x)?, Activation::Gelu)?;
        self.norm2.forward(&add(&x, &drop(&self.outer.forward(&inner)?, "output")?)?)
    }
}

struct Built {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    pool: Pool,
    sizes: Sizes,
    stages: Vec<Stage>,
}

impl Backbone for Built {
    fn stage(&self, index: usize, acts: Acts, cx: &mut Ctx) -> Result<Acts> {
        let mask = acts.get(MASK)?;
        let (length, n) = (mask.dim(1)?, text::filled(mask)?);
        let mask = text::narrowed(mask, n)?;
        let hidden = || text::narrowed(acts.get(HIDDEN)?, n);
        let y = if index == 0 {
            let y = self.embeddings.forward(&text::narrowed(acts.get(TOKENS)?, n)?)?;
            text::padded(&dropout_rows(&y, self.sizes.dropout, &self.stages[0].name, cx)?, length)?
        } else if let Some(layer) = self.layers.get(index - 1) {
            let y = layer.forward(&hidden()?, &mask, &self.sizes, &self.stages[index].name, cx)?;
            text::padded(&y, length)?
        } else {
            self.pool.forward(&hidden()?, &mask)?
        };
        Ok(acts.with(HIDDEN, y))
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }
}
