//! The layers of a pipeline file: defaults, the file, environment variables, flags. A later one wins, and each knows
//! where it was written.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::Figment;
use figment::providers::Serialized;
use serde_json::{Map, Value, json};
use toml_edit::Document;
use transplant_core::{Invalid, InvalidKind, nearest};

use crate::resolved::TrainerSpec;

use super::check::unknown;
use super::place::{FileError, Place, in_file, span_of};

/// Variables that begin so set keys; two underscores separate the parts of a key path.
const PREFIX: &str = "TRANSPLANT_";
/// Variables of that prefix with a meaning of their own.
const NOT_OURS: [&str; 7] = [
    "TRANSPLANT_LOG",
    "TRANSPLANT_CACHE",
    "TRANSPLANT_SOURCE_HASH",
    "TRANSPLANT_ASSETS",
    "TRANSPLANT_OFFLINE",
    "TRANSPLANT_PIP",
    "TRANSPLANT_NPM",
];

/// Tables of sections that have a `type`, and what such a section is.
const SECTIONS: [(&str, &str); 6] = [
    ("datasets", "data set"),
    ("weights", "weights"),
    ("backbones", "backbone"),
    ("strategies", "strategy"),
    ("tasks", "task"),
    ("steps", "step"),
];

/// What is laid over a pipeline file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--set`: a key path, `=` and a TOML value, where a bare word is a string. Later ones win.
    pub set: Vec<String>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--device`.
    pub device: Option<String>,
    /// Whether variables of the environment that begin with `TRANSPLANT_` count.
    pub env: bool,
}

/// All layers of an opened file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layers {
    path: PathBuf,
    text: Arc<str>,
    layers: Vec<Layer>,
}

#[derive(Debug, Clone)]
struct Layer {
    origin: Origin,
    value: Value,
    /// The key path of a table of this layer that takes the place of what lies below.
    replaced: Option<Vec<String>>,
}

#[derive(Debug, Clone)]
enum Origin {
    Default,
    File,
    Env(String),
    Flag(String),
}

impl Origin {
    /// Whether it lies over the file.
    fn is_laid_over(&self) -> bool {
        matches!(self, Self::Env(_) | Self::Flag(_))
    }
}

impl Layers {
    /// Reads a file, what `overrides` lays over it and, when it says so, these variables.
    pub(crate) fn read(
        path: &Path,
        overrides: &Overrides,
        mut variables: Vec<(String, String)>,
    ) -> Result<(Self, Value), FileError> {
        let text = std::fs::read_to_string(path);
        let text: Arc<str> =
            text.map_err(|e| FileError::new(Place::Unread(path.to_owned()), Invalid::new(e.to_string())))?.into();
        let mut layers = Self { path: path.to_owned(), text, layers: Vec::new() };
        let mut merged = Value::Object(Map::new());
        layers.lay(&mut merged, Origin::Default, &[], json!({ "seed": 0, "device": "auto" }))?;
        let document = Document::parse(layers.text.clone()).map_err(|e| {
            let place = in_file(path, &layers.text, e.span().unwrap_or(0..0));
            FileError::new(place, Invalid::new(e.message().trim().replace('\n', ", ")))
        })?;
        let value = super::toml::to_json(document.as_item())
            .map_err(|e| FileError::new(in_file(path, &layers.text, span_of(&document, &e.path, false)), e))?;
        layers.lay(&mut merged, Origin::File, &[], value)?;
        variables.retain(|(name, _)| overrides.env && name.starts_with(PREFIX) && !NOT_OURS.contains(&name.as_str()));
        variables.sort();
        for (name, text) in variables {
            let wrong = |e| FileError::new(Place::Env(name.clone()), e);
            let path = key_of_variable(&name, &merged);
            let value = value_of(&text).map_err(|e| wrong(e.under(&path.join("."))))?;
            layers.lay(&mut merged, Origin::Env(name.clone()), &path, value)?;
        }
        for text in &overrides.set {
            let flag = format!("--set {text}");
            let (path, value) = assignment(text).map_err(|e| FileError::new(Place::Flag(flag.clone()), e))?;
            layers.lay(&mut merged, Origin::Flag(flag), &path, value)?;
        }
        if let Some(seed) = overrides.seed {
            layers.lay(&mut merged, Origin::Flag(format!("--seed {seed}")), &["seed".to_owned()], json!(seed))?;
        }
        if let Some(device) = &overrides.device {
            let flag = Origin::Flag(format!("--device {device}"));
            layers.lay(&mut merged, flag, &["device".to_owned()], json!(device))?;
        }
        let order: Vec<&Value> = layers.layers.iter().map(|l| &l.value).collect();
        let merged = ordered(merged, &order);
        Ok((layers, merged))
    }

    /// Lays a value at a key path over what there is. A table of a flag or variable takes the place of the one below;
    /// its `type` stays where no other is given.
    fn lay(&mut self, merged: &mut Value, origin: Origin, path: &[String], value: Value) -> Result<(), FileError> {
        let replaced = (origin.is_laid_over() && value.is_object()).then(|| path.to_vec());
        let mut value = nested(path, value);
        if origin.is_laid_over() {
            name_components(&with_defaults(merged), &mut value);
        }
        if let Some(below) = replaced.as_ref().and_then(|path| at_path(merged, path)).and_then(Value::as_object_mut) {
            let tag = below.shift_remove("type");
            below.clear();
            below.extend(tag.map(|tag| ("type".to_owned(), tag)));
        }
        let figment = Figment::from(Serialized::defaults(&*merged)).merge(Serialized::defaults(&value));
        let place = self.place(&origin, &[], false);
        *merged = figment.extract().map_err(|e| FileError::new(place, Invalid::new(e.to_string())))?;
        self.layers.push(Layer { origin, value, replaced });
        Ok(())
    }

    /// Whether a flag or variable set this key, or one below it.
    pub(crate) fn laid_over(&self, path: &[String]) -> bool {
        self.layers.iter().any(|l| l.origin.is_laid_over() && depth_of(&l.value, path).0 == path.len())
    }

    /// Whether anything sets this key, or one below it.
    pub(crate) fn is_written(&self, path: &[String]) -> bool {
        for layer in self.layers.iter().rev().filter(|l| !matches!(l.origin, Origin::Default)) {
            if depth_of(&layer.value, path).0 == path.len() {
                return true;
            }
            if layer.replaced.as_ref().is_some_and(|at| path.starts_with(at)) {
                return false;
            }
        }
        false
    }

    /// Finds where an error stands. Its key path starts at the top of the file.
    pub(crate) fn locate(&self, error: Invalid) -> FileError {
        let key = error.kind == InvalidKind::UnknownKey;
        let mut path = error.path.clone();
        if error.kind == InvalidKind::UnknownName {
            // An unknown tag of a component in a table stands at its `type`.
            path.push("type".to_owned());
            if !self.layers.iter().any(|l| depth_of(&l.value, &path).0 == path.len()) {
                path.pop();
            }
        }
        let origin = self.origin(&path).unwrap_or(&Origin::File);
        let error = if origin.is_laid_over() { self.mistyped(error) } else { error };
        FileError::new(self.place(origin, &path, key), error)
    }

    /// A section that a flag or variable names, the file does not have and nothing gives a `type`: not a new one, but a slip.
    fn mistyped(&self, error: Invalid) -> Invalid {
        let [kind, name] = error.path.as_slice() else { return error };
        let no_type = error.kind == InvalidKind::MissingKey("type".to_owned());
        let Some((_, what)) = SECTIONS.iter().find(|(key, _)| key == kind).filter(|_| no_type) else { return error };
        let mut e = Invalid { path: error.path.clone(), ..unknown(what, name, self.in_file(kind)) };
        let add = format!("a new one needs a type: set `{kind}.{name}.type`, too");
        e.help = Some(e.help.map_or(add.clone(), |help| format!("{help}; {add}")));
        e
    }

    /// The names in a table of sections of the file.
    fn in_file<'s>(&'s self, kind: &str) -> impl Iterator<Item = &'s str> {
        let file = self.layers.iter().find(|l| matches!(l.origin, Origin::File));
        let names = file.and_then(|l| l.value.get(kind)?.as_object()).into_iter().flat_map(Map::keys);
        names.map(String::as_str)
    }

    /// Refuses a section that a flag or variable adds and no step uses: a slip in its name would do nothing in silence.
    pub(crate) fn unused(&self, used: &BTreeSet<(String, String)>) -> Result<(), Invalid> {
        for layer in self.layers.iter().filter(|l| l.origin.is_laid_over()) {
            let tables = layer.value.as_object().into_iter().flatten();
            for (kind, name) in tables
                .flat_map(|(kind, table)| table.as_object().map(|t| (kind, t)))
                .flat_map(|(kind, table)| table.keys().map(move |name| (kind, name)))
            {
                let Some((_, what)) = SECTIONS.iter().find(|(key, _)| key == kind && key != &"steps") else { continue };
                if used.contains(&(kind.clone(), name.clone())) || self.in_file(kind).any(|n| n == name) {
                    continue;
                }
                let e =
                    Invalid { path: vec![kind.clone(), name.clone()], ..Invalid::new("is new, and no step uses it") };
                let near = nearest(name, self.in_file(kind));
                return Err(e.help(match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("name this {what} in a step"),
                }));
            }
        }
        Ok(())
    }

    /// The layer that a value came from; for a missing one, the layer of the innermost table that is there.
    fn origin(&self, path: &[String]) -> Option<&Origin> {
        let mut best: Option<(usize, &Origin)> = None;
        for layer in self.layers.iter().rev().filter(|l| !matches!(l.origin, Origin::Default)) {
            let (depth, table) = depth_of(&layer.value, path);
            // The lower layer of two that know as much: a flag that sets one key of a table does not make the table.
            if best.is_none_or(|(most, _)| depth > most || depth == most && depth < path.len()) {
                best = Some((depth, &layer.origin));
            }
            // What is below a value that is no table was replaced by it, and so is what a table took the place of.
            let replaced =
                layer.replaced.as_ref().is_some_and(|at| path.starts_with(at) && path.last() != Some(&"type".into()));
            if depth == path.len() || !table || replaced {
                break;
            }
        }
        best.map(|(_, origin)| origin)
    }

    fn place(&self, origin: &Origin, path: &[String], key: bool) -> Place {
        match origin {
            Origin::Env(name) => Place::Env(name.clone()),
            Origin::Flag(flag) => Place::Flag(flag.clone()),
            Origin::Default | Origin::File => {
                let span = Document::parse(self.text.clone()).map(|d| span_of(&d, path, key));
                in_file(&self.path, &self.text, span.unwrap_or(0..0))
            }
        }
    }
}

/// How far a path leads into a value, and whether it ends in a table there.
fn depth_of(mut value: &Value, path: &[String]) -> (usize, bool) {
    for (depth, name) in path.iter().enumerate() {
        let part = match value {
            Value::Object(map) => map.get(name),
            Value::Array(list) => name.parse().ok().and_then(|i: usize| list.get(i)),
            _ => None,
        };
        match part {
            Some(part) => value = part,
            None => return (depth, value.is_object()),
        }
    }
    (path.len(), value.is_object())
}

/// What lies below a flag or variable: what is written, and the components that steps have by default.
fn with_defaults(merged: &Value) -> Value {
    let mut all = merged.clone();
    let steps = all.get_mut("steps").and_then(Value::as_object_mut);
    for step in steps.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        let default = json!(TrainerSpec::default());
        let trainer = step.entry("trainer").or_insert_with(|| json!({})).as_object_mut();
        if let Some(trainer) = trainer {
            for key in ["optimiser", "schedule"] {
                trainer.entry(key).or_insert_with(|| default[key].clone());
            }
        }
    }
    all
}

/// Where a bare tag lies below options that are set one by one, `optimiser = "sgd"` below `optimiser.lr = 0.1`, the tag
/// becomes the `type` of the table.
fn name_components(below: &Value, above: &mut Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                if let Some(below) = below.get(key) {
                    name_components(below, value);
                }
            }
        }
        (Value::String(tag), Value::Object(above)) => {
            above.entry("type").or_insert_with(|| Value::String(tag.clone()));
        }
        _ => {}
    }
}

/// The key path a variable names: without regard to case, `-` and `_` being one, where there is such a key already.
fn key_of_variable(name: &str, merged: &Value) -> Vec<String> {
    let mut at = Some(merged);
    let parts = name[PREFIX.len()..].split("__");
    let key = |part: &str| {
        let lower = part.to_ascii_lowercase();
        let keys = at.and_then(Value::as_object).into_iter().flat_map(Map::keys);
        let known = keys.into_iter().find(|k| k.to_ascii_lowercase().replace('-', "_") == lower.replace('-', "_"));
        let key = known.cloned().unwrap_or(lower);
        at = at.and_then(|v| v.get(&key));
        key
    };
    parts.map(key).collect()
}

/// Takes `a.b=value` apart.
fn assignment(text: &str) -> Result<(Vec<String>, Value), Invalid> {
    let (key, value) = text.split_once('=').ok_or_else(|| Invalid::new("has no `=`").help("write key=value"))?;
    let path = toml_edit::Key::parse(key.trim()).map_err(|_| Invalid::new(format!("`{key}` is no key")))?;
    let path: Vec<String> = path.iter().map(|k| k.get().to_owned()).collect();
    let value = value_of(value).map_err(|e| Invalid { path: path.clone(), ..e })?;
    Ok((path, value))
}

/// A TOML value, where a bare word is a string.
fn value_of(text: &str) -> Result<Value, Invalid> {
    let text = text.trim();
    match text.parse::<toml_edit::Value>() {
        Ok(value) => super::toml::to_json(&toml_edit::Item::Value(value)),
        Err(e) if text.starts_with(['[', '{', '"', '\'']) => {
            Err(Invalid::new(format!("is not a TOML value: {}", e.message().trim()))
                .help("words inside stand in quotes"))
        }
        Err(_) => Ok(Value::String(text.to_owned())),
    }
}

/// The value at a key path.
fn at_path<'v>(value: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |value, key| value.get_mut(key))
}

fn nested(path: &[String], value: Value) -> Value {
    path.iter().rev().fold(value, |inner, key| Value::Object(Map::from_iter([(key.clone(), inner)])))
}

/// Puts the keys into the order in which the layers name them, which Figment forgets.
fn ordered(merged: Value, layers: &[&Value]) -> Value {
    let Value::Object(mut merged) = merged else {
        return layers.last().map_or(merged, |v| (*v).clone());
    };
    let mut out = Map::new();
    for key in layers.iter().filter_map(|l| l.as_object()).flat_map(Map::keys) {
        if let Some(value) = merged.remove(key) {
            let below: Vec<&Value> = layers.iter().filter_map(|l| l.get(key)).collect();
            out.insert(key.clone(), ordered(value, &below));
        }
    }
    out.extend(merged);
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_win_and_keys_keep_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        std::fs::write(&path, "[steps.b-1]\nz = 1\na = 'sgd'\n[steps.a]\nx = [1, 2]\n").unwrap();
        let set = ["steps.b-1.a.lr=0.5", "steps.a.x=[3]", "name=word", "steps.c.\"k.l\"=true"].map(str::to_owned);
        let overrides = Overrides { set: set.to_vec(), seed: Some(4), device: Some("cpu".into()), env: true };
        let variables = [("TRANSPLANT_STEPS__B_1__Z", "7"), ("TRANSPLANT_LOG", "debug"), ("TRANSPLANT_NAME", "n")];
        let variables = variables.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
        let (layers, merged) = Layers::read(&path, &overrides, variables).unwrap();
        let expected = r#"{"seed":4,"device":"cpu","steps":{"b-1":{"z":7,"a":{"type":"sgd","lr":0.5}},"a":{"x":[3]},"c":{"k.l":true}},"name":"word"}"#;
        assert_eq!(merged.to_string(), expected.replace("\"type\":\"sgd\",\"lr\":0.5", "\"lr\":0.5,\"type\":\"sgd\""));
        let place = |key: &str| {
            let shown = layers.locate(Invalid::key(key, "wrong")).to_string();
            shown.replace(&path.display().to_string(), "p.toml")
        };
        assert_eq!(place("steps.b-1.z"), "environment variable TRANSPLANT_STEPS__B_1__Z: steps.b-1.z: wrong");
        assert_eq!(place("steps.a.x"), "--set steps.a.x=[3]: wrong");
        assert_eq!(place("steps.a.x.3"), "--set steps.a.x=[3]: steps.a.x.3: wrong");
        assert_eq!(place("steps.b-1.dataset"), "p.toml:1:1: steps.b-1.dataset: wrong");
        assert_eq!(place("seed"), "--seed 4: seed: wrong");
    }

    #[test]
    fn set_and_variables_replace_whole_tables() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        std::fs::write(&path, "[steps.x]\nstrategy = { type = 'parameter', freeze = ['a'] }\nd = 'y'\n").unwrap();
        let merged = |set: &[&str], variables: &[(&str, &str)]| {
            let set = set.iter().map(|s| (*s).to_owned()).collect();
            let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let overrides = Overrides { set, env: true, ..Overrides::default() };
            let (layers, merged) = Layers::read(&path, &overrides, variables).unwrap();
            let at = |key: &str| layers.locate(Invalid::key(key, "wrong")).to_string();
            (merged["steps"]["x"].to_string(), at("steps.x.strategy.freeze"))
        };
        let lora = "{type=\"lora\",rank=4}";
        let replaced = r#"{"strategy":{"type":"lora","rank":4},"d":"y"}"#;
        let (by_flag, place) = merged(&[&format!("steps.x.strategy={lora}")], &[]);
        assert_eq!(by_flag, replaced);
        assert!(place.starts_with("--set steps.x.strategy="), "the file's `freeze` is gone: {place}");
        let variable = [("TRANSPLANT_STEPS__X__STRATEGY", lora)];
        let (by_variable, place) = merged(&[], &variable);
        assert_eq!(by_variable, replaced);
        assert!(place.starts_with("environment variable TRANSPLANT_STEPS__X__STRATEGY: "), "{place}");

        // A key path sets one value; of a table that replaced another, too.
        let (one, place) = merged(&["steps.x.strategy.rank=4"], &[]);
        assert_eq!(one, r#"{"strategy":{"type":"parameter","freeze":["a"],"rank":4},"d":"y"}"#);
        assert!(place.contains("p.toml:2:"), "{place}");
        assert_eq!(merged(&["steps.x.strategy.rank=8"], &variable).0, replaced.replace('4', "8"));
        let twice = ["steps.x.strategy={rank=4}", "steps.x.strategy={}"];
        assert_eq!(merged(&twice, &[]).0, r#"{"strategy":{"type":"parameter"},"d":"y"}"#, "the `type` stays");
        assert_eq!(merged(&["steps.x={d=1}"], &[]).0, r#"{"d":1}"#);

        let written = |set: &[&str], key: &str| {
            let set = set.iter().map(|s| (*s).to_owned()).collect();
            let (layers, _) = Layers::read(&path, &Overrides { set, ..Overrides::default() }, vec![]).unwrap();
            layers.is_written(&key.split('.').map(str::to_owned).collect::<Vec<_>>())
        };
        assert!(
            written(&[], "steps.x.strategy.freeze") && !written(&[], "steps.x.strategy.rank") && !written(&[], "seed")
        );
        assert!(written(&["steps.x.strategy.rank=4"], "steps.x.strategy.rank"));
        assert!(!written(&["steps.x.strategy={}"], "steps.x.strategy.freeze"), "the table took its place");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        let read = |text: &str, set: &str| {
            std::fs::write(&path, text).unwrap();
            let set = if set.is_empty() { vec![] } else { vec![set.to_owned()] };
            let error = Layers::read(&path, &Overrides { set, ..Overrides::default() }, vec![]).unwrap_err();
            error.to_string().replace(&path.display().to_string(), "p.toml")
        };
        assert!(read("a = 1\nb = = 2\n", "").starts_with("p.toml:2:5: "), "{}", read("a = 1\nb = = 2\n", ""));
        assert!(read("[steps.a]\nx = 1\n[steps.a]\n", "").starts_with("p.toml:3:"));
        assert!(read("a = inf", "").contains("p.toml:1:5: a: must be a finite number"));
        assert_eq!(read("", "a"), "--set a: has no `=` (write key=value)");
        assert!(read("", "a=[b]").starts_with("--set a=[b]: is not a TOML value"));
        let error = Layers::read(&folder.path().join("none.toml"), &Overrides::default(), vec![]).unwrap_err();
        assert!(matches!(error.place, Place::Unread(_)), "{error}");
    }
}
