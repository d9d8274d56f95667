//! Texts from bytes, and Unicode forms of them.

use tokenizers::NormalizedString;

/// The bytes as a text.
///
/// # Errors
/// When they are not UTF-8: says where, and how the file is converted.
pub fn utf8(bytes: &[u8]) -> Result<&str, String> {
    let wide = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    let from = if wide { "UTF-16" } else { "WINDOWS-1252" };
    let convert =
        |e| format!("is not UTF-8: {e}; convert the file, for example by `iconv -f {from} -t UTF-8 OLD > NEW`");
    std::str::from_utf8(bytes).map_err(convert)
}

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
    fn other_encodings_say_how_to_convert() {
        assert_eq!(utf8("café".as_bytes()), Ok("café"));
        let latin = utf8(b"caf\xe9,").unwrap_err();
        assert!(latin.starts_with("is not UTF-8: ") && latin.contains("index 3"), "{latin}");
        assert!(
            latin.ends_with("convert the file, for example by `iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW`"),
            "{latin}"
        );
        assert!(utf8(b"\xff\xfet\0").unwrap_err().contains("-f UTF-16 "));
    }

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
