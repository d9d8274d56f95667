//! [`LabelColumn`]: which column of a table a target is read from, and as what.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What the cells of a target are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabelKind {
    /// Names of classes: texts or numbers.
    #[default]
    Class,
    /// Numbers, which `regression` learns.
    Number,
}

/// A target of a table: the name of its column, or a table of `column`, `as` and `classes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelColumn {
    /// The name of the column.
    pub column: String,
    /// What its cells are.
    pub kind: LabelKind,
    /// Names and order of the classes; `None`: those that are there.
    pub classes: Option<Vec<String>>,
}

impl LabelColumn {
    /// A column of classes, those that are there.
    pub fn classes(column: &str) -> Self {
        Self { column: column.to_owned(), kind: LabelKind::Class, classes: None }
    }

    /// A column of numbers.
    pub fn numbers(column: &str) -> Self {
        Self { kind: LabelKind::Number, ..Self::classes(column) }
    }
}

/// A target of a table as it is written.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The name of the column.
    column: String,
    /// What its cells are: `class` or `number`.
    #[serde(default, rename = "as")]
    kind: LabelKind,
    /// Names and order of the classes; without it the labels that are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<String>>,
}

impl Serialize for LabelColumn {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match (self.kind, &self.classes) {
            (LabelKind::Class, None) => s.serialize_str(&self.column),
            _ => Table { column: self.column.clone(), kind: self.kind, classes: self.classes.clone() }.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for LabelColumn {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = LabelColumn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a column, or a table with `column`")
            }

            fn visit_str<E: de::Error>(self, column: &str) -> Result<LabelColumn, E> {
                Ok(LabelColumn::classes(column))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LabelColumn, A::Error> {
                let Table { column, kind, classes } = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(LabelColumn { column, kind, classes })
            }
        }
        d.deserialize_any(V)
    }
}

impl JsonSchema for LabelColumn {
    fn schema_name() -> Cow<'static, str> {
        "label_column".into()
    }

    fn json_schema(g: &mut SchemaGenerator) -> Schema {
        let table = Table::json_schema(g);
        json_schema!({ "anyOf": [{ "type": "string" }, table] })
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json, to_value};

    #[test]
    fn a_name_alone_is_a_class() {
        let long: LabelColumn = from_value(json!({"column": "y"})).unwrap();
        assert_eq!(long, LabelColumn::classes("y"));
        assert_eq!(to_value(&long).unwrap(), json!("y"));
        let number = json!({"column": "y", "as": "number"});
        assert_eq!(from_value::<LabelColumn>(number.clone()).unwrap(), LabelColumn::numbers("y"));
        assert_eq!(to_value(LabelColumn::numbers("y")).unwrap(), number);
        let e = from_value::<LabelColumn>(json!({"column": "y", "as": "numbers"})).unwrap_err().to_string();
        assert!(e.contains("`numbers`") && e.contains("`number`"), "{e}");
    }
}
