//! Pretrained weights from files: [`read`], [`fit`] and [`head_rows`].
//!
//! A file is safetensors or what `torch.save` wrote, which is read without running it. Its names are translated by tables
//! (`naming.rs`), and every tensor must find its place: what is missing, left over or of another shape is an error.

mod fit;
mod head;
mod naming;
mod pickle;
mod positions;
mod torch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use candle_core::{Device, Tensor};
use transplant_core::{Error, Result, load_safetensors};

pub use fit::{Fitted, fit};
pub use head::{HeadRows, head_rows};

/// All tensors of a safetensors or PyTorch file, on the CPU.
///
/// # Errors
/// When the file is missing, cut off, of another kind, lies about its lengths, or names code to be run.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let io = |e| Error::io(path, e);
    let mut start = Vec::new();
    File::open(path).and_then(|f| f.take(9).read_to_end(&mut start)).map_err(io)?;
    if start.len() < 9 {
        return Err(Error::data(path, None, format!("it holds {} bytes only, no tensors", start.len())));
    }
    if !torch::is_torch(&start) {
        return Ok(load_safetensors(path, &Device::Cpu)?.0);
    }
    let bytes = std::fs::read(path).map_err(io)?;
    let tensors = torch::read(&bytes).map_err(|e| Error::data(path, None, e))?;
    Ok(tensors.into_iter().collect())
}
