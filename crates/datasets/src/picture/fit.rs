//! Bringing a picture to the size of a [`Frame`], as Pillow's `Image.resize` does to within one level.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::pixels::{U16, U16x3};
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use transplant_core::{Filter, Fit, Frame};

use super::raster::{Raster, grey};

/// Pixels on each side of one that the widest filter reads, for every pixel that it shrinks to one.
const WIDEST: f64 = 3.;

/// How one side of a picture is scaled: `from` pixels become `full`, of which `kept` are computed, those from `start` on.
#[derive(Debug, Clone, Copy)]
struct Axis {
    from: usize,
    full: usize,
    start: usize,
    kept: usize,
}

/// The picture in the frame; its channels stay.
pub(super) fn fit(raster: &Raster, frame: &Frame) -> Result<Raster, String> {
    let (height, width) = (frame.height, frame.width);
    let [y, x] = match frame.fit {
        Fit::Stretch => [whole(raster.height, height), whole(raster.width, width)],
        Fit::Crop => covering(raster, height, width),
        Fit::Pad => {
            let [inner_height, inner_width] = contained(raster, height, width);
            let axes = [whole(raster.height, inner_height), whole(raster.width, inner_width)];
            return Ok(laid_out(&scaled(raster, axes, frame.filter)?, frame));
        }
    };
    scaled(raster, [y, x], frame.filter)
}

fn whole(from: usize, full: usize) -> Axis {
    Axis { from, full, start: 0, kept: full }
}

/// As torchvision does it, the picture is brought to whole numbers of pixels that cover the frame, and those in the middle are
/// kept. Only these are computed.
fn covering(raster: &Raster, height: usize, width: usize) -> [Axis; 2] {
    let (from_height, from_width) = (raster.height, raster.width);
    let (full_height, full_width) = if width * from_height >= height * from_width {
        (width * from_height / from_width, width)
    } else {
        (height, height * from_width / from_height)
    };
    let middle = |from: usize, full: usize, kept: usize| Axis { from, full, start: half(full - kept), kept };
    [middle(from_height, full_height, height), middle(from_width, full_width, width)]
}

/// Height and width that fit into the frame, as Pillow's `ImageOps.contain` rounds them.
fn contained(raster: &Raster, height: usize, width: usize) -> [usize; 2] {
    let (from_height, from_width) = (raster.height as f64, raster.width as f64);
    let rounded = |side: f64| (side.round_ties_even() as usize).max(1);
    if raster.width * height > raster.height * width {
        [rounded(from_height / from_width * width as f64).min(height), width]
    } else {
        [height, rounded(from_width / from_height * height as f64).min(width)]
    }
}

/// A smaller picture in the middle of the frame's background.
fn laid_out(inner: &Raster, frame: &Frame) -> Raster {
    let channels = inner.channels;
    let behind = if channels == 3 { frame.background.to_vec() } else { vec![grey(frame.background)] };
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

/// The picture along both axes.
fn scaled(raster: &Raster, [y, x]: [Axis; 2], filter: Filter) -> Result<Raster, String> {
    let kind = match filter {
        Filter::Nearest => return Ok(nearest(raster, y, x)),
        Filter::Box => FilterType::Box,
        Filter::Bilinear => FilterType::Bilinear,
        // The cubic with a = -0.5.
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Lanczos => FilterType::Lanczos3,
    };
    // Lines before columns, as Pillow does it, and bytes in between: what is cut off at 0 and 255 there shows. Lines that no
    // column reads are left out.
    let (top, bottom) = y.read();
    let line = raster.width * raster.channels;
    let pixels = &raster.pixels[top * line..bottom * line];
    let (left, width) = x.part();
    let part = Part { left, top: 0., width, height: (bottom - top) as f64 };
    let lines = resized(pixels, [bottom - top, raster.width, raster.channels], part, [bottom - top, x.kept], kind)?;
    let (from, height) = y.part();
    let part = Part { left: 0., top: from - top as f64, width: x.kept as f64, height };
    let pixels = resized(&lines, [bottom - top, x.kept, raster.channels], part, [y.kept, x.kept], kind)?;
    Ok(Raster { height: y.kept, width: x.kept, channels: raster.channels, pixels })
}

impl Axis {
    /// Where what is kept begins in the picture, and how much of it that is.
    fn part(self) -> (f64, f64) {
        let scale = self.from as f64 / self.full as f64;
        let start = self.start as f64 * scale;
        (start, (self.kept as f64 * scale).min(self.from as f64 - start))
    }

    /// The first pixel of the picture that a filter may read, and the one after the last.
    fn read(self) -> (usize, usize) {
        let (start, length) = self.part();
        let reach = WIDEST * (self.from as f64 / self.full as f64).max(1.) + 1.;
        let end = (start + length + reach).ceil() as usize;
        ((start - reach).max(0.) as usize, end.min(self.from))
    }

    /// The pixel that each kept one is taken from. Pillow adds the step up, so a position between two pixels falls as it does there.
    fn nearest(self) -> Vec<usize> {
        let scale = self.from as f64 / self.full as f64;
        let steps = std::iter::successors(Some(scale * 0.5), |at| Some(at + scale));
        steps.skip(self.start).take(self.kept).map(|at| (at as usize).min(self.from - 1)).collect()
    }
}

fn nearest(raster: &Raster, y: Axis, x: Axis) -> Raster {
    let (channels, line) = (raster.channels, raster.width * raster.channels);
    let columns = x.nearest();
    let mut pixels = Vec::with_capacity(y.kept * x.kept * channels);
    for row in y.nearest() {
        for column in &columns {
            let at = row * line + column * channels;
            pixels.extend_from_slice(&raster.pixels[at..at + channels]);
        }
    }
    Raster { height: y.kept, width: x.kept, channels, pixels }
}

/// A part of a picture, in pixels that need not be whole.
struct Part {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

/// A part in another size, along one axis. Computed in 16 bits, since the library's weights for bytes are so coarse that results
/// differ from Pillow's by two levels.
fn resized(
    pixels: &[u8],
    [from_height, from_width, channels]: [usize; 3],
    part: Part,
    [height, width]: [usize; 2],
    kind: FilterType,
) -> Result<Vec<u8>, String> {
    let side = |pixels: usize| u32::try_from(pixels).map_err(|_| "too large a picture".to_owned());
    let (from_width, from_height) = (side(from_width)?, side(from_height)?);
    let wide = |v: u8| u16::from(v) * 257;
    let (colours, greys): (Vec<U16x3>, Vec<U16>);
    let from = if channels == 3 {
        colours = pixels.chunks_exact(3).map(|p| U16x3::new([wide(p[0]), wide(p[1]), wide(p[2])])).collect();
        ImageRef::from_pixels(from_width, from_height, &colours)
    } else {
        greys = pixels.iter().map(|p| U16::new(wide(*p))).collect();
        ImageRef::from_pixels(from_width, from_height, &greys)
    };
    let from = from.map_err(|e| e.to_string())?;
    let mut to = Image::new(side(width)?, side(height)?, from.pixel_type());
    // Rounding must not lead past the border.
    let part_width = part.width.min(f64::from(from_width) - part.left);
    let part_height = part.height.min(f64::from(from_height) - part.top);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(kind)).use_alpha(false);
    let options = options.crop(part.left, part.top, part_width, part_height);
    Resizer::new().resize(&from, &mut to, &options).map_err(|e| e.to_string())?;
    let byte = |b: &[u8]| ((u32::from(u16::from_ne_bytes([b[0], b[1]])) + 128) / 257) as u8;
    Ok(to.buffer().chunks_exact(2).map(byte).collect())
}
