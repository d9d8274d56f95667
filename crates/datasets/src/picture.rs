//! Pictures as the tensors and bytes of a row: [`read_picture`], [`read_image`], [`decode`].
//!
//! PNG, JPEG, GIF (its first frame), WebP, BMP, TIFF, and Netpbm's PBM, PGM and PPM are told apart by their content. A picture
//! stands as its EXIF orientation says; what is transparent lies over a background.

use std::path::Path;

use candle_core::{Device, Tensor};
use transplant_codecs::picture::{self, Planes};
use transplant_core::{Error, Filter, Fit, Frame, Result};

/// Reads a picture into a frame: `f32 [channels, height, width]` in 0..1.
///
/// # Errors
/// [`Error::Invalid`] when the frame is none, [`Error::Io`] when the file cannot be read, [`Error::Data`] when it is damaged,
/// too large or of another format.
pub fn read_picture(path: &Path, frame: &Frame) -> Result<Tensor> {
    frame.check()?;
    let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let planes = decode(&content, frame).map_err(|message| Error::data(path, None, message))?;
    tensor(&planes, [frame.channels, frame.height, frame.width])
}

/// Reads a picture in the size that it has: `f32 [channels, height, width]` in 0..1, with `channels` 1 (grey) or 3 (red, green,
/// blue), converted where the file holds the other. What is transparent lies over white.
///
/// # Errors
/// As [`read_picture`].
pub fn read_image(path: &Path, channels: usize) -> Result<Tensor> {
    let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let decoded = picture::decode_whole(&content, channels);
    let Planes { height, width, values } = decoded.map_err(|message| Error::data(path, None, message))?;
    tensor(&values, [channels, height, width])
}

/// The picture whose file has this `content`, in a frame: one byte a value, channel after channel, row after row.
///
/// # Errors
/// In words, when the content is damaged, too large or of another format, or the frame is none.
pub fn decode(content: &[u8], frame: &Frame) -> Result<Vec<u8>, String> {
    decode_with_highest(content, frame).map(|(bytes, _)| bytes)
}

/// As [`decode`], and of a picture with 16 bits a value the largest one in its file.
pub(crate) fn decode_with_highest(content: &[u8], frame: &Frame) -> Result<(Vec<u8>, Option<u16>), String> {
    frame.check().map_err(|e| e.to_string())?;
    let Frame { height, width, channels, fit, filter, background } = *frame;
    let fit = match fit {
        Fit::Stretch => picture::Fit::Stretch,
        Fit::Crop => picture::Fit::Crop,
        Fit::Pad => picture::Fit::Pad,
    };
    let filter = match filter {
        Filter::Nearest => picture::Filter::Nearest,
        Filter::Box => picture::Filter::Box,
        Filter::Bilinear => picture::Filter::Bilinear,
        Filter::Bicubic => picture::Filter::Bicubic,
        Filter::Lanczos => picture::Filter::Lanczos,
    };
    picture::decode_with_highest(content, &picture::Frame { height, width, channels, fit, filter, background })
}

fn tensor(planes: &[u8], shape: [usize; 3]) -> Result<Tensor> {
    let values: Vec<f32> = planes.iter().map(|v| f32::from(*v) / 255.).collect();
    Ok(Tensor::from_vec(values, shape.to_vec(), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &tempfile::TempDir, content: &[u8]) -> std::path::PathBuf {
        let path = folder.path().join("picture.bin");
        std::fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn a_picture_is_a_tensor_of_its_own_or_the_frames_size() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = written(&folder, b"P6 2 1 255\n\x00\x33\x66\xff\x33\x00");
        let image = read_image(&path, 3)?;
        assert_eq!(image.dims(), [3, 1, 2]);
        assert_eq!(image.flatten_all()?.to_vec1::<f32>()?, [0., 1., 0.2, 0.2, 0.4, 0.]);
        assert_eq!(read_image(&path, 1)?.dims(), [1, 1, 2]);
        let frame =
            |fit, height, width| Frame { height, width, channels: 1, fit, filter: Filter::Box, background: [255; 3] };
        let grey = written(&folder, b"P5 4 1 255\n\x00\x33\x66\x00");
        let row = |frame: &Frame| read_picture(&grey, frame).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(row(&frame(Fit::Crop, 1, 2)), [0.2, 0.4]);
        assert_eq!(row(&frame(Fit::Pad, 3, 4)), [1., 1., 1., 1., 0., 0.2, 0.4, 0., 1., 1., 1., 1.]);
        assert_eq!(row(&frame(Fit::Stretch, 1, 1)), [38. / 255.]);
        assert!(matches!(read_picture(&path, &frame(Fit::Crop, 0, 1)), Err(Error::Invalid(_))));
        assert!(decode(b"", &frame(Fit::Crop, 0, 1)).unwrap_err().starts_with("height: "));
        Ok(())
    }

    #[test]
    fn damage_and_other_formats_are_named_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let read = |content: &[u8], channels| read_image(&written(&folder, content), channels).unwrap_err();
        for content in [&b"\xff\xd8\xff\xe0JFIF"[..], b"", b"P5 3 3 255\n1234", b"<html>"] {
            let e = read(content, 3);
            assert!(matches!(&e, Error::Data { path, .. } if path.ends_with("picture.bin")), "{e}");
        }
        assert!(read(b"", 3).to_string().ends_with("picture.bin: is empty"));
        assert!(read(b"<html>", 3).to_string().contains("none of the formats"));
        assert!(read(b"P5 1 1 255\n1", 2).to_string().contains("2 are asked for"));
        assert!(matches!(read_image(Path::new("no such file.png"), 1), Err(Error::Io { .. })));
    }
}
