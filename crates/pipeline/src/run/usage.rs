//! What this process has used, as Linux tells in files; elsewhere nothing is known.

/// Largest resident memory so far.
pub fn peak_rss_mb() -> Option<u64> {
    peak(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// CPU-seconds of this process, and of the children it has waited for. What replaced itself by this process counts too:
/// when it was started through `cargo xtask`, its children are the build.
pub fn cpu_seconds() -> Option<(f64, f64)> {
    cpu(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

fn peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib.div_ceil(1024))
}

/// Fields 14 to 17 of proc_pid_stat(5): `utime`, `stime`, `cutime`, `cstime`, in 1/100 s on every architecture that
/// Rust's Linux targets know. The name, field 2, may hold blanks and parentheses, so counting starts behind it.
fn cpu(stat: &str) -> Option<(f64, f64)> {
    let fields = stat.rsplit_once(") ")?.1.split(' ').skip(11).take(4);
    let ticks = fields.map(|f| f.parse::<f64>().ok()).collect::<Option<Vec<_>>>()?;
    let [user, system, users, systems] = ticks.as_slice() else { return None };
    Some(((user + system) / 100.0, (users + systems) / 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_linux_are_read() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 50 60 700 80 20 0 1 0 9";
        assert_eq!(cpu(stat), Some((1.1, 7.8)));
        assert_eq!(cpu("nonsense"), None);
        assert_eq!(peak("Name:\tx\nVmHWM:\t    2049 kB\n"), Some(3));
        assert_eq!(peak(""), None);
    }
}
