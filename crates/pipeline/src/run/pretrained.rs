//! A network of the catalogue as it was trained, head and all, ready to predict.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use transplant_assets::{Interpolation, classes, find};
use transplant_backbones::weights;
use transplant_core::{
    BuildCx, Error, Field, Filter, Fit, Frame, HIDDEN, Invalid, Origin, Plugins, Result, Schema, Seeds, Spec,
};
use transplant_datasets::Chain;

use super::artefact::{self, Artefact, Manifest};
use super::data;
use super::record::SCHEMA;
use super::source::{BACKBONE, backbone_shapes, fetch, normalise};

/// The one task, and its target.
const CLASS: &str = "class";
const HEAD: &str = "heads.class.";

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
        transforms: vec![plugins.check(&normalise(image, channels))?],
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
    let cx = BuildCx { plugins, base: Path::new("."), seeds: Seeds::new(0) };
    let mut model = artefact::fresh(&manifest, device, &cx)?;
    let fitted = weights::fit(weights::read(&path, None)?, &backbone_shapes(&model))?;
    let params = model.params().clone();
    let head = fitted.head.into_iter().map(|(n, t)| (format!("{HEAD}{n}"), t));
    let all = fitted.tensors.into_iter().map(|(n, t)| (format!("{BACKBONE}{n}"), t)).chain(head);
    for (name, value) in all {
        let ours = params.find(&name).map(|p| (p.role, p.var().dims().to_vec()));
        let (role, dims) = ours.ok_or_else(|| Error::param(&name, "the network has no such tensor"))?;
        if dims != value.dims() {
            let message = format!("has shape {:?}, and the network wants {dims:?}", value.dims());
            return Err(Error::param(&name, message));
        }
        params.insert(&name, &value, role, Origin::Loaded { from: asset.name.clone() })?;
    }
    model.rebuild()?;
    let transforms = Chain::new(data::make(&manifest.transforms, "transforms", &cx)?, Vec::new())?;
    Ok(Artefact { manifest, model, transforms })
}
