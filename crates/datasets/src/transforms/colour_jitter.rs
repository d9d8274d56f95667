//! `colour_jitter`: changes brightness, contrast, saturation and hue at random, so that a network does not learn the light of
//! the day its photographs were taken.
//!
//! torchvision's `ColorJitter`: factors from `1 - x` to `1 + x`, in an order that is drawn too.

use rand::Rng;
use rand::seq::SliceRandom;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, BuildCx, Component, Invalid, Plugins, Result, Schema, Transform, TransformCx};

use super::{colour, colour_schema, each_image, in_range};

/// Changes brightness, contrast, saturation and hue at random.
///
/// For photographs taken in other light than those in use. A factor is drawn for each row and epoch, and so is the order
/// of the four changes. Values must be from 0 to 1.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The farthest that the factor of brightness is from 1, at least 0.
    pub brightness: f64,
    /// The farthest that the factor of contrast is from 1, at least 0.
    pub contrast: f64,
    /// The farthest that the factor of saturation is from 1, at least 0.
    pub saturation: f64,
    /// The farthest that hues are turned, either way, as a part of the circle, 0 to 0.5.
    pub hue: f64,
}

/// Random light and colour.
#[derive(Debug)]
pub struct ColourJitter(Options);

impl ColourJitter {
    /// Changes colours within these bounds.
    ///
    /// # Errors
    /// Names the option that is out of range.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        for (key, v) in [("brightness", o.brightness), ("contrast", o.contrast), ("saturation", o.saturation)] {
            in_range(key, v, 0., 1e6)?;
        }
        in_range("hue", o.hue, 0., 0.5)?;
        Ok(Self(o))
    }

    /// The changes of one image in their order: which, and how strong.
    fn draw(&self, rng: &mut impl Rng) -> [(Change, f32); 4] {
        let o = &self.0;
        let mut factor = |most: f64| rng.random_range((1. - most).max(0.)..=1. + most) as f32;
        let [brightness, contrast, saturation] = [o.brightness, o.contrast, o.saturation].map(&mut factor);
        let hue = rng.random_range(-o.hue..=o.hue) as f32;
        let mut all = [
            (Change::Brightness, brightness),
            (Change::Contrast, contrast),
            (Change::Saturation, saturation),
            (Change::Hue, hue),
        ];
        all.shuffle(rng);
        all
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Brightness,
    Contrast,
    Saturation,
    Hue,
}

impl Transform for ColourJitter {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        colour_schema(inputs)
    }

    fn random(&self) -> bool {
        true
    }

    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        let o = &self.0;
        each_image(inputs, &|size| size, &|i, image, out| {
            out.copy_from_slice(image.pixels);
            let plane = image.height * image.width;
            let mut rng = cx.seeds.stream("colour_jitter", &[cx.rows[i], cx.epoch]);
            for (change, by) in self.draw(&mut rng) {
                match change {
                    Change::Brightness if o.brightness > 0. => colour::brightness(out, by),
                    Change::Contrast if o.contrast > 0. => colour::contrast(out, plane, by),
                    Change::Saturation if o.saturation > 0. => colour::saturation(out, plane, by),
                    Change::Hue if o.hue > 0. => colour::hue(out, plane, by),
                    _ => {}
                }
            }
        })
    }
}

impl Component<dyn Transform> for ColourJitter {
    const TYPE: &'static str = "colour_jitter";
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
    use super::super::testing::{apply, apply_rows, build, counting, fault, photographs};
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;
    use transplant_core::Seeds;

    #[test]
    fn factors_stay_within_their_bounds_and_every_order_comes_up() {
        let t = ColourJitter::new(Options { brightness: 0.4, contrast: 2., saturation: 0., hue: 0.1 }).unwrap();
        let (mut orders, mut dark) = (BTreeSet::new(), 0);
        for i in 0..500 {
            let drawn = t.draw(&mut Seeds::new(0).stream("t", &[i]));
            orders.insert(drawn.map(|(c, _)| c));
            for (change, by) in drawn {
                let within = match change {
                    Change::Brightness => 0.6..=1.4,
                    Change::Contrast => 0.0..=3.,
                    Change::Saturation => 1.0..=1.,
                    Change::Hue => -0.1..=0.1,
                };
                assert!(within.contains(&by), "{change:?} {by}");
                dark += usize::from(change == Change::Brightness && by < 1.);
            }
        }
        assert_eq!(orders.len(), 24);
        assert!((200..300).contains(&dark), "{dark}");
    }

    #[test]
    fn it_is_seeded_and_does_nothing_by_default() -> Result<()> {
        let t = build::<ColourJitter>(json!({"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}))?;
        let out = apply_rows(t.as_ref(), photographs(2, [3, 4, 5]), &[0, 1], 0);
        let back = apply_rows(t.as_ref(), photographs(2, [3, 4, 5]), &[1, 0], 0);
        assert_eq!((&out[..60], &out[60..]), (&back[60..], &back[..60]));
        assert_ne!(out[..60], out[60..]);
        assert_ne!(out, apply_rows(t.as_ref(), photographs(2, [3, 4, 5]), &[0, 1], 1));
        assert!(out.iter().all(|v| (0. ..=1.).contains(v)));
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert_eq!(apply(build::<ColourJitter>(json!({}))?.as_ref(), counting([1, 3, 2, 2]), 0), values);
        assert!(fault::<ColourJitter>(json!({"hue": 0.6})).starts_with("hue: must be"));
        assert!(fault::<ColourJitter>(json!({"contrast": -0.1})).starts_with("contrast: must be"));
        Ok(())
    }
}
