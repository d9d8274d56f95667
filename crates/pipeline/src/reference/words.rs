//! JSON schemas of options in words.

use serde_json::Value;

/// An option in words.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) kind: String,
    /// `required`, a TOML value, or nothing when it may be left out.
    pub(super) default: String,
    pub(super) about: String,
}

/// The paragraphs of a doc comment, each on a line.
pub(super) fn paragraphs(text: &str) -> Vec<String> {
    let lines = |p: &str| p.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    text.split("\n\n").map(lines).filter(|p| !p.trim().is_empty()).collect()
}

/// The first sentence of a doc comment.
pub(super) fn one_line(text: &str) -> String {
    let first = paragraphs(text).into_iter().next().unwrap_or_default();
    first.split_once(". ").map(|(sentence, _)| format!("{sentence}.")).unwrap_or(first)
}

/// The options of a schema, in the order of the code.
pub(super) fn rows(schema: &Value) -> Vec<Row> {
    let required = |name: &str| schema["required"].as_array().is_some_and(|r| r.iter().any(|n| n == name));
    let row = |(name, property): (&String, &Value)| {
        let default = match property.get("default") {
            _ if required(name) => "required".to_owned(),
            None | Some(Value::Null) => String::new(),
            Some(value) => toml(value),
        };
        let about = paragraphs(property["description"].as_str().unwrap_or_default()).join(" ");
        Row { name: name.clone(), kind: kind(property, schema), default, about }
    };
    schema["properties"].as_object().into_iter().flatten().map(row).collect()
}

/// The type of a property in words of the file.
fn kind(property: &Value, root: &Value) -> String {
    if let Some(reference) = property["$ref"].as_str() {
        let name = reference.trim_start_matches("#/$defs/");
        return match (name.strip_prefix("kind_"), root["$defs"].get(name)) {
            (Some(kind), _) => kind.to_owned(),
            (_, Some(definition)) => kind(definition, root),
            _ => "table".to_owned(),
        };
    }
    let quoted = |values: &[&Value]| {
        let values: Vec<String> = values.iter().map(|v| format!("`{}`", v.as_str().unwrap_or_default())).collect();
        format!("one of {}", values.join(", "))
    };
    if let Some(constant) = property.get("const") {
        return format!("`{}`", constant.as_str().unwrap_or_default());
    }
    if let Some(values) = property["enum"].as_array() {
        return quoted(&values.iter().collect::<Vec<_>>());
    }
    for many in ["anyOf", "oneOf", "allOf"] {
        let Some(options) = property[many].as_array() else { continue };
        let options: Vec<&Value> = options.iter().filter(|o| o["type"] != "null").collect();
        let constants: Vec<&Value> = options.iter().filter_map(|o| o.get("const")).collect();
        if !options.is_empty() && constants.len() == options.len() {
            return quoted(&constants);
        }
        let mut kinds: Vec<String> = Vec::new();
        for option in options {
            let kind = kind(option, root);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        return kinds.join(" or ");
    }
    let types = match &property["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).find(|t| *t != "null"),
        one => one.as_str(),
    };
    match types {
        Some("integer") => "whole number".to_owned(),
        Some("number") => "number".to_owned(),
        Some("string") => "text".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("array") => format!("list of {}", kind(&property["items"], root)),
        Some("object") => match &property["additionalProperties"] {
            inner @ Value::Object(_) => format!("table of {}", kind(inner, root)),
            _ => "table".to_owned(),
        },
        _ => "any value".to_owned(),
    }
}

/// A value as one would write it.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("[{}]", list.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| format!("{k} = {}", toml(v))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}
