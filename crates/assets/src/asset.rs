//! [`Asset`]: something that is fetched by its name, and what must be known to use it.

use std::fmt;

use serde::{Deserialize, Serialize};
use transplant_core::{Architecture, Spec};

use crate::Source;

/// Pretrained weights, or other files, under one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    /// Its name: lowercase letters, digits and `_`.
    pub name: String,
    /// What it is, in one line.
    pub about: String,
    /// The network that the weights belong to, with its options; none when there are no weights.
    pub architecture: Option<Spec<dyn Architecture>>,
    /// The licence, as an SPDX expression.
    pub licence: String,
    /// The list of names of the classes that the weights know, such as `imagenet_1k`.
    pub classes: Option<String>,
    /// How images were prepared when the weights were trained.
    pub image: Option<Preprocessing>,
    /// Its files, one a role.
    pub files: Vec<AssetFile>,
}

/// A file of an [`Asset`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetFile {
    /// What it is for.
    pub role: Role,
    /// Its name in the store, without folders.
    pub name: String,
    /// Its size. Given together with `sha256`.
    pub bytes: Option<u64>,
    /// Its SHA-256 in lowercase hexadecimal digits. Without it a damaged file cannot be told from a whole one.
    pub sha256: Option<String>,
    /// Who has it; the first that answers is taken.
    pub sources: Vec<Source>,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// The tensors.
    Weights,
    /// The rules by which text becomes tokens.
    Tokenizer,
    /// The sizes of the network, as whoever trained it wrote them.
    Config,
    /// The tokens, one a line.
    Vocabulary,
    /// Rows that describe things: names, classes, numbers.
    Table,
    /// Many files in one: a package as its registry has it.
    Archive,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weights => "weights",
            Self::Tokenizer => "tokenizer",
            Self::Config => "config",
            Self::Vocabulary => "vocabulary",
            Self::Table => "table",
            Self::Archive => "archive",
        })
    }
}

/// How images were prepared when weights were trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Height and width in pixels.
    pub size: usize,
    /// What is taken from each channel, which lies in 0..1.
    pub mean: Vec<f32>,
    /// What each channel is then divided by.
    pub std: Vec<f32>,
    /// How images were brought to their size.
    pub interpolation: Interpolation,
}

/// How images are brought to another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Interpolation {
    /// From the 2 x 2 nearest pixels.
    Bilinear,
    /// From the 4 x 4 nearest pixels.
    Bicubic,
}

impl Asset {
    /// The file of a role.
    pub fn file(&self, role: Role) -> Option<&AssetFile> {
        self.files.iter().find(|f| f.role == role)
    }

    /// Whether size and SHA-256 of all its files are known.
    pub fn is_pinned(&self) -> bool {
        self.files.iter().all(|f| f.sha256.is_some())
    }

    /// The size of all its files, when it is known.
    pub fn bytes(&self) -> Option<u64> {
        self.files.iter().map(|f| f.bytes).sum()
    }
}
