//! What the strategies that mix batches share: who is mixed with whom, by how much, and whether that can be.

use candle_core::Tensor;
use rand::Rng;
use rand::seq::SliceRandom;
use rand_distr::{Beta, Distribution};
use transplant_core::{Batch, HIDDEN, Invalid, Mixed, Result, Stream, Target, Targets};

/// Checks the two options that all of them have.
pub(crate) fn check(alpha: f64, probability: f64) -> Result<(), Invalid> {
    if !(1e-3..=1e3).contains(&alpha) {
        return Err(Invalid::key("alpha", format!("must be between 0.001 and 1000, not {alpha}")));
    }
    if !(0.0..=1.0).contains(&probability) {
        return Err(Invalid::key("probability", format!("must be between 0 and 1, not {probability}")));
    }
    Ok(())
}

/// Whether the batch is mixed, and then the share of each row's own, drawn from `Beta(alpha, alpha)`.
pub(crate) fn share(alpha: f64, probability: f64, rng: &mut Stream) -> Result<Option<f64>> {
    if !rng.random_bool(probability) {
        return Ok(None);
    }
    let beta = Beta::new(alpha, alpha).map_err(|e| Invalid::key("alpha", e.to_string()))?;
    Ok(Some(beta.sample(rng).clamp(0.0, 1.0)))
}

/// Rows in a random order: row `i` is mixed with row `order[i]`. `u32 [rows]`.
pub(crate) fn order(batch: &Batch, rng: &mut Stream) -> Result<Tensor> {
    let mut order: Vec<u32> = (0..).take(batch.rows.len()).collect();
    order.shuffle(rng);
    Ok(Tensor::new(order, batch.inputs.get(HIDDEN)?.device())?)
}

/// The one input of a batch, when rows of it can be mixed: numbers, a row each.
pub(crate) fn input<'a>(name: &str, what: &str, batch: &'a Batch) -> Result<&'a Tensor> {
    let wrong = |why: String| Err(Invalid::new(format!("`{name}` mixes {what}, and {why}")).into());
    if let Some((other, _)) = batch.inputs.iter().find(|(n, _)| *n != HIDDEN) {
        return wrong(format!("the inputs have `{other}`"));
    }
    let t = batch.inputs.get(HIDDEN)?;
    if !t.dtype().is_float() {
        return wrong(format!("the inputs are of type {}, as texts and tokens are", t.dtype().as_str()));
    }
    if batch.select.is_some() || t.dims().first() != Some(&batch.rows.len()) {
        return wrong("the inputs are not a row each".to_owned());
    }
    Ok(t)
}

/// The mixed inputs, with the targets of each row by `share` and those of the row it was mixed with by the rest.
pub(crate) fn mixed(batch: &Batch, inputs: Tensor, order: &Tensor, share: f64) -> Result<Mixed> {
    let pick = |t: &Tensor| t.contiguous()?.index_select(order, 0);
    let others = batch.targets.iter().map(|(name, t)| {
        let present = t.present.as_ref().map(pick).transpose()?;
        Ok((name.clone(), Target { values: pick(&t.values)?, present }))
    });
    let others: Targets = others.collect::<Result<_>>()?;
    let targets = vec![(share, batch.targets.clone()), (1.0 - share, others)];
    Ok(Mixed { inputs: batch.inputs.clone().with(HIDDEN, inputs), targets })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use candle_core::Device;
    use std::rc::Rc;
    use transplant_core::{Acts, Ctx, Error, Forward, Params, Progress, Seeds, Step, TOKENS, Term};

    /// A step that has a batch and nothing else.
    pub(crate) struct OneBatch(pub(crate) Rc<Batch>, pub(crate) u64);

    impl Step for OneBatch {
        fn streams(&self) -> Vec<String> {
            vec!["target".into()]
        }
        fn batch(&self, _: &str) -> Result<Rc<Batch>> {
            Ok(self.0.clone())
        }
        fn forward(&mut self, _: &str) -> Result<Rc<Forward>> {
            Err(Error::contract("not in this test"))
        }
        fn forward_on(&mut self, _: Acts, _: &str) -> Result<Forward> {
            Err(Error::contract("not in this test"))
        }
        fn module(&mut self, _: &str, _: &Acts) -> Result<Acts> {
            Err(Error::contract("not in this test"))
        }
        fn supervised(&mut self, _: &str) -> Result<Vec<Term>> {
            Err(Error::contract("not in this test"))
        }
        fn losses(&self, _: &Forward, _: &Targets) -> Result<Vec<Term>> {
            Err(Error::contract("not in this test"))
        }
        fn params(&self) -> &Params {
            unreachable!("not in this test")
        }
        fn progress(&self) -> Progress {
            Progress { step: 0, steps: 1, steps_per_epoch: 1 }
        }
        fn seeds(&self) -> Seeds {
            Seeds::new(self.1)
        }
        fn ctx(&self) -> Ctx {
            Ctx::eval(&[])
        }
    }

    /// A batch of these inputs, whose classes are the numbers of its rows and whose row 1 has none.
    pub(crate) fn batch(inputs: Tensor) -> Batch {
        let rows = inputs.dims()[0] as u32;
        let values = Tensor::arange(0, rows, &Device::Cpu).unwrap();
        let present: Vec<f32> = (0..rows).map(|i| f32::from(i != 1)).collect();
        let present = Some(Tensor::new(present, &Device::Cpu).unwrap());
        let targets = Targets::from([("class".to_owned(), Target { values, present })]);
        Batch::new(Acts::hidden(inputs), targets, (0..u64::from(rows)).collect())
    }

    /// What PyTorch says; `tests/goldens/generate_mixing.py` of the repository writes it.
    pub(crate) fn golden(of: &str, name: &str) -> Tensor {
        let golden: serde_json::Value = serde_json::from_str(include_str!("../goldens/mixing.json")).unwrap();
        let list =
            |v: &serde_json::Value| v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
        let entry = &golden[of][name];
        let shape: Vec<usize> = list(&entry["shape"]).iter().map(|n| *n as usize).collect();
        let values: Vec<f32> = list(&entry["values"]).iter().map(|v| *v as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    pub(crate) fn close(ours: &Tensor, wanted: &Tensor) {
        assert_eq!(ours.dims(), wanted.dims());
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (a, b) in flat(ours).iter().zip(flat(wanted)) {
            assert!((a - b).abs() < 1e-6, "{ours}\n{wanted}");
        }
    }

    #[test]
    fn shares_follow_the_beta_distribution_and_batches_are_mixed_as_often_as_told() -> Result<()> {
        let draws = |alpha: f64, probability: f64| -> Vec<f64> {
            (0..2000).filter_map(|i| share(alpha, probability, &mut Seeds::new(1).stream("t", &[i])).unwrap()).collect()
        };
        for alpha in [0.2, 1.0, 4.0] {
            let all = draws(alpha, 1.0);
            let mean = all.iter().sum::<f64>() / 2000.0;
            let variance = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 2000.0;
            // Of Beta(a, a): 1/2 and 1 / (4 (2a + 1)).
            let known = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!(all.len() == 2000 && (mean - 0.5).abs() < 0.03 && (variance / known - 1.0).abs() < 0.1, "{alpha}");
        }
        let some = draws(1.0, 0.3).len();
        assert!((500..700).contains(&some), "{some}");
        assert!(draws(1.0, 0.0).is_empty());
        Ok(())
    }

    #[test]
    fn the_targets_of_the_others_follow_them_and_so_do_missing_ones() -> Result<()> {
        let b = batch(Tensor::zeros((3, 2), candle_core::DType::F32, &Device::Cpu)?);
        let order = Tensor::new(&[2u32, 0, 1], &Device::Cpu)?;
        let m = mixed(&b, b.inputs.get(HIDDEN)?.clone(), &order, 0.75)?;
        assert_eq!((m.targets[0].0, m.targets[1].0), (0.75, 0.25));
        let [own, others] = [0, 1].map(|i| m.targets[i].1["class"].clone());
        assert_eq!(own.values.to_vec1::<u32>()?, [0, 1, 2]);
        assert_eq!(others.values.to_vec1::<u32>()?, [2, 0, 1]);
        assert_eq!(others.present.unwrap().to_vec1::<f32>()?, [1.0, 1.0, 0.0]);
        Ok(())
    }

    #[test]
    fn what_cannot_be_mixed_is_told() -> Result<()> {
        let numbers = Tensor::zeros((3, 2), candle_core::DType::F32, &Device::Cpu)?;
        let fails = |b: &Batch| input("mixup", "images and vectors", b).unwrap_err().to_string();
        let tokens = Tensor::zeros((3, 2), candle_core::DType::U32, &Device::Cpu)?;
        assert!(input("mixup", "images and vectors", &batch(numbers.clone())).is_ok());
        let e = fails(&batch(tokens.clone()));
        assert_eq!(e, "`mixup` mixes images and vectors, and the inputs are of type u32, as texts and tokens are");
        let mut two = batch(numbers.clone());
        two.inputs.set(TOKENS, tokens);
        assert!(fails(&two).ends_with("the inputs have `tokens`"));
        let mut graph = batch(numbers);
        graph.select = Some(Tensor::new(&[0u32], &Device::Cpu)?);
        assert!(fails(&graph).ends_with("the inputs are not a row each"));
        Ok(())
    }
}
