//! Checks what stands in the named sections: components against the registry, shared keys against their ranges.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use serde_json::{Map, Value};
use transplant_core::{
    Architecture, Dataset, Invalid, InvalidKind, Kind, Plugins, Spec, Strategy, Task, Transform, nearest, read_options,
};
use transplant_datasets::Draw;

use super::section::{FileSection, SharedSection};
use crate::resolved::{DatasetSpec, DeviceChoice, Divide, TrainerSpec, WeightsSpec};
use crate::{at, text_at_key};

/// The named sections with every default filled in.
#[derive(Debug)]
pub(crate) struct Sections<'a> {
    pub(crate) plugins: &'a Plugins,
    pub(crate) datasets: BTreeMap<String, DatasetSpec>,
    /// For each data set the first that has the same records in the same folds, whatever these look like.
    rows: BTreeMap<String, String>,
    pub(crate) weights: BTreeMap<String, WeightsSpec>,
    pub(crate) backbones: BTreeMap<String, Spec<dyn Architecture>>,
    pub(crate) strategies: BTreeMap<String, Vec<Spec<dyn Strategy>>>,
    pub(crate) tasks: BTreeMap<String, Spec<dyn Task>>,
}

/// Puts one key in front of an error's path, dots and all.
pub(crate) fn under(key: &str) -> impl Fn(Invalid) -> Invalid + '_ {
    move |mut e| {
        e.path.insert(0, key.to_owned());
        e
    }
}

impl<'a> Sections<'a> {
    /// Relative paths start at `base`.
    pub(crate) fn check(file: &FileSection, plugins: &'a Plugins, base: &Path) -> Result<Self, Invalid> {
        let datasets = each(&file.datasets, |d| dataset(d, plugins)).map_err(under("datasets"))?;
        let key = |d: &DatasetSpec| d.rows_key(plugins, base);
        let keys: BTreeMap<&String, String> =
            datasets.iter().map(|(name, d)| Ok((name, key(d)?))).collect::<Result<_, _>>()?;
        let first = |key: &String| keys.iter().find(|(_, k)| *k == key).map(|(name, _)| (*name).clone());
        let rows = keys.iter().filter_map(|(name, key)| Some(((*name).clone(), first(key)?))).collect();
        let weights = each(&file.weights, weights).map_err(under("weights"))?;
        let twice = weights.keys().find(|name| file.steps.contains_key(*name));
        if let Some(name) = twice {
            let e = Invalid::new("is the name of a step, too").help("`from` must tell which of them is meant");
            return Err(under("weights")(under(name)(e)));
        }
        let backbones = each(&file.backbones, |b| component(plugins, b, &[])).map_err(under("backbones"))?;
        let strategies = each(&file.strategies, |s| {
            let one = |(i, spec)| {
                let checked = component(plugins, spec, &[]);
                checked.map_err(|e| if s.list { under(&format!("{i}"))(e) } else { e })
            };
            some(s.specs.iter().enumerate().map(one).collect::<Result<Vec<_>, _>>()?)
        });
        let strategies = strategies.map_err(under("strategies"))?;
        let mut tasks = each(&file.tasks, |t| component(plugins, t, &[])).map_err(under("tasks"))?;
        if tasks.is_empty() {
            let class = component(plugins, &Spec::new("classification"), &[]);
            tasks.insert("class".to_owned(), class.map_err(under("class")).map_err(under("tasks"))?);
        }
        Ok(Self { plugins, datasets, rows, weights, backbones, strategies, tasks })
    }

    /// The first data set with the records and folds of this one: the name of these records.
    pub(crate) fn rows_of<'s>(&'s self, name: &'s str) -> &'s str {
        self.rows.get(name).map_or(name, String::as_str)
    }
}

/// A list that must not be empty.
pub(crate) fn some<T>(list: Vec<T>) -> Result<Vec<T>, Invalid> {
    if list.is_empty() { Err(Invalid::new("must not be empty")) } else { Ok(list) }
}

fn each<T, U>(
    section: &BTreeMap<String, T>,
    check: impl Fn(&T) -> Result<U, Invalid>,
) -> Result<BTreeMap<String, U>, Invalid> {
    let one = |(name, value): (&String, &T)| {
        let checked = fit_name(name).and_then(|()| check(value)).map_err(under(name))?;
        Ok((name.clone(), checked))
    };
    section.iter().map(one).collect()
}

/// Names become parts of folders and tensors.
pub(crate) fn fit_name(name: &str) -> Result<(), Invalid> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first && name.chars().all(fits) && name.len() <= 64 {
        return Ok(());
    }
    let e = Invalid::new(format!("`{name}` does not suit as the name of a folder"));
    Err(e.help("up to 64 of A-Z, a-z, 0-9, `-` and `_`, a letter or digit first"))
}

impl FromStr for DeviceChoice {
    type Err = Invalid;

    /// Reads `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let number = text.strip_prefix("cuda:").and_then(|n| n.parse().ok());
        match (text, number) {
            ("auto", _) => Ok(Self::Auto),
            ("cpu", _) => Ok(Self::Cpu),
            ("cuda", _) => Ok(Self::Cuda(0)),
            ("metal", _) => Ok(Self::Metal),
            (_, Some(n)) => Ok(Self::Cuda(n)),
            _ => Err(unknown("device", text, ["auto", "cpu", "cuda", "cuda:0", "metal"])),
        }
    }
}

/// An error about a name that is not there; the nearest that is, or all, are offered.
pub(crate) fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Invalid {
    let known: Vec<&str> = known.into_iter().collect();
    let e = Invalid::new(format!("there is no {what} `{name}`")).kind(InvalidKind::UnknownName);
    match nearest(name, known.iter().copied()) {
        Some(near) => e.help(format!("did you mean `{near}`?")),
        None if known.is_empty() => e,
        None => e.help(format!("there are: {}", known.join(", "))),
    }
}

/// Checks a component and fills in its defaults. `names` are offered beside the tags when there is no such tag.
pub(crate) fn component<K: ?Sized + Kind>(
    plugins: &Plugins,
    spec: &Spec<K>,
    names: &[&str],
) -> Result<Spec<K>, Invalid> {
    if plugins.entry(K::KIND, &spec.tag).is_ok() {
        return plugins.check(spec);
    }
    let tags = plugins.entries().filter(|e| e.kind == K::KIND).map(|e| e.tag);
    Err(unknown(K::KIND, &spec.tag, names.iter().copied().chain(tags)))
}

/// Checks a list of components.
pub(crate) fn components<K: ?Sized + Kind>(plugins: &Plugins, specs: &[Spec<K>]) -> Result<Vec<Spec<K>>, Invalid> {
    let one = |(i, spec)| component(plugins, spec, &[]).map_err(under(&format!("{i}")));
    specs.iter().enumerate().map(one).collect()
}

fn dataset(spec: &Spec<dyn Dataset>, plugins: &Plugins) -> Result<DatasetSpec, Invalid> {
    let shared = |key: &str| SharedSection::KEYS.contains(&key);
    let (common, options): (Map<_, _>, Map<_, _>) = spec.options.clone().into_iter().partition(|(key, _)| shared(key));
    let common: SharedSection = read_options(Value::Object(common))?;
    let whole = |k: Option<u64>| k.map(|k| usize::try_from(k).unwrap_or(usize::MAX));
    let (labels_per_class, labels_in_all) = (whole(common.labels_per_class), whole(common.labels_in_all));
    Draw { labels_per_class, labels_in_all, ..Draw::default() }.check()?;
    if !(0.0..1.0).contains(&common.validation) {
        return Err(Invalid::key("validation", "must be from 0 to below 1"));
    }
    if common.test.is_some() && common.folds.is_some() {
        let e = Invalid::key("folds", "says how rows are tested, and so does `test`");
        return Err(e.help("leave one of them out"));
    }
    let twice = [("test", common.test.is_some()), ("folds", common.folds.is_some())].into_iter().find(|(_, is)| *is);
    if let Some((other, _)) = twice.filter(|_| common.parts.is_some()) {
        let e = Invalid::key("parts", format!("says how rows are divided, and so does `{other}`"));
        return Err(e.help("leave one of them out; the part `test` is tested"));
    }
    if common.divide == Divide::Hashed && common.test.is_none() {
        return Err(Invalid::key("divide", "says how rows are chosen for `test`, which is not there"));
    }
    let transforms = |specs: &[Spec<dyn Transform>], key| components(plugins, specs).map_err(under(key));
    let mut source = Spec::new(&spec.tag);
    source.options = options;
    let source = component(plugins, &source, &[]).map_err(|e| offer_shared(e, &spec.tag, plugins))?;
    let spec = DatasetSpec {
        source,
        labels_per_class,
        labels_in_all,
        validation: common.validation,
        test: common.test,
        folds: common.folds,
        divide: common.divide,
        parts: common.parts,
        transforms: transforms(&common.transforms, "transforms")?,
        augment: transforms(&common.augment, "augment")?,
    };
    spec.division(0).map_or(Ok(()), |d| d.check())?;
    Ok(spec)
}

/// For an unknown key of a source the shared keys may be what was meant, too.
fn offer_shared(mut e: Invalid, tag: &str, plugins: &Plugins) -> Invalid {
    if let (InvalidKind::UnknownKey, [key]) = (&e.kind, e.path.as_slice()) {
        let schema = plugins.entry("dataset", tag).ok().and_then(|e| e.schema.get("properties")?.as_object());
        let own = schema.into_iter().flat_map(Map::keys).map(String::as_str);
        e.help = unknown("key", key, own.chain(SharedSection::KEYS)).help;
    }
    e
}

/// Checks where pretrained weights come from.
fn weights(w: &WeightsSpec) -> Result<WeightsSpec, Invalid> {
    let of_hub = [("file", &w.file), ("revision", &w.revision)];
    if let Some((key, _)) = of_hub.into_iter().find(|(_, value)| w.hub.is_none() && value.is_some()) {
        return Err(Invalid::key(key, "belongs to a repository").help("give its name in `hub`"));
    }
    if w.hub.is_some() && (w.asset.is_some() || w.path.is_some()) {
        return Err(Invalid::key("hub", "stands instead of `asset` and `path`: give one of them"));
    }
    let digits = |sum: &String| sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit());
    match &w.sha256 {
        Some(sum) if !digits(sum) => return Err(Invalid::key("sha256", "must be 64 hexadecimal digits")),
        Some(_) if w.asset.is_some() => {
            return Err(Invalid::key("sha256", "is known for what is in the catalogue").help("leave it out"));
        }
        _ => {}
    }
    if w.key.as_ref().is_some_and(|key| key.is_empty() || key.ends_with('.')) {
        return Err(
            Invalid::key("key", "must be a name, without a dot at its end").help("leave it out for the usual one")
        );
    }
    match (&w.asset, &w.path) {
        (_, Some(path)) if path.as_os_str().is_empty() => return Err(Invalid::key("path", "must not be empty")),
        (Some(name), _) => {
            let asset = transplant_assets::find(name).map_err(|e| text_at_key(at("asset")(e)))?;
            if asset.file(transplant_assets::Role::Weights).is_none() {
                return Err(Invalid::key("asset", format!("`{name}` has no weights")));
            }
            if w.licence.is_some() {
                return Err(Invalid::key("licence", "is known for what is in the catalogue").help("leave it out"));
            }
        }
        (None, Some(_)) => {}
        (None, None) if w.hub.is_some() => {}
        (None, None) => {
            let e = Invalid::new("missing key `asset`");
            return Err(e.help("or `hub`, for a repository of the hub, or `path`, for a file of your own"));
        }
    }
    Ok(w.clone())
}

/// Checks how a step trains, and fills in its components' defaults.
pub(crate) fn trainer(t: &TrainerSpec, plugins: &Plugins) -> Result<TrainerSpec, Invalid> {
    for (key, value) in [("epochs", t.epochs), ("batch_size", t.batch_size as u64), ("accumulate", t.accumulate)] {
        if value == 0 {
            return Err(Invalid::key(key, "must be at least 1"));
        }
    }
    if t.views == Some(0) {
        return Err(Invalid::key("views", "must be at least 1").help("leave it out for another view in every epoch"));
    }
    if !(0.0..=1.0).contains(&t.class_balance) {
        return Err(Invalid::key("class_balance", "must be from 0 to 1"));
    }
    if t.clip_norm.is_some_and(|c| c <= 0.0) {
        return Err(Invalid::key("clip_norm", "must be above 0"));
    }
    if t.checkpoint_every_secs < 0.0 {
        return Err(Invalid::key("checkpoint_every_secs", "must be at least 0"));
    }
    Ok(TrainerSpec {
        optimiser: component(plugins, &t.optimiser, &[]).map_err(under("optimiser"))?,
        schedule: component(plugins, &t.schedule, &[]).map_err(under("schedule"))?,
        averaging: t.averaging.as_ref().map(|a| component(plugins, a, &[])).transpose().map_err(under("averaging"))?,
        policies: components(plugins, &t.policies).map_err(under("policies"))?,
        ..t.clone()
    })
}
