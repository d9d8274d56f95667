//! Learning from mixed batches: the loss, in company of other strategies and over a frozen prefix whose output is kept, and
//! that it learns.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Tensor};
use transplant_core::{
    Acts, Boundary, Ctx, Field, Forward, HIDDEN, Mixed, ModelInfo, Needs, Pass, Phase, Result, Schema, Seeds, Spec,
    Stage, Step, Strategy, Target, Targets, Term, Update, Weighting,
};
use transplant_datasets::Loader;
use transplant_ops::{ScopeExt, relu};
use transplant_strategies::compose;
use transplant_tests::{Memory, Net, classify, loader, make, model, normal, recipe, tested, train};
use transplant_trainer::Data;

type Look = Box<dyn Fn(&dyn Strategy, &mut dyn Step, &[Term]) -> Result<()> + Send + Sync>;

/// Looks at every step of a strategy.
struct Spy {
    inner: Arc<dyn Strategy>,
    looks: Arc<Looks>,
}

struct Looks {
    inner: Arc<dyn Strategy>,
    look: Look,
    looked: Mutex<u64>,
}

impl Weighting for Looks {
    fn weigh(&self, terms: &mut Vec<Term>, step: &mut dyn Step) -> Result<()> {
        *self.looked.lock().unwrap() += 1;
        (self.look)(self.inner.as_ref(), step, terms)
    }
}

impl Strategy for Spy {
    fn needs(&self) -> Needs {
        self.inner.needs()
    }
    fn phases(&self, m: &ModelInfo) -> Result<Vec<Phase>> {
        self.inner.phases(m)
    }
    fn mixes(&self) -> bool {
        self.inner.mixes()
    }
    fn mix(&self, stream: &str, step: &dyn Step) -> Result<Option<Mixed>> {
        self.inner.mix(stream, step)
    }
    fn terms(&self, u: &Update, s: &mut dyn Step) -> Result<Vec<Term>> {
        self.inner.terms(u, s)
    }
    fn weighting(&self) -> Option<Arc<dyn Weighting>> {
        Some(self.looks.clone())
    }
    fn at(&self, b: Boundary, p: &mut dyn Pass) -> Result<()> {
        self.inner.at(b, p)
    }
}

/// Strategies as one.
fn of(specs: Vec<Spec<dyn Strategy>>) -> Box<dyn Strategy> {
    compose(specs.into_iter().map(|s| (s.tag.clone(), make(s))).collect()).unwrap()
}

fn spec(tag: &str) -> Spec<dyn Strategy> {
    Spec::new(tag)
}

fn data() -> Arc<Memory> {
    let mut rng = Seeds::new(8).stream("rows", &[]);
    let y: Vec<u32> = (0..200).map(|i| i % 3).collect();
    let x = y.iter().map(|c| (0..8).map(|d| normal(&mut rng) + if *c == d { 3.0 } else { 0.0 }).collect()).collect();
    Arc::new(Memory::vectors(x, &y, 3, 100))
}

fn net() -> Net {
    let layer = |name: &str, i: usize, net: Net| {
        net.stage(Stage::new(name), move |s| {
            let layer = s.pp("fc").linear(i, 12)?;
            Ok(move |acts: Acts, _: &mut Ctx| Ok(Acts::hidden(relu(&layer.forward(acts.get(HIDDEN)?)?)?)))
        })
    };
    layer("second", 12, layer("first", 8, Net::new(12)))
}

fn number(t: &Tensor) -> f64 {
    t.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

/// Trains with a strategy that is looked at; the accuracy on the test part.
fn trained(strategy: Box<dyn Strategy>, epochs: u64, look: Look) -> f64 {
    let data = data();
    let inner: Arc<dyn Strategy> = Arc::from(strategy);
    let looks = Arc::new(Looks { inner: inner.clone(), look, looked: Mutex::default() });
    let spy = Arc::new(Spy { inner, looks });
    let mut m = model(net(), &data, &[("class", classify("class"))], spy.clone());
    if spy.needs().source_required {
        let source = m.params().snapshot(|_| true).unwrap();
        m.load_source(&source, "itself", &["class".to_owned()]).unwrap();
    }
    let feed = Loader::train(&data.train(), loader(20)).unwrap();
    train(&mut m, &recipe(epochs, "adamw", 0.01), &Data::target(feed));
    assert_eq!(*spy.looks.looked.lock().unwrap(), epochs * 5);
    tested(&m, &data, "accuracy")
}

#[test]
fn the_loss_is_that_of_the_mixed_batch_for_all_strategies_and_over_a_kept_prefix() {
    let look = |strategy: &dyn Strategy, step: &mut dyn Step, terms: &[Term]| {
        let mixed = strategy.mix("target", step)?.unwrap();
        let batch = step.batch("target")?;
        let apart = (mixed.inputs.get(HIDDEN)? - batch.inputs.get(HIDDEN)?)?.abs()?.sum_all()?;
        assert!(number(&apart) > 1.0, "nothing was mixed");
        let forward = step.forward_on(mixed.inputs, "target")?;
        let parts = mixed.targets.iter().map(|(s, t)| Ok(s * number(&step.losses(&forward, t)?[0].value)));
        let wanted = parts.sum::<Result<f64>>()?;
        let ours: Vec<&Term> = terms.iter().filter(|t| t.name == "class").collect();
        assert_eq!(ours.len(), 1, "the supervised term counts once");
        assert!((number(&ours[0].value) - wanted).abs() < 1e-6);
        Ok(())
    };
    let mixup = || spec("mixup").with("alpha", 1.0);
    let frozen = spec("parameter").with("freeze_until", "first");
    trained(of(vec![frozen, mixup()]), 2, Box::new(look));
    trained(of(vec![mixup(), spec("parameter"), spec("l2_sp")]), 2, Box::new(look));
    trained(of(vec![mixup()]), 2, Box::new(look));
}

#[test]
fn missing_labels_count_on_neither_side_as_in_pytorch() {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../../crates/strategies/goldens/mixing.json")).unwrap();
    let list = |name: &str| -> Vec<f32> {
        let values = golden["loss"][name]["values"].as_array().unwrap();
        values.iter().map(|v| v.as_f64().unwrap() as f32).collect()
    };
    let whole = |name: &str| -> Vec<u32> { list(name).iter().map(|v| *v as u32).collect() };
    let (logits, classes, known, order) = (list("logits"), whole("classes"), list("known"), whole("order"));
    let (share, wanted) = (f64::from(list("share")[0]), f64::from(list("loss")[0]));
    let look = move |_: &dyn Strategy, step: &mut dyn Step, _: &[Term]| {
        let logits = Tensor::from_slice(&logits, (5, 3), &Device::Cpu)?;
        let outputs = BTreeMap::from([("class".to_owned(), Acts::new().with("logits", logits))]);
        let forward = Forward { features: Acts::new(), taps: BTreeMap::new(), outputs };
        let target = |order: &[u32]| -> Result<Targets> {
            let y: Vec<u32> = order.iter().map(|i| classes[*i as usize]).collect();
            let present: Vec<f32> = order.iter().map(|i| known[*i as usize]).collect();
            let present = Some(Tensor::new(present, &Device::Cpu)?);
            Ok(Targets::from([("class".to_owned(), Target { values: Tensor::new(y, &Device::Cpu)?, present })]))
        };
        let of = |t: Targets| -> Result<f64> { Ok(number(&step.losses(&forward, &t)?[0].value)) };
        let ours = share * of(target(&[0, 1, 2, 3, 4])?)? + (1.0 - share) * of(target(&order)?)?;
        assert!((ours - wanted).abs() < 1e-6, "{ours} {wanted}");
        assert!(step.losses(&forward, &Targets::new())?.is_empty());
        Ok(())
    };
    trained(of(vec![spec("mixup")]), 1, Box::new(look));
}

#[test]
fn training_on_means_of_rows_learns() {
    let before = trained(of(vec![spec("structure")]), 0, Box::new(|_, _, _| Ok(())));
    let after = trained(of(vec![spec("structure"), spec("mixup")]), 30, Box::new(|_, _, _| Ok(())));
    assert!(before < 0.7 && after > 0.85, "accuracy {before} before, {after} after");
}

#[test]
fn training_on_images_with_a_part_of_another_learns() {
    // The class is the brighter of two channels, everywhere.
    let mut rng = Seeds::new(5).stream("rows", &[]);
    let y: Vec<u32> = (0..120).map(|i| i % 2).collect();
    let pixels = |c: u32, rng: &mut _| -> Vec<f32> {
        (0..2 * 36).map(|i| normal(rng) + if i / 36 == c { 1.0 } else { 0.0 }).collect()
    };
    let mut images = Memory::vectors(y.iter().map(|c| pixels(*c, &mut rng)).collect(), &y, 2, 60);
    images.acts = images.acts.map(|_, t| Ok(t.reshape(((), 2, 6, 6))?)).unwrap();
    images.inputs = Schema::from([(HIDDEN.to_owned(), Field::Image { channels: 2, height: 6, width: 6 })]);
    let images = Arc::new(images);
    let net = Net::new(8).stage(Stage::new("mean"), |s| {
        let layer = s.pp("fc").linear(2, 8)?;
        Ok(move |acts: Acts, _: &mut Ctx| {
            let mean = acts.get(HIDDEN)?.flatten_from(2)?.mean(2)?;
            Ok(Acts::hidden(relu(&layer.forward(&mean)?)?))
        })
    });
    let strategy: Arc<dyn Strategy> = Arc::from(of(vec![spec("structure"), spec("cutmix")]));
    let mut m = model(net, &images, &[("class", classify("class"))], strategy);
    let feed = Loader::train(&images.train(), loader(20)).unwrap();
    train(&mut m, &recipe(40, "adamw", 0.02), &Data::target(feed));
    let after = tested(&m, &images, "accuracy");
    assert!(after > 0.9, "accuracy {after}");
}
