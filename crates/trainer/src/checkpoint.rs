//! Checkpoints: all state of a fit in one file, written whole or not at all, and verified when read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use transplant_core::{Class, Error, Origin, Params, Report, Result, Role, load_safetensors, save_safetensors};

use crate::fit::Stopped;

/// Where a fit stands. Positions, not histories: a resumed run goes to them at once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The phase.
    pub(crate) phase: usize,
    /// The epoch within the phase.
    pub(crate) epoch: u64,
    /// Optimiser steps made in this epoch.
    pub(crate) step_in_epoch: u64,
    /// Optimiser steps made over all phases.
    pub(crate) total_steps: u64,
    /// Epochs over all phases.
    pub(crate) total_epochs: u64,
    /// Sum of the losses of this epoch.
    pub(crate) loss_sum: f64,
    /// Factor on all learning rates that policies asked for.
    pub(crate) lr_factor: f64,
}

/// Everything a fit needs to go on, apart from the tensors.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) position: Position,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) policies: Vec<serde_json::Value>,
    pub(crate) history: Vec<Report>,
    pub(crate) stopped: Vec<Stopped>,
    params: BTreeMap<String, (Role, Origin)>,
}

impl State {
    /// The state of a fit whose parameters are `params`.
    pub(crate) fn new(
        position: Position,
        counts: BTreeMap<String, u64>,
        policies: Vec<serde_json::Value>,
        history: Vec<Report>,
        params: &Params,
    ) -> Self {
        let params = params.all().into_iter().map(|(n, p)| (n, (p.role, p.origin))).collect();
        Self { position, counts, policies, history, stopped: Vec::new(), params }
    }
}

/// The tensors of a checkpoint, apart: parameters, optimiser slots, the average of weights, and weights kept under a
/// name.
#[derive(Default)]
pub(crate) struct Tensors {
    pub(crate) params: BTreeMap<String, Tensor>,
    pub(crate) slots: BTreeMap<String, Tensor>,
    pub(crate) average: BTreeMap<String, Tensor>,
    pub(crate) kept: BTreeMap<String, BTreeMap<String, Tensor>>,
}

/// Writes the state after `total_steps` and drops all but the two newest files.
pub(crate) fn save(folder: &Path, state: &State, tensors: &Tensors) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let mut all = BTreeMap::new();
    let mut put = |prefix: &str, ts: &BTreeMap<String, Tensor>| {
        all.extend(ts.iter().map(|(n, t)| (format!("{prefix}|{n}"), t.clone())));
    };
    put("params", &tensors.params);
    put("slots", &tensors.slots);
    put("average", &tensors.average);
    for (name, ts) in &tensors.kept {
        put(&format!("kept:{name}"), ts);
    }
    let text = serde_json::to_string(state).map_err(|e| Error::contract(e.to_string()))?;
    let metadata = BTreeMap::from([("sha256".to_owned(), digest(&text, &all)?), ("state".to_owned(), text)]);
    let path = folder.join(format!("step-{:010}.safetensors", state.position.total_steps));
    save_safetensors(&path, &all, &metadata)?;
    for old in files(folder)?.iter().rev().skip(2) {
        std::fs::remove_file(old).map_err(|e| Error::io(old, e))?;
    }
    Ok(())
}

/// What a folder of checkpoints holds.
pub(crate) struct Found {
    /// The newest one that is whole.
    pub(crate) newest: Option<(State, Tensors)>,
    /// Why newer files are not.
    pub(crate) damaged: Vec<Error>,
}

/// Reads the newest checkpoint that is whole.
///
/// # Errors
/// When the system refuses to read one: it may be whole, and what was trained since an older one would be lost.
pub(crate) fn newest(folder: &Path, device: &Device) -> Result<Found> {
    let mut damaged = Vec::new();
    for path in files(folder)?.into_iter().rev() {
        match read(&path, device) {
            Ok(found) => return Ok(Found { newest: Some(found), damaged }),
            Err(e) if e.class() == Class::Input => damaged.push(e),
            Err(e) => return Err(e),
        }
    }
    Ok(Found { newest: None, damaged })
}

/// Puts a checkpoint's tensors back into a store, with their roles and origins.
pub(crate) fn restore(state: &State, tensors: &Tensors, params: &Params) -> Result<()> {
    params.remove_where(|n| !tensors.params.contains_key(n));
    for (name, value) in &tensors.params {
        let missing = || Error::param(name, "the checkpoint does not say what it is");
        let (role, origin) = state.params.get(name).cloned().ok_or_else(missing)?;
        params.insert(name, value, role, origin)?;
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| Error::io(folder, e))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("step-") && name.ends_with(".safetensors") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path, device: &Device) -> Result<(State, Tensors)> {
    let bad = |what: &str| Error::data(path, None, what.to_owned());
    let (all, metadata) = load_safetensors(path, device)?;
    let text = metadata.get("state").ok_or_else(|| bad("not a checkpoint"))?;
    if metadata.get("sha256") != Some(&digest(text, &all)?) {
        return Err(bad("the content does not have the hash it was written with"));
    }
    let state = serde_json::from_str(text).map_err(|e| bad(&e.to_string()))?;
    let mut tensors = Tensors::default();
    for (name, t) in all {
        let Some((prefix, name)) = name.split_once('|') else { return Err(bad("a tensor without a place")) };
        let place = match prefix {
            "params" => &mut tensors.params,
            "slots" => &mut tensors.slots,
            "average" => &mut tensors.average,
            other => tensors.kept.entry(other.trim_start_matches("kept:").to_owned()).or_default(),
        };
        place.insert(name.to_owned(), t);
    }
    Ok((state, tensors))
}

fn digest(text: &str, tensors: &BTreeMap<String, Tensor>) -> Result<String> {
    let store = Params::new(&Device::Cpu);
    for (n, t) in tensors {
        store.insert(n, t, Role::Buffer, Origin::Fresh)?;
    }
    let sum = Sha256::new().chain_update(text).chain_update(store.hash(|_| true)?).finalize();
    Ok(sum.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_checkpoint_is_found_and_a_damaged_one_passed_over() -> Result<()> {
        let dir = tempfile::tempdir().map_err(|e| Error::io(".", e))?;
        let params = Params::new(&Device::Cpu);
        params.insert("w", &Tensor::new(&[1f32, 2.0], &Device::Cpu)?, Role::Weight, Origin::Fresh)?;
        for total_steps in [1, 2, 3] {
            let position = Position { total_steps, loss_sum: 0.1 + 0.2, lr_factor: 1.0, ..Position::default() };
            let state = State::new(position, BTreeMap::new(), vec![], vec![], &params);
            let tensors = Tensors { params: params.snapshot(|_| true)?, ..Tensors::default() };
            save(dir.path(), &state, &tensors)?;
        }
        assert_eq!(files(dir.path())?.len(), 2);
        let Found { newest: found, damaged } = newest(dir.path(), &Device::Cpu)?;
        let (state, tensors) = found.ok_or_else(|| Error::contract("none"))?;
        assert_eq!((state.position.total_steps, state.position.loss_sum), (3, 0.1 + 0.2));
        assert!(damaged.is_empty());
        restore(&state, &tensors, &params)?;
        let newest_file = files(dir.path())?.pop().ok_or_else(|| Error::contract("none"))?;
        let mut bytes = std::fs::read(&newest_file).map_err(|e| Error::io(&newest_file, e))?;
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&newest_file, bytes).map_err(|e| Error::io(&newest_file, e))?;
        let Found { newest: found, damaged } = newest(dir.path(), &Device::Cpu)?;
        assert_eq!(found.map(|(s, _)| s.position.total_steps), Some(2));
        let why = damaged.iter().map(Error::to_string).collect::<String>();
        assert!(why.starts_with(&newest_file.display().to_string()) && why.contains("hash"), "{why}");
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn what_cannot_be_read_is_no_damage() -> Result<()> {
        let dir = tempfile::tempdir().map_err(|e| Error::io(".", e))?;
        let name = dir.path().join("step-0000000001.safetensors");
        std::os::unix::fs::symlink(&name, &name).map_err(|e| Error::io(&name, e))?;
        let e = newest(dir.path(), &Device::Cpu).err().ok_or_else(|| Error::contract("read"))?;
        assert!(matches!(&e, Error::Io { path, .. } if *path == name), "{e}");
        Ok(())
    }
}
