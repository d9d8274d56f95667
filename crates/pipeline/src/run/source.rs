//! What a cell starts from: the network of another cell, or pretrained weights from a file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::Value;
use transplant_assets::{Asset, Preprocessing, Role, Store, find};
use transplant_backbones::weights;
use transplant_core::{Error, Invalid, Origin, Result, Spec, Transform};
use transplant_trainer::Model;

use super::hash;
use crate::at;
use crate::resolved::{DatasetSpec, WeightsSpec};

const BACKBONE: &str = "backbone.";

/// Pretrained weights whose file has been read.
pub struct OpenWeights {
    /// By the file's own names.
    tensors: BTreeMap<String, Tensor>,
    /// SHA-256 of the file.
    pub hash: String,
    /// Their licence, where it is known.
    pub licence: Option<String>,
    /// How images were prepared when they were trained, where it is known.
    image: Option<Preprocessing>,
}

impl OpenWeights {
    /// Reads the file, whose path starts at `base` where it is relative. Key paths of errors start at the section.
    pub(crate) fn open(spec: &WeightsSpec, base: &Path) -> Result<Self, Invalid> {
        let asset = spec.asset.as_ref().map(|name| find(name).map_err(at("asset"))).transpose()?;
        // What was fetched has been compared with the catalogue's hash and need not be hashed again.
        let (key, path, known) = match (&spec.path, asset) {
            (Some(path), _) => ("path", base.join(path), None),
            (None, Some(asset)) => {
                let pinned = asset.file(Role::Weights).and_then(|f| f.sha256.clone());
                ("asset", fetch(asset).map_err(at("asset"))?, pinned)
            }
            (None, None) => return Err(Invalid::key("asset", "no weights are named")),
        };
        let licence = asset.map(|a| a.licence.clone()).or_else(|| spec.licence.clone());
        let tensors = weights::read(&path).map_err(at(key))?;
        let image = asset.and_then(|a| a.image.clone());
        let hash = known.map_or_else(|| hash::of_file(&path), Ok).map_err(at(key))?;
        Ok(Self { tensors, hash, licence, image })
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
        let mut normalised = spec.transforms.iter().filter(|t| t.tag == "normalise");
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

/// The weights of an asset, fetched when they are not there yet.
fn fetch(asset: &Asset) -> Result<PathBuf> {
    let store = Store::at(Store::default_folder()?);
    let fetched = store.fetch(asset, &mut |note| tracing::info!("{note}"))?;
    let none = || Error::contract(format!("the asset `{}` has no weights", asset.name));
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
}

impl<'a> Source<'a> {
    /// Finds the place of every tensor in a model.
    ///
    /// # Errors
    /// When the weights were made for another network.
    pub(crate) fn for_model(self, model: &Model) -> Result<Named<'a>> {
        let (from, open) = match self {
            Self::Cell { step, tensors, same_labels } => {
                return Ok(Named { from: step, tensors, same_labels, changed: BTreeMap::new() });
            }
            Self::Weights { name, open } => (name, open),
        };
        let shape = |(name, p): (String, transplant_core::Param)| {
            Some((name.strip_prefix(BACKBONE)?.to_owned(), p.var().dims().to_vec()))
        };
        let ours = model.params().all().into_iter().filter_map(shape).collect();
        let fitted = weights::fit(open.tensors.clone(), &ours)?;
        let ours = |(name, t): (String, Tensor)| (format!("{BACKBONE}{name}"), t);
        let tensors = Cow::Owned(fitted.tensors.into_iter().map(ours).collect());
        Ok(Named { from, tensors, same_labels: &[], changed: fitted.changed })
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
        Ok(())
    }
}
