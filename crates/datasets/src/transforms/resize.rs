//! `resize`: brings images to another size, for a network that was trained on another size.
//!
//! The numbers are those of PyTorch's `interpolate(align_corners=False)` and so of torchvision's `resize` of a tensor; with
//! `antialias` also those of Pillow, but for its rounding to bytes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, BuildCx, Component, Filter, HIDDEN, Invalid, Plugins, Result, Schema, Transform, TransformCx,
};

use super::sample::{needs_antialias, resample, taps};
use super::{each_image, image_schema};

/// Brings images to another size.
///
/// For a network that was trained on another size. Where images shrink, set `antialias`: torchvision and Pillow do, and so
/// most published weights expect it. Where they grow, `bilinear` is the same either way.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Rows of pixels, at least 1.
    pub height: usize,
    /// Columns of pixels, at least 1.
    pub width: usize,
    /// How a pixel is made of its neighbours.
    #[serde(default)]
    pub filter: Filter,
    /// Whether, where the image shrinks, a pixel is made of all that it stands for. Without it, shrink by at most a half.
    #[serde(default)]
    pub antialias: bool,
}

impl Options {
    /// To this size, by bilinear interpolation without antialias.
    pub fn new(height: usize, width: usize) -> Self {
        Self { height, width, filter: Filter::Bilinear, antialias: false }
    }
}

/// Resizing.
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
        if needs_antialias(o.filter) && !o.antialias {
            let e = Invalid::key(
                "antialias",
                "must be true for the filters `box` and `lanczos`, which are not made to be read at points",
            );
            return Err(e);
        }
        Ok(Self(o))
    }
}

impl Transform for Resize {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        image_schema(inputs, |[c, ..]| Ok([c, self.0.height, self.0.width]))
    }

    fn apply(&self, inputs: Acts, _: &TransformCx<'_>) -> Result<Acts> {
        let Options { height, width, filter, antialias } = self.0;
        let (_, _, from_height, from_width) = inputs.get(HIDDEN)?.dims4()?;
        if from_height == 0 || from_width == 0 {
            return Err(Invalid::new("an image without pixels cannot be resized").into());
        }
        let ys = taps(filter, antialias, 0, from_height, height);
        let xs = taps(filter, antialias, 0, from_width, width);
        each_image(inputs, &|[c, ..]| [c, height, width], &|_, image, out| resample(image, &ys, &xs, out))
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
    use super::super::testing::{apply, build, close, counting, fault, golden, golden_image};
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
    fn filters_and_antialias_are_those_of_pytorch_and_the_box_is_pillows() {
        for (name, wanted) in golden("resize") {
            let [filter, antialias, height, width] = name.split('/').collect::<Vec<_>>()[..] else { panic!("{name}") };
            let (height, width): (usize, usize) = (height.parse().unwrap(), width.parse().unwrap());
            let o = json!({"height": height, "width": width, "filter": filter, "antialias": antialias == "true"});
            close(&name, &apply(build::<Resize>(o).unwrap().as_ref(), golden_image("small"), 0), &wanted, 2e-6);
        }
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
        for filter in ["lanczos", "box"] {
            let fault = fault::<Resize>(json!({"height": 2, "width": 2, "filter": filter}));
            assert!(fault.starts_with("antialias: must be"), "{fault}");
        }
    }
}
