//! Pictures: [`decode`] brings one of any common format to the size of a [`Frame`], [`decode_whole`] leaves its size; both give
//! bytes. [`encode_png`] writes one.
//!
//! PNG, JPEG, GIF (its first frame), WebP, BMP, TIFF, and Netpbm's PBM, PGM and PPM are told apart by their content. A picture
//! stands as its EXIF orientation says; what is transparent lies over a background.

mod fit;
mod frame;
#[cfg(test)]
mod goldens;
mod raster;

use image::ExtendedColorType as Colour;
use image::codecs::png::PngEncoder;
use image::{ImageEncoder, ImageError, ImageFormat};

pub use frame::{Filter, Fit, Frame};

use fit::fit;
use raster::{Raster, raster};

/// What lies behind transparent pixels where no [`Frame`] says.
const WHITE: [u8; 3] = [255; 3];

/// The values of a picture, `[channels, height, width]`: channel after channel, row after row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planes {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// One byte a value; channels x height x width of them.
    pub values: Vec<u8>,
}

/// The picture whose file has this `content`, in a frame: one byte a value, `[channels, height, width]`.
///
/// # Errors
/// When the content is damaged, too large or of another format, or the frame has no pixels or channels that are not 1 or 3.
pub fn decode(content: &[u8], frame: &Frame) -> Result<Vec<u8>, String> {
    decode_with_highest(content, frame).map(|(values, _)| values)
}

/// As [`decode`], and of a picture with 16 bits a value the largest one in its file.
///
/// # Errors
/// Those of [`decode`].
pub fn decode_with_highest(content: &[u8], frame: &Frame) -> Result<(Vec<u8>, Option<u16>), String> {
    frame.check()?;
    let raster = raster(content, frame.channels, frame.background)?;
    Ok((planes(&fit(&raster, frame)?), raster.highest))
}

/// The picture whose file has this `content`, in the size that it has, with `channels` 1 (grey) or 3 (red, green, blue),
/// converted where the file holds the other. What is transparent lies over white.
///
/// # Errors
/// When the content is damaged, too large or of another format, or `channels` is another number.
pub fn decode_whole(content: &[u8], channels: usize) -> Result<Planes, String> {
    if !matches!(channels, 1 | 3) {
        return Err(format!("pictures have 1 or 3 channels, and {channels} are asked for"));
    }
    let raster = raster(content, channels, WHITE)?;
    Ok(Planes { height: raster.height, width: raster.width, values: planes(&raster) })
}

/// Whether a file that starts so is a picture of a format that is read.
pub fn is_picture(start: &[u8]) -> bool {
    image::guess_format(start).is_ok_and(|format: ImageFormat| format.reading_enabled())
}

/// A PNG of pixels, one byte a value, pixel after pixel: `[height, width, channels]`, with 1 (grey), 3 (red, green, blue) or 4
/// channels (and opacity).
///
/// # Errors
/// When there are other than height x width x channels bytes, no pixels at all, or another number of channels.
pub fn encode_png(pixels: &[u8], [height, width, channels]: [usize; 3]) -> Result<Vec<u8>, String> {
    let colour = match channels {
        1 => Colour::L8,
        3 => Colour::Rgb8,
        4 => Colour::Rgba8,
        _ => return Err(format!("a PNG of bytes has 1, 3 or 4 channels, not {channels}")),
    };
    if pixels.is_empty() || Some(pixels.len()) != height.checked_mul(width).and_then(|n| n.checked_mul(channels)) {
        return Err(format!("{} bytes for {width}x{height} pixels of {channels} channels", pixels.len()));
    }
    let side = |pixels: usize| u32::try_from(pixels).map_err(|_| "too large a picture".to_owned());
    let mut out = Vec::new();
    let encoder = PngEncoder::new(&mut out);
    encoder.write_image(pixels, side(width)?, side(height)?, colour).map_err(|e: ImageError| e.to_string())?;
    Ok(out)
}

/// Channel after channel, where a raster has pixel after pixel.
fn planes(raster: &Raster) -> Vec<u8> {
    let channel = |c: usize| raster.pixels.iter().skip(c).step_by(raster.channels).copied();
    (0..raster.channels).flat_map(channel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, GrayImage, RgbImage, RgbaImage};
    use std::io::Cursor;

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.into().write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    /// As the networks are given them: 255 stands for 1.
    fn scaled(bytes: &[u8]) -> Vec<f32> {
        bytes.iter().map(|v| f32::from(*v) / 255.).collect()
    }

    fn values(content: &[u8], channels: usize) -> Vec<f32> {
        scaled(&decode_whole(content, channels).unwrap().values)
    }

    #[test]
    fn a_picture_is_read_in_its_own_size() {
        let grey = encoded(GrayImage::from_raw(2, 1, vec![0, 51]).unwrap(), ImageFormat::Png);
        let Planes { height, width, .. } = decode_whole(&grey, 1).unwrap();
        assert_eq!((height, width), (1, 2));
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
        let wide = RgbImage::from_raw(4, 1, vec![0, 0, 0, 51, 51, 51, 102, 102, 102, 0, 0, 0]).unwrap();
        let wide = encoded(wide, ImageFormat::Png);
        let frame =
            |fit, height, width| Frame { height, width, channels: 1, fit, filter: Filter::Box, background: [255; 3] };
        let row = |frame: &Frame| scaled(&decode(&wide, frame).unwrap());
        assert_eq!(row(&frame(Fit::Crop, 1, 2)), [0.2, 0.4]);
        assert_eq!(row(&frame(Fit::Pad, 3, 4)), [1., 1., 1., 1., 0., 0.2, 0.4, 0., 1., 1., 1., 1.]);
        assert_eq!(row(&frame(Fit::Stretch, 1, 1)), [38. / 255.]);
        assert!(decode(&wide, &frame(Fit::Crop, 0, 1)).unwrap_err().contains("1x0 pixels"));
        assert!(decode(&wide, &Frame { channels: 2, ..frame(Fit::Crop, 1, 1) }).unwrap_err().contains("2 channels"));
    }

    #[test]
    fn damage_and_other_formats_are_errors() {
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
            assert!(decode_whole(content, 3).is_err(), "{content:?}");
        }
        assert_eq!(decode_whole(b"", 3).unwrap_err(), "is empty");
        assert!(decode_whole(b"<html>", 3).unwrap_err().contains("none of the formats"));
        assert!(decode_whole(&whole, 2).unwrap_err().contains("2 are asked for"));
    }

    #[test]
    fn sixteen_bits_keep_their_level_and_tell_the_highest() {
        let frame = |channels| Frame {
            height: 1,
            width: 2,
            channels,
            fit: Fit::Crop,
            filter: Filter::Nearest,
            background: [0; 3],
        };
        let grey = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(2, 1, vec![4095, 1000]).unwrap();
        let grey = encoded(DynamicImage::ImageLuma16(grey), ImageFormat::Png);
        assert_eq!(decode_with_highest(&grey, &frame(1)).unwrap(), (vec![16, 4], Some(4095)));
        let clear = image::ImageBuffer::<image::Rgba<u16>, _>::from_raw(1, 1, vec![257, 514, 0, 65535]).unwrap();
        let clear = encoded(DynamicImage::ImageRgba16(clear), ImageFormat::Png);
        let one = Frame { width: 1, ..frame(3) };
        assert_eq!(decode_with_highest(&clear, &one).unwrap(), (vec![1, 2, 0], Some(514)), "opacity does not count");
        let eight = encoded(GrayImage::from_raw(2, 1, vec![255, 0]).unwrap(), ImageFormat::Png);
        assert_eq!(decode_with_highest(&eight, &frame(1)).unwrap().1, None);
    }

    #[test]
    fn floats_beyond_white_are_refused() {
        let tiff = |values: [f32; 6]| {
            let floats = image::ImageBuffer::<image::Rgb<f32>, _>::from_raw(2, 1, values.to_vec()).unwrap();
            decode_whole(&encoded(DynamicImage::ImageRgb32F(floats), ImageFormat::Tiff), 3).map(|p| p.values)
        };
        assert_eq!(tiff([0., 0.2, 1., 0.4, 0.6, 0.8]).unwrap(), [0, 102, 51, 153, 255, 204]);
        let said = tiff([0., 12., 255., 3., 4., 5.]).unwrap_err();
        assert!(said.contains("are 0 to 255") && said.contains("scale them to 0 to 1"), "{said}");
        let said = tiff([0., 0., 0., 0., f32::NAN, 0.]).unwrap_err();
        assert!(said.contains("1 of its values are NaN") && said.contains("column 1, row 0"), "{said}");
        assert!(tiff([0., -1., 0., 0., 0., 0.]).is_err());
    }

    #[test]
    fn grey_floats_are_refused_with_what_is_read() {
        // A TIFF of one pixel: width, height, bits, no compression, black is zero, strip, rows, bytes, IEEE floats.
        let tags: [(u16, u16, u32); 10] = [
            (256, 3, 1),
            (257, 3, 1),
            (258, 3, 32),
            (259, 3, 1),
            (262, 3, 1),
            (273, 4, 8),
            (277, 3, 1),
            (278, 3, 1),
            (279, 4, 4),
            (339, 3, 3),
        ];
        let mut tiff = b"II*\0\x0c\0\0\0".to_vec();
        tiff.extend(0.5f32.to_le_bytes());
        tiff.extend((tags.len() as u16).to_le_bytes());
        for (tag, kind, value) in tags {
            tiff.extend(tag.to_le_bytes());
            tiff.extend(kind.to_le_bytes());
            tiff.extend(1u32.to_le_bytes());
            tiff.extend(value.to_le_bytes());
        }
        tiff.extend(0u32.to_le_bytes());
        let said = decode_whole(&tiff, 1).unwrap_err();
        assert!(said.contains("this kind of TIFF is not read") && said.contains("8 or 16 bits"), "{said}");
    }

    #[test]
    fn an_encoded_png_is_decoded_again() {
        let pixels: Vec<u8> = (0..3 * 2 * 3).map(|i| i * 14).collect();
        let png = encode_png(&pixels, [3, 2, 3]).unwrap();
        assert_eq!(png, encoded(RgbImage::from_raw(2, 3, pixels.clone()).unwrap(), ImageFormat::Png));
        let Planes { height, width, values } = decode_whole(&png, 3).unwrap();
        assert_eq!((height, width), (3, 2));
        assert!((0..18).all(|i| values[i % 3 * 6 + i / 3] == pixels[i]));
        for (pixels, shape) in [(&pixels[..], [3, 2, 2]), (&pixels[1..], [3, 2, 3]), (&[], [0, 2, 3])] {
            assert!(encode_png(pixels, shape).is_err(), "{shape:?}");
        }
    }
}
