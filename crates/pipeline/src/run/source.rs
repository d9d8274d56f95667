//! What a cell starts from: the network of another cell, or pretrained weights from a file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::json;
use transplant_assets::{Asset, Clients, Role, Store, find};
use transplant_backbones::weights::{self, WeightsFile};
use transplant_core::{
    Architecture, Error, Field, HIDDEN, Invalid, Load, Origin, Plugins, Result, Role as TensorRole, Schema, Spec, TEXT,
    Transform, read_metadata,
};
use transplant_trainer::{Model, SourceLabels};

use super::artefact::Manifest;
use super::description::{Description, MANIFEST, NORMALISE, Pixels, normalise};
use super::hash;
use super::hub::OnHub;
use super::layout::ModelLayout;
use super::meaning::Meaning;
use crate::at;
use crate::resolved::{DatasetSpec, WeightsSpec};

/// The beginning of the names of a model's backbone.
pub(super) const BACKBONE: &str = "backbone.";

/// Pretrained weights whose file has been read.
pub struct OpenWeights {
    file: WeightsFile,
    /// The file.
    pub(crate) path: Option<PathBuf>,
    /// SHA-256 of the file; of all of them and of what is taken of them, where there are several or `key` or
    /// `leave_out` is given.
    pub hash: String,
    /// Their licence, where it is known.
    pub licence: Option<String>,
    /// What else is known of them.
    about: Description,
}

impl OpenWeights {
    /// Reads the file, whose path starts at `base` where it is relative. Key paths of errors start at the section.
    pub(crate) fn open(spec: &WeightsSpec, base: &Path) -> Result<Self> {
        let asset = spec.asset.as_ref().map(|name| find(name).map_err(at("asset"))).transpose()?;
        let on_hub = spec.hub.as_ref().map(|repo| OnHub::fetch(repo, spec, &Clients::from_env())).transpose()?;
        // What was fetched has been compared with the catalogue's hash and need not be hashed again.
        let (key, path, known) = match (&spec.path, asset, &on_hub) {
            (Some(path), ..) => ("path", in_folder(base.join(path)).map_err(|e| e.under("path"))?, None),
            (None, Some(asset), _) => {
                let pinned = asset.file(Role::Weights).and_then(|f| f.sha256.clone());
                ("asset", fetch(asset).map_err(at("asset"))?, pinned)
            }
            (None, None, Some(on_hub)) => ("hub", on_hub.weights.clone(), None),
            (None, None, None) => return Err(Invalid::key("asset", "no weights are named").into()),
        };
        let file = weights::read(&path, spec.key.as_deref()).map_err(at(key))?;
        let file = file.leave_out(spec.leave_out.as_deref().unwrap_or_default())?;
        let hash = known.map_or_else(|| hash::of_file(&path), Ok).map_err(at(key))?;
        let ours = exported(&path).map_or_else(|| of_run(&path, &hash), |about| Ok(Some(about))).map_err(at(key))?;
        let about = match (asset, on_hub, ours) {
            (Some(asset), ..) => Description::of_asset(asset),
            (None, _, Some(about)) => about,
            (None, Some(on_hub), None) => on_hub.about,
            (None, None, None) => beside(&path),
        };
        let licence = asset.map(|a| a.licence.clone()).or_else(|| spec.licence.clone());
        let licence = licence.or_else(|| Some(about.manifest.as_ref()?.licences.join("; ")).filter(|l| !l.is_empty()));
        if let Some(wanted) = spec.sha256.as_ref().filter(|sum| !sum.eq_ignore_ascii_case(&hash)) {
            let message = format!("{} has the SHA-256 {hash}, and {wanted} is wanted", path.display());
            return Err(Invalid::key("sha256", message).into());
        }
        let hash = match (&file.shards[..], &spec.key, &spec.leave_out) {
            ([], None, None) => hash,
            (shards, within, left_out) => {
                let shards = shards.iter().map(|f| hash::of_file(f)).collect::<Result<Vec<_>>>();
                hash::of_value(&(hash, shards.map_err(at(key))?, within, left_out)).map_err(at(key))?
            }
        };
        Ok(Self { file, path: Some(path), hash, licence, about })
    }

    /// What decides of the weights what is learned from them: the file, and the names of classes that stand beside it.
    pub(crate) fn key(&self) -> Result<String> {
        hash::of_value(&json!([self.hash, self.about.classes]))
    }

    /// The transforms that bring the inputs of a data set to the form in which the weights know them, where the file
    /// says nothing of it: pixels to their scale, texts to their tokens.
    pub(crate) fn calls_for(&self, inputs: &Schema, spec: &DatasetSpec) -> Vec<Spec<dyn Transform>> {
        let mut out = Vec::new();
        let said = spec.transforms.iter().any(|t| t.tag == NORMALISE);
        if let (Some(Field::Image { channels, .. }), Pixels::Normalised { mean, std }, false) =
            (inputs.get(HIDDEN), &self.about.pixels, said)
        {
            out.push(normalise(mean, std, *channels));
        }
        if let (Some(Field::Text), Some(tokenizer)) = (inputs.get(TEXT), &self.about.tokenizer) {
            out.push(tokenizer.clone());
        }
        out
    }

    /// Tasks whose classes are those that the weights tell apart, where a head of this network can be the file's.
    pub(crate) fn same_labels(&self, tasks: &BTreeMap<String, Field>, network: &Spec<dyn Architecture>) -> Vec<String> {
        let same = |(task, field): (&String, &Field)| match field {
            Field::Class { names } => order(&self.about.classes, names).map(|_| task.clone()),
            _ => None,
        };
        if self.reads_same(network) { tasks.iter().filter_map(same).collect() } else { Vec::new() }
    }

    /// Whether the head of the file reads what this network puts out: a text can be pooled in several ways.
    fn reads_same(&self, network: &Spec<dyn Architecture>) -> bool {
        let Some(pooling) = network.options.get("pooling") else { return true };
        match &self.about.manifest {
            Some(manifest) => manifest.architecture.options.get("pooling") == Some(pooling),
            None => {
                pooling == "cls_pooler" && self.file.tensors.keys().any(|name| name.ends_with("pooler.dense.weight"))
            }
        }
    }

    /// What the inputs stood for that they learned from.
    pub(super) fn meaning(&self, plugins: &Plugins) -> Meaning {
        let folder = self.path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        Meaning::of_weights(&self.about, folder, plugins)
    }

    /// What no shape of a tensor tells: options by which a network of this description computes otherwise than the one
    /// of the weights.
    pub(crate) fn other_network(&self, name: &str, network: &Spec<dyn Architecture>) -> Vec<String> {
        let known = match (&self.about.manifest, self.about.attention_heads) {
            (Some(manifest), _) if manifest.architecture.tag == network.tag => manifest.architecture.options.clone(),
            (None, Some(heads)) => [("heads".to_owned(), heads.into())].into_iter().collect(),
            _ => return Vec::new(),
        };
        let tell = |key: &&str| {
            let (theirs, ours) = known.get(*key).zip(network.options.get(*key)).filter(|(a, b)| a != b)?;
            Some(format!("`{name}` was trained with `{key} = {theirs}` of the network, and here it is {ours}"))
        };
        COMPUTES.iter().filter_map(tell).collect()
    }
}

/// Options of networks that change what is computed and the shape of no tensor.
const COMPUTES: [&str; 3] = ["heads", "padding", "pooling"];

/// The file of weights in a folder; a file is itself.
fn in_folder(path: PathBuf) -> Result<PathBuf, Invalid> {
    if !path.is_dir() {
        return Ok(path);
    }
    let found = weights::IN_FOLDER.iter().map(|name| path.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| {
        let e = Invalid::new(format!("the folder {} has no weights", path.display()));
        e.help(format!(
            "it can have one of {}; or name the file",
            weights::IN_FOLDER.map(|n| format!("`{n}`")).join(", ")
        ))
    })
}

/// What an export of ours says of itself.
fn exported(path: &Path) -> Option<Description> {
    // Files of torch have no such header.
    let metadata = read_metadata(path).ok()?;
    let manifest: serde_json::Result<Manifest> = serde_json::from_str(metadata.get(MANIFEST)?);
    let folder = path.parent().unwrap_or(Path::new(""));
    manifest
        .map_err(|e| tracing::warn!("{}: what it says of itself cannot be read: {e}", path.display()))
        .ok()
        .map(|manifest| Description::of_manifest(manifest, folder))
}

/// What a run of ours says of the weights of a model, in the file that lies beside them.
///
/// # Errors
/// When the file of the weights is not the one that the run left.
fn of_run(path: &Path, sha256: &str) -> Result<Option<Description>> {
    let folder = ModelLayout::new(path.parent().unwrap_or(Path::new("")));
    let manifest = folder.manifest();
    let Ok(text) = std::fs::read_to_string(&manifest) else { return Ok(None) };
    // Others have files of this name, too.
    let Ok(found) = serde_json::from_str::<Manifest>(&text) else { return Ok(None) };
    if found.sha256 == sha256 {
        return Ok(Some(Description::of_manifest(found, folder.root())));
    }
    if folder.weights() != path {
        return Ok(None);
    }
    let message = format!("{} describes other weights: its SHA-256 is {}", manifest.display(), found.sha256);
    let e = Invalid::new(format!("{message}, and that of {} is {sha256}", path.display()));
    Err(e.help("put the weights of another model into a folder of their own").into())
}

/// What the files in a folder say of weights that have the name of their only ones.
fn beside(path: &Path) -> Description {
    let folder = path.parent().filter(|_| weights::IN_FOLDER.iter().any(|name| path.ends_with(name)));
    folder.map_or_else(Description::default, |folder| {
        Description::of_files(&|name| Some(folder.join(name)).filter(|file| file.is_file()))
    })
}

/// Takes the head out of the file of a model of ours: the parts of a linear layer, where it has one task of classes.
///
/// # Errors
/// When adapters stand beside the weights.
fn own_head(manifest: &Manifest, file: &mut WeightsFile) -> Result<BTreeMap<String, Tensor>> {
    let adapter = manifest.tensors.iter().find(|(_, (role, _))| *role == TensorRole::Adapter);
    if let Some((name, _)) = adapter {
        let e = Invalid::new(format!("the model `{}` has adapters beside its weights (`{name}`)", manifest.cell));
        return Err(e.help("have its step merge them into the weights, such as by `merge = true` of `lora`").into());
    }
    let Some(task) = manifest.tasks.keys().next().filter(|_| manifest.tasks.len() == 1) else {
        return Ok(BTreeMap::new());
    };
    let part = |part: &str| Some((part.to_owned(), file.tensors.remove(&format!("heads.{task}.{part}"))?));
    let head: BTreeMap<String, Tensor> = ["weight", "bias"].into_iter().filter_map(part).collect();
    Ok(head)
}

/// The row of each of our classes among theirs, when they are the same.
fn order(theirs: &[String], ours: &[String]) -> Option<Vec<u32>> {
    let row = |name| theirs.iter().position(|t| t == name).map(|i| i as u32);
    if theirs.len() == ours.len() { ours.iter().map(row).collect() } else { None }
}

/// The shapes of a model's backbone by the names of the network.
pub(super) fn backbone_shapes(model: &Model) -> BTreeMap<String, Vec<usize>> {
    let shape = |(name, p): (String, transplant_core::Param)| {
        Some((name.strip_prefix(BACKBONE)?.to_owned(), p.var().dims().to_vec()))
    };
    model.params().all().into_iter().filter_map(shape).collect()
}

/// The weights of an asset, fetched when they are not there yet.
pub(super) fn fetch(asset: &Asset) -> Result<PathBuf> {
    let store = Store::at(Store::default_folder()?);
    let fetched = store.fetch(asset, &mut |note| tracing::info!("{note}"))?;
    let none = || Error::from(Invalid::key("asset", format!("`{}` has no weights", asset.name)));
    Ok(fetched.path(Role::Weights).ok_or_else(none)?.to_owned())
}

/// What a cell starts from.
pub(crate) enum Source<'a> {
    /// The network of another cell.
    Cell {
        /// The step it came from.
        step: &'a str,
        /// Its tensors.
        tensors: Cow<'a, BTreeMap<String, Tensor>>,
        /// Tasks whose classes are the same there.
        labels: SourceLabels<'a>,
    },
    /// Weights from a file.
    Weights {
        /// The section's name.
        name: &'a str,
        /// The weights.
        open: &'a OpenWeights,
        /// The network that starts from them.
        network: &'a Spec<dyn Architecture>,
    },
}

/// A source whose tensors have the names of a model.
pub(crate) struct Named<'a> {
    from: &'a str,
    tensors: Cow<'a, BTreeMap<String, Tensor>>,
    same_labels: Cow<'a, [String]>,
    reordered: &'a [String],
    changed: BTreeMap<String, String>,
    /// What to tell of the file as a whole.
    pub(crate) notes: Vec<String>,
    /// Tensors for which a file has none: those of the model, by the names of the network.
    fresh: Vec<String>,
    /// The layer that turned features into classes there, and the names of the classes.
    head: BTreeMap<String, Tensor>,
    classes: Vec<String>,
}

impl<'a> Source<'a> {
    /// Finds the place of every tensor in a model.
    ///
    /// # Errors
    /// When the weights were made for another network.
    pub(crate) fn for_model(self, model: &Model) -> Result<Named<'a>> {
        let (from, open, network) = match self {
            Self::Cell { step, tensors, labels: SourceLabels { same, reordered } } => {
                let (changed, notes, fresh, head, classes) = Default::default();
                let same_labels = Cow::Borrowed(same);
                return Ok(Named { from: step, tensors, same_labels, reordered, changed, notes, fresh, head, classes });
            }
            Self::Weights { name, open, network } => (name, open, network),
        };
        let mut file = open.file.clone();
        let own_head = match &open.about.manifest {
            Some(manifest) => own_head(manifest, &mut file)?,
            None => BTreeMap::new(),
        };
        let mut fitted = weights::fit(file, &backbone_shapes(model))?;
        fitted.head.extend(own_head);
        let ours = |(name, t): (String, Tensor)| (format!("{BACKBONE}{name}"), t);
        let mut tensors: BTreeMap<String, Tensor> = fitted.tensors.into_iter().map(ours).collect();
        for name in &fitted.fresh {
            let name = format!("{BACKBONE}{name}");
            let own = model.params().find(&name).map(|p| p.view().copy()).transpose()?;
            tensors.extend(own.map(|t| (name, t)));
        }
        let classes = if open.reads_same(network) { open.about.classes.clone() } else { Vec::new() };
        let tasks = model.info().tasks;
        let same_labels = open.same_labels(&tasks, network);
        for (task, field) in &tasks {
            let Field::Class { names } = field else { continue };
            for (part, value) in fitted.head.iter().filter(|_| !classes.is_empty()) {
                // The rows of other classes are left where they are: they only tell that there was a head.
                let rows = order(&classes, names).filter(|_| value.dims().first() == Some(&names.len()));
                let value = match rows {
                    Some(rows) => value.index_select(&Tensor::new(rows, value.device())?, 0)?,
                    None => value.clone(),
                };
                tensors.insert(format!("heads.{task}.{part}"), value);
            }
        }
        let notes = fitted.notes.iter().map(|note| format!("weights {from}: {note}")).collect();
        let (changed, fresh, head, same_labels) = (fitted.changed, fitted.fresh, fitted.head, Cow::Owned(same_labels));
        let (tensors, reordered) = (Cow::Owned(tensors), &[][..]);
        Ok(Named { from, tensors, same_labels, reordered, changed, notes, fresh, head, classes })
    }
}

impl Named<'_> {
    /// Takes what the model's strategy asks for.
    ///
    /// # Errors
    /// Those of [`Model::load_source_with`].
    pub(crate) fn load(&self, model: &mut Model) -> Result<()> {
        let labels = SourceLabels { same: &self.same_labels, reordered: self.reordered };
        model.load_source_with(&self.tensors, self.from, labels)?;
        for (name, how) in &self.changed {
            let name = format!("{BACKBONE}{name}");
            if matches!(model.params().find(&name).map(|p| p.origin), Some(Origin::Loaded { .. })) {
                model.params().set_origin(&name, Origin::Loaded { from: format!("{} ({how})", self.from) });
            }
        }
        for name in &self.fresh {
            model.params().set_origin(&format!("{BACKBONE}{name}"), Origin::Fresh);
        }
        self.head_rows(model)
    }

    /// Gives the classes that the weights know by the same names their rows of the head; others keep fresh ones.
    fn head_rows(&self, model: &mut Model) -> Result<()> {
        let strategy = model.strategy();
        if strategy.needs().load != Load::BackboneAndHeads || strategy.head().is_some() || self.classes.is_empty() {
            return Ok(());
        }
        for (task, field) in model.info().tasks {
            let Field::Class { names } = field else { continue };
            if self.same_labels.contains(&task) {
                continue;
            }
            let rows = weights::head_rows(&self.head, &self.classes, &names)?;
            for (part, theirs) in &rows.tensors {
                let name = format!("heads.{task}.{part}");
                let Some(ours) = model.params().find(&name).map(|p| p.view()) else { continue };
                if ours.dims()[1..] != theirs.dims()[1..] {
                    continue;
                }
                let mut all: Vec<Tensor> =
                    (0..names.len()).map(|i| ours.narrow(0, i, 1)).collect::<candle_core::Result<_>>()?;
                for (i, place) in rows.places.iter().enumerate() {
                    all[*place] = theirs.narrow(0, i, 1)?.to_device(ours.device())?;
                }
                model.params().set(&name, &Tensor::cat(&all, 0)?)?;
                let from = format!("{} (rows of {}; others fresh)", self.from, rows.names.join(", "));
                model.params().set_origin(&name, Origin::Loaded { from });
            }
        }
        model.rebuild()
    }
}
