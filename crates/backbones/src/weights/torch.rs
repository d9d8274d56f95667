//! Files that `torch.save` wrote: an archive with one entry a storage, or, before PyTorch 1.6, one pickle after another and the
//! storages at the end.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Deref;

use candle_core::{DType, Device, Tensor};

use super::pickle::{Id, Known, Pickle, Value};

/// What the first pickle of an old file says.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// Keys under which checkpoints keep the weights beside other things.
const NESTED: [&str; 5] = ["state_dict", "model", "model_state_dict", "state_dict_ema", "module"];

/// Whether a file begins as one that `torch.save` wrote.
pub(super) fn is_torch(bytes: &[u8]) -> bool {
    // The length at the beginning of a safetensors file may look like a pickle, but text follows it.
    bytes.starts_with(b"PK\x03\x04") || (bytes.first() == Some(&0x80) && bytes.get(8) != Some(&b'{'))
}

/// All tensors of a file, in its order.
///
/// # Errors
/// Text that says what is wrong with the file.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    if bytes.starts_with(b"PK") { archive(bytes) } else { old(bytes) }
}

fn archive(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| format!("the archive cannot be read: {e}"))?;
    let index = zip.file_names().flatten().find(|n| n.ends_with("/data.pkl")).map(|n| n.into_owned());
    let index = index.ok_or("the archive has no `data.pkl`; it was not written by `torch.save`")?;
    let folder = index.trim_end_matches("data.pkl").to_owned();
    let mut entry = |name: &str| -> Result<Vec<u8>, String> {
        let file = zip.by_name(name).map_err(|e| format!("`{name}`: {e}"))?;
        let mut out = Vec::new();
        // Never more than the whole file holds: torch does not compress.
        file.take(bytes.len() as u64).read_to_end(&mut out).map_err(|e| format!("`{name}`: {e}"))?;
        Ok(out)
    };
    if entry(&format!("{folder}byteorder")).is_ok_and(|order| order != b"little") {
        return Err("the numbers are not little-endian".to_owned());
    }
    let (pickle, _) = Pickle::read(&entry(&index)?)?;
    tensors(&pickle, |storage: &Storage| entry(&format!("{folder}data/{}", storage.key)))
}

fn old(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    let mut at = 0;
    let mut next = || -> Result<Pickle, String> {
        let (pickle, taken) = Pickle::read(&bytes[at..])?;
        at += taken;
        Ok(pickle)
    };
    let (magic, _version, system, object, keys) = (next()?, next()?, next()?, next()?, next()?);
    if magic.get(magic.root()) != &Value::Int(MAGIC) {
        return Err("it does not begin as a file that `torch.save` wrote".to_owned());
    }
    if let Value::Dict(items) = system.get(system.root()) {
        let order = items.iter().find(|(k, _)| system.text(*k) == Some("little_endian"));
        if order.is_some_and(|(_, v)| system.get(*v) == &Value::Bool(false)) {
            return Err("the numbers are not little-endian".to_owned());
        }
    }
    // Types of storages stand in the pickle, their numbers after the list of their keys.
    let mut kinds = HashMap::new();
    for outside in object.ids().filter(|id| matches!(object.get(*id), Value::Outside(_))) {
        let storage = Storage::outside(&object, outside)?;
        kinds.insert(storage.key.clone(), storage);
    }
    let mut storages = HashMap::new();
    for key in keys.list(keys.root()).unwrap_or_default() {
        let key = keys.text(*key).ok_or("the key of a storage is not text")?;
        let cut = || format!("it ends within the storage `{key}`");
        let size = kinds.get(key).map(|s| s.kind.size()).ok_or_else(|| format!("nothing uses the storage `{key}`"))?;
        let count = bytes.get(at..at + 8).ok_or_else(cut)?;
        let count = u64::from_le_bytes(count.try_into().map_err(|_| cut())?);
        let len = usize::try_from(count).ok().and_then(|n| n.checked_mul(size)).ok_or_else(cut)?;
        let end = (at + 8).checked_add(len).ok_or_else(cut)?;
        storages.insert(key.to_owned(), bytes.get(at + 8..end).ok_or_else(cut)?);
        at = end;
    }
    tensors(&object, |s| storages.get(&s.key).copied().ok_or_else(|| format!("the storage `{}` is missing", s.key)))
}

/// The tensors of a state dictionary, which may stand inside a checkpoint.
fn named(pickle: &Pickle) -> Result<Vec<(String, Id)>, String> {
    let items = |id: Id| -> Vec<(String, Id)> {
        let Value::Dict(items) = pickle.get(id) else { return Vec::new() };
        items.iter().filter_map(|(k, v)| Some((pickle.text(*k)?.to_owned(), *v))).collect()
    };
    let top = items(pickle.root());
    let inner = NESTED.iter().filter_map(|key| top.iter().find(|(k, _)| k == key)).map(|(_, v)| items(*v));
    let is_tensor = |(_, v): &(String, Id)| matches!(pickle.get(*v), Value::Tensor { .. });
    let found = std::iter::once(top.clone()).chain(inner).find(|items| items.iter().any(is_tensor));
    let found = found.ok_or_else(|| {
        let keys: Vec<&str> = top.iter().map(|(k, _)| k.as_str()).take(8).collect();
        format!("there is no dictionary of tensors in it, only {keys:?}")
    })?;
    Ok(found.into_iter().filter(is_tensor).collect())
}

fn tensors<B: Deref<Target = [u8]>>(
    pickle: &Pickle,
    mut bytes: impl FnMut(&Storage) -> Result<B, String>,
) -> Result<Vec<(String, Tensor)>, String> {
    let mut out = Vec::new();
    for (name, id) in named(pickle)? {
        let Value::Tensor { offset, sizes, strides, .. } = pickle.get(id) else { continue };
        let wrong = || format!("the tensor `{name}` has no sizes");
        let (offset, sizes) = (pickle.count(*offset).ok_or_else(wrong)?, pickle.counts(*sizes).ok_or_else(wrong)?);
        let strides = pickle.counts(*strides).filter(|s| s.len() == sizes.len()).ok_or_else(wrong)?;
        let storage = Storage::of(pickle, id)?;
        let values = dense(&bytes(&storage)?, storage.kind.size(), offset, &sizes, &strides);
        let values = values.ok_or_else(|| format!("the tensor `{name}` reaches beyond its storage"))?;
        let tensor = storage.kind.tensor(&values, &sizes).map_err(|e| format!("the tensor `{name}`: {e}"))?;
        out.push((name, tensor));
    }
    Ok(out)
}

/// The bytes of a tensor's elements in order; `None` where they do not all lie in the storage.
fn dense(storage: &[u8], size: usize, offset: usize, sizes: &[usize], strides: &[usize]) -> Option<Vec<u8>> {
    let count = sizes.iter().try_fold(1usize, |n, s| n.checked_mul(*s))?;
    if count == 0 {
        return Some(Vec::new());
    }
    let reach = sizes.iter().zip(strides).try_fold(offset, |at, (n, s)| at.checked_add((n - 1).checked_mul(*s)?))?;
    let held = storage.len() / size;
    // A view may show an element more than once, but no network's weights are larger than their file.
    if reach >= held || count > held {
        return None;
    }
    let mut out = Vec::with_capacity(count * size);
    let mut index = vec![0; sizes.len()];
    for _ in 0..count {
        let at = index.iter().zip(strides).map(|(i, s)| i * s).sum::<usize>() + offset;
        out.extend_from_slice(&storage[at * size..(at + 1) * size]);
        for (i, n) in index.iter_mut().zip(sizes).rev() {
            *i += 1;
            if *i < *n {
                break;
            }
            *i = 0;
        }
    }
    Some(out)
}

struct Storage {
    kind: Numbers,
    key: String,
}

impl Storage {
    /// That of a tensor.
    fn of(pickle: &Pickle, tensor: Id) -> Result<Self, String> {
        let Value::Tensor { storage, .. } = pickle.get(tensor) else { return Err("it is no tensor".to_owned()) };
        Self::outside(pickle, *storage)
    }

    /// As a pickle names it: `("storage", type, key, place, count)`.
    fn outside(pickle: &Pickle, id: Id) -> Result<Self, String> {
        let outside = if let Value::Outside(id) = pickle.get(id) { pickle.list(*id) } else { None };
        let Some(&[_, kind, key, ..]) = outside else { return Err("a tensor without a storage".to_owned()) };
        let Value::Known(Known::Storage(kind)) = pickle.get(kind) else {
            return Err("a storage without a type".to_owned());
        };
        let key = pickle.text(key).ok_or("a storage without a key")?.to_owned();
        let kind = Numbers::of(kind).ok_or_else(|| format!("numbers of type `{kind}` are not supported"))?;
        Ok(Self { kind, key })
    }
}

/// Types of numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Numbers {
    F16,
    Bf16,
    F32,
    F64,
    Signed(usize),
    Unsigned(usize),
}

impl Numbers {
    fn of(storage: &str) -> Option<Self> {
        Some(match storage {
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "FloatStorage" => Self::F32,
            "DoubleStorage" => Self::F64,
            "CharStorage" => Self::Signed(1),
            "ShortStorage" => Self::Signed(2),
            "IntStorage" => Self::Signed(4),
            "LongStorage" => Self::Signed(8),
            "ByteStorage" | "BoolStorage" => Self::Unsigned(1),
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Signed(n) | Self::Unsigned(n) => n,
        }
    }

    fn tensor(self, bytes: &[u8], sizes: &[usize]) -> candle_core::Result<Tensor> {
        let raw = |dtype| Tensor::from_raw_buffer(bytes, dtype, sizes, &Device::Cpu);
        let whole = |n: usize, signed: bool| {
            let value = |b: &[u8]| {
                let negative = signed && b.last().is_some_and(|b| b & 0x80 != 0);
                b.iter().rev().fold(if negative { -1 } else { 0 }, |v: i64, b| v << 8 | i64::from(*b))
            };
            Tensor::from_vec(bytes.chunks_exact(n).map(value).collect::<Vec<_>>(), sizes, &Device::Cpu)
        };
        match self {
            Self::F16 => raw(DType::F16),
            Self::Bf16 => raw(DType::BF16),
            Self::F32 => raw(DType::F32),
            Self::F64 => raw(DType::F64),
            Self::Signed(n) => whole(n, true),
            Self::Unsigned(n) => whole(n, false),
        }
    }
}
