//! `pad_crop`: pads every image on all sides and cuts its size out again at a random place: the shift that small
//! photographs (CIFAR) are usually trained with.
//!
//! He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2016, section 4.2; torchvision's
//! `RandomCrop(size, padding)`.

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, BuildCx, Component, Invalid, Plugins, Result, Schema, Transform, TransformCx};

use super::{each_image, image_schema, in_range, place};

/// Pads every image and cuts its old size out again at a random place.
///
/// The shift that networks for small photographs (CIFAR) are usually trained with; He et al. 2016.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Border on every side in pixels, at least 1: the largest shift.
    pub padding: usize,
    /// The border's value.
    pub fill: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { padding: 4, fill: 0. }
    }
}

/// Random shifts by whole pixels.
#[derive(Debug)]
pub struct PadCrop(Options);

impl PadCrop {
    /// Shifts so far.
    ///
    /// # Errors
    /// Names the option that is out of range.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        if !(1..=1 << 15).contains(&o.padding) {
            return Err(Invalid::key("padding", format!("must be between 1 and 32768, not {}", o.padding)));
        }
        in_range("fill", o.fill, f64::from(f32::MIN), f64::from(f32::MAX))?;
        Ok(Self(o))
    }
}

impl Transform for PadCrop {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        image_schema(inputs, Ok)
    }

    fn random(&self) -> bool {
        true
    }

    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        let (most, fill) = (self.0.padding as i64, self.0.fill as f32);
        each_image(inputs, &|size| size, &|i, image, out| {
            let mut rng = cx.seeds.stream("pad_crop", &[cx.rows[i], cx.epoch]);
            let at = [rng.random_range(-most..=most) as isize, rng.random_range(-most..=most) as isize];
            let size = [image.height, image.width];
            for (from, out) in image.planes().zip(out.chunks_mut(size[0] * size[1])) {
                place(from, size, out, size, at, fill);
            }
        })
    }
}

impl Component<dyn Transform> for PadCrop {
    const TYPE: &'static str = "pad_crop";
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
    use super::super::testing::{apply, build, counting, fault, follows_rows};
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn every_shift_within_the_border_comes_up() -> Result<()> {
        let t = build::<PadCrop>(json!({"padding": 1, "fill": -1}))?;
        let mut seen = BTreeMap::new();
        for epoch in 0..500 {
            // The middle pixel is 4: where it went is the shift.
            let out = apply(t.as_ref(), counting([1, 1, 3, 3]), epoch);
            *seen.entry(out.iter().position(|v| *v == 4.)).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 9);
        assert!(seen.values().all(|n| *n > 25), "{seen:?}");
        Ok(())
    }

    #[test]
    fn it_is_seeded_by_row_and_epoch() -> Result<()> {
        follows_rows(build::<PadCrop>(json!({}))?.as_ref(), [3, 8, 6]);
        // A border as wide as the image may leave nothing but the border.
        follows_rows(build::<PadCrop>(json!({"padding": 3}))?.as_ref(), [1, 3, 3]);
        assert!(fault::<PadCrop>(json!({"padding": 0})).starts_with("padding: must be"));
        Ok(())
    }
}
