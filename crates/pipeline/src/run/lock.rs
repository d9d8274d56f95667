//! `lock.json`: what a run was made of: hashes of data, weights and code; seeds; device; versions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;
use transplant_core::Result;

use super::folder::Folder;
use super::layout::WEIGHTS;
use super::prepare::Prepared;
use super::record::{Record, write_json};

/// Version of this file's form.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Lock<'a> {
    schema: u32,
    /// The pipeline file, and the hash of what it means.
    pipeline: Source<'a>,
    /// Data sets by name.
    data: BTreeMap<&'a str, &'a str>,
    /// Files of pretrained weights by name.
    pretrained: BTreeMap<&'a str, &'a str>,
    /// `model.safetensors` of each finished cell.
    weights: BTreeMap<&'a str, &'a str>,
    code: Code<'a>,
    seeds: BTreeSet<u64>,
    device: &'a str,
}

#[derive(Serialize)]
struct Source<'a> {
    file: PathBuf,
    sha256: &'a str,
}

#[derive(Serialize)]
struct Code<'a> {
    version: &'static str,
    hash: &'a str,
    os: &'static str,
    arch: &'static str,
}

/// Writes the lock file for the cells finished so far.
pub(crate) fn write(folder: &Folder, run: &Prepared<'_>, records: &[&Record]) -> Result<()> {
    let file = std::path::absolute(&run.pipeline.file).unwrap_or_else(|_| run.pipeline.file.clone());
    let weights = |r: &&'_ Record| Some((r.cell.id.clone(), r.files.get(WEIGHTS)?.clone()));
    let weights: BTreeMap<String, String> = records.iter().filter_map(weights).collect();
    let lock = Lock {
        schema: SCHEMA,
        pipeline: Source { file, sha256: &super::hash::of_bytes(run.pipeline.text.as_bytes()) },
        data: run.datasets.iter().map(|(name, d)| (name.as_str(), d.hash.as_str())).collect(),
        pretrained: run.weights.iter().map(|(name, w)| (name.as_str(), w.hash.as_str())).collect(),
        weights: weights.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
        code: Code {
            version: env!("CARGO_PKG_VERSION"),
            hash: &run.code,
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
        },
        seeds: run.cells.iter().map(|c| c.cell.seed).collect(),
        device: &run.device_name,
    };
    write_json(&folder.layout().lock(), &lock)
}
