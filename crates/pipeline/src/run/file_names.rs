//! Names of files in a run folder that xtask knows, too: it reads this file as a module of its own, since it depends on
//! no crate of the workspace.

/// The pipeline file of a run.
pub(crate) const PIPELINE: &str = "pipeline.toml";
/// The folder of a cell's model.
pub(crate) const MODEL: &str = "model";
/// In the folder of a model what describes it.
pub(crate) const MODEL_MANIFEST: &str = "model.json";
/// In the folder of a model, and in that of an export, the tensors.
pub(crate) const MODEL_WEIGHTS: &str = "model.safetensors";
