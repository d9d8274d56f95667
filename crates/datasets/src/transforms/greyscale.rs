//! `greyscale`: takes the colours out of some images, so that a network learns shapes too.
//!
//! torchvision's `RandomGrayscale`.

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, BuildCx, Component, Invalid, Plugins, Result, Schema, Transform, TransformCx};

use super::{colour, colour_schema, each_image, in_range};

/// Takes the colours out of images at random.
///
/// The number of channels stays, so that a network learns shapes besides colours; with `probability = 1` it sees none.
/// It acts in training only.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Probability for each row and epoch, 0 to 1.
    pub probability: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { probability: 0.1 }
    }
}

/// Random loss of colour.
#[derive(Debug)]
pub struct Greyscale(Options);

impl Greyscale {
    /// Takes colours out so often.
    ///
    /// # Errors
    /// When the probability is none.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        in_range("probability", o.probability, 0., 1.)?;
        Ok(Self(o))
    }
}

impl Transform for Greyscale {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        colour_schema(inputs)
    }

    fn random(&self) -> bool {
        true
    }

    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        each_image(inputs, &|size| size, &|i, image, out| {
            out.copy_from_slice(image.pixels);
            if cx.seeds.stream("greyscale", &[cx.rows[i], cx.epoch]).random_bool(self.0.probability) {
                colour::greyscale(out, image.height * image.width);
            }
        })
    }
}

impl Component<dyn Transform> for Greyscale {
    const TYPE: &'static str = "greyscale";
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
    use super::super::testing::{apply, build, counting, fault, follows_rows, photographs};
    use super::*;
    use serde_json::json;
    use transplant_core::{Field, HIDDEN};

    #[test]
    fn channels_become_equal_as_often_as_told() -> Result<()> {
        let t = build::<Greyscale>(json!({"probability": 0.25}))?;
        let out = apply(t.as_ref(), photographs(400, [3, 2, 2]), 0);
        let grey = out.chunks(12).filter(|i| i[..4] == i[4..8] && i[..4] == i[8..]).count();
        assert!((70..=130).contains(&grey), "{grey} of 400");
        // One channel is grey already.
        let t = build::<Greyscale>(json!({"probability": 1}))?;
        assert_eq!(apply(t.as_ref(), counting([1, 1, 1, 2]), 0), [0., 1.]);
        Ok(())
    }

    #[test]
    fn it_is_seeded_and_says_what_it_cannot_do() -> Result<()> {
        let t = build::<Greyscale>(json!({"probability": 0.5}))?;
        follows_rows(t.as_ref(), [3, 2, 4]);
        assert!(fault::<Greyscale>(json!({"probability": -1})).starts_with("probability: must be"));
        let image = Field::Image { channels: 4, height: 1, width: 1 };
        let e = t.schema(&Schema::from([(HIDDEN.to_owned(), image)])).unwrap_err().to_string();
        assert!(e.ends_with("images of 1 or 3 channels, not of 4"), "{e}");
        Ok(())
    }
}
