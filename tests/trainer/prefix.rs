//! A frozen prefix gives the same bits whether its output was kept or computed again, and whoever stands beside a row.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use transplant_core::{
    Acts, Batch, Ctx, Dataset, Event, Fed, Feed, HIDDEN, Result, Schema, Seeds, Spec, Stage, Strategy, Train,
};
use transplant_datasets::Loader;
use transplant_ops::{ScopeExt, relu};
use transplant_tests::{Memory, Net, classify, loader, make, model, normal, recipe};
use transplant_trainer::{Data, Io, Model, fit};

/// A feed that says its batches are random, so that nothing of it is kept.
struct Unkept(Fed<Train>);

impl Feed for Unkept {
    fn inputs(&self) -> &Schema {
        self.0.inputs()
    }
    fn targets(&self) -> &Schema {
        self.0.targets()
    }
    fn rows(&self) -> &[u64] {
        self.0.rows()
    }
    fn batches(&self) -> u64 {
        self.0.batches()
    }
    fn batch(&self, epoch: u64, index: u64) -> Result<Batch> {
        self.0.batch(epoch, index)
    }
    fn plain(&self, rows: &[u64]) -> Result<Batch> {
        self.0.plain(rows)
    }
    fn random(&self) -> bool {
        true
    }
}

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
fn kept_features_change_no_bit() {
    let data = data();
    let run = |kept: bool| {
        let mut m = frozen_first(&data);
        let split = data.train();
        let mut feed = Loader::train(&split, loader(13)).unwrap();
        if !kept {
            feed = Fed::new(&split, Arc::new(Unkept(feed)));
        }
        let (stop, mut stages) = (AtomicBool::new(false), None);
        let mut listener = |e: &Event| {
            if let Event::PhaseStarted { cached_stages, .. } = e {
                stages = Some(*cached_stages);
            }
        };
        fit(&mut m, &recipe(3, "sgd", 0.05), &Data::target(feed), &mut Io::new(&mut listener, &stop)).unwrap();
        (m.params().hash(|_| true).unwrap(), stages)
    };
    let (kept, computed) = (run(true), run(false));
    assert_eq!((kept.1, computed.1), (Some(2), Some(0)));
    assert_eq!(kept.0, computed.0);
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
