//! JSONL: a JSON object a line; its keys are the columns. Lines of white space are passed over.

use std::collections::BTreeSet;
use std::fmt;
use std::io::BufRead;
use std::path::Path;

use super::{Cell, Column, Names, Read, absent};
use crate::text::utf8;
use crate::{Error, Result};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

pub(super) fn read(file: &Path, reader: &mut dyn BufRead, wanted: &Names) -> Result<Read> {
    let names = &wanted.all;
    let mut columns: Vec<Column> = vec![Vec::new(); names.len()];
    let (mut lines, mut seen, mut content) = (Vec::new(), BTreeSet::new(), Vec::new());
    for line in 1.. {
        content.clear();
        if reader.read_until(b'\n', &mut content).map_err(|e| Error::io(file, e))? == 0 {
            break;
        }
        let content = if line == 1 { content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&content) } else { &content };
        if content.trim_ascii().is_empty() {
            continue;
        }
        let fault = |message: String| Error::data(file, format!("line {line}: {message}"));
        let content = utf8(content).map_err(fault)?;
        let mut json = serde_json::Deserializer::from_str(content);
        let row = Wanted { names, seen: &mut seen }.deserialize(&mut json);
        let row = row.and_then(|row| json.end().map(|()| row)).map_err(|e| fault(without_line(&e)))?;
        for ((column, value), name) in columns.iter_mut().zip(row).zip(names) {
            column.push(cell(value.unwrap_or_default()).map_err(|e| fault(format!("column `{name}`: {e}")))?);
        }
        lines.push(line);
    }
    if let Some(name) = names[..wanted.required].iter().find(|name| !lines.is_empty() && !seen.contains(*name)) {
        return Err(absent(file, name, &seen.iter().map(String::as_str).collect::<Vec<_>>()));
    }
    Ok(Read { columns, lines: Some(lines), rows_in_quotes: None })
}

/// What serde_json says, which counts the lines of what it is given: always 1 here.
fn without_line(e: &serde_json::Error) -> String {
    let (said, column) = (e.to_string(), e.column());
    let end = said.rfind(" at line ").unwrap_or(said.len());
    format!("character {column}: {}", &said[..end])
}

fn cell(value: Value) -> Result<Option<Cell>, String> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Bool(truth) => Cell::Truth(truth),
        Value::String(text) => Cell::Text(text),
        Value::Number(number) => match (number.as_i128(), number.as_f64()) {
            (Some(whole), _) => Cell::Integer(whole),
            (None, Some(number)) => Cell::Number(number),
            (None, None) => return Err(format!("the number {number} is out of range")),
        },
        Value::Object(members) => {
            let member = |(name, value)| Ok((name, cell(value)?));
            Cell::Struct(members.into_iter().map(member).collect::<Result<_, String>>()?)
        }
        Value::Array(_) => return Err("holds a list, and a cell should be one value".to_owned()),
    }))
}

/// Reads an object, keeps the values of `names` and notes the keys.
struct Wanted<'a> {
    names: &'a [String],
    seen: &'a mut BTreeSet<String>,
}

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Vec<Option<Value>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Vec<Option<Value>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the columns as its keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut row = vec![None; self.names.len()];
        while let Some(key) = map.next_key::<String>()? {
            match self.names.iter().position(|name| *name == key) {
                Some(place) if row[place].is_some() => {
                    return Err(A::Error::custom(format!("the key `{key}` is there twice")));
                }
                Some(place) => row[place] = Some(map.next_value()?),
                None => _ = map.next_value::<IgnoredAny>()?,
            }
            if !self.seen.contains(&key) {
                self.seen.insert(key);
            }
        }
        Ok(row)
    }
}
