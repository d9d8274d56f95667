//! Bringing a picture to the size of a [`Frame`], as Pillow's `Image.resize` does to within one level.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U16, U16x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use super::frame::{Filter, Fit, Frame};
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
    Raster { height: frame.height, width: frame.width, channels, pixels, highest: inner.highest }
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
    // Pixels that nothing reads are left out of the first pass. Between the passes there are bytes, as in Pillow: what is cut off
    // at 0 and 255 there shows.
    let ((top, bottom), (left, right)) = (y.read(), x.read());
    let line = raster.width * raster.channels;
    let lines = &raster.pixels[top * line..bottom * line];
    let whole = [bottom - top, raster.width, raster.channels];
    let (height, width) = (Span::all(y.kept), Span::all(x.kept));
    let pixels = if columns_first(y, x) {
        let columns = Span { start: left as f64, ..Span::all(right - left) };
        let pixels = resized(lines, whole, [y.span(top), columns], kind)?;
        resized(&pixels, [y.kept, right - left, raster.channels], [height, x.span(left)], kind)?
    } else {
        let pixels = resized(lines, whole, [Span::all(bottom - top), x.span(0)], kind)?;
        resized(&pixels, [bottom - top, x.kept, raster.channels], [y.span(top), width], kind)?
    };
    let (channels, highest) = (raster.channels, raster.highest);
    Ok(Raster { height: y.kept, width: x.kept, channels, pixels, highest })
}

/// Whether Pillow (13 and later) scales columns before lines: where a picture loses more than twice as much height as width.
fn columns_first(y: Axis, x: Axis) -> bool {
    let lost = |axis: Axis| axis.from as i64 - axis.full as i64;
    lost(y) > 0 && lost(y) > 2 * lost(x)
}

/// A stretch of pixels, which need not be whole, and how many it becomes.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: f64,
    length: f64,
    size: usize,
}

impl Span {
    /// So many pixels as they are.
    fn all(size: usize) -> Self {
        Self { start: 0., length: size as f64, size }
    }
}

impl Axis {
    /// Where in the picture, counted from its pixel `first`, what is kept lies.
    fn span(self, first: usize) -> Span {
        let scale = self.from as f64 / self.full as f64;
        let start = self.start as f64 * scale;
        // Rounding must not lead past the border.
        let length = (self.kept as f64 * scale).min(self.from as f64 - start);
        Span { start: start - first as f64, length, size: self.kept }
    }

    /// The first pixel of the picture that a filter may read, and the one after the last.
    fn read(self) -> (usize, usize) {
        let Span { start, length, .. } = self.span(0);
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
    Raster { height: y.kept, width: x.kept, channels, pixels, highest: raster.highest }
}

/// A part of a picture of bytes in another size. Computed in 16 bits: the library's weights for these are so fine that a byte
/// comes out as Pillow rounds it.
fn resized(
    pixels: &[u8],
    [height, width, channels]: [usize; 3],
    spans: [Span; 2],
    kind: FilterType,
) -> Result<Vec<u8>, String> {
    let wide = |v: u8| u16::from(v) * 257;
    let byte = |v: u16| ((u32::from(v) + 128) / 257) as u8;
    if channels == 3 {
        let from = pixels.chunks_exact(3).map(|p| U16x3::new([wide(p[0]), wide(p[1]), wide(p[2])])).collect::<Vec<_>>();
        let to = convolved(&from, [height, width], spans, kind)?;
        Ok(to.pixels().iter().flat_map(|p| p.0.map(byte)).collect())
    } else {
        let from: Vec<U16> = pixels.iter().map(|p| U16::new(wide(*p))).collect();
        let to = convolved(&from, [height, width], spans, kind)?;
        Ok(to.pixels().iter().map(|p| byte(p.0)).collect())
    }
}

/// The library's typed call: its other one chooses the type of pixels at run time, and compiles thirteen of them.
fn convolved<P: PixelTrait>(
    pixels: &[P],
    [height, width]: [usize; 2],
    [y, x]: [Span; 2],
    kind: FilterType,
) -> Result<TypedImage<'static, P>, String> {
    let side = |pixels: usize| u32::try_from(pixels).map_err(|_| "too large a picture".to_owned());
    let (width, height) = (side(width)?, side(height)?);
    let from = TypedImageRef::new(width, height, pixels).map_err(|e| e.to_string())?;
    let mut to = TypedImage::new(side(x.size)?, side(y.size)?);
    let within = |span: Span, side: u32| span.length.min(f64::from(side) - span.start);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(kind)).use_alpha(false);
    let options = options.crop(x.start, y.start, within(x, width), within(y, height));
    Resizer::new().resize_typed(&from, &mut to, &options).map_err(|e| e.to_string())?;
    Ok(to)
}
