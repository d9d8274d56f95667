//! Hashes by which outputs of a prefix are found.

use sha2::{Digest, Sha256};
use transplant_core::{Acts, Fingerprint, Mode, Result};

use super::{Layout, RowKey};
use crate::model::Model;

/// What makes the outputs of a model's first `prefix` stages, but for the inputs.
pub(crate) fn prefix_key(model: &Model, prefix: usize, identity: &str) -> Result<String> {
    let info = model.info();
    // Weights of no stage may be read by any of them.
    let below = |name: &str| {
        name.starts_with("backbone.")
            && info.params.iter().find(|p| p.name == name).is_none_or(|p| p.stage.is_none_or(|stage| stage < prefix))
    };
    let mut h = Sha256::new();
    for part in [identity.to_owned(), machine(model), format!("{:?}", model.parts.inputs), model.params().hash(below)?]
    {
        h.update((part.len() as u64).to_le_bytes());
        h.update(part);
    }
    info.stages[..prefix].iter().for_each(|s| h.update(format!("{s:?};")));
    Ok(h.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// What computes. A folder may be shared by machines whose products round differently.
fn machine(model: &Model) -> String {
    let device = model.params().device().location();
    let precision = transplant_ops::Precision::current();
    let unit = if precision.has_unit() { "unit" } else { "" };
    format!("{device:?} {} {} {precision}{unit}", std::env::consts::ARCH, instructions())
}

#[cfg(target_arch = "x86_64")]
fn instructions() -> String {
    use std::arch::is_x86_feature_detected as has;
    let all = [
        ("avx2", has!("avx2")),
        ("fma", has!("fma")),
        ("avx512f", has!("avx512f")),
        ("avx512bf16", has!("avx512bf16")),
    ];
    all.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect::<Vec<_>>().join("+")
}

#[cfg(not(target_arch = "x86_64"))]
fn instructions() -> &'static str {
    ""
}

/// A key for each row whose fingerprint is known, in this mode.
pub(crate) fn known_keys(fingerprints: &[Fingerprint], mode: Mode) -> Vec<RowKey> {
    let frame = Sha256::new_with_prefix(format!("{mode:?} by fingerprint"));
    fingerprints.iter().map(|print| cut(frame.clone().chain_update(print))).collect()
}

fn cut(hash: Sha256) -> RowKey {
    let mut key = RowKey::default();
    key.copy_from_slice(&hash.finalize()[..size_of::<RowKey>()]);
    key
}

/// A key for each row of some inputs, as the prefix sees them in this mode.
pub(crate) fn row_keys(inputs: &Acts, mode: Mode) -> Result<Vec<RowKey>> {
    let layout = Layout::of(inputs)?;
    let frame = Sha256::new_with_prefix(format!("{mode:?} {layout:?}"));
    layout.of_rows(inputs, |row| cut(frame.clone().chain_update(row)))
}
