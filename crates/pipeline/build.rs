//! Hashes the sources that decide what a run computes, so that a cell finished by other code, or what its
//! frozen stages put out, is not taken for this one's.

use std::path::{Path, PathBuf};

/// The crates whose code shapes weights and metrics. In a published package the siblings are not there; the version, which
/// is part of the hash, then stands for them.
const CRATES: &[&str] = &[
    "kernels",
    "codecs",
    "core",
    "ops",
    "trainer",
    "strategies",
    "datasets",
    "backbones",
    "tasks",
    "metrics",
    "pipeline",
];
/// Those whose code makes the output of frozen stages, which is kept from run to run.
const FEATURES: &[&str] = &["kernels", "codecs", "core", "ops", "trainer", "datasets", "backbones"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=TRANSPLANT_SOURCE_HASH={:016x}", hash_of(CRATES));
    println!("cargo::rustc-env=TRANSPLANT_FEATURE_HASH={:016x}", hash_of(FEATURES));
}

fn hash_of(names: &[&str]) -> u64 {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for name in names {
        let folder = crates.join(name).join("src");
        if folder.is_dir() {
            println!("cargo::rerun-if-changed={}", folder.display());
            collect(&folder, &mut files);
        }
    }
    files.sort();
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.add(env!("CARGO_PKG_VERSION").as_bytes());
    for file in files {
        let name = file.strip_prefix(&crates).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        hash.add(name.as_bytes());
        hash.add(&std::fs::read(&file).unwrap_or_default());
    }
    hash.0
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// FNV-1a, 64 bits: enough to notice a change, and no dependency at build time.
struct Fnv(u64);

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for b in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
