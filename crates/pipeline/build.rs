//! Hashes the sources that decide what a run computes, so that a cell finished by other code, or what its
//! frozen stages put out, is not taken for this one's. Comments, documentation and tests compute nothing and do not
//! count.

#[path = "build/code.rs"]
mod code;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use code::code;

/// The crates whose code shapes weights and metrics. In a published package the siblings are not there; the version,
/// which is part of the hash, then stands for them.
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
/// Beginnings of the names of packages whose version decides what is computed.
const PACKAGES: &[&str] = &[
    "candle",
    "gemm",
    "half",
    "rand",
    "image",
    "png",
    "jpeg",
    "zune",
    "fdeflate",
    "tokenizers",
    "unicode",
    "csv",
    "parquet",
    "arrow",
    "libm",
    "num-traits",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
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
    let mut tests = BTreeSet::new();
    let mut sources = Vec::new();
    for file in files {
        let source = code(&std::fs::read_to_string(&file).unwrap_or_default());
        let folder = module_folder(&file);
        tests.extend(source.test_modules.iter().map(|name| folder.join(name)));
        sources.push((file, source.text));
    }
    for (file, text) in sources {
        if file.with_extension("").ancestors().any(|module| tests.contains(module)) {
            continue;
        }
        let name = file.strip_prefix(&crates).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        hash.add(name.as_bytes());
        hash.add(text.as_bytes());
    }
    let lock = crates.join("../Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    for package in std::fs::read_to_string(lock).unwrap_or_default().split("[[package]]") {
        let mut lines = package.lines().filter_map(|line| line.split_once(" = "));
        let mut value = |key: &str| lines.find(|(k, _)| *k == key).map(|(_, v)| v.trim_matches('"').to_owned());
        let (Some(name), Some(version)) = (value("name"), value("version")) else { continue };
        if PACKAGES.iter().any(|p| name.starts_with(p)) {
            hash.add(format!("{name} {version}").as_bytes());
        }
    }
    hash.0
}

/// Where the files of the modules that a file declares stand.
fn module_folder(file: &Path) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default();
    let folder = file.parent().unwrap_or(file);
    if ["lib", "mod", "main"].iter().any(|own| stem == *own) { folder.to_owned() } else { folder.join(stem) }
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
