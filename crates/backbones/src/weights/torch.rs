//! Files that `torch.save` wrote: an archive with one entry a storage, or, before PyTorch 1.6, one pickle after another
//! and the storages at the end.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Deref;

use candle_core::{DType, Device, Tensor};

use super::pickle::{Id, Known, Pickle, Value};
use super::tensors::{Tensors, no_such, without};
use super::{kind, sets};

/// What the first pickle of an old file says.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// Elements of a view that shows some more than once.
const MOST_REPEATED: usize = 1 << 16;

/// Whether a file begins as one that `torch.save` wrote.
pub(super) fn is_torch(bytes: &[u8]) -> bool {
    // The length at the beginning of a safetensors file may look like a pickle, but text follows it.
    bytes.starts_with(b"PK\x03\x04") || (bytes.first() == Some(&0x80) && bytes.get(8) != Some(&b'{'))
}

/// The tensors of a file below `key`, or those that are likeliest meant.
///
/// # Errors
/// Text that says what is wrong with the file.
pub(super) fn read(bytes: &[u8], key: Option<&str>) -> Result<Tensors, String> {
    if bytes.starts_with(b"PK") { archive(bytes, key) } else { old(bytes, key) }
}

fn archive(bytes: &[u8], key: Option<&str>) -> Result<Tensors, String> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| match e {
        zip::result::ZipError::InvalidArchive(e) => {
            format!("the archive is cut off or damaged ({e}; {} bytes): download or copy it again", bytes.len())
        }
        e => format!("the archive cannot be read: {e}"),
    })?;
    let index = zip.file_names().flatten().find(|n| n.ends_with("/data.pkl")).map(|n| n.into_owned());
    let index = index.ok_or_else(|| {
        let has = |end: &str| zip.file_names().flatten().any(|n| n.ends_with(end));
        kind::of_archive(&has).to_owned()
    })?;
    let folder = index.trim_end_matches("data.pkl").to_owned();
    let mut entry = |name: &str| -> Result<Vec<u8>, String> {
        let file = zip.by_name(name).map_err(|e| format!("`{name}`: {e}"))?;
        let mut out = Vec::new();
        // Never more than the whole file holds: torch does not compress.
        file.take(bytes.len() as u64).read_to_end(&mut out).map_err(|e| format!("`{name}`: {e}"))?;
        Ok(out)
    };
    let big_endian = entry(&format!("{folder}byteorder")).is_ok_and(|order| order == b"big");
    let (pickle, _) = Pickle::read(&entry(&index)?)?;
    tensors(&pickle, key, big_endian, |storage: &Storage| entry(&format!("{folder}data/{}", storage.key)))
}

fn old(bytes: &[u8], wanted: Option<&str>) -> Result<Tensors, String> {
    let mut at = 0;
    let mut next = || -> Result<Pickle, String> {
        let (pickle, taken) = Pickle::read(&bytes[at..])?;
        at += taken;
        Ok(pickle)
    };
    let (magic, _version, _system, object, keys) = (next()?, next()?, next()?, next()?, next()?);
    if magic.get(magic.root()) != &Value::Int(MAGIC) {
        let what = "it is a pickle, and not one that `torch.save` wrote";
        return Err(format!("{what}: load it in Python, and save its tensors by name with `torch.save`"));
    }
    // Numbers are little-endian in such a file, whatever machine wrote it.
    // Types of storages stand in the pickle, their numbers after the list of their keys.
    let mut kinds = HashMap::new();
    for outside in object.ids().filter(|id| matches!(object.get(*id), Value::Outside(_))) {
        // What is no storage is the class of a module with its source.
        if let Ok(storage) = Storage::outside(&object, outside) {
            kinds.insert(storage.key.clone(), storage);
        }
    }
    let mut storages = HashMap::new();
    for key in keys.list(keys.root()).unwrap_or_default() {
        let key = keys.text(*key).ok_or("the key of a storage is not text")?;
        let cut = || format!("it ends within the storage `{key}`");
        let kind = kinds.get(key).ok_or_else(|| format!("nothing uses the storage `{key}`"))?;
        let size = Numbers::of(&kind.kind).map(Numbers::size);
        let size = size.ok_or_else(|| format!("numbers of type `{}` are not supported", kind.kind))?;
        let count = bytes.get(at..at + 8).ok_or_else(cut)?;
        let count = u64::from_le_bytes(count.try_into().map_err(|_| cut())?);
        let len = usize::try_from(count).ok().and_then(|n| n.checked_mul(size)).ok_or_else(cut)?;
        let end = (at + 8).checked_add(len).ok_or_else(cut)?;
        storages.insert(key.to_owned(), bytes.get(at + 8..end).ok_or_else(cut)?);
        at = end;
    }
    tensors(&object, wanted, false, |s| {
        storages.get(&s.key).copied().ok_or_else(|| format!("the storage `{}` is missing", s.key))
    })
}

/// The tensors of one dictionary of the file, which may stand inside a checkpoint: that of `key`, or the likeliest.
fn tensors<B: Deref<Target = [u8]>>(
    pickle: &Pickle,
    key: Option<&str>,
    big_endian: bool,
    mut bytes: impl FnMut(&Storage) -> Result<B, String>,
) -> Result<Tensors, String> {
    let sets = sets::all(pickle);
    let top: Vec<&str> = pickle.items(pickle.root()).into_iter().map(|(k, _)| k).take(8).collect();
    let (set, start, note) = match key {
        None => {
            let (set, note) = sets::choose(&sets, &top)?;
            (set, String::new(), note)
        }
        Some(key) => match sets::named(&sets, key, &top) {
            Some((set, start)) => (set, start, Some(format!("taken from `{key}` of the file"))),
            None => return Err(no_such(key, sets.iter().map(|s| s.path.as_str()).filter(|p| !p.is_empty()))),
        },
    };
    let mut out = Tensors { note, ..Tensors::default() };
    for (name, id) in &set.entries {
        let Some(name) = without(name, &start) else { continue };
        match tensor(pickle, *id, big_endian, &mut bytes) {
            Ok(tensor) => drop(out.tensors.insert(name.to_owned(), tensor)),
            Err(Fault::Whole(e)) => return Err(format!("the tensor `{name}`{e}")),
            Err(Fault::Tensor(e)) => drop(out.unread.insert(name.to_owned(), e)),
        }
    }
    Ok(out)
}

/// What is wrong with a tensor.
enum Fault {
    /// The file is damaged.
    Whole(String),
    /// It is of a kind that cannot be read.
    Tensor(String),
}

fn tensor<B: Deref<Target = [u8]>>(
    pickle: &Pickle,
    id: Id,
    big_endian: bool,
    bytes: &mut impl FnMut(&Storage) -> Result<B, String>,
) -> Result<Tensor, Fault> {
    let (offset, sizes, strides) = match pickle.get(id) {
        Value::Tensor { offset, sizes, strides, .. } => (*offset, *sizes, *strides),
        Value::Object { class, .. } => return Err(Fault::Tensor(sets::odd_tensor(class))),
        _ => return Err(Fault::Tensor("is no tensor".to_owned())),
    };
    let wrong = || Fault::Whole(" has no sizes".to_owned());
    let (offset, sizes) = (pickle.count(offset).ok_or_else(wrong)?, pickle.counts(sizes).ok_or_else(wrong)?);
    let strides = pickle.counts(strides).filter(|s| s.len() == sizes.len()).ok_or_else(wrong)?;
    let storage = Storage::of(pickle, id).map_err(Fault::Tensor)?;
    let kind =
        Numbers::of(&storage.kind).ok_or_else(|| Fault::Tensor(format!("holds numbers of type `{}`", storage.kind)))?;
    let content = bytes(&storage).map_err(|e| Fault::Whole(format!(": {e}")))?;
    let values = dense(&content, kind.size(), offset, &sizes, &strides);
    let mut values = values.ok_or_else(|| Fault::Whole(" reaches beyond its storage".to_owned()))?;
    if big_endian {
        values.chunks_exact_mut(kind.size()).for_each(<[u8]>::reverse);
    }
    kind.tensor(&values, &sizes).map_err(|e| Fault::Whole(format!(": {e}")))
}

/// The bytes of a tensor's elements in order; `None` where they do not all lie in the storage.
fn dense(storage: &[u8], size: usize, offset: usize, sizes: &[usize], strides: &[usize]) -> Option<Vec<u8>> {
    let count = sizes.iter().try_fold(1usize, |n, s| n.checked_mul(*s))?;
    if count == 0 {
        return Some(Vec::new());
    }
    let reach = sizes.iter().zip(strides).try_fold(offset, |at, (n, s)| at.checked_add((n - 1).checked_mul(*s)?))?;
    let held = storage.len() / size;
    // A view may show an element more than once, which a hostile file would do to take all memory.
    if reach >= held || count > held.max(MOST_REPEATED) {
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
    /// The name of its class.
    kind: String,
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
        Ok(Self { kind: kind.clone(), key })
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
