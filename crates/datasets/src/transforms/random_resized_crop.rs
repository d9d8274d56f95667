//! `random_resized_crop`: cuts out a random part of every image and brings it to one size: the augmentation that networks for
//! photographs are usually trained with.
//!
//! Szegedy et al., "Going Deeper with Convolutions", 2015; torchvision's `RandomResizedCrop`.

use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Acts, BuildCx, Component, Filter, HIDDEN, Invalid, Plugins, Result, Schema, Transform, TransformCx,
};

use super::sample::{needs_antialias, resample, taps};
use super::{each_image, image_schema, in_order};

/// Cuts out a random part of every image and brings it to one size.
///
/// What networks for photographs are usually trained with; Szegedy et al. 2015. It acts in training only: to come from
/// another size, list it under `transforms` and a `resize` to the same size after it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Least and greatest share of the image's area, above 0, at most 1.
    pub scale: [f64; 2],
    /// Least and greatest width over height of the part.
    pub ratio: [f64; 2],
    /// Rows of pixels that come out; the image's own when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<usize>,
    /// Columns of pixels that come out; the image's own when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// How a pixel is made of its neighbours.
    pub filter: Filter,
    /// Whether, where the part shrinks, a pixel is made of all that it stands for.
    pub antialias: bool,
}

impl Default for Options {
    fn default() -> Self {
        let (scale, ratio) = ([0.08, 1.], [3. / 4., 4. / 3.]);
        Self { scale, ratio, height: None, width: None, filter: Filter::Bilinear, antialias: true }
    }
}

/// Random parts.
#[derive(Debug)]
pub struct RandomResizedCrop(Options);

impl RandomResizedCrop {
    /// Cuts out parts within these bounds.
    ///
    /// # Errors
    /// Names the option that is out of range.
    pub fn new(o: Options) -> Result<Self, Invalid> {
        in_order("scale", o.scale, 1e-6, 1.)?;
        in_order("ratio", o.ratio, 1e-3, 1e3)?;
        for (key, size) in [("height", o.height), ("width", o.width)] {
            if size.is_some_and(|n| !(1..=1 << 15).contains(&n)) {
                return Err(Invalid::key(key, "must be between 1 and 32768"));
            }
        }
        if needs_antialias(o.filter) && !o.antialias {
            return Err(Invalid::key("antialias", "must be true for the filters `box` and `lanczos`"));
        }
        Ok(Self(o))
    }

    /// The size that comes out for images of this size.
    fn size(&self, height: usize, width: usize) -> [usize; 2] {
        [self.0.height.unwrap_or(height), self.0.width.unwrap_or(width)]
    }

    /// Top, left, height and width of a part; when ten did not fit, the largest in the middle that the ratios allow.
    fn draw(&self, rng: &mut impl Rng, height: usize, width: usize) -> [usize; 4] {
        let ([least, most], ratio) = (self.0.scale, self.0.ratio.map(f64::ln));
        for _ in 0..10 {
            let area = (height * width) as f64 * rng.random_range(least..=most);
            let ratio = rng.random_range(ratio[0]..=ratio[1]).exp();
            let w = (area * ratio).sqrt().round_ties_even() as usize;
            let h = (area / ratio).sqrt().round_ties_even() as usize;
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                return [rng.random_range(0..=height - h), rng.random_range(0..=width - w), h, w];
            }
        }
        let [least, most] = self.0.ratio;
        let (h, w) = match width as f64 / height as f64 {
            r if r < least => ((width as f64 / least).round_ties_even() as usize, width),
            r if r > most => (height, (height as f64 * most).round_ties_even() as usize),
            _ => (height, width),
        };
        let (h, w) = (h.clamp(1, height), w.clamp(1, width));
        [(height - h) / 2, (width - w) / 2, h, w]
    }
}

impl Transform for RandomResizedCrop {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        image_schema(inputs, |[c, h, w]| {
            let [h, w] = self.size(h, w);
            Ok([c, h, w])
        })
    }

    fn random(&self) -> bool {
        true
    }

    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        let (_, _, h, w) = inputs.get(HIDDEN)?.dims4()?;
        if h == 0 || w == 0 {
            return Err(Invalid::new("an image without pixels has no part").into());
        }
        let ([to_height, to_width], filter, antialias) = (self.size(h, w), self.0.filter, self.0.antialias);
        each_image(inputs, &|[c, ..]| [c, to_height, to_width], &|i, image, out| {
            let mut rng = cx.seeds.stream("random_resized_crop", &[cx.rows[i], cx.epoch]);
            let [top, left, height, width] = self.draw(&mut rng, h, w);
            let ys = taps(filter, antialias, top, height, to_height);
            let xs = taps(filter, antialias, left, width, to_width);
            resample(image, &ys, &xs, out);
        })
    }
}

impl Component<dyn Transform> for RandomResizedCrop {
    const TYPE: &'static str = "random_resized_crop";
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
    use super::super::Image;
    use super::super::testing::{apply, build, close, fault, follows_rows, golden, golden_image};
    use super::*;
    use serde_json::json;
    use transplant_core::Seeds;

    #[test]
    fn a_given_part_is_that_of_torchvision() -> Result<()> {
        let image = golden_image("small").get(HIDDEN)?.clone();
        let (_, channels, height, width) = image.dims4()?;
        let pixels: Vec<f32> = image.flatten_all()?.to_vec1()?;
        for (case, wanted) in golden("resized_crop") {
            let [top, left, h, w, to_height, to_width] =
                case.split('/').map(|n| n.parse::<usize>().unwrap()).collect::<Vec<_>>()[..]
            else {
                panic!("{case}")
            };
            let mut out = vec![0.; channels * to_height * to_width];
            let ys = taps(Filter::Bilinear, true, top, h, to_height);
            let xs = taps(Filter::Bilinear, true, left, w, to_width);
            resample(&Image { pixels: &pixels, height, width }, &ys, &xs, &mut out);
            close(&case, &out, &wanted, 2e-6);
        }
        Ok(())
    }

    #[test]
    fn parts_stay_within_their_bounds() {
        let t = RandomResizedCrop::new(Options { scale: [0.2, 0.5], ..Options::default() }).unwrap();
        let (mut wide, mut small, mut corner) = (0, 0, 0);
        for i in 0..500 {
            let [top, left, h, w] = t.draw(&mut Seeds::new(0).stream("t", &[i]), 60, 80);
            assert!(top + h <= 60 && left + w <= 80);
            let (area, ratio) = ((h * w) as f64 / 4800., w as f64 / h as f64);
            assert!((0.19..0.52).contains(&area) && (0.72..1.39).contains(&ratio), "{h} by {w}");
            (wide, small) = (wide + usize::from(w > h), small + usize::from(area < 0.35));
            corner += usize::from(top == 0);
        }
        assert!((180..320).contains(&wide) && (200..300).contains(&small) && corner > 2, "{wide} {small} {corner}");
        // No part of a long image has these ratios and all of its area: then the largest in the middle.
        let whole = RandomResizedCrop::new(Options { scale: [1., 1.], ..Options::default() }).unwrap();
        assert_eq!(whole.draw(&mut Seeds::new(0).stream("t", &[0]), 9, 30), [0, 9, 9, 12]);
        assert_eq!(whole.draw(&mut Seeds::new(0).stream("t", &[0]), 30, 9), [9, 0, 12, 9]);
    }

    #[test]
    fn the_size_is_the_images_own_or_the_given_one() -> Result<()> {
        follows_rows(build::<RandomResizedCrop>(json!({}))?.as_ref(), [2, 7, 8]);
        let t = build::<RandomResizedCrop>(json!({"height": 3, "width": 5}))?;
        assert_eq!(apply(t.as_ref(), golden_image("small"), 0).len(), 3 * 3 * 5);
        assert!(fault::<RandomResizedCrop>(json!({"scale": [0, 1]})).starts_with("scale: must be"));
        assert!(fault::<RandomResizedCrop>(json!({"ratio": [2, 1]})).starts_with("ratio: must be"));
        assert!(fault::<RandomResizedCrop>(json!({"height": 0})).starts_with("height: must be"));
        Ok(())
    }
}
