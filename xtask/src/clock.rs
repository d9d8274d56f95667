//! How long a child took: wall time, and the CPU time of all its descendants.

use std::time::{Duration, Instant};

/// Started before the children whose time it tells.
pub(crate) struct Clock {
    wall: Instant,
    cpu: Option<f64>,
}

impl Clock {
    /// Starts.
    pub(crate) fn start() -> Self {
        Self { wall: Instant::now(), cpu: children_cpu_secs() }
    }

    /// Wall time since the start.
    pub(crate) fn wall(&self) -> Duration {
        self.wall.elapsed()
    }

    /// CPU-seconds of the children that ended since the start, where the system tells.
    pub(crate) fn cpu_secs(&self) -> Option<f64> {
        Some(children_cpu_secs()? - self.cpu?)
    }

    /// CPU-seconds of children that ended before the start. `cargo run` replaces itself by the program it has built
    /// (exec), so in xtask this is what building xtask took.
    pub(crate) fn cpu_secs_before(&self) -> Option<f64> {
        self.cpu
    }
}

/// CPU-seconds of all children of this process that were waited for, and of theirs. The standard library cannot tell,
/// and `getrusage` needs unsafe code; Linux tells in a file.
fn children_cpu_secs() -> Option<f64> {
    read_stat(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// `cutime` + `cstime`, fields 16 and 17 of proc_pid_stat(5). Their unit is 1/100 s on every architecture Rust's
/// Linux targets know. The name, field 2, may hold blanks and parentheses, so counting starts behind it.
fn read_stat(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(13).map(|field| field.parse::<f64>().ok());
    Some((fields.next()?? + fields.next()??) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_the_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 50 60 700 80 20 0 1 0 9";
        assert_eq!(read_stat(stat), Some(7.8));
        assert_eq!(read_stat("nonsense"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn children_are_counted() {
        let clock = Clock::start();
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        std::process::Command::new("sh").args(["-c", busy]).status().unwrap();
        assert!(clock.cpu_secs().unwrap() > 0.0);
        assert!(clock.wall() > Duration::ZERO);
    }
}
