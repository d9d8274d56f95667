//! `tokenise`: texts to the pieces that a pretrained network learned from, by the rules of its `tokenizer.json`.
//!
//! Schuster & Nakajima 2012 (*WordPiece*), Sennrich et al. 2016 (*BPE*), and whatever else the file says.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use transplant_assets::{Role, Store, find};
use transplant_codecs::tokens::Tokenizer;
use transplant_core::{
    Acts, BuildCx, Carried, Component, Error, Invalid, Plugins, Result, Schema, TextLimit, Transform, TransformCx,
    Vocabulary,
};

use super::texts::{each_text, has_known_tokens, of_each_text, token_schema};

/// Turns texts into numbers of pieces by the rules of a `tokenizer.json`.
///
/// Give either the asset or the path. Pieces that mark start and end are put in; a longer text is cut off, a shorter one filled
/// up with 0.
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
    rules: Tokenizer,
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
    /// When it cannot be read or holds no rules.
    pub fn load(path: &Path, max_tokens: usize) -> Result<Self> {
        let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let fault = |message| Error::data(path, None, message);
        let rules = Tokenizer::from_json(&content, max_tokens).map_err(fault)?;
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

    fn vocabulary(&self) -> Result<Option<Vocabulary>> {
        let rules = self.rules.rules().map_err(Error::contract)?;
        let pieces = self.rules.pieces();
        let hash = |text: &str| Sha256::digest(text.as_bytes()).into();
        let name = format!("{} pieces of a `tokenizer.json`", pieces.len());
        Ok(Some(Vocabulary { name, pieces: hash(&format!("{pieces:?}")), rules: hash(&rules) }))
    }

    fn limit(&self) -> Option<TextLimit> {
        Some(TextLimit { length: self.max_tokens, unit: "tokens", option: "max_tokens" })
    }

    fn lengths(&self, inputs: &Acts) -> Result<Vec<usize>> {
        of_each_text(inputs, None, &|text| self.rules.length(text))
    }

    fn has_words(&self, made: &Acts) -> Result<Vec<bool>> {
        has_known_tokens(made, &|token| self.rules.is_known(token))
    }

    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        each_text(inputs, cx, self.max_tokens, &|text| self.rules.encode(text))
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
            (Some(asset), _) => fetched(asset)?,
            (None, Some(path)) => cx.path(path),
            (None, None) => return Err(Invalid::key("path", "is missing").into()),
        };
        Ok(Box::new(Self::load(&path, o.max_tokens)?))
    }
}

/// The tokenizer of an asset.
fn fetched(name: &str) -> Result<PathBuf> {
    let at = |e: Error| match e {
        Error::Invalid(e) => Error::from(e.under("asset")),
        other => other,
    };
    let asset = find(name).map_err(at)?;
    if asset.file(Role::Tokenizer).is_none() {
        return Err(Invalid::key("asset", format!("`{name}` has no tokenizer")).into());
    }
    let fetched = Store::at(Store::default_folder()?).fetch(asset, &mut |_| {})?;
    let none = || Error::from(Invalid::key("asset", format!("`{name}` has no tokenizer")));
    Ok(fetched.path(Role::Tokenizer).ok_or_else(none)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{build, fault};
    use super::super::texts::testing::{apply, batch};
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

    #[test]
    fn unknown_tokens_are_no_words() -> Result<()> {
        let t = build::<Tokenise>(json!({"path": own("tokenizer.json"), "max_tokens": 8}))?;
        let goldens: serde_json::Value = serde_json::from_slice(&std::fs::read(own("expected.json")).unwrap()).unwrap();
        let known = goldens["texts"][0].as_str().unwrap();
        let texts = [known, "\u{1f600} \u{1f601}", " ", "[UNK]"];
        let cx = TransformCx { rows: &[0, 1, 2, 3], epoch: 0, seeds: transplant_core::Seeds::new(1) };
        let made = t.apply(batch(&texts), &cx)?;
        assert_eq!(t.has_words(&made)?, [true, false, false, false], "{known}");
        Ok(())
    }

    #[test]
    fn pieces_are_those_of_transformers() -> Result<()> {
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
        let all = goldens["tokens"].as_object().unwrap().values();
        let lengths =
            all.map(|texts| texts.as_array().unwrap().iter().map(|t| t.as_array().unwrap().len()).collect::<Vec<_>>());
        let whole = lengths.max_by_key(|lengths| lengths.iter().sum::<usize>()).unwrap();
        for max_tokens in [4, 7] {
            let t = build::<Tokenise>(json!({"path": own("tokenizer.json"), "max_tokens": max_tokens}))?;
            assert_eq!(t.lengths(&batch(&texts))?, whole, "cut off at {max_tokens}, counted whole");
        }
        let first = build::<Tokenise>(json!({"path": own("tokenizer.json")}))?.vocabulary()?.unwrap();
        assert!(first.name.ends_with("pieces of a `tokenizer.json`"), "{}", first.name);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.json");
        let mut rules: serde_json::Value =
            serde_json::from_slice(&std::fs::read(own("tokenizer.json")).unwrap()).unwrap();
        let mut changed = |edit: &dyn Fn(&mut serde_json::Value)| {
            edit(&mut rules);
            std::fs::write(&path, rules.to_string()).unwrap();
            build::<Tokenise>(json!({"path": path, "max_tokens": 9})).unwrap().vocabulary().unwrap().unwrap()
        };
        assert_eq!(changed(&|r| r["padding"] = serde_json::Value::Null), first, "where it is cut off does not count");
        let other = changed(&|r| r["normalizer"] = serde_json::Value::Null);
        assert!(other.pieces == first.pieces && other.rules != first.rules);
        assert!(fault::<Tokenise>(json!({"path": own("expected.json")})).contains("no rules for tokens"));
        assert!(fault::<Tokenise>(json!({"asset": "efficientnet_lite0"})).contains("has no tokenizer"));
        assert!(fault::<Tokenise>(json!({"asset": "all_minilm"})).contains("asset: there is no asset"));
        Ok(())
    }
}
