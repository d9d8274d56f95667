//! Unicode forms of texts.

use tokenizers::NormalizedString;

/// The text in Unicode normalisation form KC: characters that look the same or mean the same are one.
pub fn nfkc(text: &str) -> String {
    let mut normalised = NormalizedString::from(text);
    normalised.nfkc();
    normalised.get().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composed_and_decomposed_are_one() {
        // As Python's `unicodedata.normalize("NFKC", …)` has them.
        for (text, normal) in
            [("e\u{301}t", "\u{e9}t"), ("\u{ff21}\u{a0}b", "A b"), ("\u{fb01}x", "fix"), ("日本", "日本")]
        {
            assert_eq!(nfkc(text), normal);
        }
    }
}
