//! Sequences of varying length: what stands behind a sequence's end must not matter.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{D, Device, Tensor};
use rand::Rng;
use transplant_core::{Acts, Ctx, Field, HIDDEN, Roles, Schema, Seeds, Spec, Stage, Strategy};
use transplant_datasets::Loader;
use transplant_ops::{ScopeExt, relu};
use transplant_tests::{Memory, Net, classes_target, classify, loader, make, model, normal, recipe, tested, train};
use transplant_trainer::Data;

const LONGEST: usize = 12;
const WIDTH: usize = 3;

/// A sequence belongs to class 1 when one of its steps, wherever it stands, carries the signal; the padding carries it always.
fn sequences() -> Arc<Memory> {
    let mut rng = Seeds::new(21).stream("sequences", &[]);
    let n = 600;
    let (mut x, mut mask, mut y) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..n {
        let length = rng.random_range(2..=LONGEST);
        let class = rng.random_range(0..2u32);
        let signal = if class == 1 { rng.random_range(0..length) } else { LONGEST };
        for t in 0..LONGEST {
            let level = if t == signal || t >= length { 3.0 } else { 0.0 };
            x.extend((0..WIDTH).map(|_| level + 0.3 * normal(&mut rng)));
            mask.push(if t < length { 1f32 } else { 0.0 });
        }
        y.push(class);
    }
    let device = &Device::Cpu;
    let acts = Acts::hidden(Tensor::from_vec(x, (n, LONGEST, WIDTH), device).unwrap())
        .with("mask", Tensor::from_vec(mask, (n, LONGEST), device).unwrap());
    let inputs = Schema::from([
        (HIDDEN.to_owned(), Field::Sequence { width: WIDTH }),
        ("mask".to_owned(), Field::Tensor { sizes: vec![None] }),
    ]);
    let roles = Roles { pool: (0..300).collect(), validation: vec![], test: (300..n as u64).collect() };
    Arc::new(Memory::new(acts, inputs, BTreeMap::from([("class".to_owned(), classes_target(&y, 2))]), roles))
}

fn network() -> Net {
    let pool = Stage { reads: vec![HIDDEN.into(), "mask".into()], ..Stage::new("pool") };
    Net::new(8)
        .stage(Stage::new("steps"), |s| {
            let layer = s.pp("fc").linear(WIDTH, 8)?;
            Ok(move |acts: Acts, _: &mut Ctx| {
                let hidden = relu(&layer.forward(acts.get(HIDDEN)?)?)?;
                Ok(acts.with(HIDDEN, hidden))
            })
        })
        .stage(pool, |_| {
            Ok(|acts: Acts, _: &mut Ctx| {
                let mask = acts.get("mask")?.unsqueeze(D::Minus1)?;
                Ok(Acts::hidden(acts.get(HIDDEN)?.broadcast_mul(&mask)?.sum(1)?))
            })
        })
}

#[test]
fn the_padding_is_neither_learned_from_nor_looked_at() {
    let data = sequences();
    let strategy: Arc<dyn Strategy> = Arc::from(make(Spec::<dyn Strategy>::new("structure")));
    let mut m = model(network(), &data, &[("class", classify("class"))], strategy);
    train(&mut m, &recipe(40, "adamw", 0.01), &Data::target(Loader::train(&data.train(), loader(32)).unwrap()));
    let accuracy = tested(&m, &data, "accuracy");
    assert!(accuracy > 0.95, "{accuracy}");

    let rows: Vec<u64> = (300..340).collect();
    let batch = transplant_core::Dataset::batch(&*data, &rows).unwrap();
    let mask = batch.inputs.get("mask").unwrap().unsqueeze(D::Minus1).unwrap();
    let blank = batch.inputs.get(HIDDEN).unwrap().broadcast_mul(&mask).unwrap();
    let logits =
        |inputs: Acts| m.predict(inputs, &rows).unwrap()["class"].get("logits").unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(logits(batch.inputs.clone()), logits(batch.inputs.clone().with(HIDDEN, blank)));
}
