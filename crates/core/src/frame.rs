//! [`Frame`]: how a picture of any size becomes a row of one size.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Invalid;

/// No side of a frame is longer, in pixels.
const LONGEST_SIDE: usize = 16_384;

/// How a picture of any size becomes a row: `[channels, height, width]`, values in 0..1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Height and width are scaled each by itself, so proportions change.
    Stretch,
    /// Scaled until it covers the frame; the middle is kept.
    #[default]
    Crop,
    /// Scaled until it fits into the frame; the background fills what is left on both sides.
    Pad,
}

/// How pixels of another size are computed: the filters of Pillow, stretched when a picture shrinks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The pixel that lies there.
    Nearest,
    /// The mean of the pixels that it covers.
    Box,
    /// A triangle one pixel wide on each side.
    #[default]
    Bilinear,
    /// A cubic with a = -0.5, two pixels wide on each side.
    Bicubic,
    /// A windowed sinc, three pixels wide on each side.
    Lanczos,
}

impl Frame {
    /// Checks sizes and channels.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub fn check(&self) -> Result<(), Invalid> {
        for (key, side) in [("height", self.height), ("width", self.width)] {
            if !(1..=LONGEST_SIDE).contains(&side) {
                return Err(Invalid::key(key, format!("must be from 1 to {LONGEST_SIDE} pixels")));
            }
        }
        if !matches!(self.channels, 1 | 3) {
            return Err(Invalid::key("channels", "must be 1 (grey) or 3 (red, green, blue)"));
        }
        Ok(())
    }

    /// Values of a row: channels x height x width.
    pub fn values(&self) -> usize {
        self.channels * self.height * self.width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame { height: 2, width: 3, channels: 3, fit: Fit::Pad, filter: Filter::Box, background: [255, 0, 9] }
    }

    #[test]
    fn a_frame_is_written_in_the_words_of_a_file() {
        let json = serde_json::json!({
            "height": 2, "width": 3, "channels": 3, "fit": "pad", "filter": "box", "background": [255, 0, 9],
        });
        assert_eq!(serde_json::to_value(frame()).unwrap(), json);
        assert_eq!(serde_json::from_value::<Frame>(json).unwrap(), frame());
        assert_eq!(frame().values(), 18);
    }

    #[test]
    fn sizes_and_channels_are_checked() {
        let said = |change: fn(&mut Frame)| {
            let mut frame = frame();
            change(&mut frame);
            frame.check().map_err(|e| e.to_string())
        };
        assert_eq!(said(|_| ()), Ok(()));
        assert!(said(|f| f.height = 0).unwrap_err().starts_with("height: must be"));
        assert!(said(|f| f.width = 20_000).unwrap_err().starts_with("width: must be"));
        assert!(said(|f| f.channels = 2).unwrap_err().starts_with("channels: must be 1"));
    }
}
