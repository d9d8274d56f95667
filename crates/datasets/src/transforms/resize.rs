//! `resize`: brings images to another size by bilinear interpolation, for a network that was trained on another size.
//!
//! The numbers are those of PyTorch's `interpolate(mode="bilinear", align_corners=False, antialias=False)`: pixel centres
//! lie at halves and the border is repeated. Without antialias, shrink by at most a half.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, BuildCx, Component, Invalid, Plugins, Result, Schema, Transform, TransformCx};

use super::{each_image, image_schema};

/// Brings images to another size by bilinear interpolation.
///
/// For a network that was trained on another size. Without antialias: shrink by at most a half.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Rows of pixels, at least 1.
    pub height: usize,
    /// Columns of pixels, at least 1.
    pub width: usize,
}

/// Bilinear resizing.
#[derive(Debug)]
pub struct Resize(Options);

impl Resize {
    /// Resizes to this size.
    ///
    /// # Errors
    /// Names the option that is out of range.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        for (key, size) in [("height", o.height), ("width", o.width)] {
            if !(1..=1 << 15).contains(&size) {
                return Err(Invalid::key(key, format!("must be between 1 and 32768, not {size}")));
            }
        }
        Ok(Self(o))
    }
}

/// For each place along an axis: the two source places, and the second one's share.
fn taps(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let ratio = from as f32 / to as f32;
    let tap = |i: usize| {
        let at = (ratio * (i as f32 + 0.5) - 0.5).max(0.);
        let first = (at as usize).min(from - 1);
        (first, (first + 1).min(from - 1), at - first as f32)
    };
    (0..to).map(tap).collect()
}

impl Transform for Resize {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        image_schema(inputs, |[c, ..]| Ok([c, self.0.height, self.0.width]))
    }

    fn apply(&self, inputs: Acts, _: &TransformCx<'_>) -> Result<Acts> {
        let Options { height, width } = self.0;
        each_image(
            inputs,
            |[c, ..]| [c, height, width],
            |_, image, out| {
                let (ys, xs) = (taps(image.height, height), taps(image.width, width));
                for (from, to) in image.planes().zip(out.chunks_mut(height * width)) {
                    for ((top, low, low_share), to) in ys.iter().zip(to.chunks_mut(width)) {
                        let row = |y: usize| &from[y * image.width..(y + 1) * image.width];
                        let (top, low) = (row(*top), row(*low));
                        for ((left, right, right_share), to) in xs.iter().zip(to) {
                            let along = |row: &[f32]| row[*left] * (1. - right_share) + row[*right] * right_share;
                            *to = along(top) * (1. - low_share) + along(low) * low_share;
                        }
                    }
                }
            },
        )
    }
}

impl Component<dyn Transform> for Resize {
    const TYPE: &'static str = "resize";
    type Options = Options;

    fn check(o: &Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(drop)
    }

    fn build(o: Options, _: &BuildCx<'_>) -> Result<Box<dyn Transform>> {
        Ok(Box::new(Self::new(o)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{apply, build, counting, fault};
    use super::*;
    use serde_json::json;

    fn to(shape: [usize; 4], height: usize, width: usize) -> Vec<f32> {
        let t = build::<Resize>(json!({"height": height, "width": width})).unwrap();
        assert!(!t.random());
        apply(t.as_ref(), counting(shape), 0)
    }

    #[test]
    fn numbers_are_those_of_pytorch() {
        // interpolate(arange(2.).view(1, 1, 1, 2), size=(1, 4), mode="bilinear", align_corners=False)
        assert_eq!(to([1, 1, 1, 2], 1, 4), [0., 0.25, 0.75, 1.]);
        // interpolate(arange(4.).view(1, 1, 2, 2), size=(4, 4), mode="bilinear", align_corners=False), the documented example - 1
        let wanted = [0., 0.25, 0.75, 1., 0.5, 0.75, 1.25, 1.5, 1.5, 1.75, 2.25, 2.5, 2., 2.25, 2.75, 3.];
        assert_eq!(to([1, 1, 2, 2], 4, 4), wanted);
        // interpolate(arange(4.).view(1, 1, 1, 4), size=(1, 2), ...): no antialias, the mean of the two nearest.
        assert_eq!(to([1, 1, 1, 4], 1, 2), [0.5, 2.5]);
        // Odd ratio: 3 -> 2 reads at 0.25 and 1.75.
        assert_eq!(to([1, 1, 1, 3], 1, 2), [0.25, 1.75]);
    }

    #[test]
    fn the_same_size_changes_nothing_and_channels_stay_apart() {
        let values: Vec<f32> = (0..2 * 3 * 4 * 5).map(|i| i as f32).collect();
        assert_eq!(to([2, 3, 4, 5], 4, 5), values);
        let big = to([2, 3, 1, 1], 2, 2);
        assert_eq!(big, (0..24).map(|i| (i / 4) as f32).collect::<Vec<_>>());
    }

    #[test]
    fn sizes_out_of_range_are_named() {
        assert!(fault::<Resize>(json!({"height": 0, "width": 3})).starts_with("height: must be"));
        assert!(fault::<Resize>(json!({"height": 2})).contains("width"));
    }
}
