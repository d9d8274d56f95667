//! One seed, many named streams of random numbers.
//!
//! A stream's numbers are a pure function of (root seed, name, position), so nothing depends on the order in which things
//! happen: a run that resumes asks for the stream at its position and gets the same numbers.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A stream of random numbers.
pub type Stream = ChaCha8Rng;

/// A root seed from which streams are derived by name and position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeds([u8; 32]);

impl Seeds {
    /// Streams of this root seed.
    pub fn new(root: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&root.to_le_bytes());
        Self(key)
    }

    /// Seeds below a name, for a part that names its own streams.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self(self.digest(name, &[]))
    }

    /// The stream `name` at `position`, e.g. `stream("augment", &[row, epoch])`.
    pub fn stream(&self, name: &str, position: &[u64]) -> Stream {
        ChaCha8Rng::from_seed(self.digest(name, position))
    }

    fn digest(&self, name: &str, position: &[u64]) -> [u8; 32] {
        let mut h = Sha256::new();
        h.update(self.0);
        h.update((name.len() as u64).to_le_bytes());
        h.update(name.as_bytes());
        for p in position {
            h.update(p.to_le_bytes());
        }
        h.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_depend_on_seed_name_and_position_only() {
        let draw = |s: u64, n: &str, p: &[u64]| Seeds::new(s).stream(n, p).random::<u64>();
        assert_eq!(draw(1, "a", &[2]), draw(1, "a", &[2]));
        for other in [draw(2, "a", &[2]), draw(1, "b", &[2]), draw(1, "a", &[3]), draw(1, "a", &[2, 0])] {
            assert_ne!(draw(1, "a", &[2]), other);
        }
    }
}
