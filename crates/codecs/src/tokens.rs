//! [`Tokenizer`]: texts to the numbers of their tokens, by the rules of a `tokenizer.json`.

use std::collections::BTreeSet;

use serde_json::Value;
use tokenizers::{Error, TruncationParams};

/// The rules of a pretrained tokenizer, which cut a text off after a largest number of tokens.
pub struct Tokenizer {
    cutting: tokenizers::Tokenizer,
    /// The same rules without an end.
    whole: tokenizers::Tokenizer,
    /// Tokens that are no part of a text: marks, and the one for unknown words.
    empty: BTreeSet<u32>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.vocabulary())
    }
}

impl Tokenizer {
    /// The rules in the `content` of a `tokenizer.json`; a text becomes at most `max_tokens` tokens, those that mark start and
    /// end included.
    ///
    /// # Errors
    /// When the content holds no rules, or the marks alone are more than `max_tokens`.
    pub fn from_json(content: &[u8], max_tokens: usize) -> Result<Self, String> {
        let fault = |e: Error| format!("it holds no rules for tokens: {e}");
        let mut rules = tokenizers::Tokenizer::from_bytes(content).map_err(fault)?;
        rules.with_truncation(None).map_err(fault)?;
        rules.with_padding(None);
        let whole = rules.clone();
        let cut = TruncationParams { max_length: max_tokens, ..Default::default() };
        rules.with_truncation(Some(cut)).map_err(fault)?;
        let marks = rules.get_added_tokens_decoder().into_iter().filter(|(_, token)| token.special);
        let empty = marks.map(|(number, _)| number).chain(unknown(content, &rules)).collect();
        Ok(Self { cutting: rules, whole, empty })
    }

    /// One more than the largest number of a token.
    pub fn vocabulary(&self) -> usize {
        // Numbers may have gaps.
        self.cutting.get_vocab(true).values().max().map_or(1, |last| *last as usize + 1)
    }

    /// Whether a token stands for a part of a text: it is no mark (start, end, filling, mask) and not the token for
    /// unknown words.
    pub fn is_known(&self, token: u32) -> bool {
        !self.empty.contains(&token)
    }

    /// The pieces with their numbers, by number.
    pub fn pieces(&self) -> Vec<(u32, String)> {
        let mut all: Vec<_> = self.whole.get_vocab(true).into_iter().map(|(piece, number)| (number, piece)).collect();
        all.sort_unstable();
        all
    }

    /// All rules as JSON in one form, whatever form the file had: where texts are cut off is not among them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn rules(&self) -> Result<String, String> {
        self.whole.to_string(false).map_err(|e| format!("its rules cannot be written: {e}"))
    }

    /// How many tokens all of a text has, those that mark start and end included.
    ///
    /// # Errors
    /// When the rules do not cover the text.
    pub fn length(&self, text: &str) -> Result<usize, String> {
        Ok(encoded(&self.whole, text)?.len())
    }

    /// The numbers of a text's tokens, with those that mark start and end.
    ///
    /// # Errors
    /// When the rules do not cover the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        Ok(encoded(&self.cutting, text)?.get_ids().to_vec())
    }
}

/// The token for unknown words, where the rules have one.
fn unknown(content: &[u8], rules: &tokenizers::Tokenizer) -> Option<u32> {
    let content: Value = serde_json::from_slice(content).ok()?;
    let model = &content["model"];
    let by_name = || rules.token_to_id(model["unk_token"].as_str()?);
    model["unk_id"].as_u64().and_then(|number| u32::try_from(number).ok()).or_else(by_name)
}

fn encoded(rules: &tokenizers::Tokenizer, text: &str) -> Result<tokenizers::Encoding, String> {
    rules.encode_fast(text, true).map_err(|e| format!("it cannot be cut into tokens: {e}"))
}
