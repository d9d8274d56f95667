//! mixup: learns from weighted means of two rows each, and from both of their labels by the same weights (Zhang et al. 2018).
//!
//! Between rows the network then learns to go over from one answer to the other, which keeps it from being sure where it has
//! seen nothing. The mean is taken of the inputs as the network gets them, once for the whole batch.
//!
//! Use it beside another strategy, `strategy = ["parameter", "mixup"]`, when training longer overfits.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transplant_core::{BuildCx, Component, Invalid, Mixed, ModelInfo, Phase, Plan, Plugins, Result, Step, Strategy};

use crate::mixing;

/// Mixup: learns from weighted means of two rows each, and of their losses.
///
/// For images and vectors. Use it beside another strategy, `strategy = ["parameter", "mixup"]`, when training longer
/// overfits; alone it trains fresh weights. Beside `cutmix` each step takes one of the two. Zhang et al. 2018.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MixupOptions {
    /// Both parameters of the Beta distribution that the weight of each mean is drawn from, 0.001 to 1000: the larger, the more even.
    pub alpha: f64,
    /// Probability that a batch is mixed, 0 to 1.
    pub probability: f64,
}

impl Default for MixupOptions {
    fn default() -> Self {
        Self { alpha: 0.2, probability: 1.0 }
    }
}

/// Learns from means of rows.
#[derive(Debug, Clone, Default)]
pub struct Mixup(MixupOptions);

impl Mixup {
    /// With these options.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn new(options: MixupOptions) -> Result<Self, Invalid> {
        mixing::check(options.alpha, options.probability)?;
        Ok(Self(options))
    }
}

impl Component<dyn Strategy> for Mixup {
    const TYPE: &'static str = "mixup";
    type Options = MixupOptions;

    fn check(o: &Self::Options, _: &Plugins) -> Result<(), Invalid> {
        Self::new(o.clone()).map(|_| ())
    }

    fn build(o: Self::Options, _: &BuildCx<'_>) -> Result<Box<dyn Strategy>> {
        Ok(Box::new(Self::new(o)?))
    }
}

impl Strategy for Mixup {
    fn phases(&self, _: &ModelInfo) -> Result<Vec<Phase>> {
        Ok(vec![Phase::new("train", Plan::default())])
    }

    fn mixes(&self) -> bool {
        true
    }

    fn mix(&self, stream: &str, step: &dyn Step) -> Result<Option<Mixed>> {
        let mut rng = step.seeds().child(stream).stream("mixup", &[]);
        let Some(share) = mixing::share(self.0.alpha, self.0.probability, &mut rng)? else { return Ok(None) };
        let batch = step.batch(stream)?;
        let rows = mixing::input("mixup", "images and vectors", &batch)?;
        let order = mixing::order(&batch, &mut rng)?;
        mixing::mixed(&batch, means(rows, &order, share)?, &order, share).map(Some)
    }
}

/// `share` of each row and the rest of the row that `order` puts in its place.
fn means(rows: &Tensor, order: &Tensor, share: f64) -> Result<Tensor> {
    let others = rows.contiguous()?.index_select(order, 0)?;
    Ok(((rows * share)? + (others * (1.0 - share))?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mixing::tests::{OneBatch, batch, close, golden};
    use candle_core::{DType, Device};
    use std::rc::Rc;
    use transplant_core::HIDDEN;

    #[test]
    fn means_are_those_of_pytorch() -> Result<()> {
        let order = golden("mixup", "order").to_dtype(DType::U32)?;
        let share = f64::from(golden("mixup", "share").to_vec1::<f32>()?[0]);
        close(&means(&golden("mixup", "rows"), &order, share)?, &golden("mixup", "mixed"));
        Ok(())
    }

    #[test]
    fn a_batch_is_mixed_by_its_step_alone_and_inputs_agree_with_targets() -> Result<()> {
        // One-hot rows: what was mixed can be read off.
        let eye = Tensor::eye(6, DType::F32, &Device::Cpu)?;
        let mixup = Mixup::new(MixupOptions { alpha: 1.0, ..Default::default() })?;
        let of = |step: u64| mixup.mix("target", &OneBatch(Rc::new(batch(eye.clone())), step));
        let mixed = of(3)?.unwrap();
        let (share, others) = (mixed.targets[0].0, mixed.targets[1].1["class"].values.to_vec1::<u32>()?);
        for (i, row) in mixed.inputs.get(HIDDEN)?.to_vec2::<f32>()?.into_iter().enumerate() {
            let mut wanted = [0.0; 6];
            wanted[i] += share as f32;
            wanted[others[i] as usize] += (1.0 - share) as f32;
            assert!(row.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{row:?} {wanted:?}");
        }
        let values = |m: &Mixed| m.inputs.get(HIDDEN)?.to_vec2::<f32>().map_err(transplant_core::Error::from);
        assert_eq!(values(&mixed)?, values(&of(3)?.unwrap())?);
        assert_ne!(values(&mixed)?, values(&of(4)?.unwrap())?);
        let never = Mixup::new(MixupOptions { probability: 0.0, ..Default::default() })?;
        assert!(never.mix("target", &OneBatch(Rc::new(batch(eye)), 0))?.is_none());
        Ok(())
    }

    #[test]
    fn options_out_of_range_are_named() {
        let fault = |alpha, probability| Mixup::new(MixupOptions { alpha, probability }).unwrap_err().to_string();
        assert!(fault(0.0, 1.0).starts_with("alpha: must be"));
        assert!(fault(0.2, 1.5).starts_with("probability: must be"));
    }
}
