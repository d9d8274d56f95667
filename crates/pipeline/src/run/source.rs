//! What a cell starts from: the network of another cell, or pretrained weights from a file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::{Value, json};
use transplant_assets::{Asset, Clients, Preprocessing, Role, Store, classes, find};
use transplant_backbones::weights::{self, WeightsFile};
use transplant_core::{Error, Field, HIDDEN, Invalid, Load, Origin, Result, Schema, Spec, TEXT, Transform};
use transplant_trainer::Model;

use super::hash;
use super::hub::OnHub;
use crate::resolved::{DatasetSpec, WeightsSpec};
use crate::{at, decimal};

/// The beginning of the names of a model's backbone.
pub(super) const BACKBONE: &str = "backbone.";
const NORMALISE: &str = "normalise";

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
    /// How images were prepared when they were trained, where it is known.
    image: Option<Preprocessing>,
    /// What makes tokens of a text as they learned them.
    tokenizer: Option<Spec<dyn Transform>>,
    /// The classes that they tell apart, where the names are known.
    classes: Vec<String>,
}

impl OpenWeights {
    /// Reads the file, whose path starts at `base` where it is relative. Key paths of errors start at the section.
    pub(crate) fn open(spec: &WeightsSpec, base: &Path) -> Result<Self> {
        let asset = spec.asset.as_ref().map(|name| find(name).map_err(at("asset"))).transpose()?;
        let on_hub = spec.hub.as_ref().map(|repo| OnHub::fetch(repo, spec, &Clients::from_env())).transpose()?;
        // What was fetched has been compared with the catalogue's hash and need not be hashed again.
        let (key, path, known) = match (&spec.path, asset, &on_hub) {
            (Some(path), ..) => ("path", base.join(path), None),
            (None, Some(asset), _) => {
                let pinned = asset.file(Role::Weights).and_then(|f| f.sha256.clone());
                ("asset", fetch(asset).map_err(at("asset"))?, pinned)
            }
            (None, None, Some(on_hub)) => ("hub", on_hub.weights.clone(), None),
            (None, None, None) => return Err(Invalid::key("asset", "no weights are named").into()),
        };
        let licence = asset.map(|a| a.licence.clone()).or_else(|| spec.licence.clone());
        let file = weights::read(&path, spec.key.as_deref()).map_err(at(key))?;
        let file = file.leave_out(spec.leave_out.as_deref().unwrap_or_default())?;
        let image = asset.and_then(|a| a.image.clone()).or_else(|| on_hub.as_ref()?.image.clone());
        let tokenise = |key: &str, value: String| Spec::new("tokenise").with(key, value);
        let tokenizer = asset.filter(|a| a.file(Role::Tokenizer).is_some()).map(|a| tokenise("asset", a.name.clone()));
        let tokenizer = tokenizer.or_else(|| Some(tokenise("path", on_hub.as_ref()?.tokenizer()?)));
        let hash = known.map_or_else(|| hash::of_file(&path), Ok).map_err(at(key))?;
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
        let classes = asset.and_then(|a| classes(a.classes.as_deref()?)).unwrap_or_default();
        let classes = classes.into_iter().map(str::to_owned).collect();
        Ok(Self { file, path: Some(path), hash, licence, image, tokenizer, classes })
    }

    /// The transforms that bring the inputs of a data set to the form in which the weights know them, where the file
    /// says nothing of it: pixels to their scale, texts to their tokens.
    pub(crate) fn calls_for(&self, inputs: &Schema, spec: &DatasetSpec) -> Vec<Spec<dyn Transform>> {
        let mut out = Vec::new();
        let said = spec.transforms.iter().any(|t| t.tag == NORMALISE);
        if let (Some(Field::Image { channels, .. }), Some(image), false) = (inputs.get(HIDDEN), &self.image, said) {
            out.push(normalise(image, *channels));
        }
        if let (Some(Field::Text), Some(tokenizer)) = (inputs.get(TEXT), &self.tokenizer) {
            out.push(tokenizer.clone());
        }
        out
    }

    /// What to tell when the pixels of a data set are on another scale than those that the weights learned from.
    pub(crate) fn other_scale(&self, name: &str, dataset: &str, spec: &DatasetSpec) -> Option<String> {
        let image = self.image.as_ref()?;
        let near = |given: &Value, known: &[f32]| {
            let given = given.as_array()?;
            let known = |i: usize| f64::from(known[i.min(known.len() - 1)]);
            Some((0..given.len()).all(|i| given[i].as_f64().is_some_and(|v| (v - known(i)).abs() < 0.02)))
        };
        let fits = |t: &Spec<dyn Transform>| {
            Some(near(t.options.get("mean")?, &image.mean)? && near(t.options.get("std")?, &image.std)?)
        };
        let mut normalised = spec.transforms.iter().filter(|t| t.tag == NORMALISE);
        if normalised.any(|t| fits(t) == Some(true)) {
            return None;
        }
        let shown = |v: &[f32]| {
            let all_alike = v.windows(2).all(|w| w[0] == w[1]);
            v[..if all_alike { 1 } else { v.len() }].iter().map(f32::to_string).collect::<Vec<_>>().join(", ")
        };
        let (mean, std) = (shown(&image.mean), shown(&image.std));
        Some(format!(
            "`{name}` learned from pixels less {mean}, divided by {std}; `datasets.{dataset}` has no `normalise` like that"
        ))
    }
}

/// What brings pixels to the scale of some weights. A network whose first layer was adapted to other channels sees the
/// mean of them.
pub(super) fn normalise(image: &Preprocessing, channels: usize) -> Spec<dyn Transform> {
    let of_channels = |v: &[f32]| match v.len() == channels {
        true => v.to_vec(),
        false => vec![v.iter().sum::<f32>() / v.len() as f32],
    };
    let shown = |v: &[f32]| of_channels(v).iter().map(|x| json!(decimal(*x))).collect::<Vec<_>>();
    Spec::new(NORMALISE).with("mean", shown(&image.mean)).with("std", shown(&image.std))
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
        same_labels: &'a [String],
    },
    /// Weights from a file.
    Weights {
        /// The section's name.
        name: &'a str,
        /// The weights.
        open: &'a OpenWeights,
    },
}

/// A source whose tensors have the names of a model.
pub(crate) struct Named<'a> {
    from: &'a str,
    tensors: Cow<'a, BTreeMap<String, Tensor>>,
    same_labels: &'a [String],
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
        let (from, open) = match self {
            Self::Cell { step, tensors, same_labels } => {
                let (changed, notes, fresh, head, classes) = Default::default();
                return Ok(Named { from: step, tensors, same_labels, changed, notes, fresh, head, classes });
            }
            Self::Weights { name, open } => (name, open),
        };
        let fitted = weights::fit(open.file.clone(), &backbone_shapes(model))?;
        let ours = |(name, t): (String, Tensor)| (format!("{BACKBONE}{name}"), t);
        let mut tensors: BTreeMap<String, Tensor> = fitted.tensors.into_iter().map(ours).collect();
        for name in &fitted.fresh {
            let name = format!("{BACKBONE}{name}");
            let own = model.params().find(&name).map(|p| p.view().copy()).transpose()?;
            tensors.extend(own.map(|t| (name, t)));
        }
        let notes = fitted.notes.iter().map(|note| format!("weights {from}: {note}")).collect();
        let (changed, fresh, head, classes) = (fitted.changed, fitted.fresh, fitted.head, open.classes.clone());
        Ok(Named { from, tensors: Cow::Owned(tensors), same_labels: &[], changed, notes, fresh, head, classes })
    }
}

impl Named<'_> {
    /// Takes what the model's strategy asks for.
    ///
    /// # Errors
    /// Those of [`Model::load_source`].
    pub(crate) fn load(&self, model: &mut Model) -> Result<()> {
        model.load_source(&self.tensors, self.from, self.same_labels)?;
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
