//! `random_erasing`: wipes out a random rectangle of some images, so that a network does not rely on one part of a thing.
//!
//! Zhong, Zheng, Kang, Li, Yang, "Random Erasing Data Augmentation", 2020; torchvision's `RandomErasing`.

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, BuildCx, Component, Invalid, Plugins, Result, Schema, Transform, TransformCx};

use super::{each_image, image_schema, in_order, in_range};

/// What a rectangle is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Zeros.
    #[default]
    Zero,
    /// Numbers between 0 and 1, another for each pixel and channel.
    Noise,
    /// The mean of each channel of the image.
    Mean,
}

/// Wipes out a random rectangle of images.
///
/// So that a network does not rely on one part of a thing. Zhong et al. 2020.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Probability for each row and epoch, 0 to 1.
    pub probability: f64,
    /// Least and greatest share of the image's area, 0 to 1.
    pub scale: [f64; 2],
    /// Least and greatest height over width.
    pub ratio: [f64; 2],
    /// What the rectangle is filled with.
    pub value: Value,
}

impl Default for Options {
    fn default() -> Self {
        Self { probability: 0.5, scale: [0.02, 0.33], ratio: [0.3, 3.3], value: Value::Zero }
    }
}

/// Random rectangles.
#[derive(Debug)]
pub struct RandomErasing(Options);

impl RandomErasing {
    /// Wipes out so much.
    ///
    /// # Errors
    /// Names the option that is out of range.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        in_range("probability", o.probability, 0., 1.)?;
        in_order("scale", o.scale, 0., 1.)?;
        in_order("ratio", o.ratio, 1e-3, 1e3)?;
        Ok(Self(o))
    }

    /// Top, left, height and width of a rectangle; none when ten of them did not fit.
    fn draw(&self, rng: &mut impl Rng, height: usize, width: usize) -> Option<[usize; 4]> {
        let ([least, most], ratio) = (self.0.scale, self.0.ratio.map(f64::ln));
        for _ in 0..10 {
            let area = (height * width) as f64 * rng.random_range(least..=most);
            let ratio = rng.random_range(ratio[0]..=ratio[1]).exp();
            let h = (area * ratio).sqrt().round_ties_even() as usize;
            let w = (area / ratio).sqrt().round_ties_even() as usize;
            if h < height && w < width {
                return Some([rng.random_range(0..=height - h), rng.random_range(0..=width - w), h, w]);
            }
        }
        None
    }
}

impl Transform for RandomErasing {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        image_schema(inputs, Ok)
    }

    fn random(&self) -> bool {
        true
    }

    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        each_image(inputs, &|size| size, &|i, image, out| {
            out.copy_from_slice(image.pixels);
            let mut rng = cx.seeds.stream("random_erasing", &[cx.rows[i], cx.epoch]);
            if !rng.random_bool(self.0.probability) {
                return;
            }
            let Some([top, left, height, width]) = self.draw(&mut rng, image.height, image.width) else { return };
            let plane = image.height * image.width;
            for (from, out) in image.planes().zip(out.chunks_mut(plane)) {
                let mean = from.iter().map(|p| f64::from(*p)).sum::<f64>() / plane as f64;
                for row in out.chunks_mut(image.width).skip(top).take(height) {
                    row[left..left + width].iter_mut().for_each(|p| {
                        *p = match self.0.value {
                            Value::Zero => 0.,
                            Value::Noise => rng.random(),
                            Value::Mean => mean as f32,
                        }
                    });
                }
            }
        })
    }
}

impl Component<dyn Transform> for RandomErasing {
    const TYPE: &'static str = "random_erasing";
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
    use super::super::testing::{apply, build, fault, follows_rows, photographs};
    use super::*;
    use serde_json::json;
    use transplant_core::Seeds;

    #[test]
    fn rectangles_stay_within_their_bounds() {
        let t = RandomErasing::new(Options { scale: [0.1, 0.2], ratio: [0.5, 2.], ..Options::default() }).unwrap();
        let (mut tall, mut corners) = (0, [0; 2]);
        for i in 0..500 {
            let [top, left, h, w] = t.draw(&mut Seeds::new(0).stream("t", &[i]), 40, 60).unwrap();
            assert!(top + h <= 40 && left + w <= 60);
            // Rounding to whole pixels moves area and ratio by a few per cent.
            let (area, ratio) = ((h * w) as f64 / 2400., h as f64 / w as f64);
            assert!((0.095..0.21).contains(&area) && (0.47..2.12).contains(&ratio), "{h} by {w}");
            tall += usize::from(h > w);
            corners = [corners[0] + usize::from(top == 0), corners[1] + usize::from(top + h == 40)];
        }
        assert!((180..320).contains(&tall) && corners.iter().all(|n| *n > 5), "{tall} {corners:?}");
        let whole = RandomErasing::new(Options { scale: [1., 1.], ..Options::default() }).unwrap();
        assert_eq!(whole.draw(&mut Seeds::new(0).stream("t", &[0]), 8, 8), None);
    }

    #[test]
    fn what_is_wiped_out_is_filled_as_told() -> Result<()> {
        let before = apply(build::<RandomErasing>(json!({"probability": 0}))?.as_ref(), photographs(50, [2, 8, 8]), 0);
        for value in ["zero", "noise", "mean"] {
            let t = build::<RandomErasing>(json!({"probability": 1, "value": value}))?;
            let after = apply(t.as_ref(), photographs(50, [2, 8, 8]), 0);
            let mut changed = 0;
            for (before, after) in before.chunks(64).zip(after.chunks(64)) {
                let mean = before.iter().sum::<f32>() / 64.;
                for (_, a) in before.iter().zip(after).filter(|(b, a)| a != b) {
                    changed += 1;
                    match value {
                        "zero" => assert_eq!(*a, 0.),
                        "noise" => assert!((0. ..1.).contains(a)),
                        _ => assert!((a - mean).abs() < 1e-5),
                    }
                }
            }
            assert!((500..2200).contains(&changed), "{value}: {changed} of 6400");
        }
        follows_rows(build::<RandomErasing>(json!({"value": "noise"}))?.as_ref(), [2, 6, 6]);
        Ok(())
    }

    #[test]
    fn bounds_out_of_range_are_named() {
        assert!(fault::<RandomErasing>(json!({"probability": 2})).starts_with("probability: must be"));
        assert!(fault::<RandomErasing>(json!({"scale": [0.5, 0.2]})).starts_with("scale: must be"));
        assert!(fault::<RandomErasing>(json!({"ratio": [0, 2]})).starts_with("ratio: must be"));
        assert!(fault::<RandomErasing>(json!({"value": "black"})).contains("value"));
    }
}
