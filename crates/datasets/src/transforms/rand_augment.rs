//! `rand_augment`: applies a few operations, drawn from fourteen, all of one strength: a strong augmentation with two numbers to set.
//!
//! Cubuk, Zoph, Shlens, Le, "RandAugment: Practical automated data augmentation with a reduced search space", 2020;
//! torchvision's `RandAugment`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, BuildCx, Component, Invalid, Plugins, Result, Schema, Transform, TransformCx};

use super::operation::{MOST, Space};
use super::{colour_schema, each_image, in_range};

/// Applies a few operations drawn from fourteen, all of one strength.
///
/// Shears, shifts, turns, and changes of colour and sharpness: a strong augmentation for photographs with two numbers to
/// set. Values must be from 0 to 1. Cubuk et al. 2020.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Operations for each row and epoch, one after the other, 1 to 14.
    pub count: usize,
    /// Their strength, 0 to 30.
    pub magnitude: u8,
    /// The value of what shears, shifts and turns bring in from outside.
    pub fill: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { count: 2, magnitude: 9, fill: 0. }
    }
}

/// How strong its operations get.
pub(super) const SPACE: Space =
    Space { shear: 0.3, translate: |pixels| 150. / 331. * pixels as f64, rotate: 30., factor: 0.9, bits: 4. };

/// A few random operations.
#[derive(Debug)]
pub struct RandAugment(Options);

impl RandAugment {
    /// Changes images so.
    ///
    /// # Errors
    /// Names the option that is out of range.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        in_range("count", o.count as f64, 1., 14.)?;
        in_range("magnitude", f64::from(o.magnitude), 0., f64::from(MOST))?;
        in_range("fill", o.fill, f64::from(f32::MIN), f64::from(f32::MAX))?;
        Ok(Self(o))
    }
}

impl Transform for RandAugment {
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
            let mut rng = cx.seeds.stream("rand_augment", &[cx.rows[i], cx.epoch]);
            let size = [image.height, image.width];
            for _ in 0..self.0.count {
                SPACE.draw(&mut rng, self.0.magnitude, size, fill, out);
            }
        })
    }
}

impl Component<dyn Transform> for RandAugment {
    const TYPE: &'static str = "rand_augment";
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
        let t = build::<RandAugment>(json!({}))?;
        let out = apply(t.as_ref(), photographs(200, [3, 8, 9]), 0);
        assert!(out.iter().all(|v| (-1e-6..=1. + 1e-6).contains(v)));
        let mut images: Vec<&[f32]> = out.chunks(216).collect();
        images.sort_by(|a, b| a.partial_cmp(b).unwrap());
        images.dedup();
        assert!(images.len() > 100, "only {} different ones of 200", images.len());
        Ok(())
    }

    #[test]
    fn more_magnitude_changes_more() -> Result<()> {
        let plain = photographs(100, [1, 8, 9]).get(transplant_core::HIDDEN)?.flatten_all()?.to_vec1::<f32>()?;
        let change = |magnitude: u8| -> Result<f32> {
            let t = build::<RandAugment>(json!({"count": 1, "magnitude": magnitude}))?;
            let out = apply(t.as_ref(), photographs(100, [1, 8, 9]), 0);
            Ok(out.iter().zip(&plain).map(|(a, b)| (a - b).abs()).sum())
        };
        let (least, some, most) = (change(0)?, change(9)?, change(30)?);
        assert!(least < 0.5 * some && some < 0.8 * most, "{least} {some} {most}");
        assert!(fault::<RandAugment>(json!({"magnitude": 31})).starts_with("magnitude: must be"));
        assert!(fault::<RandAugment>(json!({"count": 0})).starts_with("count: must be"));
        Ok(())
    }

    #[test]
    fn it_is_seeded_by_row_and_epoch() -> Result<()> {
        let t = build::<RandAugment>(json!({}))?;
        let rows: Vec<u64> = (0..40).collect();
        let back: Vec<u64> = rows.iter().rev().copied().collect();
        let out = apply_rows(t.as_ref(), photographs(40, [3, 6, 6]), &rows, 0);
        let reversed = apply_rows(t.as_ref(), photographs(40, [3, 6, 6]), &back, 0);
        assert_eq!(out, reversed.chunks(108).rev().flatten().copied().collect::<Vec<_>>());
        assert_ne!(out, apply_rows(t.as_ref(), photographs(40, [3, 6, 6]), &rows, 1));
        Ok(())
    }
}
