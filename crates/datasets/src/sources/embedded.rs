//! Reads the files under `data/`: the gzip of the magic `TPIX1\n`, rows, height, width and classes as little-endian u32,
//! one label byte a row, and the pixels of one channel row after row.

use std::sync::OnceLock;

use transplant_codecs::archive::gunzip;
use transplant_core::{Error, Result, Roles};

use super::images::{Images, Layout};

const MAGIC: &[u8] = b"TPIX1\n";

/// A file that is part of the program.
pub(crate) struct Embedded {
    /// The data set's name.
    pub(crate) name: &'static str,
    /// The file's bytes.
    pub(crate) bytes: &'static [u8],
    /// The pixel that stands for 1.0.
    pub(crate) highest: u8,
    /// The last `rows / test_one_in` rows of each class are the test part.
    pub(crate) test_one_in: usize,
    /// Source and licence, as in `data/SOURCES.md`.
    pub(crate) licence: &'static str,
}

impl Embedded {
    /// The images, unpacked the first time and kept in `place`.
    pub(crate) fn shared(&self, place: &OnceLock<Images>) -> Result<Images> {
        match place.get() {
            Some(images) => Ok(images.clone()),
            None => {
                let images = self.decode()?;
                Ok(place.get_or_init(|| images).clone())
            }
        }
    }

    /// Unpacks the file.
    pub(crate) fn decode(&self) -> Result<Images> {
        let fault = |message: &str| Error::data(self.name, None, message);
        let content = gunzip(self.bytes).map_err(|e| Error::io(self.name, e))?;
        let body = content.strip_prefix(MAGIC).ok_or_else(|| fault("does not start with the magic TPIX1"))?;
        let (head, body) = body.split_at_checked(16).ok_or_else(|| fault("ends inside its header"))?;
        let number = |i: usize| head[4 * i..4 * i + 4].iter().rev().fold(0, |n, b| (n << 8) | usize::from(*b));
        let [rows, height, width, classes] = [0, 1, 2, 3].map(number);
        let (labels, pixels) = body.split_at_checked(rows).ok_or_else(|| fault("ends inside its labels"))?;
        let roles = last_of_each_class(labels, classes, self.test_one_in);
        let layout = Layout {
            name: self.name.to_owned(),
            shape: [1, height, width],
            highest: self.highest,
            classes: (0..classes).map(|c| c.to_string()).collect(),
        };
        Images::new(layout, labels.iter().map(|l| Some(u32::from(*l))).collect(), pixels.to_vec(), roles)
            .map(|images| images.licensed(self.licence))
    }
}

/// The last `rows / one_in` rows of each class are test rows, all others the pool: no seed, so every draw is measured on
/// the same rows.
fn last_of_each_class(labels: &[u8], classes: usize, one_in: usize) -> Roles {
    let mut left = vec![0usize; classes.max(256)];
    labels.iter().for_each(|l| left[usize::from(*l)] += 1);
    let tests: Vec<usize> = left.iter().map(|n| n / one_in).collect();
    let mut roles = Roles::default();
    for (row, label) in (0..).zip(labels) {
        let class = usize::from(*label);
        let part = if left[class] <= tests[class] { &mut roles.test } else { &mut roles.pool };
        part.push(row);
        left[class] -= 1;
    }
    roles
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::images::hex;
    use flate2::{Compression, write::GzEncoder};
    use sha2::{Digest, Sha256};
    use std::io::Write;
    use transplant_core::Dataset;

    fn read(content: &[u8]) -> Result<Images> {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(content).unwrap();
        let bytes = gz.finish().unwrap().leak();
        Embedded { name: "fixture", bytes, highest: 16, test_one_in: 2, licence: "none" }.decode()
    }

    fn fixture() -> Vec<u8> {
        let mut content = b"TPIX1\n".to_vec();
        [5u32, 1, 2, 2].iter().for_each(|n| content.extend(n.to_le_bytes()));
        content.extend([1, 0, 1, 1, 0]);
        content.extend(0..10);
        content
    }

    #[test]
    fn the_last_share_of_each_class_is_the_test_part() -> Result<()> {
        let images = read(&fixture())?;
        assert_eq!(images.roles().pool, [0, 1, 2]);
        assert_eq!(images.roles().test, [3, 4]);
        let x = images.batch(&[4])?.inputs.get("hidden")?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(x, [8. / 16., 9. / 16.]);
        Ok(())
    }

    #[test]
    fn the_files_are_those_whose_sources_are_named() {
        let sources = include_str!("../../data/SOURCES.md");
        for bytes in [&include_bytes!("../../data/mnist_5k.bin.gz")[..], include_bytes!("../../data/optdigits.bin.gz")]
        {
            assert!(sources.contains(&hex(&Sha256::digest(bytes))));
        }
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let whole = fixture();
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end} bytes");
        }
        let mut wrong = whole;
        wrong[22] = 2;
        assert_eq!(
            read(&wrong).unwrap_err().to_string(),
            "fixture, row 0: label 2 is out of range: there are 2 classes"
        );
    }
}
