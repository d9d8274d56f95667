//! Checkpoints in several files: the index that names them, as `save_pretrained` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// An index: which file has which tensor.
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    /// That of a JSON text, or `None`.
    pub(super) fn of(content: &[u8]) -> Option<Self> {
        serde_json::from_slice(content).ok()
    }

    /// The names of the files, each once.
    pub(super) fn names(&self) -> Vec<String> {
        self.weight_map.values().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The files beside the index, each once.
    ///
    /// # Errors
    /// When one is missing, or is named by a path that leads elsewhere.
    pub(super) fn files(&self, index: &Path) -> Result<Vec<PathBuf>, String> {
        let folder = index.parent().unwrap_or(Path::new(""));
        let names = self.names();
        if let Some(name) = names.iter().find(|n| Path::new(n.as_str()).file_name() != Some(n.as_ref())) {
            return Err(format!("the index names `{name}`, which is no file beside it"));
        }
        let missing: Vec<&str> =
            names.iter().filter(|n| !folder.join(n.as_str()).is_file()).map(|n| n.as_str()).collect();
        if let Some(first) = missing.first() {
            let (count, of) = (missing.len(), names.len());
            return Err(format!(
                "`{first}` is not beside this index: {count} of its {of} files are missing; download them too"
            ));
        }
        Ok(names.into_iter().map(|n| folder.join(n)).collect())
    }

    /// The names of all tensors.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &String> {
        self.weight_map.keys()
    }
}

/// What to try with a file that is one of several: its index, where there is one beside it.
pub(super) fn hint(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    // As in `model-00001-of-00002.safetensors`.
    let (before, end) = name.split_once("-of-")?;
    let (start, number) = before.rsplit_once('-')?;
    let (count, ending) = end.split_once('.')?;
    let (number, count) = (number.parse::<u32>().ok()?, count.parse::<u32>().ok()?);
    let index = format!("{start}.{ending}.index.json");
    let there = path.with_file_name(&index).is_file();
    let how = if there {
        format!("give `{index}`")
    } else {
        format!("give their index, `{index}`, with all of them beside it")
    };
    Some(format!("this is file {number} of {count}: {how}"))
}
