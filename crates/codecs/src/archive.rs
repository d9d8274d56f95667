//! gzip, and tar in it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use crate::{Error, Result};

/// What a gzip file with this `content` holds.
///
/// # Errors
/// When it is damaged.
pub fn gunzip(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    GzDecoder::new(content).read_to_end(&mut out)?;
    Ok(out)
}

/// The contents of the files called `names` in a `.tar.gz`, in the order of `names`; `None` for those that it lacks. Of a file of
/// more than `most_bytes` bytes the rest is cut off. The archive is read once, and only until all are found.
///
/// # Errors
/// [`Error::Io`] when the archive cannot be read or is damaged.
pub fn read_tar_gz(archive: &Path, names: &[String], most_bytes: u64) -> Result<Vec<Option<Vec<u8>>>> {
    let unreadable = |e| Error::io(archive, e);
    let mut left: HashMap<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
    let mut found = vec![None; names.len()];
    let file = File::open(archive).map_err(unreadable)?;
    let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    for entry in tar.entries().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let Some(place) = left.remove(&*String::from_utf8_lossy(&entry.path_bytes())) else { continue };
        let mut content = Vec::new();
        entry.take(most_bytes).read_to_end(&mut content).map_err(unreadable)?;
        found[place] = Some(content);
        if left.is_empty() {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, *content).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn files_come_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tgz");
        let whole = archive(&[("p/b", b"bb"), ("p/a", b"a"), ("p/c", b"ccc")]);
        std::fs::write(&path, &whole).unwrap();
        let read =
            |names: &[&str]| read_tar_gz(&path, &names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), 2).unwrap();
        assert_eq!(read(&["p/c", "p/a"]), [Some(b"cc".to_vec()), Some(b"a".to_vec())]);
        assert_eq!(read(&["a", "p/b"]), [None, Some(b"bb".to_vec())]);
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let e = read_tar_gz(&path, &["p/z".to_owned()], 2).unwrap_err();
        assert!(matches!(&e, Error::Io { path, .. } if path.ends_with("a.tgz")), "{e}");
    }

    #[test]
    fn a_damaged_gzip_is_an_error() {
        let whole = archive(&[("a", b"a")]);
        assert!(gunzip(&whole).unwrap().starts_with(b"a\0"));
        assert!(gunzip(&whole[..whole.len() - 9]).is_err());
        assert!(gunzip(b"").is_err());
    }
}
