//! `cifar10_binary`: a folder with the binary version of CIFAR-10, 60,000 photographs of 32 x 32 pixels in ten classes:
//! `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, unpacked.
//!
//! Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. Needs the cargo feature `candle-datasets`,
//! whose local loader reads the pixels.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use transplant_core::{BuildCx, Component, Dataset, Invalid, Plugins, Result, key_without};

use super::folder::{Files, Loader, check_folder, check_labels, check_length, one_path};
use super::images::{Images, Layout};

/// A label and 32 x 32 pixels in red, green and blue.
const RECORD: usize = 1 + 3 * 32 * 32;
/// Records in each file; candle's loader reads as many.
const RECORDS: usize = 10_000;
const TRAIN_FILES: usize = 5;
const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// CIFAR-10 in its binary layout, from a folder: 60,000 photographs of 32 x 32 pixels in ten classes.
///
/// The official parts are kept: the five data batches are the pool, the test batch is the test part. Krizhevsky 2009.
/// Needs the cargo feature `candle-datasets`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The folder with the six files; a relative path starts at the pipeline file.
    pub folder: PathBuf,
}

/// A folder with CIFAR-10 in binary.
#[derive(Debug)]
pub struct Cifar10Binary;

impl Cifar10Binary {
    /// Checks the files of `folder`; their pixels are read at the first batch.
    ///
    /// # Errors
    /// When a file is missing, of another length, or holds a label that is not a class; when this build lacks the feature
    /// `candle-datasets`.
    pub fn load(folder: PathBuf) -> Result<Images> {
        let name = folder.display().to_string();
        let mut files = Files::new(folder);
        let mut labels = Vec::with_capacity((TRAIN_FILES + 1) * RECORDS);
        let train = (1..=TRAIN_FILES).map(|i| format!("data_batch_{i}.bin"));
        for file in train.chain(["test_batch.bin".to_owned()]) {
            let (path, content) = files.read(&file)?;
            check_length(&path, content.len(), (RECORDS * RECORD) as u64)?;
            let here = content.iter().step_by(RECORD).copied();
            check_labels(&path, here.clone(), CLASSES.len() as u8)?;
            labels.extend(here);
        }
        let classes = CLASSES.map(str::to_owned).to_vec();
        let layout = Layout { name, shape: [3, 32, 32], highest: 255, classes };
        files.images(Self::TYPE, layout, &labels, TRAIN_FILES * RECORDS, Loader::Cifar10)
    }
}

impl Component<dyn Dataset> for Cifar10Binary {
    const TYPE: &'static str = "cifar10_binary";
    type Options = Options;

    fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
        check_folder(&o.folder)
    }

    fn rows_key(o: &Options, base: &Path) -> Value {
        key_without(Self::TYPE, &Options { folder: one_path(&o.folder, base) }, &[])
    }

    fn build(o: Options, cx: &BuildCx<'_>) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(Self::load(cx.path(&o.folder))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};
    use std::path::Path;
    use transplant_core::Error;

    fn file(folder: &Path, name: &str, records: usize) -> File {
        let file = File::create(folder.join(name)).unwrap();
        // Sparse: the pixels are zeros that take no room on the disk.
        file.set_len((records * RECORD) as u64).unwrap();
        file
    }

    fn put(mut file: File, record: u64, bytes: &[u8]) {
        file.seek(SeekFrom::Start(record * RECORD as u64)).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for i in 1..=5 {
            file(folder.path(), &format!("data_batch_{i}.bin"), RECORDS);
        }
        file(folder.path(), "test_batch.bin", RECORDS);
        folder
    }

    #[test]
    fn damage_is_named_with_its_file_and_row() {
        let folder = folder();
        let says = || {
            let e = Cifar10Binary::load(folder.path().to_owned()).unwrap_err();
            assert!(matches!(e, Error::Data { .. } | Error::Io { .. }), "{e}");
            e.to_string()
        };
        put(file(folder.path(), "data_batch_1.bin", RECORDS), 7, &[10]);
        let said = says();
        assert!(said.contains("data_batch_1.bin, row 7: label 10 is out of range"), "{said}");
        file(folder.path(), "data_batch_1.bin", RECORDS - 1);
        let said = says();
        assert!(said.contains("data_batch_1.bin: truncated: ends at byte 30726927 of 30730000"), "{said}");
        file(folder.path(), "data_batch_1.bin", RECORDS + 1);
        assert!(says().contains("should end at byte 30730000"));
        std::fs::remove_file(folder.path().join("data_batch_1.bin")).unwrap();
        assert!(says().contains("data_batch_1.bin: "));
    }

    #[test]
    #[cfg_attr(feature = "candle-datasets", ignore = "needs a build without the cargo feature `candle-datasets`")]
    fn a_light_build_says_what_it_lacks() {
        let e = Cifar10Binary::load(folder().path().to_owned()).unwrap_err();
        assert!(matches!(&e, Error::Invalid(i) if i.path == ["type"]), "{e}");
    }

    #[test]
    #[cfg_attr(not(feature = "candle-datasets"), ignore = "needs the cargo feature `candle-datasets`")]
    fn pixels_labels_and_official_parts_are_read() -> Result<()> {
        let folder = folder();
        let record: Vec<u8> = std::iter::once(3).chain((0..3072).map(|i| (i % 251) as u8)).collect();
        put(file(folder.path(), "test_batch.bin", RECORDS), 2, &record);
        let images = Cifar10Binary::load(folder.path().to_owned())?;
        assert_eq!((images.roles().pool.len(), images.roles().test.len()), (50_000, 10_000));
        let batch = images.batch(&[0, 50_002])?;
        let x = batch.inputs.get("hidden")?;
        assert_eq!(x.dims(), [2, 3, 32, 32]);
        let wanted: Vec<f32> = record[1..].iter().map(|p| f32::from(*p) / 255.).collect();
        assert_eq!(x.get(1)?.flatten_all()?.to_vec1::<f32>()?, wanted);
        assert_eq!(batch.target("class")?.values.to_vec1::<u32>()?, [0, 3]);
        Ok(())
    }
}
