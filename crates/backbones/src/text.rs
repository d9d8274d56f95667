//! What networks for text have in common: rows of tokens filled up to one length, and how they become vectors.

use candle_core::{D, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Field, Init, Invalid, MASK, Result, Schema, Scope, TOKENS};
use transplant_ops::{Linear, ScopeExt, softmax};

/// Lengths are rounded up to a multiple of this.
const STEP: usize = 16;

/// How the pieces of a text become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TextPooling {
    /// The mean over the pieces.
    #[default]
    Mean,
    /// The first piece, `[CLS]`.
    Cls,
    /// The first piece through BERT's own pooler: a linear layer and a hyperbolic tangent.
    ClsPooler,
    /// A learned weighted mean: Yang et al. 2016. Its weights start fresh.
    Attention,
}

/// Length and vocabulary of the tokens that a network of this type reads.
pub(crate) fn shape(network: &str, inputs: &Schema) -> Result<(usize, usize)> {
    let Some(Field::Tokens { length, vocabulary }) = inputs.get(TOKENS) else {
        let there: Vec<&str> = inputs.keys().map(String::as_str).collect();
        let there = there.join(", ");
        return Err(Invalid::new(format!("`{network}` reads tokens `{TOKENS}`; there are: {there}")).into());
    };
    Ok((*length, *vocabulary))
}

/// The names of what the first stage of such a network reads.
pub(crate) fn reads() -> Vec<String> {
    vec![TOKENS.to_owned(), MASK.to_owned()]
}

/// How many positions of `mask [rows, length]` hold all pieces, rounded up; at least one position.
pub(crate) fn filled(mask: &Tensor) -> Result<usize> {
    let length = mask.dim(1)?;
    let longest = lengths(mask)?.into_iter().max().unwrap_or_default();
    Ok(longest.max(1).next_multiple_of(STEP).min(length))
}

/// How many positions of each row hold all its pieces.
pub(crate) fn lengths(mask: &Tensor) -> Result<Vec<usize>> {
    let mask = mask.to_dtype(candle_core::DType::F32)?.to_vec2::<f32>()?;
    Ok(mask.iter().map(|row| row.iter().rposition(|m| *m != 0.0).map_or(0, |last| last + 1)).collect())
}

/// The first positions of `[rows, length, ..]`.
pub(crate) fn narrowed(x: &Tensor, positions: usize) -> Result<Tensor> {
    Ok(if x.dim(1)? == positions { x.clone() } else { x.narrow(1, 0, positions)?.contiguous()? })
}

/// `[rows, positions, ..]` filled up with zeros to `length` positions.
pub(crate) fn padded(x: &Tensor, length: usize) -> Result<Tensor> {
    let positions = x.dim(1)?;
    Ok(if positions == length { x.clone() } else { x.pad_with_zeros(1, 0, length - positions)? })
}

/// The mean of `x [rows, positions, width]` where `mask [rows, positions]` is 1; zeros where it never is.
pub(crate) fn mean(x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let mask = mask.to_dtype(x.dtype())?;
    let share = mask.broadcast_div(&mask.sum_keepdim(1)?.maximum(1.0)?)?;
    Ok(x.broadcast_mul(&share.unsqueeze(D::Minus1)?)?.sum(1)?)
}

/// A linear layer whose fresh weights are normal with this standard deviation and whose bias is zero.
pub(crate) fn linear(s: &Scope, from: usize, to: usize, std: f64) -> Result<Linear> {
    s.weight("weight", (to, from), Init::Normal(std))?;
    s.weight("bias", to, Init::Const(0.0))?;
    s.linear(from, to)
}

/// A [`TextPooling`] with its parameters.
pub(crate) enum Pool {
    Mean,
    Cls,
    ClsPooler(Linear),
    Attention { dense: Linear, score: Linear },
}

impl Pool {
    /// Parameters stand below `pooler` and `pooling`.
    pub(crate) fn new(kind: TextPooling, s: &Scope, width: usize, std: f64) -> Result<Self> {
        Ok(match kind {
            TextPooling::Mean => Self::Mean,
            TextPooling::Cls => Self::Cls,
            TextPooling::ClsPooler => Self::ClsPooler(linear(&s.pp("pooler").pp("dense"), width, width, std)?),
            TextPooling::Attention => {
                let s = s.pp("pooling");
                s.pp("score").weight("weight", (1, width), Init::Normal(std))?;
                let score = s.pp("score").linear_no_bias(width, 1)?;
                Self::Attention { dense: linear(&s.pp("dense"), width, width, std)?, score }
            }
        })
    }

    /// `x [rows, positions, width]` to `[rows, width]`.
    pub(crate) fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let first = || x.narrow(1, 0, 1)?.squeeze(1)?.contiguous();
        match self {
            Self::Mean => mean(x, mask),
            Self::Cls => Ok(first()?),
            Self::ClsPooler(dense) => Ok(dense.forward(&first()?)?.tanh()?),
            Self::Attention { dense, score } => {
                let scores = score.forward(&dense.forward(x)?.tanh()?)?.squeeze(D::Minus1)?;
                let mask = mask.to_dtype(x.dtype())?;
                // What is filled up gets a weight of exactly zero.
                let far = mask.affine(1e30, -1e30)?;
                let weights = (softmax(&(scores + far)?)? * &mask)?;
                Ok(x.broadcast_mul(&weights.unsqueeze(D::Minus1)?)?.sum(1)?)
            }
        }
    }
}
