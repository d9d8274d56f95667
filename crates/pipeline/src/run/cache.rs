//! The activation cache of a run: its settings from the file, and what `check` and `cache list` say of it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::json;
use transplant_core::{Result, cache_folder};
use transplant_trainer::{Cache, CacheFiles, clear_cache, list_cache};

use super::hash;
use super::prepare::{Prepared, Ready};
use super::shape::PhaseShape;
use crate::resolved::Cell;

/// The settings by which a cell's frozen stages are kept.
pub(crate) fn settings(run: &Prepared<'_>, cell: &Cell) -> Result<Cache> {
    let spec = &run.pipeline.cache;
    let bytes = |mb: u64| mb.saturating_mul(1 << 20);
    // Options of a network need not show in its weights: an activation, a stride.
    let identity = hash::of_value(&json!([run.feature_code, run.device_name, cell.backbone]))?;
    let network = cell.backbone.tag.clone();
    let (limit_bytes, least_work) = (bytes(spec.disk_mb), spec.disk_min_work);
    let files = folder(run).filter(|_| spec.disk_mb > 0);
    let files = files.map(|folder| CacheFiles { folder, limit_bytes, least_work, network, identity });
    Ok(Cache { enabled: spec.enabled, memory_bytes: bytes(spec.memory_mb), files })
}

fn folder(run: &Prepared<'_>) -> Option<PathBuf> {
    run.pipeline.cache.folder.as_ref().map(|f| run.base.join(f)).or_else(default_folder)
}

/// The folder of the cache when a file names none: `TRANSPLANT_CACHE`, or `transplant` in the user's folder of caches.
/// `None` where the system tells of no such folder.
pub fn default_folder() -> Option<PathBuf> {
    cache_folder("TRANSPLANT_CACHE", "transplant")
}

/// The limits of the cache in a line.
pub(super) fn limits_in_words(run: &Prepared<'_>) -> String {
    let spec = &run.pipeline.cache;
    match (spec.enabled, folder(run).filter(|_| spec.disk_mb > 0)) {
        (false, _) => "cache of frozen stages: off".to_owned(),
        (true, None) => format!("cache of frozen stages: {} MB of memory, no files", spec.memory_mb),
        (true, Some(folder)) => {
            let (memory, disk, folder) = (spec.memory_mb, spec.disk_mb, folder.display());
            format!("cache of frozen stages: {memory} MB of memory, {disk} MB of files in {folder}")
        }
    }
}

/// What a phase does with its frozen stages, to end a line.
pub(super) fn in_words(run: &Prepared<'_>, ready: &Ready, phase: &PhaseShape) -> String {
    if phase.frozen.is_empty() || phase.fitted {
        return String::new();
    }
    let frozen = phase.frozen.join(", ");
    let views = if ready.open().random { ready.cell.trainer.views } else { Some(1) };
    let Some(views) = views.filter(|_| run.pipeline.cache.enabled) else {
        let why = if views.is_none() { "random transforms without `trainer.views`" } else { "the cache is off" };
        return format!(", computed in each epoch ({why}): {frozen}");
    };
    // A view that no epoch shows is not computed.
    let views = views.min(ready.cell.trainer.epochs);
    let rows = (ready.parts().train.rows().len() as u64).saturating_mul(views);
    let files = settings(run, &ready.cell).ok().and_then(|c| c.files);
    let kept = files.filter(|f| f.worth(rows, phase.frozen_weights as u64)).map_or("", |_| " and kept for later runs");
    let each = if views > 1 { format!(" for each of {views} views") } else { String::new() };
    format!(", computed once{each}{kept}: {frozen}")
}

/// The entries of a cache in lines.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &Path) -> Result<String> {
    let (mut out, entries) = (String::new(), list_cache(folder)?);
    for e in &entries {
        let (key, network) = (e.key.get(..12).unwrap_or(&e.key), e.network.as_deref().unwrap_or("damaged"));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{key}  {:>8} rows {:>9.1} MB  {:>10}  {network}", e.rows, mb(e.bytes), ago(e.used));
    }
    let bytes = entries.iter().map(|e| e.bytes).sum();
    let _ = writeln!(out, "{} entries, {:.1} MB in {}", entries.len(), mb(bytes), folder.display());
    Ok(out)
}

/// Clears a cache, or the one entry whose name begins so, and says what was removed.
///
/// # Errors
/// When there is no such entry, or more than one, or it cannot be removed.
pub fn clear(folder: &Path, entry: Option<&str>) -> Result<String> {
    let cleared = clear_cache(folder, entry)?;
    let mut out = format!("{} entries, {:.1} MB removed from {}", cleared.entries, mb(cleared.bytes), folder.display());
    if cleared.in_use > 0 {
        let _ = write!(out, "; {} in use were left", cleared.in_use);
    }
    Ok(out + "\n")
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn ago(time: SystemTime) -> String {
    let secs = SystemTime::now().duration_since(time).unwrap_or(Duration::ZERO).as_secs();
    match (secs / 86400, secs / 3600, secs / 60) {
        (0, 0, 0) => "now".to_owned(),
        (0, 0, minutes) => format!("{minutes} min ago"),
        (0, hours, _) => format!("{hours} h ago"),
        (days, ..) => format!("{days} d ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_rough() {
        let now = SystemTime::now();
        let before = |secs| ago(now - Duration::from_secs(secs));
        assert_eq!(
            [before(5), before(130), before(7300), before(900_000)],
            ["now", "2 min ago", "2 h ago", "10 d ago"]
        );
        assert_eq!(ago(now + Duration::from_secs(99)), "now");
    }
}
