//! [`read_image`]: one picture from a file, as a network gets it: PNG, or PGM and PPM.

use std::io::Cursor;
use std::path::Path;

use candle_core::{Device, Tensor};
use png::{BitDepth, ColorType, Decoder, Transformations};
use transplant_core::{Error, Result};

use crate::netpbm;

/// A picture as its file holds it.
pub(crate) struct Raster {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Values a pixel: grey, grey + alpha, RGB or RGB + alpha.
    pub(crate) samples: usize,
    /// Pixel after pixel, 0..1.
    pub(crate) values: Vec<f32>,
}

/// Weights of red, green and blue in grey (ITU-R BT.601, as Pillow and OpenCV take them).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Reads a picture: `f32 [channels, height, width]` in 0..1, with `channels` 1 (grey) or 3 (red, green, blue), converted
/// where the file holds the other. What is transparent lies over white.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::Data`] when it is damaged or of another format.
pub fn read_image(path: &Path, channels: usize) -> Result<Tensor> {
    let content = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let raster = match content.get(..2) {
        Some(b"\x89P") => from_png(&content),
        Some(b"P2" | b"P3" | b"P5" | b"P6") => netpbm::read(&content),
        _ => Err("neither PNG nor PGM/PPM (P2, P3, P5, P6)".to_owned()),
    };
    let raster = raster.map_err(|message| Error::data(path, None, message))?;
    if !matches!(channels, 1 | 3) {
        let message = format!("pictures have 1 or 3 channels, and {channels} are asked for");
        return Err(Error::data(path, None, message));
    }
    let (height, width) = (raster.height, raster.width);
    Ok(Tensor::from_vec(planes(&raster, channels), (channels, height, width), &Device::Cpu)?)
}

/// Channel after channel, over white.
fn planes(raster: &Raster, channels: usize) -> Vec<f32> {
    let colour = |pixel: &[f32]| {
        let (rgb, alpha) = match *pixel {
            [grey] => ([grey; 3], 1.),
            [grey, alpha] => ([grey; 3], alpha),
            [r, g, b] => ([r, g, b], 1.),
            [r, g, b, alpha, ..] => ([r, g, b], alpha),
            [] => ([0.; 3], 0.),
        };
        rgb.map(|v| v * alpha + (1. - alpha))
    };
    let pixels: Vec<[f32; 3]> = raster.values.chunks(raster.samples).map(colour).collect();
    let grey = |p: &[f32; 3]| {
        // Grey stays the very value it was; the weighted sum could differ in the last bit.
        if p[0] == p[1] && p[1] == p[2] { p[0] } else { p.iter().zip(LUMA).map(|(v, share)| v * share).sum() }
    };
    match channels {
        1 => pixels.iter().map(grey).collect(),
        _ => (0..3).flat_map(|c| pixels.iter().map(move |p| p[c])).collect(),
    }
}

fn from_png(content: &[u8]) -> Result<Raster, String> {
    let mut decoder = Decoder::new(Cursor::new(content));
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let size = reader.output_buffer_size().ok_or("too large a picture")?;
    let mut bytes = vec![0; size];
    let info = reader.next_frame(&mut bytes).map_err(|e| e.to_string())?;
    bytes.truncate(info.buffer_size());
    let samples = match info.color_type {
        ColorType::Grayscale | ColorType::Indexed => 1,
        ColorType::GrayscaleAlpha => 2,
        ColorType::Rgb => 3,
        ColorType::Rgba => 4,
    };
    let values = match info.bit_depth {
        BitDepth::Sixteen => bytes.chunks(2).map(|b| f32::from(u16::from_be_bytes([b[0], b[1]])) / 65535.).collect(),
        _ => bytes.iter().map(|b| f32::from(*b) / 255.).collect(),
    };
    Ok(Raster { height: info.height as usize, width: info.width as usize, samples, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8], channels: usize) -> Result<Tensor> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.bin");
        std::fs::write(&path, content).unwrap();
        read_image(&path, channels)
    }

    fn values(content: &[u8], channels: usize) -> Vec<f32> {
        read(content, channels).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    fn png(color: ColorType, depth: BitDepth, [w, h]: [u32; 2], data: &[u8], palette: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, w, h);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if !palette.is_empty() {
            encoder.set_palette(palette.to_vec());
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        out
    }

    #[test]
    fn every_kind_of_png_is_read() {
        let grey = png(ColorType::Grayscale, BitDepth::Eight, [2, 1], &[0, 51], &[]);
        assert_eq!(read(&grey, 1).unwrap().dims(), [1, 1, 2]);
        assert_eq!(values(&grey, 1), [0., 0.2]);
        assert_eq!(values(&grey, 3), [0., 0.2, 0., 0.2, 0., 0.2]);
        let sixteen = png(ColorType::Grayscale, BitDepth::Sixteen, [1, 1], &[0x80, 0], &[]);
        assert_eq!(values(&sixteen, 1), [32768. / 65535.]);
        let one_bit = png(ColorType::Grayscale, BitDepth::One, [3, 1], &[0b1010_0000], &[]);
        assert_eq!(values(&one_bit, 1), [1., 0., 1.]);
        let rgb = png(ColorType::Rgb, BitDepth::Eight, [1, 2], &[255, 0, 0, 0, 0, 255], &[]);
        assert_eq!(values(&rgb, 3), [1., 0., 0., 0., 0., 1.]);
        assert_eq!(values(&rgb, 1), [0.299, 0.114]);
        let indexed = png(ColorType::Indexed, BitDepth::Two, [2, 1], &[0b0100_0000], &[0, 255, 0, 255, 255, 255]);
        assert_eq!(values(&indexed, 3), [1., 0., 1., 1., 1., 0.]);
    }

    #[test]
    fn what_is_transparent_lies_over_white() {
        let rgba = png(ColorType::Rgba, BitDepth::Eight, [2, 1], &[0, 0, 0, 0, 255, 0, 0, 255], &[]);
        assert_eq!(values(&rgba, 3), [1., 1., 1., 0., 1., 0.]);
        let grey = png(ColorType::GrayscaleAlpha, BitDepth::Eight, [1, 1], &[0, 51], &[]);
        assert!((values(&grey, 1)[0] - 0.8).abs() < 1e-6);
    }

    #[test]
    fn damage_and_other_formats_are_named_with_the_file() {
        let whole = png(ColorType::Rgb, BitDepth::Eight, [3, 3], &[7; 27], &[]);
        for content in [&whole[..whole.len() / 2], b"\xff\xd8\xff\xe0JFIF", b"", b"P5 3 3 255\n1234"] {
            let e = read(content, 3).unwrap_err();
            assert!(matches!(&e, Error::Data { path, .. } if path.ends_with("picture.bin")), "{e}");
        }
        assert!(read(&whole, 2).unwrap_err().to_string().contains("2 are asked for"));
        assert!(matches!(read_image(Path::new("no such file.png"), 1), Err(Error::Io { .. })));
    }
}
