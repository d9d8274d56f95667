//! `mnist_idx`: a folder with the four files of MNIST, or of a set packed alike (Fashion-MNIST, KMNIST), unpacked:
//! `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`.
//!
//! LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", 1998. Needs the cargo
//! feature `candle-datasets`, whose local loader reads the pixels.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use transplant_core::{BuildCx, Component, Dataset, Error, Invalid, Plugins, Result, key_without};

use super::folder::{Files, Loader, check_folder, check_labels, check_length, one_path};
use super::images::{Images, Layout};

const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;
const CLASSES: u8 = 10;

/// MNIST, or a set packed alike (Fashion-MNIST, KMNIST), from a folder of idx files.
///
/// The official parts are kept: `train` is the pool, `t10k` the test part. LeCun et al. 1998. Needs the cargo feature
/// `candle-datasets`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The folder with the four files; a relative path starts at the pipeline file.
    pub folder: PathBuf,
}

/// A folder of idx files.
#[derive(Debug)]
pub struct MnistIdx;

impl MnistIdx {
    /// Checks the files of `folder`; their pixels are read at the first batch.
    ///
    /// # Errors
    /// When a file is missing, truncated, not idx, or holds a label that is not a class; when this build lacks the feature
    /// `candle-datasets`.
    pub fn load(folder: PathBuf) -> Result<Images> {
        let name = folder.display().to_string();
        let mut files = Files::new(folder);
        let (train, mut labels) = part(&mut files, "train")?;
        let (test, test_labels) = part(&mut files, "t10k")?;
        if train != test {
            let message = format!("training images are {}x{}, test images {}x{}", train[0], train[1], test[0], test[1]);
            return Err(Error::data(name, None, message));
        }
        let rows = labels.len();
        labels.extend(test_labels);
        let classes = (0..CLASSES).map(|c| c.to_string()).collect();
        let layout = Layout { name, shape: [1, train[0], train[1]], highest: 255, classes };
        files.images(Self::TYPE, layout, &labels, rows, Loader::MnistIdx)
    }
}

/// Height and width of the images of a part, and its labels.
fn part(files: &mut Files, part: &str) -> Result<([usize; 2], Vec<u8>)> {
    let (images_path, images) = files.read(&format!("{part}-images-idx3-ubyte"))?;
    let fault = |message: String| Error::data(&images_path, None, message);
    let [count, height, width] = header(&images, IMAGES_MAGIC).map_err(&fault)?;
    let size = u64::from(height) * u64::from(width);
    let bytes = size.checked_mul(u64::from(count)).and_then(|n| n.checked_add(16));
    check_length(&images_path, images.len(), bytes.ok_or_else(|| fault("its header announces too much".to_owned()))?)?;
    if size == 0 || count == 0 {
        return Err(fault(format!("{count} images of {height}x{width}: there is nothing to learn from")));
    }
    drop(images);

    let (path, mut content) = files.read(&format!("{part}-labels-idx1-ubyte"))?;
    let [labels] = header(&content, LABELS_MAGIC).map_err(|m| Error::data(&path, None, m))?;
    check_length(&path, content.len(), 8 + u64::from(labels))?;
    if labels != count {
        let message = format!("{labels} labels, but {} has {count} images", images_path.display());
        return Err(Error::data(&path, None, message));
    }
    let labels = content.split_off(8);
    check_labels(&path, labels.iter().copied(), CLASSES)?;
    Ok(([height as usize, width as usize], labels))
}

/// The sizes that follow the magic number, big-endian.
fn header<const N: usize>(content: &[u8], magic: u32) -> Result<[u32; N], String> {
    let number = |i: usize| {
        let bytes = content
            .get(4 * i..4 * i + 4)
            .ok_or_else(|| format!("truncated: ends at byte {} of its header of {} bytes", content.len(), 4 * N + 4))?;
        Ok::<u32, String>(bytes.iter().fold(0, |n, b| (n << 8) | u32::from(*b)))
    };
    let found = number(0)?;
    if found != magic {
        return Err(format!("magic number {found:#06x} at byte 0 where {magic:#06x} is expected; is it still packed?"));
    }
    let mut sizes = [0; N];
    for (i, size) in sizes.iter_mut().enumerate() {
        *size = number(i + 1)?;
    }
    Ok(sizes)
}

impl Component<dyn Dataset> for MnistIdx {
    const TYPE: &'static str = "mnist_idx";
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
    use std::path::Path;

    fn idx(magic: u32, sizes: &[u32], body: &[u8]) -> Vec<u8> {
        let head = [magic].into_iter().chain(sizes.iter().copied()).flat_map(u32::to_be_bytes);
        head.chain(body.iter().copied()).collect()
    }

    /// Three training and two test images of 2 x 3 pixels.
    fn write(folder: &Path) {
        for (part, n) in [("train", 3u32), ("t10k", 2)] {
            let pixels: Vec<u8> = (0..n * 6).map(|i| (i * 14) as u8).collect();
            let labels: Vec<u8> = (0..n).map(|i| 9 - i as u8).collect();
            std::fs::write(folder.join(format!("{part}-images-idx3-ubyte")), idx(IMAGES_MAGIC, &[n, 2, 3], &pixels))
                .unwrap();
            std::fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), idx(LABELS_MAGIC, &[n], &labels)).unwrap();
        }
    }

    /// What opening says after one file was replaced.
    fn after(file: &str, content: Option<Vec<u8>>) -> String {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        match content {
            Some(bytes) => std::fs::write(folder.path().join(file), bytes).unwrap(),
            None => std::fs::remove_file(folder.path().join(file)).unwrap(),
        }
        let e = MnistIdx::load(folder.path().to_owned()).unwrap_err();
        assert!(matches!(e, Error::Data { .. } | Error::Io { .. }), "{e}");
        e.to_string()
    }

    #[test]
    fn damage_is_named_with_its_file_and_place() {
        let (images, labels) = ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte");
        for (file, content, says) in [
            (images, idx(IMAGES_MAGIC, &[3, 2, 3], &[0; 17]), "truncated: ends at byte 33 of 34"),
            (images, idx(IMAGES_MAGIC, &[3, 2, 3], &[0; 19]), "should end at byte 34, but has 35"),
            (images, idx(IMAGES_MAGIC, &[3, 2], &[]), "truncated: ends at byte 12 of its header of 16"),
            (images, vec![0x1f, 0x8b, 8, 0, 0], "magic number 0x1f8b0800 at byte 0 where 0x0803"),
            (images, idx(IMAGES_MAGIC, &[u32::MAX; 3], &[0; 17]), "announces too much"),
            (images, idx(IMAGES_MAGIC, &[0, 2, 3], &[]), "0 images of 2x3"),
            (images, idx(IMAGES_MAGIC, &[3, 3, 2], &[0; 18]), "training images are 3x2, test images 2x3"),
            (labels, idx(LABELS_MAGIC, &[2], &[1]), "truncated: ends at byte 9 of 10"),
            (labels, idx(LABELS_MAGIC, &[3], &[1, 2, 3]), "3 labels, but"),
            (labels, idx(LABELS_MAGIC, &[2], &[1, 10]), "row 1: label 10 is out of range"),
            (labels, idx(IMAGES_MAGIC, &[2], &[1, 2]), "magic number 0x0803"),
        ] {
            let said = after(file, Some(content));
            assert!(said.contains(says), "{said}");
            assert!(said.contains(file) || says.contains("test images"), "{said}");
        }
        assert!(after(labels, None).contains(labels));
    }

    #[test]
    #[cfg_attr(feature = "candle-datasets", ignore = "needs a build without the cargo feature `candle-datasets`")]
    fn a_light_build_says_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let e = MnistIdx::load(folder.path().to_owned()).unwrap_err();
        assert!(matches!(&e, Error::Invalid(i) if i.path == ["type"]), "{e}");
        assert!(e.to_string().contains("`candle-datasets`"), "{e}");
    }

    #[test]
    #[cfg_attr(not(feature = "candle-datasets"), ignore = "needs the cargo feature `candle-datasets`")]
    fn pixels_labels_and_official_parts_are_read() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let images = MnistIdx::load(folder.path().to_owned())?;
        assert_eq!((&images.roles().pool[..], &images.roles().test[..]), (&[0, 1, 2][..], &[3, 4][..]));
        let batch = images.batch(&[1, 4])?;
        let x = batch.inputs.get("hidden")?;
        assert_eq!(x.dims(), [2, 1, 2, 3]);
        let wanted: Vec<f32> = (6..12).chain(6..12).map(|i| f32::from((i * 14) as u8) / 255.).collect();
        assert_eq!(x.flatten_all()?.to_vec1::<f32>()?, wanted);
        assert_eq!(batch.target("class")?.values.to_vec1::<u32>()?, [8, 8]);
        Ok(())
    }
}
