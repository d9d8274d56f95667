//! [`Frame`]: the size that a picture of any size is brought to, and how.

/// The size that a picture of any size is brought to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Rows of pixels, at least 1.
    pub height: usize,
    /// Columns of pixels, at least 1.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// What is done when the picture has other proportions.
    pub fit: Fit,
    /// How pixels are computed from those of the picture.
    pub filter: Filter,
    /// Red, green and blue of what lies behind transparent pixels and around a padded picture, 0 to 255.
    pub background: [u8; 3],
}

/// What is done with a picture whose proportions are not those of its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Height and width are scaled each by itself, so proportions change.
    Stretch,
    /// Scaled until it covers the frame; the middle is kept.
    Crop,
    /// Scaled until it fits into the frame; the background fills what is left on both sides.
    Pad,
}

/// How pixels of another size are computed: the filters of Pillow, stretched when a picture shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Filter {
    /// The pixel that lies there.
    Nearest,
    /// The mean of the pixels that it covers.
    Box,
    /// A triangle one pixel wide on each side.
    Bilinear,
    /// A cubic with a = -0.5, two pixels wide on each side.
    Bicubic,
    /// A windowed sinc, three pixels wide on each side.
    Lanczos,
}

impl Frame {
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { height, width, channels, .. } = self;
        if *height == 0 || *width == 0 || !matches!(channels, 1 | 3) {
            return Err(format!("no picture can have {width}x{height} pixels of {channels} channels"));
        }
        Ok(())
    }
}
