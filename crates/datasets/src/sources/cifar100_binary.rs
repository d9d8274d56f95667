//! `cifar100_binary`: a folder with the binary version of CIFAR-100, 60,000 photographs of 32 x 32 pixels in a hundred classes,
//! five to each of twenty superclasses: `train.bin`, `test.bin`, `fine_label_names.txt` and `coarse_label_names.txt`, unpacked.
//! A source of transfer to CIFAR-10, whose classes are others.
//!
//! Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use transplant_core::{BuildCx, Component, Dataset, Error, Invalid, Plugins, Result, key_without};

use super::folder::{check_folder, check_labels, official_parts, one_path};
use super::images::{Images, Layout};

/// Superclass, class, and 32 x 32 pixels in red, green and blue.
const RECORD: usize = 2 + 3 * 32 * 32;
/// How many superclasses and classes there are, in the order of a record.
const CLASSES: [u8; 2] = [20, 100];

/// CIFAR-100 in its binary layout, from a folder: 60,000 photographs of 32 x 32 pixels in a hundred classes.
///
/// The official parts are kept: `train.bin` is the pool, `test.bin` the test part. Krizhevsky 2009.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The folder with the two files of records and those of names; a relative path starts at the pipeline file.
    pub folder: PathBuf,
    /// What the classes are.
    #[serde(default)]
    pub target: Cifar100Target,
}

/// What the classes of CIFAR-100 are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cifar100Target {
    /// A hundred classes, such as `maple_tree`.
    #[default]
    Fine,
    /// Twenty superclasses of five classes each, such as `trees`.
    Coarse,
}

impl Cifar100Target {
    /// Where its label stands in a record, and the file with the names of its classes.
    fn place(self) -> (usize, &'static str) {
        match self {
            Self::Fine => (1, "fine_label_names.txt"),
            Self::Coarse => (0, "coarse_label_names.txt"),
        }
    }
}

/// A folder with CIFAR-100 in binary.
#[derive(Debug)]
pub struct Cifar100Binary;

impl Cifar100Binary {
    /// Reads the files of `folder`; of the names, those of the target alone.
    ///
    /// # Errors
    /// When a file is missing, ends within a record, or holds a label that is not a class; when the names are not as many as
    /// the classes.
    pub fn load(folder: &Path, target: Cifar100Target) -> Result<Images> {
        let (place, file) = target.place();
        let classes = names(&folder.join(file), CLASSES[place])?;
        let (mut labels, mut pixels) = (Vec::new(), Vec::new());
        records(&folder.join("train.bin"), place, &mut labels, &mut pixels)?;
        let train = labels.len();
        records(&folder.join("test.bin"), place, &mut labels, &mut pixels)?;
        let layout = Layout { name: folder.display().to_string(), shape: [3, 32, 32], highest: 255, classes };
        let roles = official_parts(train, labels.len());
        Images::new(layout, labels, pixels, roles)
    }
}

/// The names of the classes, one a line.
fn names(path: &Path, classes: u8) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    if names.len() == usize::from(classes) {
        return Ok(names);
    }
    Err(Error::data(path, None, format!("{} names, but there are {classes} classes", names.len())))
}

/// Adds the pixels of a file, and the labels that stand at `place` in its records. The other labels are checked, too.
fn records(path: &Path, place: usize, labels: &mut Vec<Option<u32>>, pixels: &mut Vec<u8>) -> Result<()> {
    let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    if content.is_empty() {
        return Err(Error::data(path, None, "no images: there is nothing to learn from"));
    }
    let records = content.chunks_exact(RECORD);
    if !records.remainder().is_empty() {
        let message = format!("truncated: ends at byte {}, within a record of {RECORD} bytes", content.len());
        return Err(Error::data(path, Some(records.len() as u64), message));
    }
    for (label, classes) in CLASSES.into_iter().enumerate() {
        check_labels(path, records.clone().map(|r| r[label]), classes)?;
    }
    labels.extend(records.clone().map(|r| Some(u32::from(r[place]))));
    pixels.reserve_exact(records.len() * (RECORD - CLASSES.len()));
    records.for_each(|r| pixels.extend_from_slice(&r[CLASSES.len()..]));
    Ok(())
}

impl Component<dyn Dataset> for Cifar100Binary {
    const TYPE: &'static str = "cifar100_binary";
    type Options = Options;

    fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
        check_folder(&o.folder)
    }

    fn rows_key(o: &Options, base: &Path) -> Value {
        key_without(Self::TYPE, &Options { folder: one_path(&o.folder, base), ..o.clone() }, &[])
    }

    fn build(o: Options, cx: &BuildCx<'_>) -> Result<Box<dyn Dataset>> {
        Ok(Box::new(Self::load(&cx.path(&o.folder), o.target)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transplant_core::Field;

    const FINE: &str = "fine_label_names.txt";
    const COARSE: &str = "coarse_label_names.txt";

    /// A record whose pixels count up from `first`.
    fn record(coarse: u8, fine: u8, first: usize) -> Vec<u8> {
        [coarse, fine].into_iter().chain((first..first + 3072).map(|i| (i % 251) as u8)).collect()
    }

    fn lines(name: &str, count: usize) -> String {
        (0..count).map(|i| format!("{name}_{i}\n")).collect()
    }

    /// Three training images and two test images.
    fn write(folder: &Path) {
        let train = [record(4, 30, 0), record(19, 99, 1), record(0, 0, 2)].concat();
        let test = [record(7, 1, 3), record(10, 62, 4)].concat();
        std::fs::write(folder.join("train.bin"), train).unwrap();
        std::fs::write(folder.join("test.bin"), test).unwrap();
        // An empty line at the end is no name.
        std::fs::write(folder.join(FINE), lines("class", 100) + "\n").unwrap();
        std::fs::write(folder.join(COARSE), lines("superclass", 20)).unwrap();
    }

    /// What opening says after one file was replaced.
    fn after(file: &str, content: Option<Vec<u8>>, target: Cifar100Target) -> String {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        match content {
            Some(bytes) => std::fs::write(folder.path().join(file), bytes).unwrap(),
            None => std::fs::remove_file(folder.path().join(file)).unwrap(),
        }
        let e = Cifar100Binary::load(folder.path(), target).unwrap_err();
        assert!(matches!(e, Error::Data { .. } | Error::Io { .. }), "{e}");
        e.to_string()
    }

    #[test]
    fn damage_is_named_with_its_file_and_record() {
        let two = [record(0, 0, 0), record(20, 5, 0)].concat();
        for (file, content, says) in [
            ("train.bin", two.clone(), "train.bin, row 1: label 20 is out of range: there are 20 classes"),
            ("test.bin", record(19, 100, 0), "test.bin, row 0: label 100 is out of range: there are 100 classes"),
            ("train.bin", two[..6147].to_vec(), "train.bin, row 1: truncated: ends at byte 6147, within a record"),
            ("test.bin", [&two[..], &[0]].concat(), "test.bin, row 2: truncated: ends at byte 6149"),
            ("test.bin", Vec::new(), "test.bin: no images"),
        ] {
            for target in [Cifar100Target::Fine, Cifar100Target::Coarse] {
                let said = after(file, Some(content.clone()), target);
                assert!(said.contains(says), "{said}");
            }
        }
        for (file, target, wrong, says) in [
            (FINE, Cifar100Target::Fine, 99, "99 names, but there are 100 classes"),
            (COARSE, Cifar100Target::Coarse, 21, "21 names, but there are 20 classes"),
        ] {
            let said = after(file, Some(lines("class", wrong).into_bytes()), target);
            assert!(said.contains(&format!("{file}: {says}")), "{said}");
            for missing in ["train.bin", "test.bin", file] {
                let said = after(missing, None, target);
                assert!(said.contains(missing), "{said}");
            }
        }
    }

    #[test]
    fn pixels_labels_and_official_parts_are_read() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let fine = Cifar100Binary::load(folder.path(), Cifar100Target::Fine)?;
        assert_eq!((&fine.roles().pool[..], &fine.roles().test[..]), (&[0, 1, 2][..], &[3, 4][..]));
        let batch = fine.batch(&[1, 4])?;
        let x = batch.inputs.get("hidden")?;
        assert_eq!(x.dims(), [2, 3, 32, 32]);
        for (i, first) in [1, 4].into_iter().enumerate() {
            // Channel after channel, row after row, as in the file.
            let wanted: Vec<f32> = record(0, 0, first)[2..].iter().map(|p| f32::from(*p) / 255.).collect();
            assert_eq!(x.get(i)?.flatten_all()?.to_vec1::<f32>()?, wanted);
        }
        assert_eq!(batch.target("class")?.values.to_vec1::<u32>()?, [99, 62]);
        let coarse = Cifar100Binary::load(folder.path(), Cifar100Target::Coarse)?;
        assert_eq!(coarse.batch(&[1, 4])?.target("class")?.values.to_vec1::<u32>()?, [19, 10]);
        for (images, count, last) in [(&fine, 100, "class_99"), (&coarse, 20, "superclass_19")] {
            let Field::Class { names } = &images.targets()["class"] else { panic!("{:?}", images.targets()) };
            assert_eq!((names.len(), names[count - 1].as_str()), (count, last));
        }
        assert_ne!(fine.content_hash(), coarse.content_hash());
        Ok(())
    }
}
