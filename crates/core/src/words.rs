//! Words of a text, also where a script puts no blanks between them.

/// Scripts without blanks between words: Thai, Lao, Burmese, Khmer, kana and Han.
const UNSPACED: [(char, char); 13] = [
    ('\u{0e00}', '\u{0e7f}'),
    ('\u{0e80}', '\u{0eff}'),
    ('\u{1000}', '\u{109f}'),
    ('\u{1780}', '\u{17ff}'),
    ('\u{3005}', '\u{3007}'),
    ('\u{3041}', '\u{3096}'),
    ('\u{30a1}', '\u{30ff}'),
    ('\u{31f0}', '\u{31ff}'),
    ('\u{3400}', '\u{4dbf}'),
    ('\u{4e00}', '\u{9fff}'),
    ('\u{f900}', '\u{faff}'),
    ('\u{ff66}', '\u{ff9d}'),
    ('\u{20000}', '\u{323af}'),
];

/// Whether a character is a word of its own: a letter of a script without blanks between words (Thai, Lao, Burmese,
/// Khmer, kana, Han). Word pairs are then pairs of characters, which is what such texts are commonly classified by.
pub fn is_unspaced(c: char) -> bool {
    c >= UNSPACED[0].0 && UNSPACED.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// The longest runs of characters for which `in_word` holds. A character of a script without blanks ([`is_unspaced`])
/// is a word of its own.
pub fn words(text: &str, in_word: impl Fn(char) -> bool) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices() {
        let (inside, alone) = (in_word(c), is_unspaced(c));
        if (!inside || alone)
            && let Some(start) = start.take()
        {
            out.push(&text[start..at]);
        }
        match inside {
            true if alone => out.push(&text[at..at + c.len_utf8()]),
            true => _ = start.get_or_insert(at),
            false => {}
        }
    }
    out.extend(start.map(|start| &text[start..]));
    out
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn unspaced_scripts_split_by_character() {
        let all = |text| words(text, char::is_alphanumeric);
        assert_eq!(all("It's 2x, naïve!"), ["It", "s", "2x", "naïve"]);
        assert_eq!(all("我爱AI。東京タ"), ["我", "爱", "AI", "東", "京", "タ"]);
        assert_eq!(all("안녕 하세요"), ["안녕", "하세요"]);
        assert!(all("!! 😀").is_empty());
    }
}
