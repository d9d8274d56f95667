//! From the content of a file to pixels: format, limits, orientation, colours.

use std::io::Cursor;

use image::error::UnsupportedErrorKind;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

/// No picture takes more memory when it is decoded; a small file can announce any size.
const MOST_BYTES: u64 = 1 << 30;

/// No side is longer in pixels. A JPEG cannot say more, and a line of pixels would grow beyond all bounds when it is
/// scaled.
const LONGEST_SIDE: u32 = 65_535;

/// Shares of red, green and blue in grey, in 65536ths (ITU-R BT.601, as Pillow rounds them).
const LUMA: [u32; 3] = [19_595, 38_470, 7_471];

/// A picture, pixel after pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raster {
    pub(super) height: usize,
    pub(super) width: usize,
    /// Values a pixel: 1 (grey) or 3 (red, green, blue).
    pub(super) channels: usize,
    pub(super) pixels: Vec<u8>,
    /// The largest value of a picture of 16 bits a value, as it is in the file.
    pub(super) highest: Option<u16>,
}

/// The picture that a file holds, turned as it says and over `background`; `channels` is 1 or 3.
pub(super) fn raster(content: &[u8], channels: usize, background: [u8; 3]) -> Result<Raster, String> {
    if content.is_empty() {
        return Err("is empty".to_owned());
    }
    let mut reader = ImageReader::new(Cursor::new(content)).with_guessed_format().map_err(|e| e.to_string())?;
    let format = reader.format().ok_or("is none of the formats PNG, JPEG, GIF, WebP, BMP, TIFF, PBM, PGM and PPM")?;
    if format == ImageFormat::Jpeg && !has_end(content) {
        return Err("truncated: a JPEG without its end".to_owned());
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let of_tiff = |e: ImageError| match e {
        ImageError::Unsupported(e) if format == ImageFormat::Tiff => {
            let read = "grey with 8 or 16 bits a value, and colours with 8, 16 or 32 (floating-point) bits";
            let kind = match e.kind() {
                UnsupportedErrorKind::Color(ExtendedColorType::Unknown(bits)) => format!("{bits} bits a pixel"),
                _ => e.to_string(),
            };
            format!(
                "this kind of TIFF is not read ({kind}): {read} are; scale its values to one of these and save it so"
            )
        }
        e => shown(e),
    };
    let mut decoder = reader.into_decoder().map_err(of_tiff)?;
    let (width, height) = decoder.dimensions();
    if width.min(height) == 0 || width.max(height) > LONGEST_SIDE {
        return Err(format!("{width}x{height} pixels: a side must be from 1 to {LONGEST_SIDE}"));
    }
    if decoder.total_bytes() > MOST_BYTES {
        let taken = decoder.total_bytes() >> 20;
        return Err(format!("{width}x{height} pixels take {taken} MiB, and no picture may take more than 1 GiB"));
    }
    // An orientation that cannot be read is no reason to refuse the picture: other programs show it as it lies.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(shown)?;
    check_floats(&image)?;
    image.apply_orientation(orientation);
    let (width, height, highest) = (image.width() as usize, image.height() as usize, highest(&image));
    Ok(Raster { height, width, channels, pixels: coloured(image, channels, background), highest })
}

/// Refuses floating-point values that are not between 0 (black) and 1 (white): they would be cut off.
fn check_floats(image: &DynamicImage) -> Result<(), String> {
    let (values, channels): (&[f32], usize) = match image {
        DynamicImage::ImageRgb32F(i) => (i.as_raw(), 3),
        DynamicImage::ImageRgba32F(i) => (i.as_raw(), 4),
        _ => return Ok(()),
    };
    let count = |wrong: fn(&f32) -> bool| values.iter().filter(|v| wrong(v)).count();
    if let Some(at) = values.iter().position(|v| !v.is_finite()) {
        let (pixel, width) = (at / channels, image.width() as usize);
        let (nan, infinite) = (count(|v| v.is_nan()), count(|v| v.is_infinite()));
        let (x, y) = (pixel % width, pixel / width);
        return Err(format!("{nan} of its values are NaN and {infinite} infinite, the first at column {x}, row {y}"));
    }
    let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
    // What filters overshoot is less than a level.
    if low < -1. / 512. || high > 1. + 1. / 512. {
        let remedy = "scale them to 0 to 1, or save it with 8 or 16 bits a value";
        return Err(format!("its floating-point values are {low} to {high}, and 0 is black, 1 white: {remedy}"));
    }
    Ok(())
}

fn highest(image: &DynamicImage) -> Option<u16> {
    let colours =
        |values: &[u16], channels: usize| values.chunks_exact(channels).flat_map(|p| &p[..channels - 1]).copied().max();
    match image {
        DynamicImage::ImageLuma16(i) => i.as_raw().iter().copied().max(),
        DynamicImage::ImageRgb16(i) => i.as_raw().iter().copied().max(),
        DynamicImage::ImageLumaA16(i) => colours(i.as_raw(), 2),
        DynamicImage::ImageRgba16(i) => colours(i.as_raw(), 4),
        _ => None,
    }
}

/// Whether the marker that ends a JPEG follows its pixels; the decoder fills up with grey where it does not. A preview
/// in the header has an end of its own.
fn has_end(content: &[u8]) -> bool {
    let mut at = 2;
    while let Some([0xff, marker, high, low]) = content.get(at..at + 4) {
        if *marker == 0xda {
            return content[at..].windows(2).any(|two| two == [0xff, 0xd9]);
        }
        // A byte that fills up stands alone; a segment says how long it is.
        at += if *marker == 0xff { 1 } else { 2 + usize::from(u16::from_be_bytes([*high, *low])) };
    }
    false
}

/// One byte a value, 1 or 3 values a pixel.
fn coloured(image: DynamicImage, channels: usize, background: [u8; 3]) -> Vec<u8> {
    if matches!(image.color(), ColorType::L8 | ColorType::L16) && channels == 1 {
        return image.into_luma8().into_raw();
    }
    if !image.color().has_alpha() {
        let rgb = image.into_rgb8();
        return if channels == 3 { rgb.into_raw() } else { rgb.pixels().map(|p| grey(p.0)).collect() };
    }
    let over = |value: u8, behind: u8, alpha: u8| {
        let (alpha, rest) = (u32::from(alpha), u32::from(255 - alpha));
        ((u32::from(value) * alpha + u32::from(behind) * rest + 127) / 255) as u8
    };
    let [red, green, blue] = background;
    let rgba = image.into_rgba8();
    let laid = rgba.pixels().map(|p| {
        let [r, g, b, a] = p.0;
        [over(r, red, a), over(g, green, a), over(b, blue, a)]
    });
    if channels == 3 { laid.flatten().collect() } else { laid.map(grey).collect() }
}

/// The grey of a colour; that of a grey is its own value.
pub(super) fn grey(rgb: [u8; 3]) -> u8 {
    let sum: u32 = rgb.iter().zip(LUMA).map(|(v, share)| u32::from(*v) * share).sum();
    ((sum + (1 << 15)) >> 16) as u8
}

fn shown(e: ImageError) -> String {
    match e {
        ImageError::Limits(_) => "takes more than 1 GiB decoded, or announces a size that cannot be".to_owned(),
        e => e.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_preview_is_not_that_of_the_picture() {
        let header = b"\xff\xd8\xff\xe1\x00\x06\xff\xd9ab\xff\xda\x00\x02pixels";
        assert!(!has_end(header));
        assert!(has_end(&[header.as_slice(), b"\xff\xd9 and what cameras add"].concat()));
        assert!(!has_end(b"\xff\xd8\xff\xe1\xff\xff\xff\xd9"));
    }

    #[test]
    fn a_small_file_cannot_take_all_memory() {
        // 60,000 x 60,000 RGB: the header alone is enough to refuse it.
        let said = raster(b"P6 60000 60000 255\n0", 3, [0; 3]).unwrap_err();
        assert!(said.contains("60000x60000 pixels take 10299 MiB"), "{said}");
        let said = raster(b"P5 1 100000 255\n0", 1, [0; 3]).unwrap_err();
        assert!(said.contains("1x100000 pixels: a side must be from 1 to 65535"), "{said}");
    }
}
