//! `normalise`: subtracts a mean from every channel and divides by a standard deviation: the preprocessing that most
//! published weights expect. Take the numbers the weights were trained with, not those of the new data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, BuildCx, Component, Invalid, Plugins, Result, Schema, Transform, TransformCx};

use super::{each_image, image_schema};

/// Pixels are from 0 to 1, and a few units wide after another `normalise`: a number beyond this is on the scale of
/// bytes.
const FARTHEST: f64 = 5.0;
/// The greatest byte.
const BYTE: f64 = 255.0;

/// Subtracts a mean from every channel and divides by a standard deviation.
///
/// Give one number for all channels, or one a channel. Take the numbers that the weights were trained with, not those
/// of the new data. It acts after all other transforms, those of `augment` too, wherever it is listed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// What is subtracted, on the scale of the pixels (0 to 1); divide numbers for pixels from 0 to 255 by 255.
    pub mean: Vec<f64>,
    /// What the rest is divided by, above 0.
    pub std: Vec<f64>,
}

/// Normalising by channel.
#[derive(Debug)]
pub struct Normalise {
    mean: Vec<f32>,
    std: Vec<f32>,
    /// As they stand in the file.
    written: Options,
}

impl Normalise {
    /// Normalises by these numbers.
    ///
    /// # Errors
    /// When they are none, differ in number, or a deviation is not above 0.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        if o.mean.is_empty() || o.mean.iter().any(|m| !m.is_finite()) {
            return Err(Invalid::key("mean", "must be one number, or one a channel"));
        }
        if o.std.len() != o.mean.len() || o.std.iter().any(|s| !s.is_finite() || *s <= 0.) {
            return Err(Invalid::key("std", format!("must be {} numbers above 0, as `mean` has", o.mean.len())));
        }
        let narrow = |v: &[f64]| v.iter().map(|x| *x as f32).collect();
        Ok(Self { mean: narrow(&o.mean), std: narrow(&o.std), written: o })
    }

    /// Refuses numbers on the scale of bytes. What is no image has another scale, and is refused for that.
    fn check_scale(&self) -> Result<(), Invalid> {
        let Options { mean, std } = &self.written;
        for (key, numbers) in [("mean", mean), ("std", std)] {
            if let Some(number) = numbers.iter().find(|n| n.abs() > FARTHEST) {
                let message = format!("{number} is on the scale of 0 to 255, and pixels are from 0 to 1");
                let [mean, std] = [mean, std].map(|numbers| divided(numbers));
                return Err(Invalid::key(key, message).help(format!("divided by 255: mean = {mean}, std = {std}")));
            }
        }
        Ok(())
    }
}

/// A list of numbers on the scale of bytes on that of pixels; one of numbers below 1 is there already.
fn divided(numbers: &[f64]) -> String {
    let bytes = numbers.iter().any(|n| n.abs() >= 1.0);
    let shown = numbers.iter().map(|n| if bytes { n / BYTE } else { *n });
    let shown = shown.map(|n| format!("{n:.6}").trim_end_matches('0').trim_end_matches('.').to_owned());
    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
}

impl Transform for Normalise {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        image_schema(inputs, |size| match self.mean.len() {
            n if n == 1 || n == size[0] => self.check_scale().map(|()| size),
            n => Err(Invalid::key("mean", format!("has {n} numbers for images of {} channels", size[0]))),
        })
    }

    fn last(&self) -> bool {
        true
    }

    fn apply(&self, inputs: Acts, _: &TransformCx<'_>) -> Result<Acts> {
        each_image(inputs, &|size| size, &|_, image, out| {
            let of_channel = self.mean.iter().zip(&self.std).cycle();
            let plane = image.height * image.width;
            for ((from, out), (mean, std)) in image.planes().zip(out.chunks_mut(plane)).zip(of_channel) {
                from.iter().zip(out).for_each(|(x, out)| *out = (x - mean) / std);
            }
        })
    }
}

impl Component<dyn Transform> for Normalise {
    const TYPE: &'static str = "normalise";
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
    use transplant_core::{Field, HIDDEN};

    #[test]
    fn each_channel_has_its_own_numbers() -> Result<()> {
        let t = build::<Normalise>(json!({"mean": [1, 2], "std": [1, 0.5]}))?;
        assert_eq!(apply(t.as_ref(), counting([1, 2, 1, 2]), 0), [-1., 0., 0., 2.]);
        let one = build::<Normalise>(json!({"mean": [1], "std": [2]}))?;
        assert_eq!(apply(one.as_ref(), counting([1, 3, 1, 1]), 0), [-0.5, 0., 0.5]);
        let image = Field::Image { channels: 3, height: 1, width: 1 };
        let e = t.schema(&Schema::from([(HIDDEN.to_owned(), image)])).unwrap_err();
        assert_eq!(e.to_string(), "mean: has 2 numbers for images of 3 channels");
        Ok(())
    }

    #[test]
    fn numbers_of_bytes_are_refused() {
        let image = Field::Image { channels: 3, height: 1, width: 1 };
        let schema = |field: Field| Schema::from([(HIDDEN.to_owned(), field)]);
        let fault = |options| match build::<Normalise>(options).and_then(|t| t.schema(&schema(image.clone()))) {
            Ok(_) => String::new(),
            Err(e) => e.to_string(),
        };
        let said = fault(json!({"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}));
        assert!(said.starts_with("mean: 123.675 is on the scale of 0 to 255, and pixels are from 0 to 1"), "{said}");
        assert!(said.contains("mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]"), "{said}");
        let said = fault(json!({"mean": [0], "std": [255]}));
        assert!(said.starts_with("std: 255 is on the scale") && said.contains("mean = [0], std = [1]"), "{said}");
        let said = fault(json!({"mean": [104], "std": [1]}));
        assert!(said.contains("mean = [0.407843], std = [0.003922]"), "{said}");
        assert_eq!(fault(json!({"mean": [2.1], "std": [0.004]})), "");
        let of_bytes = build::<Normalise>(json!({"mean": [120], "std": [60]})).unwrap();
        let said = of_bytes.schema(&schema(Field::Vector { width: 2 })).unwrap_err().to_string();
        assert_eq!(said, "needs images, and the data set has rows of 2 numbers");
    }

    #[test]
    fn numbers_that_cannot_be_are_named() {
        assert!(fault::<Normalise>(json!({"mean": [], "std": []})).starts_with("mean: must be"));
        assert!(fault::<Normalise>(json!({"mean": [1], "std": [0]})).starts_with("std: must be"));
        assert!(fault::<Normalise>(json!({"mean": [1], "std": [1, 1]})).starts_with("std: must be"));
        assert!(fault::<Normalise>(json!({"mean": [1]})).contains("std"));
    }
}
