//! Bringing a picture to the size of a [`Frame`], as Pillow's `Image.resize` does to within one level.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use transplant_core::{Filter, Fit, Frame};

use super::raster::Raster;

/// Left, top, width and height of a part of a picture, in pixels that need not be whole.
type Part = [f64; 4];

/// The picture in the frame; its channels stay.
pub(super) fn fit(raster: &Raster, frame: &Frame) -> Result<Raster, String> {
    let (height, width) = (frame.height, frame.width);
    let whole = [0., 0., raster.width as f64, raster.height as f64];
    match frame.fit {
        Fit::Stretch => resize(raster, whole, height, width, frame.filter),
        Fit::Crop => resize(raster, middle(raster, height, width), height, width, frame.filter),
        Fit::Pad => {
            let (inner_height, inner_width) = contained(raster, height, width);
            let inner = resize(raster, whole, inner_height, inner_width, frame.filter)?;
            Ok(laid_out(&inner, frame))
        }
    }
}

/// The part that fills the frame: as torchvision does it, the picture is brought to whole numbers of pixels that cover the
/// frame, and those in the middle are kept. Here only these are computed.
fn middle(raster: &Raster, height: usize, width: usize) -> Part {
    let (from_height, from_width) = (raster.height, raster.width);
    let (full_height, full_width) = if width * from_height >= height * from_width {
        (width * from_height / from_width, width)
    } else {
        (height, height * from_width / from_height)
    };
    let along = |from: usize, full: usize, kept: usize| {
        let scale = from as f64 / full as f64;
        let start = half(full - kept) as f64 * scale;
        (start, (kept as f64 * scale).min(from as f64 - start))
    };
    let (left, part_width) = along(from_width, full_width, width);
    let (top, part_height) = along(from_height, full_height, height);
    [left, top, part_width, part_height]
}

/// Height and width that fit into the frame, as Pillow's `ImageOps.contain` rounds them.
fn contained(raster: &Raster, height: usize, width: usize) -> (usize, usize) {
    let (from_height, from_width) = (raster.height as f64, raster.width as f64);
    let scaled = |side: f64| (side.round_ties_even() as usize).max(1);
    if raster.width * height > raster.height * width {
        (scaled(from_height / from_width * width as f64).min(height), width)
    } else {
        (height, scaled(from_width / from_height * height as f64).min(width))
    }
}

/// A smaller picture in the middle of the frame's background.
fn laid_out(inner: &Raster, frame: &Frame) -> Raster {
    let channels = inner.channels;
    // A single channel is grey already, and so is its background.
    let [r, g, b] = frame.background;
    let behind = if channels == 3 { vec![r, g, b] } else { vec![super::raster::grey([r, g, b])] };
    let mut pixels = behind.repeat(frame.height * frame.width);
    let (top, left) = (half(frame.height - inner.height), half(frame.width - inner.width));
    for (y, line) in inner.pixels.chunks(inner.width * channels).enumerate() {
        let start = ((top + y) * frame.width + left) * channels;
        pixels[start..start + line.len()].copy_from_slice(line);
    }
    Raster { height: frame.height, width: frame.width, channels, pixels }
}

/// Half of a number of pixels; what lies between two is rounded to the even one, as Python does.
fn half(pixels: usize) -> usize {
    (pixels as f64 / 2.).round_ties_even() as usize
}

/// A part of a picture in another size.
fn resize(raster: &Raster, part: Part, height: usize, width: usize, filter: Filter) -> Result<Raster, String> {
    let algorithm = match filter {
        Filter::Nearest => ResizeAlg::Nearest,
        Filter::Box => ResizeAlg::Convolution(FilterType::Box),
        Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        // The cubic with a = -0.5.
        Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Filter::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
    };
    let kind = if raster.channels == 3 { PixelType::U8x3 } else { PixelType::U8 };
    let side = |pixels: usize| u32::try_from(pixels).map_err(|_| "too large a picture".to_owned());
    let from = ImageRef::new(side(raster.width)?, side(raster.height)?, &raster.pixels, kind);
    let mut to = Image::new(side(width)?, side(height)?, kind);
    let [left, top, part_width, part_height] = part;
    let options = ResizeOptions::new().resize_alg(algorithm).crop(left, top, part_width, part_height).use_alpha(false);
    Resizer::new().resize(&from.map_err(|e| e.to_string())?, &mut to, &options).map_err(|e| e.to_string())?;
    Ok(Raster { height, width, channels: raster.channels, pixels: to.into_vec() })
}
