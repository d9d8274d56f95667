//! Networks as they were trained, head and all, ready to predict: classifiers of the catalogue, and exports of ours.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use transplant_assets::{Interpolation, classes, find};
use transplant_backbones::weights;
use transplant_core::{
    BuildCx, Error, Field, Filter, Fit, Frame, HIDDEN, Invalid, Origin, Plugins, Result, Schema, Seeds, Spec,
    read_metadata,
};
use transplant_datasets::Chain;

use super::artefact::{self, Artefact, Manifest, SCHEMA};
use super::data;
use super::description::{Description, MANIFEST, Pixels, normalise};
use super::export::WEIGHTS;
use super::hash;
use super::source::{BACKBONE, backbone_shapes, fetch};

/// The one task of a classifier of the catalogue, and its target.
const CLASS: &str = "class";

/// Loads a classifier of the catalogue; its files are fetched when they are not there yet.
///
/// # Errors
/// When there is no such asset, it is no classifier of pictures, or its files cannot be fetched or read.
pub fn pretrained(name: &str, plugins: &Plugins, device: &Device) -> Result<Artefact> {
    let asset = find(name)?;
    let named = asset.classes.as_deref().and_then(classes);
    let (Some(architecture), Some(image), Some(names)) = (&asset.architecture, &asset.image, named) else {
        return Err(Invalid::new(format!("`{name}` is no classifier of pictures, and can only be started from")).into());
    };
    let path = fetch(asset)?;

    let size = image.size;
    let channels = 3;
    let transforms = match Description::of_asset(asset).pixels {
        Pixels::Normalised { mean, std } => vec![plugins.check(&normalise(&mean, &std, channels))?],
        _ => Vec::new(),
    };
    let filter = match image.interpolation {
        Interpolation::Bicubic => Filter::Bicubic,
        _ => Filter::Bilinear,
    };
    let frame = Frame { height: size, width: size, channels, fit: Fit::Crop, filter, background: [255; 3] };
    let inputs = Schema::from([(HIDDEN.to_owned(), Field::Image { channels, height: size, width: size })]);
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let manifest = Manifest {
        schema: SCHEMA,
        cell: name.to_owned(),
        transplant: env!("CARGO_PKG_VERSION").to_owned(),
        architecture: plugins.check(architecture)?,
        tasks: BTreeMap::from([(CLASS.to_owned(), plugins.check(&Spec::new("classification"))?)]),
        strategies: vec![plugins.check(&Spec::new("structure"))?],
        epochs: 0,
        raw_inputs: inputs.clone(),
        frame: Some(frame),
        columns: None,
        transforms,
        augment: Vec::new(),
        test_views: 0,
        files: BTreeMap::new(),
        inputs,
        targets: Schema::from([(CLASS.to_owned(), Field::Class { names })]),
        source: None,
        licences: vec![asset.licence.clone()],
        tensors: BTreeMap::new(),
        sha256: String::new(),
    };
    filled(manifest, &path, &asset.name, Path::new("."), plugins, device)
}

/// Loads an export, a file or a folder; `None` when it is none.
///
/// # Errors
/// When it is no file of safetensors, is damaged, or its tokenizer is missing.
pub(super) fn exported(what: &Path, plugins: &Plugins, device: &Device) -> Result<Option<Artefact>> {
    let path = if what.is_dir() { what.join(WEIGHTS) } else { what.to_owned() };
    if !path.is_file() {
        return Ok(None);
    }
    let metadata = read_metadata(&path)?;
    let Some(text) = metadata.get(MANIFEST) else { return Ok(None) };
    let manifest: Manifest = serde_json::from_str(text).map_err(|e| Error::data(&path, None, e.to_string()))?;
    if manifest.schema > SCHEMA {
        let message = format!("the export's version is {}, this program reads up to {SCHEMA}", manifest.schema);
        return Err(Error::data(&path, None, message));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    for (name, sha256) in &manifest.files {
        let file = folder.join(name);
        if !file.is_file() {
            let e =
                Invalid::new(format!("{} has no `{name}` beside it, without which it cannot predict", path.display()));
            return Err(e.help("export the run to a folder, which has all files").into());
        }
        if hash::of_file(&file)? != *sha256 {
            return Err(Error::data(&file, None, "is not the file that was exported: its hash differs"));
        }
    }
    let name = what.display().to_string();
    filled(manifest, &path, &name, folder, plugins, device).map(Some)
}

/// The model that a manifest describes, with the weights of a file.
fn filled(
    manifest: Manifest,
    path: &Path,
    name: &str,
    base: &Path,
    plugins: &Plugins,
    device: &Device,
) -> Result<Artefact> {
    let cx = BuildCx { plugins, base, seeds: Seeds::new(0) };
    let mut model = artefact::fresh(&manifest, device, &cx)?;
    let fitted = weights::fit(weights::read(path, None)?, &backbone_shapes(&model))?;
    let params = model.params().clone();
    let head = manifest.tasks.keys().next().map(|task| format!("heads.{task}.")).unwrap_or_default();
    let head = fitted.head.into_iter().map(|(n, t)| (format!("{head}{n}"), t));
    let all = fitted.tensors.into_iter().map(|(n, t)| (format!("{BACKBONE}{n}"), t)).chain(head);
    for (tensor, value) in all {
        let ours = params.find(&tensor).map(|p| (p.role, p.var().dims().to_vec()));
        let (role, dims) = ours.ok_or_else(|| Error::param(&tensor, "the network has no such tensor"))?;
        if dims != value.dims() {
            let message = format!("has shape {:?}, and the network wants {dims:?}", value.dims());
            return Err(Error::param(&tensor, message));
        }
        params.insert(&tensor, &value, role, Origin::Loaded { from: name.to_owned() })?;
    }
    model.rebuild()?;
    let made = |specs, key| data::make(specs, key, &cx);
    let transforms = Chain::new(made(&manifest.transforms, "transforms")?, made(&manifest.augment, "augment")?)?;
    Ok(Artefact { manifest, model, transforms })
}
