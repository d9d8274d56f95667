//! Texts as weighted counts of their words and neighbouring words (Salton and Buckley, "Term-weighting approaches in
//! automatic text retrieval", 1988), as scikit-learn's `TfidfVectorizer` makes them.
//!
//! A word is a run of two or more letters, digits or underscores of the lower-cased text; a term is one word, or
//! several in a row with a space between. What counts as a letter is Unicode's `Alphabetic`; Python's pattern also cuts
//! words at combining vowel signs, as in Devanagari.
//!
//! Two kinds of text have other words than in scikit-learn, which knows one or none in them. In scripts without blanks
//! between words (Chinese, Japanese, Thai, …) each character is a word, so terms are characters and pairs of them. In a
//! text without any letter or digit (emoji, `??`) each sign is one.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use transplant_core::{Error, Invalid, Result, is_unspaced, words};
use transplant_kernels::parallel;

/// The rows of a `u8 [rows, bytes]` tensor as texts; zeros at the end fill up. `rows` are named in errors.
pub(super) fn texts(values: &Tensor, rows: &[u64]) -> Result<Vec<String>> {
    if values.dtype() != DType::U8 || values.rank() != 2 {
        let (dtype, dims) = (values.dtype(), values.dims());
        let message = format!("this head reads texts, `u8 [rows, bytes]`, and got {dtype:?} {dims:?}");
        return Err(Invalid::new(message).into());
    }
    let width = values.dim(1)?;
    let bytes: Vec<u8> = values.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
    let text = |row: usize| {
        let filled = &bytes[row * width..(row + 1) * width];
        let length = filled.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        let wrong = |_| Error::data("features", rows.get(row).copied(), "the text is not UTF-8");
        std::str::from_utf8(&filled[..length]).map(str::to_owned).map_err(wrong)
    };
    (0..values.dim(0)?).map(text).collect()
}

/// The words of a text, with a space between, and where each stands.
pub(super) struct Words {
    text: String,
    places: Vec<(usize, usize)>,
}

impl Words {
    pub(super) fn of(text: &str) -> Self {
        let lower = text.to_lowercase();
        let mut out = Self { text: String::new(), places: Vec::new() };
        let whole = |w: &&str| w.chars().nth(1).is_some() || w.chars().all(is_unspaced);
        words(&lower, |c| c.is_alphanumeric() || c == '_').into_iter().filter(whole).for_each(|word| out.push(word));
        if !lower.contains(char::is_alphanumeric) {
            lower.split("").filter(|sign| sign.chars().any(is_sign)).for_each(|sign| out.push(sign));
        }
        out
    }

    fn push(&mut self, word: &str) {
        if !self.places.is_empty() {
            self.text.push(' ');
        }
        self.places.push((self.text.len(), self.text.len() + word.len()));
        self.text.push_str(word);
    }

    /// All runs of 1 to `ngrams` words.
    pub(super) fn terms(&self, ngrams: usize) -> impl Iterator<Item = &str> {
        let runs = (1..=ngrams).flat_map(move |n| self.places.windows(n));
        runs.filter_map(|run| Some(&self.text[run.first()?.0..run.last()?.1]))
    }
}

/// Whether a character shows something by itself: no blank, and none of those that join or vary emoji.
fn is_sign(c: char) -> bool {
    !(c.is_whitespace() || c.is_control() || matches!(c, '_' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}'))
}

/// How terms are taken and weighted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// The longest run of words that is a term.
    pub(super) ngrams: usize,
    /// Whether a term that stands n times in a text counts `1 + ln n` there instead of n.
    pub(super) sublinear: bool,
}

/// The terms that are known, in the order of their bytes, and how much each tells.
pub(super) struct Vocabulary {
    how: Terms,
    numbers: HashMap<Box<str>, u32>,
    /// The terms one after another.
    bytes: Vec<u8>,
    /// Where each begins, and where the last one ends.
    offsets: Vec<u32>,
    /// The logarithm of one over the share of texts that hold a term, one text added, plus 1.
    idf: Vec<f32>,
}

impl Vocabulary {
    /// The terms that stand in at least `min_count` of these texts.
    pub(super) fn fit(texts: &[Words], how: Terms, min_count: usize) -> Result<Self> {
        let distinct = |words: &Words| -> Vec<Box<str>> {
            let mut terms: Vec<&str> = words.terms(how.ngrams).collect();
            terms.sort_unstable();
            terms.dedup();
            terms.into_iter().map(Into::into).collect()
        };
        let mut counts: HashMap<Box<str>, usize> = HashMap::new();
        // A block of texts at a time, so that the terms of all need not be held at once.
        for block in texts.chunks(4096) {
            for terms in parallel::map(block.len(), &|i| distinct(&block[i])) {
                terms.into_iter().for_each(|term| *counts.entry(term).or_default() += 1);
            }
        }
        let mut kept: Vec<(Box<str>, usize)> = counts.into_iter().filter(|(_, n)| *n >= min_count).collect();
        kept.sort_unstable();
        let idf = |n: usize| ((1.0 + texts.len() as f64) / (1.0 + n as f64)).ln() + 1.0;
        let idf = kept.iter().map(|(_, n)| idf(*n) as f32).collect();
        Self::of(kept.into_iter().map(|(term, _)| term), how, idf)
    }

    fn of(terms: impl Iterator<Item = Box<str>>, how: Terms, idf: Vec<f32>) -> Result<Self> {
        let (mut numbers, mut bytes, mut offsets) = (HashMap::new(), Vec::new(), vec![0]);
        for (number, term) in (0..).zip(terms) {
            bytes.extend_from_slice(term.as_bytes());
            let end = u32::try_from(bytes.len());
            offsets.push(end.map_err(|_| Error::resource("the terms of all texts", "they take more than 4 GiB"))?);
            numbers.insert(term, number);
        }
        Ok(Self { how, numbers, bytes, offsets, idf })
    }

    /// How many terms there are.
    pub(super) fn len(&self) -> usize {
        self.idf.len()
    }

    /// Number and weight of each term of a text, by number; the weights' squares sum to 1 unless no term is known.
    pub(super) fn row(&self, words: &Words) -> Vec<(u32, f64)> {
        let mut found: Vec<u32> =
            words.terms(self.how.ngrams).filter_map(|term| self.numbers.get(term).copied()).collect();
        found.sort_unstable();
        let weight = |same: &[u32]| {
            let (number, n) = (same[0], same.len() as f64);
            let count = if self.how.sublinear { 1.0 + n.ln() } else { n };
            (number, count * f64::from(self.idf[number as usize]))
        };
        let mut row: Vec<(u32, f64)> = found.chunk_by(|a, b| a == b).map(weight).collect();
        let length = row.iter().map(|(_, w)| w * w).sum::<f64>().sqrt();
        row.iter_mut().for_each(|(_, w)| *w /= length);
        row
    }

    /// `vocabulary u8 [bytes]`, the terms one after another, `offsets u32 [terms + 1]` of their bytes, and `idf f32
    /// [terms]`.
    pub(super) fn to_tensors(&self) -> Result<[(String, Tensor); 3]> {
        let tensor = |name: &str, t: candle_core::Result<Tensor>| -> Result<_> { Ok((name.to_owned(), t?)) };
        Ok([
            tensor("vocabulary", Tensor::from_slice(&self.bytes, self.bytes.len(), &Device::Cpu))?,
            tensor("offsets", Tensor::from_slice(&self.offsets, self.offsets.len(), &Device::Cpu))?,
            tensor("idf", Tensor::from_slice(&self.idf, self.idf.len(), &Device::Cpu))?,
        ])
    }

    /// The other way. The error says which tensor does not fit, and why.
    pub(super) fn of_tensors(
        how: Terms,
        vocabulary: &Tensor,
        offsets: &Tensor,
        idf: &Tensor,
    ) -> Result<Self, (&'static str, String)> {
        let wrong = |name| move |e: candle_core::Error| (name, e.to_string());
        let on_host = |t: &Tensor| t.to_device(&Device::Cpu);
        let bytes: Vec<u8> = on_host(vocabulary).and_then(|t| t.to_vec1()).map_err(wrong("vocabulary"))?;
        let offsets: Vec<u32> = on_host(offsets).and_then(|t| t.to_vec1()).map_err(wrong("offsets"))?;
        let idf: Vec<f32> = on_host(idf).and_then(|t| t.to_vec1()).map_err(wrong("idf"))?;
        if offsets.len() != idf.len() + 1 {
            return Err(("offsets", format!("{} offsets for {} terms", offsets.len(), idf.len())));
        }
        let term = |ends: &[u32]| -> Result<Box<str>, (&'static str, String)> {
            let term = bytes.get(ends[0] as usize..ends[1] as usize);
            let term = term.ok_or_else(|| ("offsets", format!("no term stands at bytes {ends:?}")))?;
            Ok(std::str::from_utf8(term).map_err(|e| ("vocabulary", e.to_string()))?.into())
        };
        let terms = offsets.windows(2).map(term).collect::<Result<Vec<_>, _>>()?;
        Self::of(terms.into_iter(), how, idf).map_err(|e| ("vocabulary", e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::features;
    use super::*;

    #[test]
    fn words_are_found_in_any_script() {
        let words = Words::of("It's 5'11\", I’d LOVE a_b: ÄRMEL_ naïve 東京 ok!");
        let one: Vec<&str> = words.terms(1).collect();
        assert_eq!(one, ["it", "11", "love", "a_b", "ärmel_", "naïve", "東", "京", "ok"]);
        let two: Vec<&str> = words.terms(2).skip(9).collect();
        assert_eq!((two.len(), two[0], two[6]), (8, "it 11", "東 京"));
        assert_eq!(Words::of("a ! b").terms(3).count(), 0);
        assert_eq!(
            Words::of("?? \u{1f469}\u{200d}\u{1f52c}").terms(1).collect::<Vec<_>>(),
            ["?", "?", "\u{1f469}", "\u{1f52c}"]
        );
    }

    #[test]
    fn zeros_at_the_end_are_filling_and_what_is_no_text_is_named() -> Result<()> {
        let read = |bytes: &[[u8; 4]; 2]| {
            let f = features(Tensor::new(bytes, &Device::Cpu).unwrap());
            texts(&f.values, &[3, 8])
        };
        assert_eq!(read(&[*b"ab\0\0", [0; 4]])?, ["ab", ""]);
        let e = read(&[*b"ab\0\0", [b'a', 0xff, 0, 0]]).unwrap_err().to_string();
        assert!(e.contains("row 8") && e.contains("not UTF-8"), "{e}");
        let e = texts(&Tensor::zeros((1, 2), DType::F32, &Device::Cpu)?, &[0]).unwrap_err().to_string();
        assert!(e.contains("F32 [1, 2]"), "{e}");
        Ok(())
    }

    #[test]
    fn a_vocabulary_comes_back_from_its_tensors_and_damaged_ones_are_named() -> Result<()> {
        let words: Vec<Words> = ["red dress", "red skirt", "blue dress"].map(Words::of).into();
        let how = Terms { ngrams: 2, sublinear: true };
        let v = Vocabulary::fit(&words, how, 1)?;
        assert_eq!(v.bytes, b"blueblue dressdressredred dressred skirtskirt");
        let [(_, bytes), (_, offsets), (_, idf)] = v.to_tensors()?;
        let back = Vocabulary::of_tensors(how, &bytes, &offsets, &idf).map_err(|e| Error::contract(e.1))?;
        assert_eq!(back.row(&words[1]), v.row(&words[1]));
        let error = |bytes: &Tensor, offsets: &Tensor| Vocabulary::of_tensors(how, bytes, offsets, &idf).err();
        assert_eq!(error(&bytes, &bytes).map(|e| e.0), Some("offsets"));
        assert_eq!(error(&bytes, &offsets.narrow(0, 0, 7)?).map(|e| e.1), Some("7 offsets for 7 terms".to_owned()));
        assert_eq!(error(&bytes.narrow(0, 0, 9)?, &offsets).map(|e| e.0), Some("offsets"));
        Ok(())
    }
}
