//! [`Component`]s and the [`Plugins`] registry: how things that can be named in a file are found, checked and built.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    Architecture, Averaging, Dataset, Error, HeadFit, Invalid, InvalidKind, Metric, Optimiser, Policy, Result, Sampler,
    Schedule, Seeds, Spec, Strategy, Task, Transform, nearest, read_options,
};

/// A kind of component: a trait whose implementations can be named in a file.
pub trait Kind: 'static {
    /// The kind's name, as in `transplant explain KIND.TAG`.
    const KIND: &'static str;
}

macro_rules! kinds {
    ($($name:literal => $t:ident),+ $(,)?) => { $(impl Kind for dyn $t { const KIND: &'static str = $name; })+ };
}
kinds! {
    "dataset" => Dataset, "transform" => Transform, "backbone" => Architecture, "task" => Task, "strategy" => Strategy,
    "head" => HeadFit, "optimiser" => Optimiser, "schedule" => Schedule, "averaging" => Averaging,
    "policy" => Policy, "metric" => Metric, "sampler" => Sampler,
}

/// One implementation of a kind: its tag, options and how it is built.
pub trait Component<K: ?Sized + Kind> {
    /// The `type = "..."` tag, snake_case.
    const TYPE: &'static str;
    /// What the user may set. Derive with `#[serde(deny_unknown_fields)]`; doc comments become the reference.
    type Options: DeserializeOwned + Serialize + JsonSchema;

    /// Checks values against each other and nested components against the registry.
    ///
    /// # Errors
    /// Names the key that is wrong.
    fn check(options: &Self::Options, plugins: &Plugins) -> Result<(), Invalid> {
        let _ = (options, plugins);
        Ok(())
    }

    /// For a data set: what tells its records from those of another. Data sets with one key have the same records in
    /// the same groups, classes and parts, however their options are written and whatever their rows look like: steps
    /// over them share draws and folds, so that none is tested on what another was trained on. `base` is the folder
    /// from which relative paths start. Called for a checked file, before any data are opened.
    ///
    /// By default tag and options: the key of a source whose options say what rows look like leaves those out
    /// ([`key_without`]).
    fn rows_key(options: &Self::Options, base: &Path) -> Value {
        let _ = base;
        key_without(Self::TYPE, options, &[])
    }

    /// Builds the component. Files are opened here, headers and labels read; nothing is written.
    ///
    /// # Errors
    /// When a file is missing or wrong.
    fn build(options: Self::Options, cx: &BuildCx<'_>) -> Result<Box<K>>;
}

/// Tag and options without those that do not decide which records there are, for [`Component::rows_key`].
pub fn key_without(tag: &str, options: &impl Serialize, looks: &[&str]) -> Value {
    let mut key = serde_json::to_value(options).unwrap_or_default();
    if let Some(map) = key.as_object_mut() {
        map.retain(|name, _| !looks.contains(&name.as_str()));
    }
    serde_json::json!([tag, key])
}

/// What a component may use while it is built.
#[derive(Debug)]
pub struct BuildCx<'a> {
    /// The registry, for nested components.
    pub plugins: &'a Plugins,
    /// Relative paths in options start here: the folder of the pipeline file.
    pub base: &'a Path,
    /// The seeds of this run.
    pub seeds: Seeds,
}

impl BuildCx<'_> {
    /// Builds a nested component.
    ///
    /// # Errors
    /// When the tag is unknown or its options are wrong.
    pub fn make<K: ?Sized + Kind>(&self, spec: &Spec<K>) -> Result<Box<K>> {
        self.plugins.build(spec, self)
    }

    /// A path of an option, relative ones taken from the pipeline file's folder.
    pub fn path(&self, p: &Path) -> PathBuf {
        self.base.join(p)
    }
}

type Build<K> = Box<dyn Fn(&Map<String, Value>, &BuildCx<'_>) -> Result<Box<K>> + Send + Sync>;
type Check = Box<dyn Fn(&Map<String, Value>, &Plugins) -> Result<Map<String, Value>, Invalid> + Send + Sync>;
type RowsKey = Box<dyn Fn(&Map<String, Value>, &Path) -> Result<Value, Invalid> + Send + Sync>;

/// What the registry knows of a component without its type.
pub struct Entry {
    /// The kind's name.
    pub kind: &'static str,
    /// The component's tag.
    pub tag: &'static str,
    /// JSON schema of the options, with their descriptions and defaults.
    pub schema: Value,
    /// Rust path of the component, for the reference.
    pub path: &'static str,
    check: Check,
    rows_key: RowsKey,
    build: Arc<dyn Any + Send + Sync>,
}

/// The registry: every component by kind and tag.
#[derive(Default)]
pub struct Plugins {
    entries: BTreeMap<(&'static str, &'static str), Entry>,
    kinds: BTreeMap<&'static str, TypeId>,
}

impl std::fmt::Debug for Plugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries.keys()).finish()
    }
}

fn schema_generator() -> schemars::SchemaGenerator {
    schemars::generate::SchemaSettings::draft2020_12().for_deserialize().into_generator()
}

impl Plugins {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what a crate's `plugin` function adds.
    #[must_use]
    pub fn with(mut self, plugin: impl FnOnce(&mut Self)) -> Self {
        plugin(&mut self);
        self
    }

    /// Adds a component of kind `K`; one of the same tag is replaced.
    pub fn add<K: ?Sized + Kind, C: Component<K> + 'static>(&mut self) {
        let build: Build<K> = Box::new(|options, cx| {
            let options: C::Options = read_options(Value::Object(options.clone()))?;
            C::check(&options, cx.plugins)?;
            C::build(options, cx)
        });
        let check: Check = Box::new(|options, plugins| {
            let options: C::Options = read_options(Value::Object(options.clone()))?;
            C::check(&options, plugins)?;
            match serde_json::to_value(&options) {
                Ok(Value::Object(map)) => Ok(map),
                Ok(_) => Ok(Map::new()),
                Err(e) => Err(Invalid::new(e.to_string())),
            }
        });
        let rows_key: RowsKey =
            Box::new(|options, base| Ok(C::rows_key(&read_options(Value::Object(options.clone()))?, base)));
        let schema = schema_generator().into_root_schema_for::<C::Options>();
        let (kind, tag, path) = (K::KIND, C::TYPE, std::any::type_name::<C>());
        let entry = Entry { kind, tag, schema: schema.to_value(), path, check, rows_key, build: Arc::new(build) };
        self.insert(entry, TypeId::of::<Build<K>>());
    }

    fn insert(&mut self, entry: Entry, kind: TypeId) {
        self.kinds.insert(entry.kind, kind);
        self.entries.insert((entry.kind, entry.tag), entry);
    }

    /// All entries, by kind and tag.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The entry of a kind and tag.
    ///
    /// # Errors
    /// When there is none; the nearest tag is offered.
    pub fn entry(&self, kind: &str, tag: &str) -> Result<&Entry, Invalid> {
        self.entries.values().find(|e| e.kind == kind && e.tag == tag).ok_or_else(|| {
            let tags: Vec<_> = self.entries.values().filter(|e| e.kind == kind).map(|e| e.tag).collect();
            let e = Invalid::new(format!("there is no {kind} `{tag}`")).kind(InvalidKind::UnknownName);
            match nearest(tag, tags.iter().copied()) {
                Some(near) => e.help(format!("did you mean `{near}`?")),
                None => e.help(format!("there are: {}", tags.join(", "))),
            }
        })
    }

    /// Checks a component and returns its options with every default filled in.
    ///
    /// # Errors
    /// When the tag is unknown or an option is; the path in the error starts inside the component's table.
    pub fn check<K: ?Sized + Kind>(&self, spec: &Spec<K>) -> Result<Spec<K>, Invalid> {
        let mut out = Spec::new(&spec.tag);
        out.options = self.check_options(K::KIND, &spec.tag, &spec.options)?;
        Ok(out)
    }

    /// As [`check`](Self::check), for a component given by the names of its kind and tag. Components that are options
    /// themselves, or stand in a list that is one, have their defaults filled in as well.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_options(
        &self,
        kind: &str,
        tag: &str,
        options: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Invalid> {
        let entry = self.entry(kind, tag)?;
        let mut full = (entry.check)(options, self)?;
        for (key, value) in &mut full {
            let Some(property) = entry.schema.pointer(&format!("/properties/{key}")) else { continue };
            let filled = match (kind_of(property), kind_of(&property["items"]), &*value) {
                (Some(nested), ..) => self.fill(nested, value),
                (_, Some(nested), Value::Array(list)) => {
                    let each = list.iter().enumerate();
                    let each = each.map(|(i, v)| self.fill(nested, v).map_err(|e| e.under(&i.to_string())));
                    each.collect::<Result<_, _>>().map(Value::Array)
                }
                _ => continue,
            };
            *value = filled.map_err(|e| e.under(key))?;
        }
        Ok(full)
    }

    /// A nested component with its defaults. What is none (`null`, a word of the component's own) stays.
    fn fill(&self, nested: Nested<'_>, value: &Value) -> Result<Value, Invalid> {
        let (tag, options) = match value {
            Value::String(tag) => (tag.as_str(), Map::new()),
            Value::Object(map) => (map.get("type").and_then(Value::as_str).unwrap_or_default(), map.clone()),
            other => return Ok(other.clone()),
        };
        if nested.or_else && self.entry(nested.kind, tag).is_err() {
            return Ok(value.clone());
        }
        let options = options.into_iter().filter(|(key, _)| key != "type").collect();
        let full = self.check_options(nested.kind, tag, &options)?;
        let named = [("type".to_owned(), Value::String(tag.to_owned()))];
        Ok(if full.is_empty() { tag.into() } else { named.into_iter().chain(full).collect::<Map<_, _>>().into() })
    }

    /// What tells the records of a data set from those of another: [`Component::rows_key`].
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn rows_key(&self, source: &Spec<dyn Dataset>, base: &Path) -> Result<Value, Invalid> {
        (self.entry(<dyn Dataset>::KIND, &source.tag)?.rows_key)(&source.options, base)
    }

    /// Builds a component.
    ///
    /// # Errors
    /// As [`check`](Self::check), and what building it meets.
    pub fn build<K: ?Sized + Kind>(&self, spec: &Spec<K>, cx: &BuildCx<'_>) -> Result<Box<K>> {
        let entry = self.entry(K::KIND, &spec.tag)?;
        let build = entry.build.downcast_ref::<Build<K>>();
        let build =
            build.ok_or_else(|| Error::contract(format!("kind `{}` is registered for another trait", K::KIND)))?;
        build(&spec.options, cx)
    }
}

/// A component within the options of another.
#[derive(Clone, Copy)]
struct Nested<'a> {
    kind: &'a str,
    /// Whether something else may stand in its place.
    or_else: bool,
}

/// The component that a schema stands for, alone or among other things.
fn kind_of(schema: &Value) -> Option<Nested<'_>> {
    let own = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/kind_"));
    let among = || schema["anyOf"].as_array()?.iter().find_map(kind_of).map(|n| Nested { or_else: true, ..n });
    own.map(|kind| Nested { kind, or_else: false }).or_else(among)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Progress;
    use serde::Deserialize;

    struct Halve(u32);
    #[derive(Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Options {
        /// Steps after which the rate is halved.
        every_steps: u32,
    }
    impl Default for Options {
        fn default() -> Self {
            Self { every_steps: 10 }
        }
    }
    impl Schedule for Halve {
        fn factor(&self, at: Progress) -> f64 {
            0.5f64.powi((at.step / u64::from(self.0)) as i32)
        }
    }
    impl Component<dyn Schedule> for Halve {
        const TYPE: &'static str = "halve";
        type Options = Options;
        fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
            if o.every_steps == 0 { Err(Invalid::key("every_steps", "must be at least 1")) } else { Ok(()) }
        }
        fn build(o: Options, _: &BuildCx<'_>) -> Result<Box<dyn Schedule>> {
            Ok(Box::new(Self(o.every_steps)))
        }
    }

    struct Chain;
    #[derive(Serialize, Deserialize, JsonSchema, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Links {
        /// The first.
        first: Option<Spec<dyn Schedule>>,
        /// The others.
        rest: Vec<Spec<dyn Schedule>>,
    }
    impl Component<dyn Schedule> for Chain {
        const TYPE: &'static str = "chain";
        type Options = Links;
        fn build(_: Links, _: &BuildCx<'_>) -> Result<Box<dyn Schedule>> {
            Ok(Box::new(Halve(1)))
        }
    }

    #[test]
    fn nested_components_are_checked_and_filled_in() {
        let plugins = Plugins::new().with(|p| p.add::<dyn Schedule, Halve>()).with(|p| p.add::<dyn Schedule, Chain>());
        let chain = |options: Value| plugins.check_options("schedule", "chain", options.as_object().unwrap());
        let full = chain(serde_json::json!({"first": "halve", "rest": [{"type": "halve", "every_steps": 2}, "chain"]}));
        let expected = serde_json::json!({
            "first": {"type": "halve", "every_steps": 10},
            "rest": [{"type": "halve", "every_steps": 2}, {"type": "chain", "first": null, "rest": []}],
        });
        assert_eq!(Value::Object(full.unwrap()), expected);
        let error = chain(serde_json::json!({"rest": ["halve", {"type": "halve", "every_steps": 0}]}));
        assert_eq!(error.unwrap_err().to_string(), "rest.1.every_steps: must be at least 1");
        let error = chain(serde_json::json!({"rest": ["halv"]})).unwrap_err();
        assert_eq!(error.to_string(), "rest.0: there is no schedule `halv` (did you mean `halve`?)");
        // Whether something else than a component may stand there is for the component's own check to say.
        assert_eq!(chain(serde_json::json!({"first": "word"})).unwrap()["first"], "word");
    }

    #[test]
    fn components_are_found_checked_and_built() -> Result<()> {
        let plugins = Plugins::new().with(|p| p.add::<dyn Schedule, Halve>());
        let cx = BuildCx { plugins: &plugins, base: Path::new("."), seeds: Seeds::new(0) };
        let s = cx.make(&Spec::<dyn Schedule>::new("halve"))?;
        assert_eq!(s.factor(Progress { step: 10, steps: 20, steps_per_epoch: 5 }), 0.5);
        let full = plugins.check(&Spec::<dyn Schedule>::new("halve"))?;
        assert_eq!(full.options["every_steps"], 10);
        let err = |s: Spec<dyn Schedule>| plugins.check(&s).unwrap_err().to_string();
        assert!(err(Spec::new("halv")).contains("`halve`"));
        assert!(
            err(Spec::new("halve").with("every_step", 3))
                .contains("every_step: unknown key (did you mean `every_steps`?)")
        );
        assert!(err(Spec::new("halve").with("every_steps", 0)).contains("every_steps: must be"));
        assert!(err(Spec::new("halve").with("every_steps", "x")).contains("every_steps: invalid type"));
        Ok(())
    }
}
