//! The name of the processor, which belongs to every table.

use std::process::Command;

use transplant_kernels::simd;

/// Name, processors, and the vector instructions that are used, such as `AMD EPYC 7763, 2 processors, avx2`.
pub(crate) fn describe() -> String {
    let name = from_proc().or_else(from_sysctl).unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {count} processors, {}", simd::level())
}

fn from_proc() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn from_sysctl() -> Option<String> {
    let out = Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
    let name = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    (out.status.success() && !name.is_empty()).then_some(name)
}
