//! `flip`: mirrors an image left to right with some probability. For photographs and drawings; never for letters and
//! digits, which it turns into others.
//!
//! torchvision's `RandomHorizontalFlip`.

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, BuildCx, Component, Invalid, Plugins, Result, Schema, Transform, TransformCx};

use super::{each_image, image_schema, in_range};

/// Mirrors images left to right at random.
///
/// For photographs and drawings; never for letters and digits, which it turns into others.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Probability for each row and epoch, 0 to 1.
    pub probability: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { probability: 0.5 }
    }
}

/// Random mirroring.
#[derive(Debug)]
pub struct Flip(Options);

impl Flip {
    /// Mirrors so often.
    ///
    /// # Errors
    /// When the probability is none.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        in_range("probability", o.probability, 0., 1.)?;
        Ok(Self(o))
    }
}

impl Transform for Flip {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        image_schema(inputs, Ok)
    }

    fn random(&self) -> bool {
        true
    }

    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        each_image(inputs, &|size| size, &|i, image, out| {
            out.copy_from_slice(image.pixels);
            if cx.seeds.stream("flip", &[cx.rows[i], cx.epoch]).random_bool(self.0.probability) {
                out.chunks_mut(image.width).for_each(<[f32]>::reverse);
            }
        })
    }
}

impl Component<dyn Transform> for Flip {
    const TYPE: &'static str = "flip";
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

    #[test]
    fn rows_of_pixels_are_mirrored() -> Result<()> {
        let always = build::<Flip>(json!({"probability": 1}))?;
        assert_eq!(apply(always.as_ref(), counting([1, 2, 1, 3]), 0), [2., 1., 0., 5., 4., 3.]);
        let never = build::<Flip>(json!({"probability": 0}))?;
        assert_eq!(apply(never.as_ref(), counting([1, 1, 1, 3]), 0), [0., 1., 2.]);
        Ok(())
    }

    #[test]
    fn it_is_seeded_by_row_and_epoch() -> Result<()> {
        follows_rows(build::<Flip>(json!({}))?.as_ref(), [3, 2, 4]);
        assert!(fault::<Flip>(json!({"probability": 1.5})).starts_with("probability: must be"));
        Ok(())
    }
}
