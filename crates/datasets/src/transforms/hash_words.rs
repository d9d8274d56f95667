//! `hash_words`: words to numbers without a vocabulary: the number of a word is a hash of it.
//!
//! Weinberger et al. 2009, *Feature Hashing for Large Scale Multitask Learning*. The hash is FNV-1a of 64 bits over the
//! UTF-8 of the word (Fowler, Noll, Vo), which is the same everywhere and always. For networks that start from fresh
//! weights.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use transplant_core::{
    Acts, BuildCx, Component, Invalid, Plugins, Result, Schema, TextLimit, Transform, TransformCx, Vocabulary, words,
};

use super::texts::{each_text, has_known_tokens, of_each_text, token_schema};

/// Turns texts into numbers of words: a hash of each, without a vocabulary.
///
/// Weinberger et al. 2009. A word is a run of letters and digits (Unicode), in lower case; its number is
/// `1 + fnv1a_64(word) % buckets`. In scripts without blanks between words (Chinese, Japanese, Thai, …) each character
/// is a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How many different numbers there are; words that share one are taken for the same.
    pub buckets: usize,
    /// Words that are taken of a text, from its start.
    pub max_words: usize,
    /// 1: words alone; 2: then also every two words that follow each other.
    pub ngrams: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { buckets: 30_000, max_words: 128, ngrams: 1 }
    }
}

/// Words by their hashes.
#[derive(Debug)]
pub struct HashWords(Options);

impl HashWords {
    /// Hashes so.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        if !(1..=1 << 24).contains(&o.buckets) {
            return Err(Invalid::key("buckets", "must be from 1 to 16777216"));
        }
        if !(1..=1 << 16).contains(&o.max_words) {
            return Err(Invalid::key("max_words", "must be from 1 to 65536"));
        }
        if !(1..=2).contains(&o.ngrams) {
            return Err(Invalid::key("ngrams", "must be 1 or 2"));
        }
        Ok(Self(o))
    }

    /// Numbers a row: the words, then the pairs.
    fn length(&self) -> usize {
        if self.0.ngrams == 1 { self.0.max_words } else { 2 * self.0.max_words - 1 }
    }

    fn numbers(&self, text: &str) -> Vec<u32> {
        let words = words(text, char::is_alphanumeric).into_iter();
        let words: Vec<String> = words.take(self.0.max_words).map(str::to_lowercase).collect();
        // Below 2^24.
        let number = |text: &str| 1 + (fnv1a(text.as_bytes()) % self.0.buckets as u64) as u32;
        let mut out: Vec<u32> = words.iter().map(|w| number(w)).collect();
        if self.0.ngrams == 2 {
            out.extend(words.windows(2).map(|pair| number(&pair.join(" "))));
        }
        out
    }
}

/// FNV-1a with 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

impl Transform for HashWords {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        token_schema(inputs, self.length(), self.0.buckets + 1)
    }

    fn vocabulary(&self) -> Result<Option<Vocabulary>> {
        let (buckets, ngrams) = (self.0.buckets, self.0.ngrams);
        let name = format!("`hash_words` with {buckets} buckets");
        let hash = |text: &str| Sha256::digest(text.as_bytes()).into();
        Ok(Some(Vocabulary { pieces: hash(&name), rules: hash(&format!("{ngrams} words")), name }))
    }

    fn limit(&self) -> Option<TextLimit> {
        Some(TextLimit { length: self.0.max_words, unit: "words", option: "max_words" })
    }

    fn lengths(&self, inputs: &Acts) -> Result<Vec<usize>> {
        of_each_text(inputs, None, &|text| Ok(words(text, char::is_alphanumeric).len()))
    }

    fn has_words(&self, made: &Acts) -> Result<Vec<bool>> {
        // Every word has a number.
        has_known_tokens(made, &|_| true)
    }

    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        each_text(inputs, cx, self.length(), &|text| Ok(self.numbers(text)))
    }
}

impl Component<dyn Transform> for HashWords {
    const TYPE: &'static str = "hash_words";
    type Options = Options;

    fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(drop)
    }

    fn build(o: Options, _: &BuildCx<'_>) -> Result<Box<dyn Transform>> {
        Ok(Box::new(Self::new(o)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{build, fault};
    use super::super::texts::testing::{apply, batch};
    use super::*;
    use serde_json::json;

    #[test]
    fn the_hash_is_that_of_its_authors() {
        // From the test suite that Noll published with FNV.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn words_are_runs_of_letters_and_digits_in_lower_case() -> Result<()> {
        let t = build::<HashWords>(json!({"buckets": 1000, "max_words": 3}))?;
        let number = |w: &str| 1 + (fnv1a(w.as_bytes()) % 1000) as u32;
        let out = apply(t.as_ref(), &["", "A foobar, no?", "Élan-2x!", "a a a a a"]);
        assert_eq!(out[0], (vec![0; 3], vec![0.0; 3]));
        // Their hashes above, modulo 1000.
        assert_eq!(out[1], (vec![997, 969, number("no")], vec![1.0; 3]));
        assert_eq!(out[2], (vec![number("élan"), number("2x"), 0], vec![1.0, 1.0, 0.0]));
        assert_eq!(out[3].0, [997; 3]);
        Ok(())
    }

    #[test]
    fn chinese_characters_are_words() -> Result<()> {
        let t = build::<HashWords>(json!({"max_words": 4}))?;
        let number = |w: &str| 1 + (fnv1a(w.as_bytes()) % 30_000) as u32;
        let out = apply(t.as_ref(), &["好吃，AI店"]);
        assert_eq!(out[0].0, [number("好"), number("吃"), number("ai"), number("店")]);
        Ok(())
    }

    #[test]
    fn pairs_follow_the_words() -> Result<()> {
        let t = build::<HashWords>(json!({"max_words": 3, "ngrams": 2}))?;
        let number = |w: &str| 1 + (fnv1a(w.as_bytes()) % 30_000) as u32;
        let out = apply(t.as_ref(), &["New York", "new york new york"]);
        assert_eq!(out[0].0, [number("new"), number("york"), number("new york"), 0, 0]);
        assert_eq!(out[0].1, [1.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(out[1].0[3..], [number("new york"), number("york new")]);
        Ok(())
    }

    #[test]
    fn lengths_count_all_words() -> Result<()> {
        let t = build::<HashWords>(json!({"max_words": 3, "ngrams": 2}))?;
        assert_eq!(t.limit().map(|l| (l.length, l.unit, l.option)), Some((3, "words", "max_words")));
        assert_eq!(t.lengths(&batch(&["", "a b, c", "New York new york"]))?, [0, 3, 4]);
        Ok(())
    }

    #[test]
    fn signs_are_no_words() -> Result<()> {
        let t = build::<HashWords>(json!({"max_words": 3}))?;
        let cx = TransformCx { rows: &[0, 1, 2, 3], epoch: 0, seeds: transplant_core::Seeds::new(1) };
        let made = t.apply(batch(&["a b c d", "\u{1f600}\u{1f600}", "", "?! x"]), &cx)?;
        assert_eq!(t.has_words(&made)?, [true, false, false, true]);
        Ok(())
    }

    #[test]
    fn buckets_make_the_vocabulary() -> Result<()> {
        let of = |o| build::<HashWords>(o)?.vocabulary().map(Option::unwrap);
        let first = of(json!({"buckets": 10}))?;
        assert_eq!(of(json!({"buckets": 10, "max_words": 3}))?, first);
        assert_ne!(of(json!({"buckets": 11}))?.pieces, first.pieces);
        assert_ne!(of(json!({"buckets": 10, "ngrams": 2}))?.rules, first.rules);
        Ok(())
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        assert!(fault::<HashWords>(json!({"buckets": 0})).starts_with("buckets: "));
        assert!(fault::<HashWords>(json!({"max_words": 0})).starts_with("max_words: "));
        assert!(fault::<HashWords>(json!({"ngrams": 3})).starts_with("ngrams: "));
    }
}
