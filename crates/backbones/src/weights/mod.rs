//! Pretrained weights from files: [`read`], [`fit`] and [`head_rows`].
//!
//! A file is safetensors or what `torch.save` wrote, which is read without running it. Its names are translated by
//! tables (`naming.rs`), and every tensor must find its place: what is missing, left over or of another shape is an
//! error. What wrappers put before all names is taken off (`prefix.rs`).

mod advice;
mod fit;
mod head;
mod kind;
mod machine;
mod naming;
mod pickle;
mod positions;
mod prefix;
mod sets;
mod shards;
mod tensors;
mod torch;
mod values;

use std::path::Path;

use candle_core::Device;
use transplant_core::{Error, Result, read_safetensors};

pub use fit::{Fitted, fit};
pub use head::{HeadRows, head_rows};
pub use tensors::WeightsFile;

use shards::Index;
use tensors::{Tensors, of_safetensors};

/// Names of the file of weights, or of the index of several, in a model's folder; the first that is there counts.
pub const IN_FOLDER: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

/// The tensors of a safetensors or PyTorch file, or of all files that an index names, on the CPU. `key` names which of
/// several sets of weights is taken: a dictionary of the file with dots between its keys, or the beginning of names;
/// without one it is the likeliest, and weights that are averaged over steps only where there are no others.
///
/// # Errors
/// When the file is missing, cut off, of another kind, lies about its lengths, names code to be run, or has nothing
/// under `key`.
pub fn read(path: &Path, key: Option<&str>) -> Result<WeightsFile> {
    let wrong = |e: String| Error::data(path, None, e);
    if path.is_dir() {
        let there = IN_FOLDER.iter().find(|f| path.join(f).is_file());
        let there = there.map_or_else(String::new, |f| format!(", such as `{f}`"));
        return Err(wrong(format!("is a folder: give the file in it{there}")));
    }
    let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    if let Some(index) = Index::of(&content) {
        return read_shards(path, &index, key);
    }
    let Tensors { tensors, unread, note } = one(path, &content, key)?;
    Ok(WeightsFile { tensors, unread, notes: note.into_iter().collect(), hint: shards::hint(path), shards: Vec::new() })
}

/// The names of the files beside an index; none where the file is no index.
///
/// # Errors
/// When it cannot be read.
pub fn shard_names(path: &Path) -> Result<Vec<String>> {
    if path.extension().is_none_or(|e| e != "json") {
        return Ok(Vec::new());
    }
    let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    Ok(Index::of(&content).map_or_else(Vec::new, |index| index.names()))
}

/// The tensors of one file with this content.
fn one(path: &Path, content: &[u8], key: Option<&str>) -> Result<Tensors> {
    let wrong = |e: &str| Error::data(path, None, e);
    if let Some(what) = kind::other(path, content) {
        return Err(wrong(what));
    }
    if content.len() < 9 {
        return Err(wrong(&format!("it holds {} bytes only, no tensors", content.len())));
    }
    if torch::is_torch(content) {
        return torch::read(content, key).map_err(|e| wrong(&e));
    }
    if content.trim_ascii_start().starts_with(b"{") {
        return Err(wrong(kind::JSON));
    }
    of_safetensors(read_safetensors(path, content, &Device::Cpu)?, key).map_err(|e| wrong(&e))
}

fn read_shards(path: &Path, index: &Index, key: Option<&str>) -> Result<WeightsFile> {
    let wrong = |e: String| Error::data(path, None, e);
    let mut all = Tensors::default();
    let files = index.files(path).map_err(wrong)?;
    for file in &files {
        let content = std::fs::read(file).map_err(|e| Error::io(file, e))?;
        let part = one(file, &content, None)?;
        all.tensors.extend(part.tensors);
        all.unread.extend(part.unread);
    }
    let has = |name: &&String| all.tensors.contains_key(*name) || all.unread.contains_key(*name);
    if let Some(name) = index.tensors().find(|n| !has(n)) {
        return Err(wrong(format!(
            "its files do not hold `{name}`, which it says they do: they belong to another checkpoint"
        )));
    }
    let all = tensors::below(all, key).map_err(wrong)?;
    let note =
        format!("read from {} files that `{}` names", files.len(), path.file_name().unwrap_or_default().display());
    let notes = [note].into_iter().chain(all.note).collect();
    Ok(WeightsFile { tensors: all.tensors, unread: all.unread, notes, hint: None, shards: files })
}
