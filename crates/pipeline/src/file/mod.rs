//! Opening a pipeline file: its layers are merged, every key is checked, sweeps are fanned out. Every error names the
//! line of the file, the variable or the flag it comes from. Nothing is built and no data is opened here.

mod cells;
mod check;
mod layers;
mod place;
mod section;
mod steps;
mod streams;
mod sweep;
mod toml;

#[cfg(test)]
mod errors;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde_json::{Map, Value, json};
use transplant_core::{Invalid, Plugins, read_options};

pub use layers::Overrides;
pub use place::{FileError, FilePlace, Place};
pub(crate) use section::{FileSection, SharedSection, StepSection, StreamTable, TestTable};

use crate::resolved::{Cell, DeviceChoice, Pipeline};
use cells::Origins;
use check::{Sections, fit_name, some, under};
use layers::Layers;
use steps::{Step, spelled};

/// The version of the file's layout that this program reads.
const SCHEMA: u64 = 1;

/// Where every key of an opened pipeline came from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    layers: Layers,
    origins: Origins,
}

impl Sources {
    /// Finds the place of an error whose key path starts at the top of the file.
    pub(crate) fn locate(&self, error: Invalid) -> FileError {
        self.layers.locate(error)
    }

    /// Finds the place of an error whose key path starts at a cell's step.
    pub(crate) fn locate_in(&self, cell: &Cell, error: Invalid) -> FileError {
        let origins = self.origins.get(&cell.id).into_iter().flatten();
        let origin = origins.filter(|(key, _)| error.path.starts_with(key)).max_by_key(|(key, _)| key.len());
        let path = match origin {
            Some((key, place)) => [place.as_slice(), &error.path[key.len()..]].concat(),
            None => [&["steps".to_owned(), cell.step.clone()], error.path.as_slice()].concat(),
        };
        self.layers.locate(Invalid { path, ..error })
    }

    /// Whether the file, a variable, a flag or a sweep sets a key of a cell's step, or one below it.
    pub(crate) fn is_written(&self, cell: &Cell, key: &str) -> bool {
        let path = ["steps", cell.step.as_str()].into_iter().chain(key.split('.')).map(str::to_owned);
        let below = format!("{key}.");
        cell.swept.keys().any(|swept| swept == key || swept.starts_with(&below))
            || self.layers.is_written(&path.collect::<Vec<_>>())
    }
}

/// Opens a pipeline file with what is laid over it.
///
/// # Errors
/// When the file cannot be read, or for the first key that is wrong.
pub fn open(path: &Path, overrides: &Overrides, plugins: &Plugins) -> Result<Pipeline, FileError> {
    let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    open_with(path, overrides, variables.collect(), plugins)
}

/// [`open`] with these variables in place of the environment's.
fn open_with(
    path: &Path,
    overrides: &Overrides,
    variables: Vec<(String, String)>,
    plugins: &Plugins,
) -> Result<Pipeline, FileError> {
    let (layers, merged) = Layers::read(path, overrides, variables)?;
    match resolve(path, &merged, &layers, plugins) {
        Ok((pipeline, origins)) => Ok(Pipeline { sources: Sources { layers, origins }, ..pipeline }),
        Err(e) => Err(layers.locate(e)),
    }
}

fn resolve(path: &Path, root: &Value, layers: &Layers, plugins: &Plugins) -> Result<(Pipeline, Origins), Invalid> {
    match root.get("schema") {
        // A file of another version is not held against the keys of this one.
        Some(Value::Number(n)) if n.as_u64() != Some(SCHEMA) => {
            let e = Invalid::key("schema", format!("is {n}, but this program reads version {SCHEMA}"));
            return Err(e.help(format!("write `schema = {SCHEMA}`")));
        }
        _ => {}
    }
    let file: FileSection = read_options(root.clone())?;
    fit_name(&file.name).map_err(under("name"))?;
    if i64::try_from(file.seed).is_err() {
        return Err(Invalid::key("seed", "must be below 2^63"));
    }
    let device_text = file.device.clone().unwrap_or_else(|| "auto".to_owned());
    let device = device_text.parse::<DeviceChoice>().map_err(under("device"))?;
    if file.cache.folder.as_ref().is_some_and(|f| f.as_os_str().is_empty()) {
        return Err(Invalid::key("cache.folder", "must not be empty").help("leave it out, or name a folder"));
    }
    let base = path.parent().map(Path::to_owned).unwrap_or_default();
    let sections = Sections::check(&file, plugins, &base)?;
    let names: Vec<String> = root["steps"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
    let names = some(names).map_err(under("steps"))?;
    for name in &names {
        fit_name(name).map_err(sweep::in_step(name))?;
    }
    let named = |key: &str, name: &str| {
        let section = match key {
            "strategy" => "strategies",
            "backbone" => "backbones",
            _ => return None,
        };
        root.get(section)?.get(name).filter(|v| v.is_object()).cloned()
    };
    let mut steps: Vec<Step> = Vec::new();
    for name in steps::order(&file.steps, &names, &sections.weights)? {
        let section = &file.steps[&name];
        let step_of = |name: &str| steps.iter().find(|s| s.name == name);
        let from = section.get("from").and_then(Value::as_str).and_then(step_of);
        let chain: Vec<&Step> = std::iter::successors(from, |s| step_of(s.from.as_ref()?)).collect();
        let step = steps::read(&name, section, &sections, &chain, &named).map_err(sweep::in_step(&name))?;
        steps.push(step);
    }
    let seed_taken = steps::spread_seeds(&mut steps, file.seed)?;
    unused(&steps, seed_taken, layers)?;
    steps::spread_draws(&mut steps, &sections);
    let (cells, origins) = cells::fan_out(&steps, &sections)?;
    let text = toml::to_toml(&full(&file, &device_text, &sections, &steps));
    let (name, seed, cache) = (file.name, file.seed, file.cache);
    let (datasets, weights) = (sections.datasets, sections.weights);
    let (file, sources) = (path.to_owned(), Sources::default());
    Ok((Pipeline { name, file, seed, device, cache, datasets, weights, cells, text, sources }, origins))
}

/// Refuses what a flag or variable asks for in vain: a sweep says otherwise, or no step uses it.
fn unused(steps: &[Step], seed_taken: bool, layers: &Layers) -> Result<(), Invalid> {
    let drafts = || steps.iter().flat_map(|s| &s.drafts);
    let named = drafts().flat_map(|d| &d.origins).filter_map(|(_, at)| Some((at.first()?.clone(), at.get(1)?.clone())));
    let weights = drafts().filter_map(|d| Some(("weights".to_owned(), d.weights.clone()?)));
    let read = drafts().flat_map(|d| d.datasets()).map(|name| ("datasets".to_owned(), name.to_owned()));
    layers.unused(&named.chain(weights).chain(read).collect())?;
    let seed = ["seed".to_owned()];
    if let (false, true, Some(step)) = (seed_taken, layers.laid_over(&seed), steps.last()) {
        let e = Invalid::key("seed", "no step would run under it: all have seeds of their own by `sweep.seed`");
        return Err(e.help(format!("set `steps.{}.sweep.seed` to a list", step.name)));
    }
    for (step, axis) in steps.iter().flat_map(|s| s.sweep.axes.iter().map(move |a| (s, a))) {
        let path = [&["steps".to_owned(), step.name.clone()], axis.key.as_slice()].concat();
        if layers.laid_over(&path) {
            let e = Invalid { path, ..Invalid::new("would never be used: the step's sweep says what it is") };
            return Err(e.help(format!("set `steps.{}.sweep.{}` to a list", step.name, axis.name())));
        }
    }
    Ok(())
}

/// The whole file with every default spelled out.
fn full(file: &FileSection, device: &str, sections: &Sections<'_>, steps: &[Step]) -> Map<String, Value> {
    let table = |pairs: Vec<(String, Value)>| Value::Object(pairs.into_iter().collect());
    let datasets = sections.datasets.iter().map(|(name, d)| {
        let mut all = Map::from_iter([("type".to_owned(), d.source.tag.clone().into())]);
        all.insert("labels_per_class".to_owned(), d.labels_per_class.into());
        all.insert("labels_in_all".to_owned(), d.labels_in_all.into());
        all.insert("validation".to_owned(), d.validation.into());
        all.insert("test".to_owned(), json!(d.test));
        all.insert("folds".to_owned(), json!(d.folds));
        if d.test.is_some() {
            all.insert("divide".to_owned(), json!(d.divide));
        }
        all.insert("parts".to_owned(), json!(d.parts));
        all.insert("transforms".to_owned(), d.transforms.iter().map(spelled).collect());
        all.insert("augment".to_owned(), d.augment.iter().map(spelled).collect());
        all.extend(d.source.options.clone());
        (name.clone(), Value::Object(all))
    });
    let backbones = sections.backbones.iter().map(|(name, b)| (name.clone(), in_full(spelled(b))));
    let strategies = sections.strategies.iter().map(|(name, s)| match s.as_slice() {
        [one] => (name.clone(), in_full(spelled(one))),
        several => (name.clone(), several.iter().map(spelled).collect()),
    });
    let tasks = sections.tasks.iter().map(|(name, t)| (name.clone(), in_full(spelled(t))));
    let steps = steps.iter().map(|step| {
        let mut all = step.drafts.first().map(|d| d.full.clone()).unwrap_or_default();
        let first = step.drafts.first();
        if first.is_none_or(|d| d.tests.is_none()) {
            all.insert("test".to_owned(), first.and_then(|d| d.test).unwrap_or(step.last).into());
        }
        let axes = step.sweep.axes.iter().enumerate();
        let values = |i: usize, n: usize| (0..n).map(|v| steps::full_value(step, i, v)).collect::<Value>();
        let mut sweep: Map<String, Value> = axes.map(|(i, a)| (a.name(), values(i, a.values.len()))).collect();
        if let Some(seeds) = &step.sweep.seeds {
            sweep.insert("seed".to_owned(), json!(seeds));
        }
        if !sweep.is_empty() {
            all.insert("sweep".to_owned(), Value::Object(sweep));
        }
        (step.name.clone(), Value::Object(all))
    });
    let all = [
        ("schema", json!(SCHEMA)),
        ("name", json!(file.name)),
        ("seed", json!(file.seed)),
        ("device", json!(device)),
        ("cache", json!(file.cache)),
        ("datasets", table(datasets.collect())),
        ("weights", json!(sections.weights)),
        ("backbones", table(backbones.collect())),
        ("strategies", table(strategies.collect())),
        ("tasks", table(tasks.collect())),
        ("steps", table(steps.collect())),
    ];
    let empty = |v: &Value| v.as_object().is_some_and(Map::is_empty);
    all.into_iter().filter(|(_, v)| !empty(v)).map(|(k, v)| (k.to_owned(), v)).collect()
}

/// A section of its own is a table, even when it only has a `type`.
fn in_full(spec: Value) -> Value {
    match spec {
        Value::String(tag) => json!({ "type": tag }),
        other => other,
    }
}
