//! Hashes: of files, of what a cell is, of the code that computes it.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use transplant_core::{Error, Plugins, Result};

/// SHA-256 in hexadecimal.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of a file's content.
pub(crate) fn of_file(path: &Path) -> Result<String> {
    Ok(of_bytes(&std::fs::read(path).map_err(|e| Error::io(path, e))?))
}

/// SHA-256 of a value's meaning: the order of its keys does not count.
pub(crate) fn of_value(value: &impl Serialize) -> Result<String> {
    let value = serde_json::to_value(value).map_err(|e| Error::contract(e.to_string()))?;
    Ok(of_bytes(sorted(value).to_string().as_bytes()))
}

/// What stands for the code of this binary in the key of a cell. Components from outside Transplant are not among the
/// sources hashed at build time; with one of them registered, the binary itself is hashed.
pub(crate) fn of_code(plugins: &Plugins) -> Result<String> {
    with_foreign(env!("TRANSPLANT_SOURCE_HASH"), plugins)
}

/// What stands for the code that makes outputs of frozen stages: that of data, networks, operations and the trainer.
pub(crate) fn of_feature_code(plugins: &Plugins) -> Result<String> {
    with_foreign(env!("TRANSPLANT_FEATURE_HASH"), plugins)
}

/// Crates with components whose sources are hashed at build time.
const HASHED: [&str; 6] = ["trainer", "strategies", "datasets", "backbones", "tasks", "metrics"];

fn with_foreign(own: &str, plugins: &Plugins) -> Result<String> {
    let own = own.to_owned();
    // The name alone would not do: somebody else's crate may begin with `transplant_` too.
    let hashed = |path: &str| {
        let name = path.split("::").next().and_then(|name| name.strip_prefix("transplant_"));
        name.is_some_and(|name| HASHED.contains(&name))
    };
    if plugins.entries().all(|e| hashed(e.path)) {
        return Ok(own);
    }
    let binary = std::env::current_exe().map_err(|e| Error::io("the running program", e))?;
    Ok(format!("{own}+{}", &of_file(&binary)?[..16]))
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn built_in_components_need_no_binary_hash() -> Result<()> {
        assert!(!of_code(&crate::builtin())?.contains('+'));
        Ok(())
    }

    #[test]
    fn the_order_of_keys_does_not_count_and_that_of_lists_does() -> Result<()> {
        let a = json!({"x": 1, "y": [{"p": 1, "q": 2}]});
        assert_eq!(of_value(&a)?, of_value(&json!({"y": [{"q": 2, "p": 1}], "x": 1}))?);
        assert_ne!(of_value(&json!([1, 2]))?, of_value(&json!([2, 1]))?);
        Ok(())
    }
}
