//! The JSON schema of a pipeline file, with every component of a registry in it.

use std::collections::BTreeSet;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use transplant_core::{Entry, Plugins};

use crate::file::{FileSection, SharedSection, StepSection, StreamTable, TestTable};
use crate::resolved::{CacheSpec, TrainerSpec, WeightsSpec};

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().for_deserialize().into_generator()
}

fn schema_of<T: JsonSchema>() -> Value {
    generator().into_root_schema_for::<T>().to_value()
}

/// The sections of a pipeline file with their titles, for a page.
pub(super) fn sections() -> [(&'static str, Value); 8] {
    [
        ("The whole file", schema_of::<FileSection>()),
        ("`cache`", schema_of::<CacheSpec>()),
        ("`datasets.NAME`, beside the options of its `type`", schema_of::<SharedSection>()),
        ("`weights.NAME`", schema_of::<WeightsSpec>()),
        ("`steps.NAME`", schema_of::<StepSection>()),
        ("`steps.NAME.streams.NAME`", schema_of::<StreamTable>()),
        ("`steps.NAME.tests.NAME`", schema_of::<TestTable>()),
        ("`steps.NAME.trainer`", schema_of::<TrainerSpec>()),
    ]
}

/// The JSON schema of a pipeline file. Every kind is a definition `kind_<kind>`: a tag, or a table with `type` and the
/// options of that component.
pub fn schema(plugins: &Plugins) -> Value {
    let mut root = schema_of::<FileSection>();
    let mut definitions = Map::new();
    let kinds: BTreeSet<&str> = plugins.entries().map(|e| e.kind).collect();
    for kind in kinds {
        let of_kind = plugins.entries().filter(|e| e.kind == kind);
        let forms: Vec<Value> = of_kind.flat_map(|e| forms(e, &Map::new(), &mut definitions)).collect();
        definitions.insert(format!("kind_{kind}"), json!({ "oneOf": forms }));
    }
    let shared = schema_of::<SharedSection>();
    let shared = shared["properties"].as_object().cloned().unwrap_or_default();
    let sources = plugins.entries().filter(|e| e.kind == "dataset");
    let sources: Vec<Value> = sources.flat_map(|e| forms(e, &shared, &mut definitions)).collect();
    definitions.insert("dataset_section".to_owned(), json!({ "oneOf": sources }));
    // A kind nobody registered can still be named in options.
    for kind in missing(&root, &definitions) {
        definitions.insert(kind, json!({ "type": ["string", "object"] }));
    }
    if let Some(root) = root.as_object_mut() {
        root.insert("title".to_owned(), "A Transplant pipeline".into());
        let own = root.entry("$defs").or_insert_with(|| json!({}));
        if let Some(own) = own.as_object_mut() {
            own.extend(definitions);
        }
    }
    root["properties"]["schema"]["const"] = 1.into();
    root
}

/// A component as a bare tag, when it needs no options, and as a table.
fn forms(entry: &Entry, shared: &Map<String, Value>, definitions: &mut Map<String, Value>) -> Vec<Value> {
    let mut schema = entry.schema.clone();
    let prefix = format!("{}_{}_", entry.kind, entry.tag);
    if let Some(Value::Object(own)) = schema.as_object_mut().and_then(|s| s.remove("$defs")) {
        let names: Vec<String> = own.keys().cloned().collect();
        rename(&mut schema, &prefix, &names);
        for (name, mut definition) in own {
            rename(&mut definition, &prefix, &names);
            definitions.insert(format!("{prefix}{name}"), definition);
        }
    }
    let about = schema["description"].clone();
    let mut properties = Map::from_iter([("type".to_owned(), json!({ "const": entry.tag }))]);
    properties.extend(shared.clone());
    properties.extend(schema["properties"].as_object().cloned().unwrap_or_default());
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let bare = json!({ "const": entry.tag, "description": about });
    let needs: Vec<Value> = [Value::from("type")].into_iter().chain(required.iter().cloned()).collect();
    let table = json!({
        "type": "object", "description": about, "properties": properties, "required": needs,
        "additionalProperties": false,
    });
    if required.is_empty() { vec![bare, table] } else { vec![table] }
}

/// Points references to an entry's own definitions at their new names.
fn rename(schema: &mut Value, prefix: &str, names: &[String]) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref") {
                let name = reference.trim_start_matches("#/$defs/").to_owned();
                if names.contains(&name) {
                    *reference = format!("#/$defs/{prefix}{name}");
                }
            }
            map.values_mut().for_each(|v| rename(v, prefix, names));
        }
        Value::Array(list) => list.iter_mut().for_each(|v| rename(v, prefix, names)),
        _ => {}
    }
}

/// References to definitions that are not there.
fn missing(root: &Value, definitions: &Map<String, Value>) -> BTreeSet<String> {
    fn walk(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/")) {
                    found.insert(name.to_owned());
                }
                map.values().for_each(|v| walk(v, found));
            }
            Value::Array(list) => list.iter().for_each(|v| walk(v, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk(root, &mut found);
    definitions.values().for_each(|d| walk(d, &mut found));
    found.retain(|name| !definitions.contains_key(name) && root["$defs"].get(name).is_none());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes;

    #[test]
    fn every_reference_leads_somewhere_and_components_are_in() {
        let schema = schema(&fakes::plugins());
        assert!(missing(&schema, &Map::new()).is_empty());
        let strategies = schema["$defs"]["kind_strategy"]["oneOf"].as_array().unwrap();
        assert_eq!(strategies.len(), 6, "a tag and a table each");
        assert_eq!(strategies[0]["const"], "feature");
        let table = &strategies[1]["properties"];
        assert_eq!(table["head"]["$ref"], "#/$defs/kind_head");
        let folder = &schema["$defs"]["dataset_section"]["oneOf"][0];
        assert_eq!(folder["required"], json!(["type", "path"]));
        assert!(folder["properties"]["labels_per_class"].is_object());
        let average = &schema["$defs"]["kind_metric"]["oneOf"][1]["properties"]["average"];
        let average = average["$ref"].as_str().unwrap();
        assert_eq!(average, "#/$defs/metric_f1_Average");
        assert_eq!(schema["properties"]["schema"]["const"], 1);
    }

    #[test]
    fn the_sections_are_described() {
        for (title, section) in sections() {
            for (key, property) in section["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{title}: {key}");
            }
        }
    }
}
