//! `tokenise`: texts to the pieces that a pretrained network learned from, by the rules of its `tokenizer.json`.
//!
//! Schuster & Nakajima 2012 (*WordPiece*), Sennrich et al. 2016 (*BPE*), and whatever else the file says. Needs the cargo feature
//! `tokenizers`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, BuildCx, Carried, Component, Error, Invalid, Plugins, Result, Schema, Transform, TransformCx,
};

use super::texts::{each_text, token_schema};

/// Turns texts into numbers of pieces by the rules of a `tokenizer.json`.
///
/// Give either the asset or the path. Pieces that mark start and end are put in; a longer text is cut off, a shorter one filled
/// up with 0. Needs the cargo feature `tokenizers`, which `cargo xtask` turns on for files that use this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Name of an asset that has a tokenizer; it is fetched when it is not there.
    pub asset: Option<String>,
    /// A `tokenizer.json`; a relative path starts at the pipeline file.
    pub path: Option<PathBuf>,
    /// Pieces a row, from 2.
    pub max_tokens: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { asset: None, path: None, max_tokens: 128 }
    }
}

/// Texts as pieces.
pub struct Tokenise {
    rules: rules::Rules,
    content: Vec<u8>,
    max_tokens: usize,
}

impl std::fmt::Debug for Tokenise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenise({} tokens)", self.max_tokens)
    }
}

impl Tokenise {
    /// By the rules in this file.
    ///
    /// # Errors
    /// When it cannot be read or holds no rules; when this build lacks the feature `tokenizers`.
    pub fn load(path: &Path, max_tokens: usize) -> Result<Self> {
        let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let rules = rules::Rules::new(path, &content, max_tokens)?;
        Ok(Self { rules, content, max_tokens })
    }
}

impl Transform for Tokenise {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        token_schema(inputs, self.max_tokens, self.rules.vocabulary())
    }

    fn carried(&self) -> Option<Carried> {
        let name = "tokenizer.json".to_owned();
        Some(Carried { option: "path", name, content: self.content.clone() })
    }

    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        each_text(inputs, cx, self.max_tokens, |text| self.rules.numbers(text))
    }
}

impl Component<dyn Transform> for Tokenise {
    const TYPE: &'static str = "tokenise";
    type Options = Options;

    fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
        if !(2..=1 << 16).contains(&o.max_tokens) {
            return Err(Invalid::key("max_tokens", "must be from 2 to 65536"));
        }
        match (&o.asset, &o.path) {
            (Some(_), Some(_)) => Err(Invalid::key("path", "stands instead of `asset`: give one or the other")),
            (None, None) => Err(Invalid::new("has no rules").help("give `asset` or `path`")),
            _ => Ok(()),
        }
    }

    fn build(o: Options, cx: &BuildCx<'_>) -> Result<Box<dyn Transform>> {
        let path = match (&o.asset, &o.path) {
            (Some(asset), _) => rules::fetched(asset)?,
            (None, Some(path)) => cx.path(path),
            (None, None) => return Err(Invalid::key("path", "is missing").into()),
        };
        Ok(Box::new(Self::load(&path, o.max_tokens)?))
    }
}

#[cfg(feature = "tokenizers")]
mod rules {
    use super::*;
    use tokenizers::{Tokenizer, TruncationParams};
    use transplant_assets::{Role, Store, find};

    pub(super) struct Rules(Tokenizer);

    impl Rules {
        pub(super) fn new(path: &Path, content: &[u8], max_tokens: usize) -> Result<Self> {
            let fault = |e: tokenizers::Error| Error::data(path, None, format!("it holds no rules for tokens: {e}"));
            let mut rules = Tokenizer::from_bytes(content).map_err(fault)?;
            let cut = TruncationParams { max_length: max_tokens, ..Default::default() };
            rules.with_truncation(Some(cut)).map_err(fault)?;
            rules.with_padding(None);
            Ok(Self(rules))
        }

        pub(super) fn vocabulary(&self) -> usize {
            // Numbers may have gaps.
            self.0.get_vocab(true).values().max().map_or(1, |last| *last as usize + 1)
        }

        pub(super) fn numbers(&self, text: &str) -> Result<Vec<u32>, String> {
            let pieces = self.0.encode_fast(text, true).map_err(|e| format!("it cannot be cut into tokens: {e}"))?;
            Ok(pieces.get_ids().to_vec())
        }
    }

    /// The tokenizer of an asset.
    pub(super) fn fetched(name: &str) -> Result<PathBuf> {
        let at = |e: Error| match e {
            Error::Invalid(e) => Error::from(e.under("asset")),
            other => other,
        };
        let asset = find(name).map_err(at)?;
        if asset.file(Role::Tokenizer).is_none() {
            return Err(Invalid::key("asset", format!("`{name}` has no tokenizer")).into());
        }
        let fetched = Store::at(Store::default_folder()?).fetch(asset, &mut |_| {})?;
        let none = || Error::contract(format!("the asset `{name}` has no tokenizer"));
        Ok(fetched.path(Role::Tokenizer).ok_or_else(none)?.to_owned())
    }
}

#[cfg(not(feature = "tokenizers"))]
mod rules {
    use super::*;

    /// None can be made: this build has no rules.
    pub(super) enum Rules {}

    impl Rules {
        pub(super) fn new(_: &Path, _: &[u8], _: usize) -> Result<Self> {
            Err(lacks())
        }

        pub(super) fn vocabulary(&self) -> usize {
            match *self {}
        }

        pub(super) fn numbers(&self, _: &str) -> Result<Vec<u32>, String> {
            match *self {}
        }
    }

    pub(super) fn fetched(_: &str) -> Result<PathBuf> {
        Err(lacks())
    }

    fn lacks() -> Error {
        let e = Invalid::new("`tokenise` needs the cargo feature `tokenizers`, and this build lacks it");
        e.help("`cargo xtask` turns it on for files that use `tokenise`").into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::fault;
    use super::*;
    use serde_json::json;

    fn own(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokens").join(name)
    }

    #[test]
    fn contradictions_are_named() {
        assert!(fault::<Tokenise>(json!({})).contains("has no rules"));
        assert!(fault::<Tokenise>(json!({"asset": "a", "path": "b"})).starts_with("path: stands instead"));
        assert!(fault::<Tokenise>(json!({"path": "b", "max_tokens": 1})).starts_with("max_tokens: "));
        assert!(fault::<Tokenise>(json!({"path": "no/such/file"})).contains("file"));
    }

    #[cfg(not(feature = "tokenizers"))]
    #[test]
    fn a_build_without_the_feature_says_so() {
        for options in [json!({"asset": "all_minilm_l6_v2"}), json!({"path": own("tokenizer.json")})] {
            assert!(fault::<Tokenise>(options).contains("cargo feature `tokenizers`"));
        }
    }

    #[cfg(feature = "tokenizers")]
    #[test]
    fn pieces_are_those_of_transformers() -> Result<()> {
        use super::super::testing::build;
        use super::super::texts::testing::apply;
        let goldens: serde_json::Value = serde_json::from_slice(&std::fs::read(own("expected.json")).unwrap()).unwrap();
        let texts: Vec<String> = serde_json::from_value(goldens["texts"].clone()).unwrap();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for (max_tokens, wanted) in goldens["tokens"].as_object().unwrap() {
            let max_tokens: usize = max_tokens.parse().unwrap();
            let wanted: Vec<Vec<u32>> = serde_json::from_value(wanted.clone()).unwrap();
            let t = build::<Tokenise>(json!({"path": own("tokenizer.json"), "max_tokens": max_tokens}))?;
            for ((tokens, mask), mut wanted) in apply(t.as_ref(), &texts).into_iter().zip(wanted) {
                let there: usize = mask.iter().map(|m| *m as usize).sum();
                assert_eq!(there, wanted.len());
                assert!(mask[..there].iter().all(|m| *m == 1.0));
                wanted.resize(max_tokens, 0);
                assert_eq!(tokens, wanted);
            }
            let carried = t.carried().unwrap();
            assert_eq!((carried.option, carried.content), ("path", std::fs::read(own("tokenizer.json")).unwrap()));
        }
        assert!(fault::<Tokenise>(json!({"path": own("expected.json")})).contains("no rules for tokens"));
        assert!(fault::<Tokenise>(json!({"asset": "efficientnet_lite0"})).contains("has no tokenizer"));
        assert!(fault::<Tokenise>(json!({"asset": "all_minilm"})).contains("asset: there is no asset"));
        Ok(())
    }
}
