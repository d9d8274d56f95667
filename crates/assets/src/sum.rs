//! Size and SHA-256: of a file that is there, and of one while it is written.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::AssetFile;

/// Size and SHA-256 of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// Reads a file for its sum.
pub(crate) fn sum_of(path: &Path) -> io::Result<Sum> {
    let (mut file, mut hash, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(Sum { bytes, sha256: hex(hash) });
        }
        hash.update(&buffer[..n]);
        bytes += n as u64;
    }
}

/// Why a file of this sum is not `file`; `None` when it is, or when nothing is known of it.
pub(crate) fn fault(file: &AssetFile, sum: &Sum) -> Option<String> {
    if let Some(bytes) = file.bytes.filter(|b| *b != sum.bytes) {
        return Some(format!("it has {} bytes where {bytes} are expected", sum.bytes));
    }
    let sha256 = file.sha256.as_ref().filter(|s| **s != sum.sha256)?;
    Some(format!("its SHA-256 is {} where {sha256} is expected", sum.sha256))
}

/// Writes to a file and sums what is written; refuses more than was announced.
pub(crate) struct Summing<'a> {
    file: &'a mut File,
    path: &'a Path,
    limit: u64,
    hash: Sha256,
    bytes: u64,
}

impl<'a> Summing<'a> {
    pub(crate) fn new(file: &'a mut File, path: &'a Path, limit: Option<u64>) -> Self {
        Self { file, path, limit: limit.unwrap_or(u64::MAX), hash: Sha256::new(), bytes: 0 }
    }

    /// The sum of all that was written, which is then on the disk.
    pub(crate) fn finish(self) -> io::Result<Sum> {
        self.file.sync_all().map_err(|e| named(self.path, &e))?;
        Ok(Sum { bytes: self.bytes, sha256: hex(self.hash) })
    }
}

impl Write for Summing<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.len() as u64 > self.limit - self.bytes {
            return Err(io::Error::other(format!("it has more than the {} bytes that are expected", self.limit)));
        }
        let n = self.file.write(buffer).map_err(|e| named(self.path, &e))?;
        self.hash.update(&buffer[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The error with the file it is about, for readers that do not know which one that is.
fn named(path: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("cannot write {}: {e}", path.display()))
}

fn hex(hash: Sha256) -> String {
    format!("{:x}", hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn what_is_written_and_what_is_read_have_one_sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut file = File::create(&path).unwrap();
        let mut summing = Summing::new(&mut file, &path, Some(3));
        summing.write_all(b"a").unwrap();
        summing.write_all(b"bc").unwrap();
        assert!(summing.write_all(b"d").unwrap_err().to_string().contains("more than the 3 bytes"));
        // SHA-256 of "abc", FIPS 180-2.
        let sum = Sum { bytes: 3, sha256: ABC.into() };
        assert_eq!(summing.finish().unwrap(), sum);
        assert_eq!(sum_of(&path).unwrap(), sum);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "").unwrap();
        // Opened for reading: as on a full disk, the system refuses.
        let mut file = File::open(&path).unwrap();
        let e = Summing::new(&mut file, &path, None).write_all(b"a").unwrap_err().to_string();
        assert!(e.starts_with(&format!("cannot write {}: ", path.display())), "{e}");
    }
}
