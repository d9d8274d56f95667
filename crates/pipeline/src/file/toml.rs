//! Between TOML and JSON values.

use serde_json::{Map, Number, Value};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table};
use transplant_core::Invalid;

/// Tables down to this depth get a header of their own: `[steps.transfer.trainer]`.
const HEADERS: usize = 3;

/// A TOML item as JSON; dates become strings.
///
/// # Errors
/// For numbers that are not finite.
pub(crate) fn to_json(item: &Item) -> Result<Value, Invalid> {
    match item {
        Item::None => Ok(Value::Null),
        Item::Value(value) => from_value(value),
        Item::Table(table) => from_pairs(table.iter()),
        Item::ArrayOfTables(tables) => list(tables.iter().map(|t| from_pairs(t.iter()))),
    }
}

fn from_value(value: &toml_edit::Value) -> Result<Value, Invalid> {
    Ok(match value {
        toml_edit::Value::String(s) => Value::String(s.value().clone()),
        toml_edit::Value::Integer(i) => Value::Number((*i.value()).into()),
        toml_edit::Value::Float(f) => {
            Value::Number(Number::from_f64(*f.value()).ok_or_else(|| Invalid::new("must be a finite number"))?)
        }
        toml_edit::Value::Boolean(b) => Value::Bool(*b.value()),
        toml_edit::Value::Datetime(d) => Value::String(d.value().to_string()),
        toml_edit::Value::Array(array) => list(array.iter().map(from_value))?,
        toml_edit::Value::InlineTable(table) => {
            let mut map = Map::new();
            for (key, value) in table.iter() {
                map.insert(key.to_owned(), from_value(value).map_err(|e| inside(e, key))?);
            }
            Value::Object(map)
        }
    })
}

fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a Item)>) -> Result<Value, Invalid> {
    let mut map = Map::new();
    for (key, item) in pairs {
        map.insert(key.to_owned(), to_json(item).map_err(|e| inside(e, key))?);
    }
    Ok(Value::Object(map))
}

fn list(values: impl Iterator<Item = Result<Value, Invalid>>) -> Result<Value, Invalid> {
    let values: Result<Vec<Value>, Invalid> =
        values.enumerate().map(|(i, v)| v.map_err(|e| inside(e, &i.to_string()))).collect();
    values.map(Value::Array)
}

/// Puts one key in front, dots and all.
fn inside(mut error: Invalid, key: &str) -> Invalid {
    error.path.insert(0, key.to_owned());
    error
}

/// A JSON table as a TOML file. What is null is left out, as TOML has no word for it.
pub(crate) fn to_toml(root: &Map<String, Value>) -> String {
    let mut document = DocumentMut::new();
    *document.as_table_mut() = table(root, 0);
    document.to_string()
}

fn table(map: &Map<String, Value>, depth: usize) -> Table {
    let mut out = Table::new();
    // A table that holds only tables needs no header.
    out.set_implicit(!map.is_empty() && depth < HEADERS && map.values().all(Value::is_object));
    for (key, value) in map {
        let item = match value {
            Value::Object(inner) if depth < HEADERS => Some(Item::Table(table(inner, depth + 1))),
            other => inline(other).map(Item::Value),
        };
        if let Some(item) = item {
            out.insert(key, item);
        }
    }
    out
}

fn inline(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(b) => (*b).into(),
        Value::Number(n) => match n.as_i64() {
            Some(i) => i.into(),
            None => n.as_f64()?.into(),
        },
        Value::String(s) => s.as_str().into(),
        Value::Array(values) => values.iter().filter_map(inline).collect::<Array>().into(),
        Value::Object(map) => {
            let pairs = map.iter().filter_map(|(k, v)| inline(v).map(|v| (k.as_str(), v)));
            pairs.collect::<InlineTable>().into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_and_toml_agree() {
        let value = json!({
            "schema": 1, "steps": { "a": { "trainer": { "lr": 1.0, "x": { "y": [1, {"z": "w"}] } }, "b": true, "c": {} } }
        });
        let text = to_toml(value.as_object().unwrap());
        assert_eq!(
            text,
            "schema = 1\n\n[steps.a]\nb = true\n\n[steps.a.trainer]\nlr = 1.0\nx = { y = [1, { z = \"w\" }] }\n\n[steps.a.c]\n"
        );
        assert_eq!(to_json(text.parse::<DocumentMut>().unwrap().as_item()).unwrap(), value);
    }
}
