//! The artefact of a cell, `model/`: weights, preprocessing, class names and licences in one folder. When it is saved
//! it is loaded again and compared.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, Architecture, BuildCx, Columns, Error, Frame, Origin, Params, Plugins, Result, Role, Schema, Seeds, Spec,
    Strategy, Task, Transform, load_safetensors, save_safetensors, write_atomically,
};
use transplant_datasets::Chain;
use transplant_trainer::{Model, Parts};

use super::data;
use super::hash;
use super::layout::ModelLayout;
use super::record::{read_json, write_json};
use super::source::BACKBONE;

/// Version of `model.json`.
pub(crate) const SCHEMA: u32 = 1;

/// What is in `model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file's form.
    pub schema: u32,
    /// The cell that made it.
    pub cell: String,
    /// Version of Transplant.
    pub transplant: String,
    /// The network.
    pub architecture: Spec<dyn Architecture>,
    /// Tasks by name.
    pub tasks: BTreeMap<String, Spec<dyn Task>>,
    /// The strategies, which may have replaced heads or attached adapters.
    pub strategies: Vec<Spec<dyn Strategy>>,
    /// Epochs for which the strategies planned.
    #[serde(default)]
    pub epochs: u64,
    /// What a row is before the transforms.
    pub raw_inputs: Schema,
    /// How a picture of any size becomes such a row; `None`: a picture has to be of the right size, or is resized by a
    /// transform.
    #[serde(default)]
    pub frame: Option<Frame>,
    /// How a row of a table becomes such a row; `None`: the rows are not from a table, or an older version saved the
    /// model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
    /// Deterministic transforms.
    pub transforms: Vec<Spec<dyn Transform>>,
    /// Random transforms that make views of a row, where there are `test_views`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub augment: Vec<Spec<dyn Transform>>,
    /// Views of a row, beside the row as it is, over which the mean of what is said is taken.
    #[serde(default)]
    pub test_views: u64,
    /// SHA-256 of the files that transforms read, by name.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// What the network is given.
    pub inputs: Schema,
    /// What is predicted, with the names of classes.
    pub targets: Schema,
    /// What it was started from; `None`: from scratch.
    pub source: Option<SourceNote>,
    /// Sources and licences of the data that shaped the weights.
    pub licences: Vec<String>,
    /// Role and origin of each tensor.
    pub tensors: BTreeMap<String, (Role, Origin)>,
    /// SHA-256 of `model.safetensors`.
    pub sha256: String,
}

/// What a model was started from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceNote {
    /// The step.
    pub step: String,
    /// Tasks whose classes are the same there.
    pub same_labels: Vec<String>,
}

/// A loaded artefact.
pub struct Artefact {
    /// What it says of itself.
    pub manifest: Manifest,
    /// The model.
    pub model: Model,
    /// The transforms that act in use, with those that make views.
    pub transforms: Chain,
}

/// Saves a model with the files that its `transforms`, those of the manifest, cannot do without; loads it again and
/// compares every tensor and the outputs for `rows`, bit by bit.
pub(crate) fn save(
    folder: &ModelLayout,
    mut manifest: Manifest,
    model: &Model,
    transforms: &[Arc<dyn Transform>],
    (inputs, rows): (Acts, &[u64]),
    plugins: &Plugins,
) -> Result<()> {
    super::folder::remove(folder.root())?;
    super::folder::make(folder.root())?;
    let weights = folder.weights();
    save_safetensors(&weights, &model.params().snapshot(|_| true)?, &BTreeMap::new())?;
    manifest.tensors = model.params().all().into_iter().map(|(n, p)| (n, (p.role, p.origin))).collect();
    manifest.sha256 = hash::of_file(&weights)?;
    for (i, (spec, transform)) in manifest.transforms.iter_mut().zip(transforms).enumerate() {
        let Some(mut file) = transform.carried() else { continue };
        if manifest.files.contains_key(&file.name) {
            file.name = format!("{i}-{}", file.name);
        }
        let path = folder.carried(&file.name);
        write_atomically(&path, &file.content)?;
        manifest.files.insert(file.name.clone(), hash::of_file(&path)?);
        // The model stands alone: neither the catalogue nor the place where the file was is needed any more.
        spec.options.retain(|key, _| key != "asset");
        spec.options.insert(file.option.to_owned(), file.name.into());
    }
    write_json(&folder.manifest(), &manifest)?;
    let back = load(folder.root(), plugins, model.params().device())?;
    if back.model.params().hash(|_| true)? != model.params().hash(|_| true)? {
        return Err(Error::contract("the model loaded again has other weights than the one that was saved"));
    }
    if bits(&back.model, inputs.clone(), rows)? != bits(model, inputs, rows)? {
        return Err(Error::contract("the model loaded again predicts otherwise than the one that was saved"));
    }
    Ok(())
}

/// Loads an artefact.
///
/// # Errors
/// When a file is missing or damaged, or a component is not registered.
pub fn load(folder: &Path, plugins: &Plugins, device: &Device) -> Result<Artefact> {
    let files = ModelLayout::new(folder);
    let manifest: Manifest = read_json(&files.manifest(), SCHEMA)?;
    let weights = files.weights();
    if hash::of_file(&weights)? != manifest.sha256 {
        return Err(Error::data(&weights, None, "the weights are not those that were saved: their hash differs"));
    }
    for (name, sha256) in &manifest.files {
        let path = files.carried(name);
        if hash::of_file(&path)? != *sha256 {
            return Err(Error::data(&path, None, "is not the file that was saved: its hash differs"));
        }
    }
    let (tensors, _) = load_safetensors(&weights, device)?;
    let cx = BuildCx { plugins, base: folder, seeds: Seeds::new(0) };
    let model = rebuild(&manifest, &tensors, device, &cx)?;
    let made = |specs, key| data::make(specs, key, &cx);
    let transforms = Chain::new(made(&manifest.transforms, "transforms")?, made(&manifest.augment, "augment")?)?;
    Ok(Artefact { manifest, model, transforms })
}

/// The model that a manifest describes, before its weights are there.
pub(super) fn fresh(m: &Manifest, device: &Device, cx: &BuildCx<'_>) -> Result<Model> {
    let tasks = m.tasks.iter().map(|(n, s)| Ok((n.clone(), cx.make(s)?.into()))).collect::<Result<_>>()?;
    let strategies = m.strategies.iter().map(|s| Ok((s.tag.clone(), cx.make(s)?))).collect::<Result<Vec<_>>>()?;
    Model::new(Parts {
        architecture: cx.make(&m.architecture)?.into(),
        inputs: m.inputs.clone(),
        tasks,
        targets: m.targets.clone(),
        strategy: transplant_strategies::compose(strategies)?.into(),
        params: Params::blank(device),
        seeds: cx.seeds,
    })
}

fn rebuild(m: &Manifest, tensors: &BTreeMap<String, Tensor>, device: &Device, cx: &BuildCx<'_>) -> Result<Model> {
    let mut model = fresh(m, device, cx)?;
    if let Some(source) = &m.source {
        // Strategies plan by what was there to start from; the tensors themselves are replaced below.
        let mut start = tensors.clone();
        start.retain(|n, _| !n.starts_with("backbone.") || model.params().find(n).is_some());
        model.load_source(&start, &source.step, &source.same_labels)?;
    }
    let params = model.params().clone();
    let adapter = |name: &String| matches!(m.tensors.get(name), Some((Role::Adapter, _)));
    let stray = |n: &&String| n.starts_with(BACKBONE) && !adapter(n) && params.find(n).is_none();
    if let Some(name) = tensors.keys().find(stray) {
        let why = format!("the network has no place for it; version {} of this program wrote the model", m.transplant);
        return Err(Error::param(name, why));
    }
    let adapted = tensors.keys().any(adapter);
    if adapted {
        model.plan(m.epochs)?;
    }
    params.remove_where(|n| !tensors.contains_key(n));
    for (name, value) in tensors {
        let (role, origin) = m.tensors.get(name).cloned().unwrap_or((Role::Buffer, Origin::Fresh));
        params.insert(name, value, role, origin)?;
    }
    model.attach_finished()?;
    Ok(model)
}

/// The outputs of a model for some rows, as bits.
fn bits(model: &Model, inputs: Acts, rows: &[u64]) -> Result<Vec<(String, Vec<u32>)>> {
    let mut out = Vec::new();
    for (task, acts) in model.predict(inputs, rows)? {
        for (name, t) in acts.iter() {
            let values = t.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            out.push((format!("{task}/{name}"), values.into_iter().map(f32::to_bits).collect()));
        }
    }
    Ok(out)
}
