//! Source code without what computes nothing: comments, documentation, blank space and items under `#[cfg(test)]`. Two
//! versions of a file that differ in nothing else have the same [`Code::text`], so that finished cells stay finished.

/// What is left of a file.
pub(crate) struct Code {
    /// Its code. One blank stands between words and between operators that blanks had separated.
    pub(crate) text: String,
    /// Modules that are declared under `#[cfg(test)]` and stand in files of their own.
    pub(crate) test_modules: Vec<String>,
}

/// Around these a blank has no meaning.
const SEPARATORS: &str = "(){}[],;.";
const TEST: &str = "#[cfg(test)]";

/// The code of a file.
pub(crate) fn code(source: &str) -> Code {
    let chars: Vec<char> = source.chars().collect();
    let mut text = String::with_capacity(source.len());
    let mut test_modules = Vec::new();
    let mut at = 0;
    while let Some((start, end)) = next(&chars, at) {
        let token: String = chars[start..end].iter().collect();
        // The attribute is whole at its last character: the item that follows is left out with it.
        push(&mut text, &token, start > at);
        at = end;
        if text.ends_with(TEST) {
            text.truncate(text.len() - TEST.len());
            let (item, after) = item(&chars, at);
            test_modules.extend(module(&item));
            at = after;
        }
    }
    Code { text, test_modules }
}

fn push(text: &mut String, token: &str, blank: bool) {
    let joins = |c: Option<char>| c.is_none_or(|c| SEPARATORS.contains(c));
    if blank && !joins(text.chars().next_back()) && !joins(token.chars().next()) {
        text.push(' ');
    }
    text.push_str(token);
}

/// The name of the module in a file of its own that an item declares.
fn module(item: &str) -> Option<String> {
    let (public, name) = item.strip_suffix(';')?.rsplit_once("mod ")?;
    (public.is_empty() || public.starts_with("pub")).then(|| name.to_owned())
}

/// The code of one item, and where it ends: at the first `;` or `}` that is not inside of brackets.
fn item(chars: &[char], mut at: usize) -> (String, usize) {
    let (mut text, mut depth) = (String::new(), 0usize);
    while let Some((start, end)) = next(chars, at) {
        let token: String = chars[start..end].iter().collect();
        push(&mut text, &token, start > at);
        at = end;
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        // An attribute between the two belongs to the item.
        if depth == 0 && matches!(token.as_str(), ";" | "}") {
            break;
        }
    }
    (text, at)
}

/// The next token from `at` on: a literal, a word, or one character. Comments are passed over.
fn next(chars: &[char], mut at: usize) -> Option<(usize, usize)> {
    let peek = |i: usize| chars.get(i).copied().unwrap_or('\0');
    loop {
        match (peek(at), peek(at + 1)) {
            _ if at >= chars.len() => return None,
            (c, _) if c.is_whitespace() => at += 1,
            ('/', '/') => at = line_end(chars, at),
            ('/', '*') => at = comment_end(chars, at),
            _ => break,
        }
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let end = match (peek(at), peek(at + 1)) {
        ('"', _) => string_end(chars, at + 1),
        ('\'', '\\') => quote_end(chars, at + 2),
        ('\'', _) if peek(at + 2) == '\'' => at + 3,
        (c, _) if is_word(c) => {
            let word = (at..).find(|i| !is_word(peek(*i))).unwrap_or(chars.len());
            let prefix: String = chars[at..word].iter().collect();
            match (prefix.as_str(), peek(word)) {
                ("r" | "br" | "cr", '"' | '#') => raw_end(chars, word).unwrap_or(word),
                ("b" | "c", '"') => string_end(chars, word + 1),
                ("b", '\'') => quote_end(chars, word + if peek(word + 1) == '\\' { 2 } else { 1 }),
                _ => word,
            }
        }
        _ => at + 1,
    };
    Some((at, end.min(chars.len())))
}

fn line_end(chars: &[char], at: usize) -> usize {
    (at..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len())
}

fn comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

/// The end of a string whose first character is at `at`.
fn string_end(chars: &[char], mut at: usize) -> usize {
    while let Some(c) = chars.get(at) {
        match c {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of a character literal; `at` is behind a backslash, where there is one.
fn quote_end(chars: &[char], at: usize) -> usize {
    (at + 1..chars.len()).find(|i| chars[*i] == '\'').map_or(chars.len(), |i| i + 1)
}

/// The end of a raw string, which begins with `#`s and a quote; `None` for a raw identifier.
fn raw_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let closes = |i: &usize| chars[*i] == '"' && chars[i + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
    Some((at + hashes + 1..chars.len()).find(closes).map_or(chars.len(), |i| i + 1 + hashes))
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn comments_and_blanks_do_not_count() {
        let plain = code("fn f(a: u8) -> u8 { a.pow(2) /* twice */ + 1 } // one").text;
        let other = code("/// Doc.\n//! More.\nfn f( a: u8 )->u8 {\n    a\n        .pow(2)   + 1\n}\n").text;
        assert_eq!(plain.replace("->", " -> ").replace("  ", " "), other.replace("->", " -> ").replace("  ", " "));
        assert_eq!(code("a /* b /* c */ d */ e").text, "a e");
        assert_eq!(code("/* open").text, "");
    }

    #[test]
    fn code_counts() {
        let all = [
            "a & &b",
            "a && b",
            "'a'",
            "'a",
            "\"// no\"",
            "\"no\"",
            "r#\"a\"b\"#",
            "b'\\''",
            "1.5",
            "15",
            "(a,)",
            "(a)",
        ];
        let texts: std::collections::BTreeSet<String> = all.iter().map(|s| code(s).text).collect();
        assert_eq!(texts.len(), all.len());
        for text in
            ["let q = '\"'; // x", "let q = '\\''; // x", "f::<'a>('b', \"\\\"//\"); /* x */", "r#type + r\"\\\" // x"]
        {
            assert!(!code(text).text.contains('x') && code(text).text.len() > 8, "{}", code(text).text);
        }
    }

    #[test]
    fn tests_do_not_count() {
        let with = "fn f() {}\n#[cfg(test)]\nmod tests { fn g() { \"}\"; } }\n#[cfg(test)]\npub(crate) mod fakes;\n#[cfg(test)]\n#[path = \"x\"]\nmod more;\nfn h() {}";
        let found = code(with);
        assert_eq!(found.text, "fn f(){}fn h(){}");
        assert_eq!(found.test_modules, ["fakes"]);
        assert!(code("#[cfg(any(test, unix))] fn g() {}").text.contains("fn g"));
    }
}
