//! After one step each trainable parameter has a gradient entry, those with a non-zero oracle gradient moved, and no frozen
//! byte changed: over every strategy and backbone of the catalogue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Tensor};
use rand::Rng;
use transplant_core::{
    Acts, Architecture, Boundary, CombineCx, Field, Finish, Gradients, HIDDEN, HeadFit, MASK, Mixed, ModelInfo,
    Modules, Needs, Origin, Params, Pass, Phase, Result, Role, Schema, Scope, Seeds, Spec, Step, Strategy, Supervise,
    TOKENS, Term, TermInfo, Until, Update, Use, Weighting, sum_of,
};
use transplant_datasets::Loader;
use transplant_tests::{Memory, classify, data_for, loader, make, normal, recipe, train};
use transplant_trainer::{Data, Model, Parts};

/// Networks for tokens.
const TEXTS: [&str; 5] = ["bert", "distilbert", "text_cnn", "text_gru", "word_bag"];

/// A strategy that keeps the gradients of the last step, and the loss of the batch as a function of the parameters.
struct Spy {
    inner: Arc<dyn Strategy>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    gradients: Mutex<Option<Gradients>>,
    loss: Mutex<f64>,
}

/// Looks at what the strategy's own weighting made, if it has one.
struct Looks {
    own: Option<Arc<dyn Weighting>>,
    seen: Arc<Seen>,
}

impl Weighting for Looks {
    fn weigh(&self, terms: &mut Vec<Term>, step: &mut dyn Step) -> Result<()> {
        self.own.as_ref().map_or(Ok(()), |own| own.weigh(terms, step))?;
        let value = |t: &Term| Ok(t.weight * t.value.to_dtype(DType::F64)?.to_scalar::<f64>()?);
        *self.seen.loss.lock().unwrap() = terms.iter().map(value).sum::<Result<f64>>()?;
        Ok(())
    }
    fn combines(&self) -> bool {
        true
    }
    fn combine(&self, gradients: Vec<(TermInfo, Gradients)>, cx: &CombineCx<'_>) -> Result<Gradients> {
        let sum = match self.own.as_ref().filter(|own| own.combines()) {
            Some(own) => own.combine(gradients, cx)?,
            None => sum_of(gradients)?,
        };
        *self.seen.gradients.lock().unwrap() = Some(sum.clone());
        Ok(sum)
    }
}

impl Strategy for Spy {
    fn needs(&self) -> Needs {
        self.inner.needs()
    }
    fn phases(&self, m: &ModelInfo) -> Result<Vec<Phase>> {
        self.inner.phases(m)
    }
    fn head(&self) -> Option<Arc<dyn HeadFit>> {
        self.inner.head()
    }
    fn modules(&self, m: &ModelInfo, s: &Scope) -> Result<Modules> {
        self.inner.modules(m, s)
    }
    fn terms(&self, u: &Update, s: &mut dyn Step) -> Result<Vec<Term>> {
        self.inner.terms(u, s)
    }
    fn supervises(&self, u: &Update) -> Supervise {
        self.inner.supervises(u)
    }
    fn weighting(&self) -> Option<Arc<dyn Weighting>> {
        Some(Arc::new(Looks { own: self.inner.weighting(), seen: self.seen.clone() }))
    }
    fn mixes(&self) -> bool {
        self.inner.mixes()
    }
    fn mix(&self, stream: &str, step: &dyn Step) -> Result<Option<Mixed>> {
        self.inner.mix(stream, step)
    }
    fn at(&self, b: Boundary, p: &mut dyn Pass) -> Result<()> {
        self.inner.at(b, p)
    }
    fn finish(&self) -> Finish {
        // What it keeps for itself is looked at, too.
        Finish::default()
    }
}

/// Eight rows of two classes that suit a backbone.
fn data(backbone: &str) -> Arc<Memory> {
    let mut rng = Seeds::new(4).stream("rows", &[]);
    let y: Vec<u32> = (0..8).map(|i| i % 2).collect();
    let vectors = |width: usize, rng: &mut transplant_core::Stream| {
        let x = (0..8).map(|_| (0..width).map(|_| normal(rng)).collect()).collect();
        Memory::vectors(x, &y, 2, 8)
    };
    let images = |channels: usize, side: usize, rng: &mut transplant_core::Stream| {
        let mut m = vectors(channels * side * side, rng);
        m.acts = m.acts.map(|_, t| Ok(t.reshape((8, channels, side, side))?)).unwrap();
        m.inputs = Schema::from([(HIDDEN.to_owned(), Field::Image { channels, height: side, width: side })]);
        m
    };
    let tokens = |length: usize, vocabulary: u32, rng: &mut transplant_core::Stream| {
        let mut m = vectors(1, rng);
        let filled = |row: usize| 2 + row % (length - 2);
        let at = |row: usize, i: usize, there: f32| if i < filled(row) { there } else { 0.0 };
        let numbers: Vec<u32> = (0..8 * length).map(|_| rng.random_range(1..vocabulary)).collect();
        let tokens = (0..8 * length).map(|i| at(i / length, i % length, numbers[i] as f32)).collect();
        let mask = (0..8 * length).map(|i| at(i / length, i % length, 1.0)).collect();
        let tensor = |v: Vec<f32>| Tensor::from_vec(v, (8, length), &Device::Cpu).unwrap();
        let tokens = tensor(tokens).to_dtype(DType::U32).unwrap();
        m.acts = Acts::new().with(TOKENS, tokens).with(MASK, tensor(mask));
        let vocabulary = vocabulary as usize;
        m.inputs = Schema::from([(TOKENS.to_owned(), Field::Tokens { length, vocabulary })]);
        m
    };
    Arc::new(match backbone {
        text if TEXTS.contains(&text) => tokens(7, 20, &mut rng),
        "convnet" => images(1, 12, &mut rng),
        "convnext" | "efficientnet_lite" | "mobilenet_v2" | "resnet" | "vit" => images(3, 32, &mut rng),
        "mlp" => vectors(5, &mut rng),
        other => panic!("say here what rows suit the backbone `{other}`"),
    })
}

fn model(backbone: &str, data: &Memory, strategy: Arc<dyn Strategy>, params: Params) -> Model {
    Model::new(Parts {
        architecture: Arc::from(make(Spec::<dyn Architecture>::new(backbone))),
        inputs: data.inputs.clone(),
        tasks: BTreeMap::from([("class".to_owned(), classify("class"))]),
        targets: data.targets.clone(),
        strategy,
        params,
        seeds: Seeds::new(7),
    })
    .unwrap()
}

/// One step of a strategy with learning rate `lr` from a given source; the spy, the plan's uses and all tensors after it.
fn step(
    backbone: &str,
    tag: &str,
    source: &BTreeMap<String, Tensor>,
    lr: f64,
    moved: &BTreeMap<String, Tensor>,
) -> (Arc<Spy>, Model, Phase) {
    let data = data(backbone);
    let spy = Arc::new(Spy { inner: Arc::from(make(Spec::<dyn Strategy>::new(tag))), seen: Arc::default() });
    let mut m = model(backbone, &data, spy.clone(), Params::new(&Device::Cpu));
    m.load_source(source, "source", &["class".to_owned()]).unwrap();
    let phase = spy.phases(&m.info()).unwrap().remove(0);
    for (name, value) in moved {
        if m.params().find(name).is_some() {
            m.params().set(name, value).unwrap();
        } else {
            m.params().insert(name, value, Role::Adapter, Origin::Fresh).unwrap();
        }
    }
    let streams = data_for(&*spy, &data, &loader(8));
    train(&mut m, &recipe(1, "sgd", lr), &streams);
    (spy, m, phase)
}

fn source(backbone: &str) -> BTreeMap<String, Tensor> {
    let data = data(backbone);
    let mut m =
        model(backbone, &data, Arc::from(make(Spec::<dyn Strategy>::new("structure"))), Params::new(&Device::Cpu));
    train(&mut m, &recipe(3, "sgd", 0.05), &Data::target(Loader::train(&data.train(), loader(8)).unwrap()));
    m.params().snapshot(|_| true).unwrap()
}

/// The trained tensors whose gradient is compared with losses: all, or a few small ones where a network has many. There
/// each comparison costs two steps of a deep network, and a loss in single precision is too coarse for a large tensor.
/// Their gradients are compared with PyTorch's in `crates/backbones/tests/goldens.rs`.
fn compared(start: &BTreeMap<String, Tensor>) -> Vec<&str> {
    if start.len() <= 40 {
        return start.keys().map(String::as_str).collect();
    }
    let few = |inside: bool| {
        let small = start.iter().filter(|(n, t)| n.starts_with("backbone.") == inside && t.elem_count() <= 4096);
        let small: Vec<&str> = small.map(|(n, _)| n.as_str()).collect();
        small.iter().step_by(small.len().div_ceil(2).max(1)).copied().collect::<Vec<_>>()
    };
    [few(true), few(false)].concat()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The derivative of the step's loss along a random direction of one tensor, from two losses that are so far apart.
fn slope(
    backbone: &str,
    tag: &str,
    source: &BTreeMap<String, Tensor>,
    at: &BTreeMap<String, Tensor>,
    name: &str,
    apart: f64,
) -> (f64, Tensor) {
    let value = &at[name];
    let mut rng = Seeds::new(9).stream(name, &[]);
    let direction: Vec<f32> = (0..value.elem_count()).map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 }).collect();
    let direction = Tensor::from_vec(direction, value.shape(), &Device::Cpu).unwrap();
    let h = apart / 2.0 / (value.elem_count() as f64).sqrt();
    let loss = |sign: f64| {
        let mut moved = at.clone();
        moved.insert(name.to_owned(), (value + (&direction * (sign * h)).unwrap()).unwrap());
        *step(backbone, tag, source, 0.0, &moved).0.seen.loss.lock().unwrap()
    };
    ((loss(1.0) - loss(-1.0)) / (2.0 * h), direction)
}

/// Every strategy on three small networks, and every network with one strategy.
#[test]
fn trainable_parameters_learn_and_no_frozen_byte_changes() {
    check(|backbone, tag| tag == "parameter" || ["convnet", "mlp", "word_bag"].contains(&backbone));
}

#[test]
#[ignore = "long: every strategy on every backbone takes minutes"]
fn every_trainable_parameter_learns_and_no_frozen_byte_changes() {
    check(|_, _| true);
}

/// Checks the pairs of a backbone and a strategy that are `wanted`.
fn check(wanted: fn(&str, &str) -> bool) {
    let plugins = transplant_pipeline::builtin();
    let tags = |kind: &'static str| plugins.entries().filter(move |e| e.kind == kind).map(|e| e.tag);
    let (mut pairs, mut tried, mut bent) = (0, 0, 0);
    // `raw_text` has no weight, and no head that is trained step by step reads texts: see texts.rs.
    for backbone in tags("backbone").filter(|b| *b != "raw_text") {
        let source = source(backbone);
        for tag in tags("strategy").filter(|tag| wanted(backbone, tag)) {
            let pair = format!("{tag} × {backbone}");
            // The gradient of a discriminator is reversed: it is not that of the loss.
            if tag == "dann" {
                continue;
            }
            // Mixers refuse tokens, and CutMix refuses vectors: `mixing.rs`.
            let (mixer, tokens) = (["mixup", "cutmix"].contains(&tag), TEXTS.contains(&backbone));
            if mixer && tokens || tag == "cutmix" && backbone == "mlp" {
                continue;
            }
            // The state before the step, adapters and modules included: a step with rate 0.
            let (_, before, _) = step(backbone, tag, &source, 0.0, &BTreeMap::new());
            // Fresh low-rank adapters have one factor at zero, so the other's gradient vanishes: shake all adapters.
            let mut start = before.params().snapshot(|n| before.params().get(n).unwrap().role.learned()).unwrap();
            let is_adapter = |n: &str| before.params().get(n).unwrap().role == Role::Adapter;
            let mut rng = Seeds::new(2).stream("shake", &[]);
            for (_, t) in start.iter_mut().filter(|(n, _)| is_adapter(n) || n.starts_with("modules.")) {
                let noise: Vec<f32> = (0..t.elem_count()).map(|_| 0.1 * normal(&mut rng)).collect();
                *t = (&*t + Tensor::from_vec(noise, t.shape(), &Device::Cpu).unwrap()).unwrap();
            }
            let (spy, after, phase) = step(backbone, tag, &source, 0.05, &start);
            let fitted = phase.until == Until::Now;
            let gradients = spy.seen.gradients.lock().unwrap().take();
            let compared = compared(&start);
            for (name, value) in &start {
                let now = values(&after.params().get(name).unwrap().view());
                let frozen = fitted || phase.plan.use_of(name) == Use::Frozen;
                if frozen {
                    let fitted_now = matches!(after.params().get(name).unwrap().origin, Origin::Fitted { .. });
                    assert!(fitted_now || now == values(value), "{pair}: frozen `{name}` changed");
                    continue;
                }
                let gradients = gradients.as_ref().unwrap_or_else(|| panic!("{pair}: no step was made"));
                let gradient = gradients.get(name).unwrap_or_else(|| panic!("{pair}: `{name}` got no gradient"));
                if !compared.contains(&name.as_str()) {
                    if values(gradient).iter().any(|g| g.abs() > 1e-3) {
                        assert_ne!(now, values(value), "{pair}: `{name}` did not move");
                    }
                    continue;
                }
                let slope = |apart| slope(backbone, tag, &source, &start, name, apart);
                let (oracle, direction) = slope(2e-3);
                let ours: f64 = values(gradient).iter().zip(values(&direction)).map(|(g, d)| g * d).sum();
                let deep = compared.len() < start.len();
                let part = if deep { 0.25 } else { 0.08 };
                let agrees = (ours - oracle).abs() < 0.02 + part * oracle.abs();
                // A deep network may bend within the step that single precision needs: then half the step says something else.
                let bends = !agrees && deep && (slope(1e-3).0 - oracle).abs() > 0.1 * oracle.abs();
                assert!(agrees || bends, "{pair}: `{name}` along a direction: {ours}, from losses {oracle}");
                (tried, bent) = (tried + 1, bent + usize::from(bends));
                if oracle.abs() > 0.05 {
                    assert_ne!(now, values(value), "{pair}: `{name}` did not move");
                }
            }
            let learns =
                gradients.as_ref().map_or(0, |g| g.iter().filter(|(_, t)| values(t).iter().any(|v| *v != 0.0)).count());
            assert!(fitted || learns > 0, "{pair}: nothing was learned");
            pairs += 1;
        }
    }
    assert!(bent * 20 <= tried, "{bent} of {tried} slopes cannot be told");
    assert!(pairs >= 8, "only {pairs} pairs were tried");
}
