//! The form of a file: a header, then records of one size, found by the hash of a row's inputs.
//!
//! ```text
//! magic[8]  length[4]  sum[8]  header (JSON: key, network, layout)
//! key[16]  sum of the key[8]  sum of key and values[8]  values       one record a row, again and again
//! ```

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use super::Layout;

/// The hash of a row's inputs.
pub(crate) type RowKey = [u8; 16];

/// Changes with the form of the file.
const MAGIC: &[u8; 8] = b"TPLACTS1";
/// Bytes before the header.
const FRONT: usize = 20;
/// Bytes of a record before its values.
pub(super) const HEAD: usize = 32;
/// No header is longer.
const LONGEST_HEADER: usize = 1 << 20;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Hash of what makes the outputs.
    pub(crate) key: String,
    /// The network and its stages, for people.
    pub(crate) network: String,
    /// How a record's values lie.
    pub(crate) layout: Layout,
}

impl Header {
    /// The beginning of a file.
    pub(super) fn front(&self) -> io::Result<Vec<u8>> {
        let text = serde_json::to_vec(self)?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&checksum(0, &text).to_le_bytes());
        bytes.extend_from_slice(&text);
        Ok(bytes)
    }

    /// Bytes of a record.
    pub(crate) fn record(&self) -> u64 {
        (HEAD as u64).saturating_add(self.layout.bytes() as u64)
    }
}

/// What stands in a record before its values.
pub(super) fn head(key: &RowKey, values: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..16].copy_from_slice(key);
    head[16..24].copy_from_slice(&checksum(0, key).to_le_bytes());
    head[24..].copy_from_slice(&checksum(checksum(1, key), values).to_le_bytes());
    head
}

/// The key in the head of a record, when it is intact.
pub(super) fn key_of(head: &[u8; HEAD]) -> Option<RowKey> {
    let key: RowKey = head[..16].try_into().ok()?;
    (checksum(0, &key).to_le_bytes() == head[16..24]).then_some(key)
}

/// The header of a file and where its records begin; `None` when it is none of ours or damaged.
pub(super) fn read_header(file: &File) -> io::Result<Option<(Header, u64)>> {
    let mut front = [0; FRONT];
    if file.metadata()?.len() < FRONT as u64 {
        return Ok(None);
    }
    read_at(file, &mut front, 0)?;
    let length = u32::from_le_bytes([front[8], front[9], front[10], front[11]]) as usize;
    if front[..8] != *MAGIC || length > LONGEST_HEADER {
        return Ok(None);
    }
    let mut text = vec![0; length];
    if file.metadata()?.len() < (FRONT + length) as u64 {
        return Ok(None);
    }
    read_at(file, &mut text, FRONT as u64)?;
    let whole = checksum(0, &text).to_le_bytes() == front[12..];
    let header = serde_json::from_slice(&text).ok().filter(|_| whole);
    Ok(header.map(|header| (header, (FRONT + length) as u64)))
}

/// Reads by position.
#[cfg(unix)]
pub(super) fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

/// Reads by position.
#[cfg(not(unix))]
pub(super) fn read_at(mut file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(at))?;
    io::Read::read_exact(&mut file, bytes)
}

/// A sum over bytes. Each step can be undone, so that damage to one word always shows; no help against malice.
fn checksum(seed: u64, bytes: &[u8]) -> u64 {
    let step =
        |h: u64, word: [u8; 8]| (h.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517c_c1b7_2722_0a95);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let start = seed.wrapping_add(bytes.len() as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    words.iter().chain([&last]).fold(start, |h, word| step(h, *word))
}
