//! [`Spec`]: a component as a user writes it, a bare tag or a table with `type`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::Kind;

/// A component of kind `K` by tag and options: `"sgd"` or `{ type = "sgd", lr = 0.1 }`.
pub struct Spec<K: ?Sized> {
    /// The tag.
    pub tag: String,
    /// The options without `type`.
    pub options: Map<String, Value>,
    kind: PhantomData<fn(&K)>,
}

impl<K: ?Sized> Spec<K> {
    /// A component with all options at their defaults.
    pub fn new(tag: &str) -> Self {
        Self { tag: tag.to_owned(), options: Map::new(), kind: PhantomData }
    }

    /// Sets an option.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.options.insert(key.to_owned(), value.into());
        self
    }
}

impl<K: ?Sized> Clone for Spec<K> {
    fn clone(&self) -> Self {
        Self { tag: self.tag.clone(), options: self.options.clone(), kind: PhantomData }
    }
}

impl<K: ?Sized> PartialEq for Spec<K> {
    fn eq(&self, other: &Self) -> bool {
        self.tag == other.tag && self.options == other.options
    }
}

impl<K: ?Sized> fmt::Debug for Spec<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.tag, self.options)
    }
}

impl<K: ?Sized> Serialize for Spec<K> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.options.is_empty() {
            return s.serialize_str(&self.tag);
        }
        let mut map = Map::new();
        map.insert("type".to_owned(), self.tag.clone().into());
        map.extend(self.options.clone());
        map.serialize(s)
    }
}

impl<'de, K: ?Sized> Deserialize<'de> for Spec<K> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V<K: ?Sized>(PhantomData<fn(&K)>);
        impl<'de, K: ?Sized> Visitor<'de> for V<K> {
            type Value = Spec<K>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or a table with `type`")
            }

            fn visit_str<E: de::Error>(self, tag: &str) -> Result<Spec<K>, E> {
                Ok(Spec::new(tag))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spec<K>, A::Error> {
                let mut options = Map::new();
                while let Some((k, v)) = map.next_entry::<String, Value>()? {
                    options.insert(k, v);
                }
                match options.remove("type") {
                    Some(Value::String(tag)) => Ok(Spec { tag, options, kind: PhantomData }),
                    Some(_) => Err(de::Error::custom("`type` must be a name")),
                    None => Err(de::Error::missing_field("type")),
                }
            }
        }
        d.deserialize_any(V(PhantomData))
    }
}

impl<K: ?Sized + Kind> schemars::JsonSchema for Spec<K> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("spec_{}", K::KIND).into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "$ref": format!("#/$defs/kind_{}", K::KIND) })
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Optimiser;

    #[test]
    fn a_name_and_a_table_are_read_and_written_alike() -> serde_json::Result<()> {
        type S = Spec<dyn Optimiser>;
        let bare: S = serde_json::from_str("\"sgd\"")?;
        assert_eq!(bare, S::new("sgd"));
        let table: S = serde_json::from_str(r#"{"lr": 0.5, "type": "sgd"}"#)?;
        assert_eq!(table, S::new("sgd").with("lr", 0.5));
        assert_eq!(serde_json::to_string(&table)?, r#"{"type":"sgd","lr":0.5}"#);
        assert!(serde_json::from_str::<S>(r#"{"lr": 1}"#).unwrap_err().to_string().contains("type"));
        Ok(())
    }
}
