//! CutMix: puts a rectangle of another image into each image, and learns both labels by their areas (Yun et al. 2019).
//!
//! The rectangle is the same for the whole batch: its middle is drawn evenly, its area from the Beta distribution; what would
//! lie outside is cut off, and the labels go by the area that is left.
//!
//! Use it beside another strategy, `strategy = ["parameter", "cutmix"]`, when training longer on photographs overfits.

use candle_core::Tensor;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Invalid, Mixed, ModelInfo, Phase, Plan, Plugins, Result, Step, Strategy};

use crate::mixing;

/// CutMix: puts a rectangle of another image into each, and learns both labels.
///
/// For images. Use it beside another strategy, `strategy = ["parameter", "cutmix"]`, when training longer on photographs
/// overfits; alone it trains fresh weights. Beside `mixup` each step takes one of the two. Yun et al. 2019.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CutmixOptions {
    /// Both parameters of the Beta distribution that the rectangle's area is drawn from, 0.001 to 1000: the larger, the more even.
    pub alpha: f64,
    /// Probability that a batch is mixed, 0 to 1.
    pub probability: f64,
}

impl Default for CutmixOptions {
    fn default() -> Self {
        Self { alpha: 1.0, probability: 1.0 }
    }
}

/// Learns from images with a part of another.
#[derive(Debug, Clone, Default)]
pub struct Cutmix(CutmixOptions);

impl Cutmix {
    /// With these options.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn new(options: CutmixOptions) -> Result<Self, Invalid> {
        mixing::check(options.alpha, options.probability)?;
        Ok(Self(options))
    }
}

impl Component<dyn Strategy> for Cutmix {
    const TYPE: &'static str = "cutmix";
    type Options = CutmixOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl Strategy for Cutmix {
    fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
        Ok(vec![Phase::new("train", Plan::default())])
    }

    fn mixes(&self) -> bool {
        true
    }

    fn mix(&self, stream: &str, step: &dyn Step) -> Result<Option<Mixed>> {
        let mut rng = step.seeds().child(stream).stream("cutmix", &[]);
        let Some(share) = mixing::share(self.0.alpha, self.0.probability, &mut rng)? else { return Ok(None) };
        let batch = step.batch(stream)?;
        let images = mixing::input("cutmix", "images", &batch)?;
        let Ok((_, _, height, width)) = images.dims4() else {
            let message = format!("`cutmix` mixes images, and the inputs are {:?}", images.dims());
            return Err(Invalid::new(message).help("`mixup` mixes vectors too").into());
        };
        let order = mixing::order(&batch, &mut rng)?;
        let middle = [rng.random_range(0..height.max(1)), rng.random_range(0..width.max(1))];
        let cut = rectangle(share, middle, [height, width]);
        let [top, bottom, left, right] = cut;
        let share = 1.0 - ((bottom - top) * (right - left)) as f64 / (height * width).max(1) as f64;
        mixing::mixed(&batch, cut_into(images, &order, cut)?, &order, share).map(Some)
    }
}

/// Top, bottom, left and right of a rectangle of `1 - share` of the area about a middle, as far as it is inside.
fn rectangle(share: f64, middle: [usize; 2], size: [usize; 2]) -> [usize; 4] {
    let along = |i: usize| {
        let half = (0.5 * (1.0 - share).sqrt() * size[i] as f64) as usize;
        [middle[i].saturating_sub(half), (middle[i] + half).min(size[i])]
    };
    let ([top, bottom], [left, right]) = (along(0), along(1));
    [top, bottom, left, right]
}

/// Each image with this rectangle of the image that `order` puts in its place.
fn cut_into(images: &Tensor, order: &Tensor, [top, bottom, left, right]: [usize; 4]) -> Result<Tensor> {
    let (_, _, height, width) = images.dims4()?;
    let inside = |i: usize| u8::from((top..bottom).contains(&(i / width)) && (left..right).contains(&(i % width)));
    let mask: Vec<u8> = (0..height * width).map(inside).collect();
    let mask = Tensor::from_vec(mask, (1, 1, height, width), images.device())?;
    let images = images.contiguous()?;
    let others = images.index_select(order, 0)?;
    Ok(mask.broadcast_as(images.shape())?.contiguous()?.where_cond(&others, &images)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mixing::tests::{OneBatch, batch, close, golden};
    use candle_core::{DType, Device};
    use std::rc::Rc;
    use transplant_core::{HIDDEN, Seeds};

    #[test]
    fn rectangles_and_images_are_those_of_torchvision() -> Result<()> {
        let order = golden("cutmix", "order").to_dtype(DType::U32)?;
        let share = f64::from(golden("cutmix", "share").to_vec1::<f32>()?[0]);
        let images = golden("cutmix", "rows");
        let (_, _, h, w) = images.dims4()?;
        for case in ["inside", "corner"] {
            let at = |what: &str| -> Vec<usize> {
                let t = golden("cutmix", &format!("{case}_{what}"));
                t.to_vec1::<f32>().unwrap().iter().map(|v| *v as usize).collect()
            };
            let middle = at("middle");
            let cut = rectangle(share, [middle[0], middle[1]], [h, w]);
            assert_eq!(cut.to_vec(), at("rectangle"), "{case}");
            close(&cut_into(&images, &order, cut)?, &golden("cutmix", &format!("{case}_mixed")));
        }
        Ok(())
    }

    #[test]
    fn labels_go_by_the_area_that_was_replaced() -> Result<()> {
        // Every image is full of its own number.
        let images = Tensor::arange(0f32, 5.0, &Device::Cpu)?.reshape((5, 1, 1, 1))?.broadcast_as((5, 2, 8, 6))?;
        let mut shares = Vec::new();
        for step in 0..40 {
            let one = OneBatch(Rc::new(batch(images.contiguous()?)), step);
            let mixed = Cutmix::default().mix("target", &one)?.unwrap();
            let (share, others) = (mixed.targets[0].0, mixed.targets[1].1["class"].values.to_vec1::<u32>()?);
            let pixels = mixed.inputs.get(HIDDEN)?.flatten_from(1)?.to_vec2::<f32>()?;
            for (i, image) in pixels.iter().enumerate().filter(|(i, _)| others[*i] as usize != *i) {
                let own = image.iter().filter(|p| **p == i as f32).count();
                assert!((own as f64 / 96.0 - share).abs() < 1e-9);
                assert!(image.iter().all(|p| *p == i as f32 || *p == others[i] as f32));
            }
            shares.push(share);
        }
        // Half sides are whole pixels, here at most 3 and 2, so half of the image stays at least.
        assert!(shares.iter().all(|s| (0.5..=1.0).contains(s)), "{shares:?}");
        assert!(shares.iter().any(|s| *s < 0.6) && shares.iter().any(|s| *s > 0.8), "{shares:?}");
        Ok(())
    }

    #[test]
    fn vectors_are_refused_and_rectangles_stay_inside() -> Result<()> {
        let one = OneBatch(Rc::new(batch(Tensor::zeros((3, 4), DType::F32, &Device::Cpu)?)), 0);
        let e = Cutmix::default().mix("target", &one).unwrap_err().to_string();
        assert_eq!(e, "`cutmix` mixes images, and the inputs are [3, 4] (`mixup` mixes vectors too)");
        for i in 0..200 {
            let mut rng = Seeds::new(0).stream("t", &[i]);
            let [top, bottom, left, right] =
                rectangle(rng.random(), [rng.random_range(0..7), rng.random_range(0..9)], [7, 9]);
            assert!(top <= bottom && bottom <= 7 && left <= right && right <= 9);
        }
        assert!(Cutmix::new(CutmixOptions { alpha: -1.0, probability: 1.0 }).is_err());
        Ok(())
    }
}
