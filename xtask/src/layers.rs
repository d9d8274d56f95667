//! Which crate may use which: a crate uses only crates of layers below its own, never its neighbour.

use toml_edit::{DocumentMut, Item, TableLike};

use crate::house::Crate;

const SIDE_BY_SIDE: [&str; 6] = ["trainer", "strategies", "datasets", "backbones", "tasks", "metrics"];

/// What xtask must not draw in: it is compiled at a user's very first command.
const HEAVY: [&str; 2] = ["candle", "transplant"];

/// Every dependency between crates of the workspace that the layers forbid. Dependencies for tests are exempt.
pub(crate) fn violations(crates: &[Crate]) -> Vec<String> {
    let mut found = Vec::new();
    for c in crates {
        let Some(allowed) = allowed(&c.folder) else {
            found.push(format!("crates/{}: has no layer; give it one in xtask/src/layers.rs", c.folder));
            continue;
        };
        match dependencies(&c.manifest) {
            Err(error) => found.push(format!("crates/{}/Cargo.toml: {error}", c.folder)),
            Ok(used) => {
                let own = used.iter().filter_map(|name| name.strip_prefix("transplant-"));
                for name in own.filter(|name| !allowed.contains(name)) {
                    found.push(format!("crates/{}: must not use transplant-{name}, only {allowed:?}", c.folder));
                }
            }
        }
    }
    found
}

/// The dependencies in xtask's own manifest that are too heavy for it.
pub(crate) fn heavy_xtask(manifest: &str) -> Vec<String> {
    let used = dependencies(manifest).unwrap_or_else(|error| vec![error]);
    let heavy = used.iter().filter(|name| HEAVY.iter().any(|heavy| name.starts_with(heavy)));
    heavy.map(|name| format!("xtask: must not use {name}")).collect()
}

/// The crates that the crate in `folder` may use; `None` for a crate without a layer.
fn allowed(folder: &str) -> Option<Vec<&'static str>> {
    match folder {
        "allocator" | "kernels" => Some(vec![]),
        "core" | "codecs" => Some(vec!["kernels"]),
        "ops" => Some(vec!["kernels", "core"]),
        "assets" => Some(vec!["core"]),
        "pipeline" => Some([&["kernels", "codecs", "core", "ops", "assets"], &SIDE_BY_SIDE[..]].concat()),
        "cli" => Some(vec!["allocator", "core", "pipeline"]),
        "datasets" => Some(vec!["kernels", "codecs", "core", "ops", "assets"]),
        _ if SIDE_BY_SIDE.contains(&folder) => Some(vec!["kernels", "core", "ops"]),
        _ => None,
    }
}

/// The packages that a manifest depends on, also for one target only, when building, or under another name.
fn dependencies(manifest: &str) -> Result<Vec<String>, String> {
    let document: DocumentMut = manifest.parse().map_err(|error| format!("{error}"))?;
    let mut found = Vec::new();
    collect(document.as_table(), &mut found);
    if let Some(targets) = document.get("target").and_then(Item::as_table_like) {
        for (_, target) in targets.iter() {
            if let Some(target) = target.as_table_like() {
                collect(target, &mut found);
            }
        }
    }
    Ok(found)
}

fn collect(table: &dyn TableLike, found: &mut Vec<String>) {
    for kind in ["dependencies", "build-dependencies"] {
        let Some(entries) = table.get(kind).and_then(Item::as_table_like) else { continue };
        for (name, entry) in entries.iter() {
            let package = entry.as_table_like().and_then(|entry| entry.get("package")).and_then(Item::as_str);
            found.push(package.unwrap_or(name).to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(folder: &str, manifest: &str) -> Vec<String> {
        violations(&[Crate { folder: folder.into(), manifest: manifest.into(), sources: Vec::new() }])
    }

    #[test]
    fn layers_below_may_be_used() {
        for (folder, manifest) in [
            ("core", "[dependencies]\ncandle-core.workspace = true\ntransplant-kernels.workspace = true"),
            ("ops", "[dependencies]\ntransplant-core.workspace = true\ntransplant-kernels.workspace = true"),
            ("tasks", "[dependencies]\ntransplant-core = \"1\"\ntransplant-ops = { path = \"../ops\" }"),
            ("tasks", "[dev-dependencies]\ntransplant-metrics.workspace = true"),
            ("datasets", "[dependencies]\ntransplant-assets.workspace = true"),
            ("pipeline", "[dependencies]\ntransplant-trainer.workspace = true\ntransplant-metrics.workspace = true"),
            ("cli", "[dependencies]\ntransplant-pipeline.workspace = true\ntransplant-core.workspace = true"),
        ] {
            assert!(check(folder, manifest).is_empty(), "{folder}: {manifest}");
        }
    }

    #[test]
    fn neighbours_and_layers_above_may_not() {
        for (folder, manifest) in [
            ("core", "[dependencies]\ntransplant-ops.workspace = true"),
            ("kernels", "[dependencies]\ntransplant-core.workspace = true"),
            ("codecs", "[dependencies]\ntransplant-core.workspace = true"),
            ("tasks", "[dependencies]\ntransplant-metrics.workspace = true"),
            ("tasks", "[dependencies.transplant-metrics]\nworkspace = true"),
            ("tasks", "[dependencies]\nother = { package = \"transplant-metrics\", version = \"1\" }"),
            ("tasks", "[target.'cfg(unix)'.dependencies]\ntransplant-metrics.workspace = true"),
            ("tasks", "[build-dependencies]\ntransplant-pipeline.workspace = true"),
            ("backbones", "[dependencies]\ntransplant-assets.workspace = true"),
            ("datasets", "[dependencies]\ntransplant-backbones.workspace = true"),
            ("cli", "[dependencies]\ntransplant-trainer.workspace = true"),
            ("strategies", "[dependencies]\ntransplant-trainer.workspace = true"),
            ("newcomer", ""),
            ("tasks", "not toml"),
        ] {
            assert_eq!(check(folder, manifest).len(), 1, "{folder}: {manifest}");
        }
    }

    #[test]
    fn xtask_stays_light() {
        assert!(heavy_xtask(include_str!("../Cargo.toml")).is_empty());
        assert_eq!(heavy_xtask("[dependencies]\ncandle-core.workspace = true"), ["xtask: must not use candle-core"]);
    }
}
