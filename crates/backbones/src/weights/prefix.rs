//! Names of a network that is wrapped in others: `module.` of DataParallel, `_orig_mod.` of `torch.compile`, `model.`
//! of a Lightning module, `backbone.` of a detector.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;
use transplant_core::{Invalid, Result};

use super::fit::{Ours, part_of_head};
use super::naming::Naming;
use super::sets::{is_averaged, shown};
use super::tensors::WeightsFile;

/// What wrappers of single layers put into a name, wherever they stand.
const WRAPPERS: [&str; 3] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// A file by the names that the network's own class would give.
pub(super) struct Unwrapped {
    pub(super) file: WeightsFile,
    /// Parts of the layer that turned features into classes, which stand outside of what was taken.
    pub(super) head: BTreeMap<String, Tensor>,
    /// What was taken off all names.
    pub(super) prefix: String,
}

/// Takes off the beginning under which most of the network's names are found; what has another beginning is left out,
/// and the notes tell of it.
///
/// # Errors
/// When two beginnings do equally well.
pub(super) fn unwrap(file: WeightsFile, ours: &Ours<'_>) -> Result<Unwrapped> {
    let mut file = without_wrappers(file);
    let names: Vec<&str> = file.tensors.keys().chain(file.unread.keys()).map(String::as_str).collect();
    let prefix = best(&names, &file.tensors, ours)?;
    let stripped = |name: &String| name.strip_prefix(prefix.as_str()).map(str::to_owned);
    let averaged = |name: &str| prefix.is_empty() && name.split_once('.').is_some_and(|(first, _)| is_averaged(first));
    let (mut tensors, mut head, mut outside) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (name, tensor) in std::mem::take(&mut file.tensors) {
        match stripped(&name).filter(|_| !averaged(&name)) {
            Some(inner) => drop(tensors.insert(inner, tensor)),
            None => {
                if let Some(part) = head_beside(&name, &prefix) {
                    head.insert(part.to_owned(), tensor);
                } else {
                    outside.push(name);
                }
            }
        }
    }
    file.unread = file.unread.iter().filter_map(|(name, why)| Some((stripped(name)?, why.clone()))).collect();
    file.tensors = tensors;
    if !prefix.is_empty() {
        file.notes.push(format!("names taken without `{prefix}`"));
    }
    if !outside.is_empty() {
        let tensors = if outside.len() == 1 { "tensor" } else { "tensors" };
        file.notes.push(format!(
            "{} {tensors} beside them left out: {}",
            outside.len(),
            shown(outside.iter().map(String::as_str))
        ));
    }
    Ok(Unwrapped { file, head, prefix })
}

/// The names without those of wrappers, unless two would then be one.
fn without_wrappers(mut file: WeightsFile) -> WeightsFile {
    let plain = |name: &str| name.split('.').filter(|part| !WRAPPERS.contains(part)).collect::<Vec<_>>().join(".");
    let found: Vec<&str> =
        WRAPPERS.into_iter().filter(|w| file.tensors.keys().any(|n| n.split('.').any(|p| p == *w))).collect();
    let names: BTreeSet<String> = file.tensors.keys().map(|n| plain(n)).collect();
    if found.is_empty() || names.len() < file.tensors.len() {
        return file;
    }
    file.tensors = file.tensors.into_iter().map(|(n, t)| (plain(&n), t)).collect();
    file.unread = file.unread.into_iter().map(|(n, why)| (plain(&n), why)).collect();
    let found: Vec<String> = found.into_iter().map(|w| format!("{w}.")).collect();
    file.notes.push(format!("names taken without {}", shown(found.iter().map(String::as_str))));
    file
}

/// How well names below a beginning fit a network: how many of its names are there, and how many of the same shape.
type Score = (usize, usize);

/// The beginning under which most of the network's names are found; empty where none does better.
fn best(names: &[&str], tensors: &BTreeMap<String, Tensor>, ours: &Ours<'_>) -> Result<String> {
    let score = |prefix: &str| -> Score {
        let below: Vec<String> = names.iter().filter_map(|n| n.strip_prefix(prefix)).map(str::to_owned).collect();
        let naming = Naming::of(below.iter());
        let mut found: BTreeMap<&str, bool> = BTreeMap::new();
        for name in &below {
            let Some(place) = ours.place(&naming.translate(name, &ours.blocks)) else { continue };
            let same = tensors.get(&format!("{prefix}{name}")).is_some_and(|t| t.dims() == ours.shapes[place]);
            *found.entry(place).or_default() |= same;
        }
        (found.len(), found.values().filter(|same| **same).count())
    };
    let plain = score("");
    if plain.0 >= ours.shapes.len() {
        return Ok(String::new());
    }
    let prefixes: BTreeSet<&str> = names.iter().flat_map(|n| n.match_indices('.').map(|(at, _)| &n[..=at])).collect();
    let mut scores: Vec<(Score, &str)> =
        prefixes.into_iter().map(|p| (score(p), p)).filter(|(s, _)| s.0 > plain.0).collect();
    // The best first; of nested ones that do equally well the shortest, and averaged weights after others.
    scores.sort_by_key(|(s, p)| (std::cmp::Reverse(*s), is_averaged(p), p.len()));
    // A few names that happen to fit are of another network.
    let likely = scores.first().copied().filter(|(s, _)| 2 * s.0 > ours.shapes.len());
    let Some((first, prefix)) = likely else { return Ok(String::new()) };
    let rival =
        scores.iter().find(|(s, p)| *s == first && !p.starts_with(prefix) && is_averaged(p) == is_averaged(prefix));
    if let Some((_, rival)) = rival {
        let e = Invalid::new(format!("the file has two networks whose names fit, under `{prefix}` and `{rival}`"));
        return Err(e
            .help(format!("say which with `key`, such as `key = \"{}\"`", prefix.trim_end_matches('.')))
            .into());
    }
    Ok(prefix.to_owned())
}

/// The part of a head that stands beside the network, or beside one that it is in.
fn head_beside<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let outer = prefix.match_indices('.').map(|(at, _)| &prefix[..=at]).chain([""]);
    outer.filter(|o| *o != prefix).find_map(|outer| part_of_head(name.strip_prefix(outer)?))
}
