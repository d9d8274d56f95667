//! What this machine can compute on: looks for a CUDA toolkit, an NVIDIA driver and cuDNN where candle's build scripts
//! look for them, and notes macOS.

use std::env::consts::{EXE_SUFFIX, OS};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Wrong;

const TOOLKIT_VARIABLES: [&str; 4] = ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "CUDA_TOOLKIT_ROOT_DIR"];
const TOOLKIT_FOLDERS: [&str; 2] = ["/usr/local/cuda", "/opt/cuda"];
const LIBRARY_FOLDERS: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/nvidia/lib64",
    "/usr/lib/wsl/lib",
    "/run/opengl-driver/lib",
];
const DRIVER: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };
const CUDNN: &str = if cfg!(windows) { "cudnn.lib" } else { "libcudnn.so" };

/// What this machine can compute on, besides the CPU.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// macOS, so Metal and Accelerate are there.
    pub(crate) macos: bool,
    /// The CUDA compiler of the toolkit.
    pub(crate) nvcc: Option<PathBuf>,
    /// Whether an NVIDIA driver is there.
    pub(crate) driver: bool,
    /// The folder that cuDNN's library stands in.
    pub(crate) cudnn: Option<PathBuf>,
}

impl Machine {
    /// Looks around.
    pub(crate) fn probe() -> Self {
        if OS == "macos" {
            return Self { macos: true, ..Self::default() };
        }
        let nvcc = nvcc();
        let cudnn = nvcc.as_deref().and_then(cudnn);
        Self { macos: false, nvcc, driver: driver(), cudnn }
    }

    /// Whether CUDA code can be built and run.
    pub(crate) fn has_cuda(&self) -> bool {
        self.nvcc.is_some() && self.driver
    }

    /// An error that says what was looked for, unless CUDA code can be built and run.
    pub(crate) fn require_cuda(&self) -> Result<(), Wrong> {
        let mut missing = Vec::new();
        if self.nvcc.is_none() {
            missing.push(format!(
                "no CUDA toolkit was found (looked for nvcc on PATH, in bin/ of ${} and of {})",
                TOOLKIT_VARIABLES.join(", $"),
                TOOLKIT_FOLDERS.join(", ")
            ));
        }
        if !self.driver {
            missing.push(format!(
                "no NVIDIA driver was found (looked for nvidia-smi on PATH, and for {DRIVER} in $LD_LIBRARY_PATH, {} and \
                 what `ldconfig -p` lists)",
                LIBRARY_FOLDERS.join(", ")
            ));
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Wrong(format!(
            "--device cuda is not possible here: {}; `--device cpu` runs on the CPU",
            missing.join("; ")
        )))
    }

    /// Variables to build with: candle's build scripts want nvcc on PATH.
    pub(crate) fn build_variables(&self) -> Vec<(&'static str, OsString)> {
        let Some(bin) = self.nvcc.as_deref().and_then(Path::parent) else { return Vec::new() };
        let path = std::env::var_os("PATH").unwrap_or_default();
        if std::env::split_paths(&path).any(|folder| folder == bin) {
            return Vec::new();
        }
        appended(path, &[bin.to_owned()]).map(|path| ("PATH", path)).into_iter().collect()
    }

    /// Variables to run with: the loader must find the toolkit's libraries, wherever the toolkit is.
    pub(crate) fn run_variables(&self) -> Vec<(&'static str, OsString)> {
        let mut folders: Vec<PathBuf> = self.cudnn.iter().cloned().collect();
        folders.extend(toolkit_libraries(self.nvcc.as_deref()));
        folders.dedup();
        folders.retain(|folder| !LIBRARY_FOLDERS.iter().any(|usual| folder == Path::new(usual)));
        if folders.is_empty() || cfg!(windows) {
            return Vec::new();
        }
        let path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        appended(path, &folders).map(|path| ("LD_LIBRARY_PATH", path)).into_iter().collect()
    }
}

fn nvcc() -> Option<PathBuf> {
    let name = format!("nvcc{EXE_SUFFIX}");
    let roots = TOOLKIT_VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from);
    let roots = roots.chain(TOOLKIT_FOLDERS.iter().map(PathBuf::from));
    on_path(&name).or_else(|| find(roots.map(|root| root.join("bin")), &name))
}

fn driver() -> bool {
    let folders = paths("LD_LIBRARY_PATH").chain(LIBRARY_FOLDERS.iter().map(PathBuf::from));
    let windows = std::env::var_os("SystemRoot").map(|root| Path::new(&root).join("System32"));
    on_path(&format!("nvidia-smi{EXE_SUFFIX}")).is_some()
        || find(folders.chain(windows), DRIVER).is_some()
        || in_loader_cache(&loader_cache(), DRIVER)
}

fn cudnn(nvcc: &Path) -> Option<PathBuf> {
    let roots = ["CUDNN_LIB", "CUDNN_PATH"].iter().filter_map(std::env::var_os).map(PathBuf::from);
    let own = roots.flat_map(|root| [root.clone(), root.join("lib"), root.join("lib64"), root.join("lib/x64")]);
    let folders = own.chain(toolkit_libraries(Some(nvcc))).chain(LIBRARY_FOLDERS.iter().map(PathBuf::from));
    find(folders, CUDNN).and_then(|file| file.parent().map(Path::to_owned))
}

/// The folders of the toolkit's libraries that exist.
fn toolkit_libraries(nvcc: Option<&Path>) -> Vec<PathBuf> {
    // `nvcc` may be a link out of the toolkit, such as /usr/local/bin/nvcc.
    let nvcc = nvcc.map(|nvcc| nvcc.canonicalize().unwrap_or_else(|_| nvcc.to_owned()));
    let Some(root) = nvcc.as_deref().and_then(Path::parent).and_then(Path::parent) else { return Vec::new() };
    let folders = ["lib64", "targets/x86_64-linux/lib", "lib/x64"].map(|folder| root.join(folder));
    folders.into_iter().filter(|folder| folder.is_dir()).collect()
}

/// What the dynamic loader knows: the output of `ldconfig -p`, empty where there is none.
fn loader_cache() -> String {
    let run = |program| Command::new(program).arg("-p").stderr(Stdio::null()).output().ok();
    let output = run("ldconfig").or_else(|| run("/sbin/ldconfig"));
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// Whether `cache` lists `library`; the toolkit's compatibility copy of the driver is no driver.
fn in_loader_cache(cache: &str, library: &str) -> bool {
    cache.lines().any(|line| line.split_whitespace().next() == Some(library) && !line.contains("/compat/"))
}

fn on_path(name: &str) -> Option<PathBuf> {
    find(paths("PATH"), name)
}

fn paths(variable: impl AsRef<OsStr>) -> impl Iterator<Item = PathBuf> {
    let value = std::env::var_os(variable).unwrap_or_default();
    std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect::<Vec<_>>().into_iter()
}

fn find(folders: impl IntoIterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
    folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn appended(path: OsString, folders: &[PathBuf]) -> Option<OsString> {
    let given = std::env::split_paths(&path).filter(|path| !path.as_os_str().is_empty());
    std::env::join_paths(given.chain(folders.iter().cloned())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_cache_is_read() {
        let cache = "2 libs found in cache `/etc/ld.so.cache'\n\
                     \tlibcuda.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcuda.so.1\n\
                     \tlibcublas.so.12 (libc6,x86-64) => /usr/local/cuda/lib64/libcublas.so.12\n";
        assert!(in_loader_cache(cache, "libcuda.so.1"));
        assert!(!in_loader_cache(cache, "libcuda.so"));
        assert!(!in_loader_cache("\tlibcuda.so.1 (libc6) => /usr/local/cuda/compat/libcuda.so.1", "libcuda.so.1"));
    }

    #[test]
    fn variables_are_extended_not_replaced() {
        let machine = Machine { nvcc: Some("/nowhere/cuda/bin/nvcc".into()), ..Machine::default() };
        let (name, value) = machine.build_variables().remove(0);
        assert_eq!(name, "PATH");
        let given = std::env::var_os("PATH").unwrap();
        let folders: Vec<PathBuf> = std::env::split_paths(&value).collect();
        assert_eq!(folders.last().unwrap(), Path::new("/nowhere/cuda/bin"));
        assert!(std::env::split_paths(&given).all(|folder| folders.contains(&folder)));
        assert!(machine.run_variables().is_empty(), "folders that do not exist are left out");
        assert!(Machine::default().build_variables().is_empty());
    }
}
