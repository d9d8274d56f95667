//! Pictures: [`decode`] makes bytes of one from a file of any common format, [`read_picture`] and [`read_image`] tensors.
//!
//! PNG, JPEG, GIF (its first frame), WebP, BMP, TIFF, and Netpbm's PBM, PGM and PPM are told apart by their content. A picture
//! stands as its EXIF orientation says; what is transparent lies over a background.

mod fit;
#[cfg(test)]
mod goldens;
mod raster;

use std::path::Path;

use candle_core::{Device, Tensor};
use transplant_core::{Error, Frame, Result};

use fit::fit;
use raster::{Raster, raster};

/// What lies behind transparent pixels where no [`Frame`] says.
const WHITE: [u8; 3] = [255; 3];

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
    if !matches!(channels, 1 | 3) {
        let message = format!("pictures have 1 or 3 channels, and {channels} are asked for");
        return Err(Error::data(path, None, message));
    }
    let raster = raster(&content, channels, WHITE).map_err(|message| Error::data(path, None, message))?;
    tensor(&planes(&raster), [channels, raster.height, raster.width])
}

/// The picture whose file has this `content`, in a frame: one byte a value, channel after channel, row after row.
///
/// # Errors
/// In words, when the content is damaged, too large or of another format, or the frame is none.
pub fn decode(content: &[u8], frame: &Frame) -> Result<Vec<u8>, String> {
    frame.check().map_err(|e| e.to_string())?;
    let raster = raster(content, frame.channels, frame.background)?;
    Ok(planes(&fit(&raster, frame)?))
}

/// Channel after channel, where a raster has pixel after pixel.
fn planes(raster: &Raster) -> Vec<u8> {
    let channel = |c: usize| raster.pixels.iter().skip(c).step_by(raster.channels).copied();
    (0..raster.channels).flat_map(channel).collect()
}

fn tensor(planes: &[u8], shape: [usize; 3]) -> Result<Tensor> {
    let values: Vec<f32> = planes.iter().map(|v| f32::from(*v) / 255.).collect();
    Ok(Tensor::from_vec(values, shape.to_vec(), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, GrayImage, ImageFormat, RgbImage, RgbaImage};
    use std::io::Cursor;
    use transplant_core::{Filter, Fit};

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.into().write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    fn read(content: &[u8], channels: usize) -> Result<Tensor> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.bin");
        std::fs::write(&path, content).unwrap();
        read_image(&path, channels)
    }

    fn values(content: &[u8], channels: usize) -> Vec<f32> {
        read(content, channels).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_picture_is_read_in_its_own_size() {
        let grey = encoded(GrayImage::from_raw(2, 1, vec![0, 51]).unwrap(), ImageFormat::Png);
        assert_eq!(read(&grey, 1).unwrap().dims(), [1, 1, 2]);
        assert_eq!(values(&grey, 1), [0., 0.2]);
        assert_eq!(values(&grey, 3), [0., 0.2, 0., 0.2, 0., 0.2]);
        let rgb = encoded(RgbImage::from_raw(1, 2, vec![255, 0, 0, 0, 0, 255]).unwrap(), ImageFormat::Bmp);
        assert_eq!(values(&rgb, 3), [1., 0., 0., 0., 0., 1.]);
        assert_eq!(values(&rgb, 1), [76. / 255., 29. / 255.]);
    }

    #[test]
    fn netpbm_is_read_as_text_and_as_bytes() {
        assert_eq!(values(b"P2\n# made by hand\n2 1\n4\n0 1", 1), [0., 64. / 255.]);
        assert_eq!(values(b"P3 1 1 255\n255 0 51\n", 3), [1., 0., 0.2]);
        assert_eq!(values(b"P5 1 2 255\n\x00\xff", 1), [0., 1.]);
        // A byte that looks like white space belongs to the pixels.
        assert_eq!(values(b"P6 1 1 255\n\n\x05\x00", 3), [10. / 255., 5. / 255., 0.]);
    }

    #[test]
    fn what_is_transparent_lies_over_white_or_the_frames_background() {
        let rgba = RgbaImage::from_raw(2, 1, vec![0, 0, 0, 0, 255, 0, 0, 255]).unwrap();
        let rgba = encoded(rgba, ImageFormat::Png);
        assert_eq!(values(&rgba, 3), [1., 1., 1., 0., 1., 0.]);
        let (fit, filter) = (Fit::Stretch, Filter::Nearest);
        let frame = Frame { height: 1, width: 2, channels: 3, fit, filter, background: [9, 8, 7] };
        assert_eq!(decode(&rgba, &frame).unwrap(), [9, 255, 8, 0, 7, 0]);
    }

    #[test]
    fn a_frame_gives_rows_of_its_own_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("named_wrongly.gif");
        let wide = RgbImage::from_raw(4, 1, vec![0, 0, 0, 51, 51, 51, 102, 102, 102, 0, 0, 0]).unwrap();
        std::fs::write(&path, encoded(wide, ImageFormat::Png)).unwrap();
        let frame =
            |fit, height, width| Frame { height, width, channels: 1, fit, filter: Filter::Box, background: [255; 3] };
        let row = |frame: &Frame| read_picture(&path, frame).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(row(&frame(Fit::Crop, 1, 2)), [0.2, 0.4]);
        assert_eq!(row(&frame(Fit::Pad, 3, 4)), [1., 1., 1., 1., 0., 0.2, 0.4, 0., 1., 1., 1., 1.]);
        assert_eq!(row(&frame(Fit::Stretch, 1, 1)), [38. / 255.]);
        assert!(matches!(read_picture(&path, &frame(Fit::Crop, 0, 1)), Err(Error::Invalid(_))));
        assert!(decode(b"", &frame(Fit::Crop, 0, 1)).unwrap_err().starts_with("height: "));
    }

    #[test]
    fn damage_and_other_formats_are_named_with_the_file() {
        let noise = RgbImage::from_fn(40, 40, |x, y| image::Rgb([(x * y % 251) as u8, (x * 7) as u8, (y * 13) as u8]));
        let whole = encoded(noise.clone(), ImageFormat::Png);
        let jpeg = encoded(noise, ImageFormat::Jpeg);
        for content in [
            &whole[..whole.len() / 2],
            &jpeg[..jpeg.len() / 2],
            b"\xff\xd8\xff\xe0JFIF",
            b"",
            b"P5 3 3 255\n1234",
            b"P2 99999999 99999999 9\n1",
            b"<html>",
        ] {
            let e = read(content, 3).unwrap_err();
            assert!(matches!(&e, Error::Data { path, .. } if path.ends_with("picture.bin")), "{e}");
        }
        assert!(read(b"", 3).unwrap_err().to_string().ends_with("picture.bin: is empty"));
        assert!(read(b"<html>", 3).unwrap_err().to_string().contains("none of the formats"));
        assert!(read(&whole, 2).unwrap_err().to_string().contains("2 are asked for"));
        assert!(matches!(read_image(Path::new("no such file.png"), 1), Err(Error::Io { .. })));
    }
}
