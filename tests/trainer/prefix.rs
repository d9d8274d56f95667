//! A row is predicted alike whoever stands beside it. That a frozen prefix gives the same bits whether its output was kept or
//! not is in `cache/`.

use std::sync::Arc;

use transplant_core::{Acts, Ctx, Dataset, HIDDEN, Seeds, Spec, Stage, Strategy};
use transplant_ops::{ScopeExt, relu};
use transplant_tests::{Memory, Net, classify, make, model, normal};
use transplant_trainer::Model;

fn data() -> Arc<Memory> {
    let mut rng = Seeds::new(8).stream("rows", &[]);
    let y: Vec<u32> = (0..100).map(|i| i % 3).collect();
    let x = y.iter().map(|c| (0..40).map(|d| normal(&mut rng) + if *c == d { 1.5 } else { 0.0 }).collect()).collect();
    Arc::new(Memory::vectors(x, &y, 3, 70))
}

fn frozen_first(data: &Memory) -> Model {
    let layer = |name: &str, i: usize, net: Net| {
        net.stage(Stage::new(name), move |s| {
            let layer = s.pp("fc").linear(i, 24)?;
            Ok(move |acts: Acts, _: &mut Ctx| Ok(Acts::hidden(relu(&layer.forward(acts.get(HIDDEN)?)?)?)))
        })
    };
    let strategy = Spec::<dyn Strategy>::new("parameter").with("freeze_until", "second");
    let strategy: Arc<dyn Strategy> = Arc::from(make(strategy));
    let net = layer("third", 24, layer("second", 24, layer("first", 40, Net::new(24))));
    let mut m = model(net, data, &[("class", classify("class"))], strategy);
    let source = m.params().snapshot(|_| true).unwrap();
    m.load_source(&source, "itself", &["class".to_owned()]).unwrap();
    m
}

#[test]
fn a_row_is_predicted_alike_alone_and_in_company() {
    let data = data();
    let m = frozen_first(&data);
    let logits = |rows: &[u64]| {
        let inputs = data.batch(rows).unwrap().inputs;
        m.predict(inputs, rows).unwrap()["class"].get("logits").unwrap().to_vec2::<f32>().unwrap()
    };
    let all: Vec<u64> = (0..100).collect();
    let together = logits(&all);
    for row in [0u64, 31, 32, 57, 99] {
        assert_eq!(logits(&[row])[0], together[row as usize], "row {row}");
    }
}
