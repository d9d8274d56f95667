//! [`Cell`]: one value of a table, whatever kind of file it came from.

use std::borrow::Cow;

/// A value that is there; a missing one is `None` of an `Option<Cell>`.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A text. Every value of CSV and TSV is one.
    Text(String),
    /// `true` or `false`.
    Truth(bool),
    /// A whole number, exactly.
    Integer(i128),
    /// Any other number; never NaN.
    Number(f64),
    /// Bytes that are not said to be a text.
    Bytes(Vec<u8>),
    /// Named values, as the `{bytes, path}` of a picture.
    Struct(Vec<(String, Option<Cell>)>),
}

impl Cell {
    /// The value in writing, so that 3 is the same word in a CSV and in a Parquet file: numbers in the fewest digits, bytes
    /// when they are UTF-8. `None` for other bytes and for structs.
    pub fn word(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Truth(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
            Self::Integer(number) => Cow::Owned(number.to_string()),
            // Adding zero makes -0 the same word as 0.
            Self::Number(number) => Cow::Owned((number + 0.).to_string()),
            Self::Bytes(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).ok()?),
            Self::Struct(_) => return None,
        })
    }

    /// The value as a number: texts that are one are read, a truth is 1 or 0. `None` for all else, and what is not finite.
    pub fn number(&self) -> Option<f64> {
        let number = match self {
            Self::Truth(truth) => f64::from(u8::from(*truth)),
            Self::Integer(number) => *number as f64,
            Self::Number(number) => *number,
            Self::Text(_) | Self::Bytes(_) => self.word()?.trim().parse().ok()?,
            Self::Struct(_) => return None,
        };
        number.is_finite().then_some(number)
    }

    /// What the value is, for an error.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Truth(_) => "a truth value",
            Self::Integer(_) | Self::Number(_) => "a number",
            Self::Bytes(_) => "bytes",
            Self::Struct(_) => "a struct",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_same_word_and_number_however_it_is_held() {
        let text = |t: &str| Cell::Text(t.to_owned());
        for (cell, word, number) in [
            (Cell::Integer(3), Some("3"), Some(3.)),
            (Cell::Number(3.), Some("3"), Some(3.)),
            (text("3"), Some("3"), Some(3.)),
            (Cell::Bytes(b"3".to_vec()), Some("3"), Some(3.)),
            (Cell::Number(-0.), Some("0"), Some(0.)),
            (Cell::Integer(9_007_199_254_740_993), Some("9007199254740993"), Some(9_007_199_254_740_992.)),
            (text(" 2.5e1 "), Some(" 2.5e1 "), Some(25.)),
            (text("inf"), Some("inf"), None),
            (text("three"), Some("three"), None),
            (Cell::Truth(true), Some("true"), Some(1.)),
            (Cell::Bytes(vec![0xff]), None, None),
            (Cell::Struct(Vec::new()), None, None),
        ] {
            assert_eq!((cell.word().as_deref(), cell.number()), (word, number), "{cell:?}");
        }
    }
}
