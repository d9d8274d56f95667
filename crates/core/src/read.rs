//! Reading what a user wrote into options, with errors that name the key and offer the nearest known one.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::{Invalid, InvalidKind, nearest};

/// Reads a table of a file into its type.
///
/// # Errors
/// Names the key path, in words of the file rather than of Rust; positions in a list are numbers in the path.
pub fn read_options<T: DeserializeOwned>(table: Value) -> Result<T, Invalid> {
    serde_path_to_error::deserialize(table).map_err(in_words)
}

/// An error of serde in words of the file.
fn in_words(e: serde_path_to_error::Error<serde_json::Error>) -> Invalid {
    let mut path: Vec<String> = e.path().iter().filter_map(segment).collect();
    let message = e.into_inner().to_string();
    let (message, help, kind) = match quoted(&message, "unknown field ") {
        Some((field, known)) => {
            // The path ends in the key where serde saw it before it failed.
            if path.last().is_none_or(|last| last != field) {
                path.push(field.to_owned());
            }
            let none = "there are no options here";
            let help = offer(field, &known).unwrap_or_else(|| none.to_owned());
            ("unknown key".to_owned(), Some(help), InvalidKind::UnknownKey)
        }
        None => match quoted(&message, "unknown variant ") {
            Some((value, known)) => {
                (format!("there is no `{value}` here"), offer(value, &known), InvalidKind::UnknownName)
            }
            None => (plain(&message), None, kind_of(&message)),
        },
    };
    Invalid { path, message, help, kind }
}

/// The kind of an error that serde tells in these words; the only place that reads them.
fn kind_of(message: &str) -> InvalidKind {
    match quoted(message, "missing field ") {
        Some((field, _)) => InvalidKind::MissingKey(field.to_owned()),
        None if message.starts_with("invalid type: map") => InvalidKind::UnexpectedTable,
        None => InvalidKind::Value,
    }
}

fn segment(s: &Segment) -> Option<String> {
    match s {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}

/// Takes serde's "unknown field `x`, expected one of `a`, `b`" apart.
fn quoted<'a>(message: &'a str, start: &str) -> Option<(&'a str, Vec<&'a str>)> {
    let mut quoted = message.strip_prefix(start)?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

/// The advice when `name` is not one of `known`: the nearest of them, otherwise all; `None` when there is none at all.
fn offer(name: &str, known: &[&str]) -> Option<String> {
    match nearest(name, known.iter().copied()) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None if known.is_empty() => None,
        None => Some(format!("there are: {}", known.join(", "))),
    }
}

/// Serde's words for types, turned into those of a file.
fn plain(message: &str) -> String {
    let message = message.replacen("missing field", "missing key", 1);
    let Some((found, wanted)) = message.split_once(", expected ") else { return message };
    let wanted = match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "a table",
        w if w.starts_with("struct ") => "a table",
        w => w,
    };
    let found = found.replacen(": map", ": a table", 1).replacen(": sequence", ": a list", 1);
    format!("{found}, expected {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(rename = "inner")]
        _inner: Vec<Inner>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(rename = "count")]
        _count: u64,
        #[serde(rename = "average", default)]
        _average: Option<Average>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Average {
        Micro,
    }

    #[test]
    fn errors_name_the_path_and_offer_the_nearest_name() {
        let error = |v: Value| read_options::<Outer>(v).unwrap_err().to_string();
        assert!(Average::deserialize(json!("micro")).is_ok());
        assert_eq!(error(json!({"inner": [{"cont": 1}]})), "inner.0.cont: unknown key (did you mean `count`?)");
        assert_eq!(error(json!({"inner": [{}]})), "inner.0: missing key `count`");
        assert_eq!(
            error(json!({"inner": [{"count": -1}]})),
            "inner.0.count: invalid value: integer `-1`, expected a whole number from 0"
        );
        assert_eq!(
            error(json!({"inner": [{"count": 1, "average": "mikro"}]})),
            "inner.0.average: there is no `mikro` here (did you mean `micro`?)"
        );
        assert_eq!(error(json!({"inner": 3})), "inner: invalid type: integer `3`, expected a list");
        assert_eq!(error(json!({"a.b": 3})), "a.b: unknown key (there are: inner)");
        let kind = |v: Value| read_options::<Outer>(v).unwrap_err().kind;
        assert_eq!(kind(json!({"a": 3})), InvalidKind::UnknownKey);
        assert_eq!(kind(json!({"inner": [{}]})), InvalidKind::MissingKey("count".into()));
        assert_eq!(kind(json!({"inner": {}})), InvalidKind::UnexpectedTable);
        assert_eq!(kind(json!({"inner": [{"count": 1, "average": "mikro"}]})), InvalidKind::UnknownName);
        assert_eq!(kind(json!({"inner": 3})), InvalidKind::Value);
    }
}
