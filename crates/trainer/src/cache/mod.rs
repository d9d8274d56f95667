//! The activation cache: outputs of a frozen prefix, kept in memory for a phase and in files for later phases, cells and runs.
//!
//! One file holds the outputs of one prefix. Its name is a hash of all that makes them but the inputs: weights, architecture,
//! code and processor. In it, each row is found by a hash of its inputs as the network sees them. So rows are shared
//! by whatever runs meet them again, and nothing goes stale: what changes has another name.

mod folder;
mod format;
mod keys;
mod layout;
mod store;

use std::path::PathBuf;

pub use folder::{CacheEntry, Cleared, clear_cache, list_cache};
pub(crate) use format::RowKey;
pub(crate) use keys::{known_keys, prefix_key, row_keys};
pub(crate) use layout::Layout;
pub(crate) use store::Store;

/// How outputs of a frozen prefix are kept. Whether and where has no influence on what is trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Whether they are kept at all; otherwise they are computed again for each batch.
    pub enabled: bool,
    /// Most bytes that a phase keeps in memory. What does not fit there is read from a file, batch by batch.
    pub memory_bytes: u64,
    /// Files; `None`: memory only.
    pub files: Option<CacheFiles>,
}

impl Default for Cache {
    /// Memory only, 1 GiB of it.
    fn default() -> Self {
        Self { enabled: true, memory_bytes: 1 << 30, files: None }
    }
}

/// Files of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFiles {
    /// The folder they lie in.
    pub folder: PathBuf,
    /// Most bytes of all files; the ones that were used longest ago give way.
    pub limit_bytes: u64,
    /// Rows times weights of the prefix from which a file is worth it. A pass over the prefix takes at least so many
    /// multiplications; one of fewer is done again sooner than it is looked up.
    pub least_work: u64,
    /// What the network is called, for people.
    pub network: String,
    /// What makes outputs beside weights and inputs: the code, and options of the network that leave no trace in its weights.
    pub identity: String,
}

impl CacheFiles {
    /// Whether outputs of this many rows are worth a file.
    pub fn worth(&self, rows: u64, weights: u64) -> bool {
        self.limit_bytes > 0 && rows.saturating_mul(weights) >= self.least_work
    }
}
