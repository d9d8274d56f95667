//! Weights of a repository of the model hub, and what lies beside them there: how pictures or texts were prepared.

use std::path::PathBuf;

use transplant_assets::{Clients, Hub};
use transplant_core::Result;

use super::description::Description;
use crate::at;
use crate::resolved::WeightsSpec;

/// What a repository has.
pub(super) struct OnHub {
    /// The tensors.
    pub(super) weights: PathBuf,
    /// What the files beside them tell.
    pub(super) about: Description,
}

impl OnHub {
    /// Downloads what is not in the hub's cache yet. Key paths of errors start at the section.
    pub(super) fn fetch(repo: &str, spec: &WeightsSpec, clients: &Clients) -> Result<Self> {
        let hub = |file: &str| Hub {
            repo: repo.to_owned(),
            revision: spec.revision.clone().unwrap_or_else(|| "main".to_owned()),
            file: file.to_owned(),
        };
        let weights = hub(spec.file.as_deref().unwrap_or("model.safetensors"));
        let weights = weights.fetch(clients).map_err(at("hub"))?;
        for shard in transplant_backbones::weights::shard_names(&weights).map_err(at("hub"))? {
            let folder = spec.file.as_deref().and_then(|f| f.rsplit_once('/')).map(|(folder, _)| folder);
            hub(&folder.map_or_else(|| shard.clone(), |f| format!("{f}/{shard}"))).fetch(clients).map_err(at("hub"))?;
        }
        // What a repository lacks is no error: the pipeline file can say how inputs are prepared.
        let beside = |file: &str| match hub(file).fetch(clients) {
            Ok(path) => Some(path),
            Err(e) => {
                tracing::debug!("{e}");
                None
            }
        };
        Ok(Self { weights, about: Description::of_files(&beside) })
    }
}
