//! Safetensors files, written whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};

use crate::params::bytes_of;
use crate::{Error, Result};

/// Writes a file through a temporary one beside it, synced and renamed, so that a reader sees the old file or the new
/// one whole.
///
/// # Errors
/// When the folder cannot be written or the disk is full; the old file is then still there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let io = |e| Error::io(path, e);
    let mut temp = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    temp.write_all(bytes).map_err(io)?;
    temp.as_file().sync_all().map_err(io)?;
    temp.persist(path).map_err(|e| io(e.error))?;
    if let Ok(dir) = std::fs::File::open(folder) {
        dir.sync_all().ok();
    }
    Ok(())
}

/// The entry of a file's metadata by which other libraries know for whom a file was written: `pt` for PyTorch.
const FORMAT: &str = "format";

/// Saves tensors by name, with text metadata. The bytes depend on the values alone. An entry `format` also stands where
/// other libraries read it.
///
/// # Errors
/// When a tensor's type has no place in the format or the file cannot be written.
pub fn save_safetensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let data: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(n, t)| Ok((n.clone(), dtype_of(n, t)?, t.dims().to_vec(), bytes_of(t)?)))
        .collect::<Result<_>>()?;
    let views: Vec<(String, TensorView<'_>)> = data
        .iter()
        .map(|(n, d, s, b)| {
            TensorView::new(*d, s.clone(), b)
                .map(|v| (n.clone(), v))
                .map_err(|e| Error::param(n.clone(), e.to_string()))
        })
        .collect::<Result<_>>()?;
    let text = serde_json::to_string(metadata).map_err(|e| Error::contract(e.to_string()))?;
    // One entry only: a map of several would be written in the order of its hashes.
    let meta = HashMap::from([("transplant".to_owned(), text)]);
    let bytes = safetensors::serialize(views, Some(meta)).map_err(|e| Error::data(path, None, e.to_string()))?;
    let bytes = match metadata.get(FORMAT) {
        None => bytes,
        Some(format) => with_format(&bytes, format)
            .ok_or_else(|| Error::contract(format!("the header of {} is not in order", path.display())))?,
    };
    write_atomically(path, &bytes)
}

/// A file with the entry `format` in its header's metadata.
fn with_format(bytes: &[u8], format: &str) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let mut header: serde_json::Value = serde_json::from_slice(header).ok()?;
    header["__metadata__"][FORMAT] = format.into();
    let mut header = header.to_string().into_bytes();
    // Tensors start at a multiple of 8 bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = (header.len() as u64).to_le_bytes();
    Some([&length[..], &header, data].concat())
}

/// Loads all tensors of a file and the metadata that [`save_safetensors`] wrote (empty for other writers).
///
/// # Errors
/// When the file is missing, cut off or lies about its lengths, or a tensor is of a type that is not supported.
pub fn load_safetensors(path: &Path, device: &Device) -> Result<(BTreeMap<String, Tensor>, BTreeMap<String, String>)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let file = read_safetensors(path, &bytes, device)?;
    if let Some((name, dtype)) = file.unsupported.first_key_value() {
        return Err(Error::param(name, format!("type {dtype} is not supported ({})", path.display())));
    }
    Ok((file.tensors, file.metadata))
}

/// What a safetensors file holds.
#[derive(Debug, Clone, Default)]
pub struct SafetensorsFile {
    /// Its tensors.
    pub tensors: BTreeMap<String, Tensor>,
    /// Tensors of types that are not supported, and these types.
    pub unsupported: BTreeMap<String, String>,
    /// The metadata that [`save_safetensors`] wrote; empty for other writers.
    pub metadata: BTreeMap<String, String>,
}

/// The tensors of a safetensors file with this content; `path` is named in errors.
///
/// # Errors
/// When the content is cut off or lies about its lengths.
pub fn read_safetensors(path: &Path, content: &[u8], device: &Device) -> Result<SafetensorsFile> {
    let bad = |e: SafeTensorError| Error::data(path, None, in_words(&e, content.len()));
    let (_, header) = SafeTensors::read_metadata(content).map_err(bad)?;
    let metadata = header.metadata().as_ref().and_then(|m| m.get("transplant"));
    let metadata = metadata.and_then(|t| serde_json::from_str(t).ok()).unwrap_or_default();
    let mut out = SafetensorsFile { metadata, ..SafetensorsFile::default() };
    for (name, view) in SafeTensors::deserialize(content).map_err(bad)?.tensors() {
        match candle_dtype(view.dtype()) {
            Some(dtype) => {
                out.tensors.insert(name, Tensor::from_raw_buffer(view.data(), dtype, view.shape(), device)?);
            }
            None => drop(out.unsupported.insert(name, format!("{:?}", view.dtype()))),
        }
    }
    Ok(out)
}

fn in_words(e: &SafeTensorError, length: usize) -> String {
    match e {
        SafeTensorError::HeaderTooLarge
        | SafeTensorError::InvalidHeader(_)
        | SafeTensorError::InvalidHeaderDeserialization(_) => {
            "it does not begin as a safetensors file, nor as one that `torch.save` wrote".to_owned()
        }
        SafeTensorError::HeaderTooSmall
        | SafeTensorError::InvalidHeaderLength
        | SafeTensorError::MetadataIncompleteBuffer => {
            format!(
                "its {length} bytes are not those that its header announces: it was cut off or damaged; download or copy it again"
            )
        }
        e => e.to_string(),
    }
}

/// The metadata of a safetensors file that [`save_safetensors`] wrote (empty for other writers); the tensors are not
/// read.
///
/// # Errors
/// When the file is missing, or its header is cut off or no text of safetensors.
pub fn read_metadata(path: &Path) -> Result<BTreeMap<String, String>> {
    let io = |e| Error::io(path, e);
    let mut file = std::fs::File::open(path).map_err(io)?;
    let all = file.metadata().map_err(io)?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > all {
        return Err(Error::data(path, None, format!("its header is said to have {length} bytes, the file has {all}")));
    }
    let mut header = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact(&mut header).map_err(io)?;
    let header: serde_json::Value =
        serde_json::from_slice(&header).map_err(|e| Error::data(path, None, e.to_string()))?;
    let metadata = header["__metadata__"]["transplant"].as_str().map(serde_json::from_str);
    Ok(metadata.and_then(serde_json::Result::ok).unwrap_or_default())
}

fn dtype_of(name: &str, t: &Tensor) -> Result<Dtype> {
    Ok(match t.dtype() {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::U32 => Dtype::U32,
        DType::I64 => Dtype::I64,
        DType::U8 => Dtype::U8,
        other => return Err(Error::param(name, format!("type {other:?} is not written to safetensors"))),
    })
}

fn candle_dtype(d: Dtype) -> Option<DType> {
    Some(match d {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::U32 => DType::U32,
        Dtype::I64 => DType::I64,
        Dtype::U8 => DType::U8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_a_cut_file_is_named() -> Result<()> {
        let dir = tempfile::tempdir().map_err(|e| Error::io(".", e))?;
        let path = dir.path().join("a.safetensors");
        let t = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
        let tensors =
            BTreeMap::from([("b".to_owned(), t.clone()), ("a".to_owned(), Tensor::new(&[7u32], &Device::Cpu)?)]);
        save_safetensors(&path, &tensors, &BTreeMap::from([("k".to_owned(), "v".to_owned())]))?;
        let (back, meta) = load_safetensors(&path, &Device::Cpu)?;
        assert_eq!(back["b"].to_vec2::<f32>()?, t.to_vec2::<f32>()?);
        assert_eq!(meta["k"], "v");
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        std::fs::write(&path, &bytes[..bytes.len() - 3]).map_err(|e| Error::io(&path, e))?;
        assert!(load_safetensors(&path, &Device::Cpu).unwrap_err().to_string().contains("a.safetensors"));
        Ok(())
    }

    #[test]
    fn format_stands_where_others_read_it() -> Result<()> {
        let dir = tempfile::tempdir().map_err(|e| Error::io(".", e))?;
        let (path, again) = (dir.path().join("a.safetensors"), dir.path().join("b.safetensors"));
        let tensors = BTreeMap::from([("a".to_owned(), Tensor::new(&[7u32], &Device::Cpu)?)]);
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned()), ("k".to_owned(), "v".to_owned())]);
        save_safetensors(&path, &tensors, &metadata)?;
        save_safetensors(&again, &tensors, &metadata)?;
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        assert_eq!(bytes, std::fs::read(&again).map_err(|e| Error::io(&again, e))?);
        let header = SafeTensors::read_metadata(&bytes).map_err(|e| Error::contract(e.to_string()))?.1;
        assert_eq!(header.metadata().as_ref().and_then(|m| m.get("format")).map(String::as_str), Some("pt"));
        let (back, meta) = load_safetensors(&path, &Device::Cpu)?;
        assert_eq!((back["a"].to_vec1::<u32>()?, &meta), (vec![7], &metadata));
        assert_eq!(read_metadata(&path)?, meta);
        Ok(())
    }
}
