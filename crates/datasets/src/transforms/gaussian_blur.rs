//! `gaussian_blur`: blurs images by a random amount, for networks that will see photographs out of focus, and in contrastive
//! pretraining.
//!
//! torchvision's `GaussianBlur`: the border is mirrored.

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{Acts, BuildCx, Component, HIDDEN, Invalid, Plugins, Result, Schema, Transform, TransformCx};

use super::{Image, each_image, image_schema, in_order, in_range};

/// Blurs images by a random amount.
///
/// For networks that will see photographs out of focus.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Pixels along a side of the square that a pixel is made of; odd.
    pub kernel_size: usize,
    /// Least and greatest standard deviation in pixels, above 0.
    pub sigma: [f64; 2],
    /// Probability for each row and epoch, 0 to 1.
    pub probability: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { kernel_size: 5, sigma: [0.1, 2.], probability: 1. }
    }
}

/// Random blur.
#[derive(Debug)]
pub struct GaussianBlur(Options);

impl GaussianBlur {
    /// Blurs within these bounds.
    ///
    /// # Errors
    /// Names the option that is out of range.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        if o.kernel_size.is_multiple_of(2) || o.kernel_size > 1 << 10 {
            return Err(Invalid::key("kernel_size", format!("must be odd and below 1024, not {}", o.kernel_size)));
        }
        in_order("sigma", o.sigma, 0.01, 1e3)?;
        in_range("probability", o.probability, 0., 1.)?;
        Ok(Self(o))
    }
}

/// The weights of `size` neighbours, of sum 1.
fn kernel(size: usize, sigma: f64) -> Vec<f32> {
    let middle = (size / 2) as f64;
    let bell: Vec<f64> = (0..size).map(|i| (-0.5 * ((i as f64 - middle) / sigma).powi(2)).exp()).collect();
    let sum: f64 = bell.iter().sum();
    bell.iter().map(|b| (b / sum) as f32).collect()
}

/// The place in a row of `size` that is `by` after `at - half`, mirrored at the ends without repeating them.
fn mirrored(at: usize, by: usize, half: usize, size: usize) -> usize {
    let place = at as isize + by as isize - half as isize;
    let last = size as isize - 1;
    (if place < 0 { -place } else { place.min(2 * last - place) }) as usize
}

/// Writes the blurred image.
fn blur(image: &Image<'_>, kernel: &[f32], out: &mut [f32]) {
    let (h, w, half) = (image.height, image.width, kernel.len() / 2);
    let mut rows = vec![0f32; h * w];
    for (from, to) in image.planes().zip(out.chunks_mut(h * w)) {
        for (from, row) in from.chunks(w).zip(rows.chunks_mut(w)) {
            for (x, to) in row.iter_mut().enumerate() {
                *to = kernel.iter().enumerate().map(|(k, share)| share * from[mirrored(x, k, half, w)]).sum();
            }
        }
        for (y, to) in to.chunks_mut(w).enumerate() {
            for (x, to) in to.iter_mut().enumerate() {
                *to = kernel.iter().enumerate().map(|(k, share)| share * rows[mirrored(y, k, half, h) * w + x]).sum();
            }
        }
    }
}

impl Transform for GaussianBlur {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        image_schema(inputs, |[c, h, w]| {
            let half = self.0.kernel_size / 2;
            if half >= h || half >= w {
                let message = format!("{} is too wide for images of {h} by {w} pixels", self.0.kernel_size);
                return Err(Invalid::key("kernel_size", message));
            }
            Ok([c, h, w])
        })
    }

    fn random(&self) -> bool {
        true
    }

    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        let Options { kernel_size, sigma: [least, most], probability } = self.0;
        let (_, _, h, w) = inputs.get(HIDDEN)?.dims4()?;
        if kernel_size / 2 >= h.min(w) {
            return Err(Invalid::key(
                "kernel_size",
                format!("images of {h} by {w} pixels cannot be blurred over {kernel_size}"),
            )
            .into());
        }
        each_image(inputs, &|size| size, &|i, image, out| {
            let mut rng = cx.seeds.stream("gaussian_blur", &[cx.rows[i], cx.epoch]);
            if rng.random_bool(probability) {
                blur(image, &kernel(kernel_size, rng.random_range(least..=most)), out);
            } else {
                out.copy_from_slice(image.pixels);
            }
        })
    }
}

impl Component<dyn Transform> for GaussianBlur {
    const TYPE: &'static str = "gaussian_blur";
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
    use super::super::testing::{apply, build, close, fault, follows_rows, golden, golden_image, photographs};
    use super::*;
    use serde_json::json;
    use transplant_core::Field;

    #[test]
    fn a_given_blur_is_that_of_torchvision() -> Result<()> {
        for (case, wanted) in golden("gaussian_blur") {
            let (size, sigma) = case.split_once('/').unwrap();
            let (size, sigma): (usize, f64) = (size.parse().unwrap(), sigma.parse().unwrap());
            let t = build::<GaussianBlur>(json!({"kernel_size": size, "sigma": [sigma, sigma]}))?;
            close(&case, &apply(t.as_ref(), golden_image("small"), 0), &wanted, 1e-6);
        }
        Ok(())
    }

    #[test]
    fn images_get_flatter_by_a_drawn_amount() -> Result<()> {
        let spread = |pixels: &[f32]| pixels.iter().map(|p| (p - 0.5).powi(2)).sum::<f32>();
        let t = build::<GaussianBlur>(json!({"probability": 0.5, "sigma": [0.5, 1]}))?;
        let before = apply(build::<GaussianBlur>(json!({"probability": 0}))?.as_ref(), photographs(200, [1, 6, 7]), 0);
        let after = apply(t.as_ref(), photographs(200, [1, 6, 7]), 0);
        let (mut same, mut flatter) = (0, 0);
        for (before, after) in before.chunks(42).zip(after.chunks(42)) {
            same += usize::from(before == after);
            flatter += usize::from(spread(after) < 0.9 * spread(before));
        }
        assert!(same + flatter == 200 && (70..130).contains(&same), "{same} {flatter}");
        follows_rows(t.as_ref(), [2, 5, 6]);
        Ok(())
    }

    #[test]
    fn sizes_out_of_range_are_named() -> Result<()> {
        assert!(fault::<GaussianBlur>(json!({"kernel_size": 4})).starts_with("kernel_size: must be odd"));
        assert!(fault::<GaussianBlur>(json!({"sigma": [0, 1]})).starts_with("sigma: must be"));
        assert!(fault::<GaussianBlur>(json!({"sigma": [2, 1]})).starts_with("sigma: must be"));
        let image = Field::Image { channels: 1, height: 2, width: 9 };
        let e = build::<GaussianBlur>(json!({}))?.schema(&Schema::from([(HIDDEN.to_owned(), image)])).unwrap_err();
        assert_eq!(e.to_string(), "kernel_size: 5 is too wide for images of 2 by 9 pixels");
        Ok(())
    }
}
