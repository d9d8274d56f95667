//! The vector instructions that kernels dispatch to: what this processor has, capped by [`limit`].

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor of the target architecture has.
    Portable,
    /// 128-bit vectors of 64-bit Arm processors.
    Neon,
    /// 256-bit vectors and fused multiply-adds of x86-64 processors.
    Avx2,
    /// 512-bit vectors of x86-64 processors.
    Avx512,
}

const ALL: [(Level, &str); 4] =
    [(Level::Portable, "portable"), (Level::Neon, "neon"), (Level::Avx2, "avx2"), (Level::Avx512, "avx512")];

/// The cap, as an index into [`ALL`].
static LIMIT: AtomicU8 = AtomicU8::new(Level::Avx512 as u8);

/// Caps the level for the whole process. Called before any operation: kernels may remember the level they first saw.
pub fn limit(level: Level) {
    LIMIT.store(level as u8, Ordering::Relaxed);
}

/// The level that kernels use: the highest that this processor has and the cap allows.
pub fn level() -> Level {
    let limit = ALL[usize::from(LIMIT.load(Ordering::Relaxed))].0;
    let usable = |level: &Level| *level <= limit && has(*level);
    ALL.iter().rev().map(|(level, _)| *level).find(usable).unwrap_or(Level::Portable)
}

#[cfg(target_arch = "x86_64")]
fn has(level: Level) -> bool {
    match level {
        Level::Portable => true,
        Level::Neon => false,
        Level::Avx2 => std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma"),
        Level::Avx512 => {
            std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512bw")
                && std::is_x86_feature_detected!("avx512dq")
                && std::is_x86_feature_detected!("avx512vl")
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn has(level: Level) -> bool {
    level == Level::Portable || (level == Level::Neon && cfg!(target_arch = "aarch64"))
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALL[usize::from(*self as u8)].1)
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = ALL.iter().find(|(_, name)| *name == text).map(|(level, _)| *level);
        found.ok_or_else(|| format!("expected one of {}", ALL.map(|(_, name)| name).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for (level, name) in ALL {
            assert_eq!(name.parse(), Ok(level));
            assert_eq!(level.to_string(), name);
        }
        assert!("sse9".parse::<Level>().is_err());
    }
}
