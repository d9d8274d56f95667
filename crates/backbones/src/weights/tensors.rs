//! [`WeightsFile`]: the tensors of a file, and what stands in the way of others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::Tensor;
use transplant_core::{Invalid, SafetensorsFile, nearest};

use super::sets::shown;

/// The weights of a file, by the file's own names.
#[derive(Debug, Clone, Default)]
pub struct WeightsFile {
    /// Its tensors, on the CPU.
    pub tensors: BTreeMap<String, Tensor>,
    /// Tensors that cannot be read, with the reason. A network that needs one is refused.
    pub unread: BTreeMap<String, String>,
    /// What to tell of the file: which of several dictionaries was taken.
    pub notes: Vec<String>,
    /// What to try when tensors are missing.
    pub hint: Option<String>,
    /// The files that were read, beside the one that was named.
    pub shards: Vec<PathBuf>,
}

impl WeightsFile {
    /// Leaves out the tensors whose names are one of these, or begin with one and a dot.
    ///
    /// # Errors
    /// When none has such a name.
    pub fn leave_out(mut self, names: &[String]) -> Result<Self, Invalid> {
        for name in names {
            let below = |n: &str| without(n, name.trim_end_matches('.')).is_some() || n == name;
            let before = self.tensors.len() + self.unread.len();
            self.tensors.retain(|n, _| !below(n));
            self.unread.retain(|n, _| !below(n));
            let count = before - self.tensors.len() - self.unread.len();
            if count == 0 {
                let near = nearest(name, self.tensors.keys().map(String::as_str));
                let e = Invalid::key("leave_out", format!("the file has no tensor `{name}`, and none below it"));
                return Err(near.into_iter().fold(e, |e, n| e.help(format!("the nearest is `{n}`"))));
            }
            self.notes.push(format!("{count} tensors of `{name}` left out"));
        }
        Ok(self)
    }
}

impl From<BTreeMap<String, Tensor>> for WeightsFile {
    fn from(tensors: BTreeMap<String, Tensor>) -> Self {
        Self { tensors, ..Self::default() }
    }
}

/// What was taken of one file.
#[derive(Debug, Default)]
pub(super) struct Tensors {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) unread: BTreeMap<String, String>,
    pub(super) note: Option<String>,
}

/// Those of a safetensors file.
pub(super) fn of_safetensors(file: SafetensorsFile, key: Option<&str>) -> Result<Tensors, String> {
    let unread = file.unsupported.into_iter().map(|(name, kind)| (name, format!("holds numbers of type `{kind}`")));
    below(Tensors { tensors: file.tensors, unread: unread.collect(), note: None }, key)
}

/// The tensors whose names begin with `key` and a dot, without these; all where there is no key.
///
/// # Errors
/// When there is none.
pub(super) fn below(all: Tensors, key: Option<&str>) -> Result<Tensors, String> {
    let Some(key) = key else { return Ok(all) };
    let below = |name: &str| without(name, key).map(str::to_owned);
    let starts = all.tensors.keys().filter_map(|n| n.split_once('.')).map(|(start, _)| start.to_owned());
    let mut starts: Vec<String> = starts.collect();
    starts.dedup();
    let tensors: BTreeMap<_, _> = all.tensors.into_iter().filter_map(|(n, t)| Some((below(&n)?, t))).collect();
    if tensors.is_empty() {
        return Err(no_such(key, starts.iter().map(String::as_str)));
    }
    let unread = all.unread.into_iter().filter_map(|(n, why)| Some((below(&n)?, why))).collect();
    Ok(Tensors { tensors, unread, note: Some(format!("taken from `{key}` of the file")) })
}

/// The name without its beginning, which a dot follows; the same where there is no beginning.
pub(super) fn without<'a>(name: &'a str, start: &str) -> Option<&'a str> {
    if start.is_empty() { Some(name) } else { name.strip_prefix(start)?.strip_prefix('.') }
}

/// What to say of a key that nothing has.
pub(super) fn no_such<'a>(key: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let near = nearest(key, known.clone()).map_or_else(String::new, |n| format!("; the nearest is `{n}`"));
    match known.clone().next() {
        None => format!("`key` names `{key}`, and the file has one dictionary of tensors alone: leave the key out"),
        Some(_) => format!("`key` names `{key}`, and the file has {}{near}", shown(known)),
    }
}
