//! [`Tokenizer`]: texts to the numbers of their tokens, by the rules of a `tokenizer.json`.

use std::sync::OnceLock;

use tokenizers::{Error, TruncationParams};

/// The rules of a pretrained tokenizer, which cut a text off after a largest number of tokens.
pub struct Tokenizer {
    rules: tokenizers::Tokenizer,
    /// The same without a limit, made when a length is asked for: with one, what is cut off is not cut into tokens at all.
    whole: OnceLock<tokenizers::Tokenizer>,
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
        let cut = TruncationParams { max_length: max_tokens, ..Default::default() };
        rules.with_truncation(Some(cut)).map_err(fault)?;
        rules.with_padding(None);
        Ok(Self { rules, whole: OnceLock::new() })
    }

    /// One more than the largest number of a token.
    pub fn vocabulary(&self) -> usize {
        // Numbers may have gaps.
        self.rules.get_vocab(true).values().max().map_or(1, |last| *last as usize + 1)
    }

    /// How many tokens all of a text has, those that mark start and end included.
    ///
    /// # Errors
    /// When the rules do not cover the text.
    pub fn length(&self, text: &str) -> Result<usize, String> {
        let unlimited = || {
            let mut rules = self.rules.clone();
            // Taking a limit away cannot fail.
            let _ = rules.with_truncation(None);
            rules
        };
        Ok(encoded(self.whole.get_or_init(unlimited), text)?.len())
    }

    /// The numbers of a text's tokens, with those that mark start and end.
    ///
    /// # Errors
    /// When the rules do not cover the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        Ok(encoded(&self.rules, text)?.get_ids().to_vec())
    }
}

fn encoded(rules: &tokenizers::Tokenizer, text: &str) -> Result<tokenizers::Encoding, String> {
    rules.encode_fast(text, true).map_err(|e| format!("it cannot be cut into tokens: {e}"))
}
