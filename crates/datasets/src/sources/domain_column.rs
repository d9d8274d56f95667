//! [`DomainColumn`]: which column of a table says the domain of a row: by its words, or by where its numbers are cut.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use transplant_core::{Invalid, Result};

use super::new_rows::number_of;
use crate::table::Cell;

/// The column of the domain: its name, where its words are the domains, or a table of `column` and `cuts`, where numbers
/// are cut into ranges.
#[derive(Debug, Clone, PartialEq)]
pub struct DomainColumn {
    /// The name of the column.
    pub column: String,
    /// Where its numbers are cut, from small to large; empty: its words are the domains.
    pub cuts: Vec<f64>,
}

impl From<&str> for DomainColumn {
    fn from(column: &str) -> Self {
        Self { column: column.to_owned(), cuts: Vec::new() }
    }
}

impl DomainColumn {
    /// # Errors
    /// Under `domain.cuts` when cuts are no numbers in order.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        let in_order = self.cuts.windows(2).all(|w| w[0] < w[1]);
        match in_order && self.cuts.iter().all(|cut| cut.is_finite()) {
            true => Ok(()),
            false => Err(Invalid::key("domain.cuts", "must be numbers from small to large")),
        }
    }

    /// The domain that a cell says: its word, or the range of its number, `below 36`, `36 to 40`, `40 and above`.
    ///
    /// # Errors
    /// Says what the cell holds instead.
    pub(super) fn of(&self, cell: &Cell) -> Result<String, String> {
        if self.cuts.is_empty() {
            let word = cell.word().map(Cow::into_owned);
            return word.ok_or_else(|| format!("holds {}, where a text or a number is expected", cell.kind()));
        }
        let number = number_of(cell)?;
        let above = self.cuts.iter().filter(|cut| number >= **cut).count();
        Ok(match (above.checked_sub(1).map(|i| self.cuts[i]), self.cuts.get(above)) {
            (None, Some(high)) => format!("below {high}"),
            (Some(low), Some(high)) => format!("{low} to {high}"),
            (Some(low), None) => format!("{low} and above"),
            (None, None) => String::new(),
        })
    }
}

/// A column of domains as it is written.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Table {
    /// The name of the column.
    column: String,
    /// Where its numbers are cut, from small to large: two domains, `below 36` and `36 and above`, for `[36]`.
    #[serde(default)]
    cuts: Vec<f64>,
}

impl Serialize for DomainColumn {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        match self.cuts.is_empty() {
            true => s.serialize_str(&self.column),
            false => Table { column: self.column.clone(), cuts: self.cuts.clone() }.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for DomainColumn {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = DomainColumn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a column, or a table with `column` and `cuts`")
            }

            fn visit_str<E: de::Error>(self, column: &str) -> std::result::Result<DomainColumn, E> {
                Ok(column.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<DomainColumn, A::Error> {
                let Table { column, cuts } = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(DomainColumn { column, cuts })
            }
        }
        d.deserialize_any(V)
    }
}

impl JsonSchema for DomainColumn {
    fn schema_name() -> Cow<'static, str> {
        "domain_column".into()
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
    fn numbers_are_cut_into_ranges() {
        let domain: DomainColumn = from_value(json!({"column": "lat", "cuts": [36, 40.5]})).unwrap();
        let of = |number: f64| domain.of(&Cell::Text(number.to_string()));
        assert_eq!(of(35.9).unwrap(), "below 36");
        assert_eq!(of(36.0).unwrap(), "36 to 40.5");
        assert_eq!(of(41.0).unwrap(), "40.5 and above");
        assert!(domain.of(&Cell::Text("x".to_owned())).unwrap_err().contains("`x` is no number"));
        let words = DomainColumn::from("region");
        assert_eq!(words.of(&Cell::Text("north".to_owned())).unwrap(), "north");
        assert_eq!(to_value(&words).unwrap(), json!("region"));
        assert_eq!(from_value::<DomainColumn>(to_value(&domain).unwrap()).unwrap(), domain);
        let wrong = DomainColumn { cuts: vec![2.0, 1.0], ..words };
        assert!(wrong.check().unwrap_err().to_string().starts_with("domain.cuts: must be"));
    }
}
