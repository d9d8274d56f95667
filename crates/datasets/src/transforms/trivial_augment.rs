//! `trivial_augment`: applies one operation, drawn from fourteen, of a strength that is drawn too: a strong augmentation
//! with nothing to set.
//!
//! Müller, Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", 2021; torchvision's
//! `TrivialAugmentWide`.

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, BuildCx, Component, Invalid, Plugins, Result, Schema, Transform, TransformCx};

use super::operation::{MOST, Space};
use super::{colour_schema, each_image, in_range};

/// Applies one operation drawn from fourteen, of a drawn strength.
///
/// Shears, shifts by up to 32 pixels, turns, and changes of colour and sharpness: a strong augmentation for photographs
/// with nothing to set. Values must be from 0 to 1. Müller and Hutter 2021.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The value of what shears, shifts and turns bring in from outside.
    pub fill: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { fill: 0. }
    }
}

/// How strong its operations get.
pub(super) const SPACE: Space = Space { shear: 0.99, translate: |_| 32., rotate: 135., factor: 0.99, bits: 6. };

/// One random operation.
#[derive(Debug)]
pub struct TrivialAugment(Options);

impl TrivialAugment {
    /// Changes images so.
    ///
    /// # Errors
    /// Names the option that is out of range.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        in_range("fill", o.fill, f64::from(f32::MIN), f64::from(f32::MAX))?;
        Ok(Self(o))
    }
}

impl Transform for TrivialAugment {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        colour_schema(inputs)
    }

    fn random(&self) -> bool {
        true
    }

    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        let fill = self.0.fill as f32;
        each_image(inputs, &|size| size, &|i, image, out| {
            out.copy_from_slice(image.pixels);
            let mut rng = cx.seeds.stream("trivial_augment", &[cx.rows[i], cx.epoch]);
            let size = [image.height, image.width];
            let magnitude = rng.random_range(0..=MOST);
            SPACE.draw(&mut rng, magnitude, size, fill, out);
        })
    }
}

impl Component<dyn Transform> for TrivialAugment {
    const TYPE: &'static str = "trivial_augment";
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
    use super::super::testing::{apply, apply_rows, build, fault, photographs};
    use super::*;
    use serde_json::json;

    #[test]
    fn images_change_in_many_ways_and_stay_within_0_and_1() -> Result<()> {
        let t = build::<TrivialAugment>(json!({}))?;
        let out = apply(t.as_ref(), photographs(200, [3, 8, 9]), 0);
        assert!(out.iter().all(|v| (-1e-6..=1. + 1e-6).contains(v)));
        let mut images: Vec<&[f32]> = out.chunks(216).collect();
        images.sort_by(|a, b| a.partial_cmp(b).unwrap());
        images.dedup();
        assert!(images.len() > 80, "only {} different ones of 200", images.len());
        Ok(())
    }

    #[test]
    fn what_comes_from_outside_has_the_given_value() -> Result<()> {
        let t = build::<TrivialAugment>(json!({"fill": 7}))?;
        let out = apply(t.as_ref(), photographs(200, [1, 8, 9]), 0);
        let filled = out.chunks(72).filter(|i| i.iter().any(|v| *v > 1.)).count();
        // Five of fourteen operations bring something in, at most strengths.
        assert!((40..100).contains(&filled), "{filled}");
        assert!(fault::<TrivialAugment>(json!({"fill": 1e300})).starts_with("fill: must be"));
        Ok(())
    }

    #[test]
    fn it_is_seeded_by_row_and_epoch() -> Result<()> {
        let t = build::<TrivialAugment>(json!({}))?;
        let rows: Vec<u64> = (0..40).collect();
        let back: Vec<u64> = rows.iter().rev().copied().collect();
        let out = apply_rows(t.as_ref(), photographs(40, [3, 6, 6]), &rows, 0);
        let reversed = apply_rows(t.as_ref(), photographs(40, [3, 6, 6]), &back, 0);
        assert_eq!(out, reversed.chunks(108).rev().flatten().copied().collect::<Vec<_>>());
        assert_ne!(out, apply_rows(t.as_ref(), photographs(40, [3, 6, 6]), &rows, 1));
        Ok(())
    }
}
