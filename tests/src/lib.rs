//! What the whole-program tests of Transplant share: data in memory, small networks, a short way to train, and weights
//! as PyTorch writes them.
#![allow(missing_docs, reason = "this crate serves tests only")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "this crate serves tests only")]

mod spy;
mod torch;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::{DType, Device, Tensor};
use rand::Rng;
use transplant_core::{
    Acts, Architecture, Backbone, Batch, BuildCx, Component, Ctx, Dataset, Event, Fed, Field, HIDDEN, Kind, Labels,
    Params, Plugins, Result, Roles, Schema, Scope, Seeds, Spec, Stage, Strategy, Stream, StreamNeed, Supervise, Target,
    Targets, Task, Test, Train, Unlabelled, Update,
};
use transplant_datasets::{Loader, LoaderOptions};
use transplant_trainer::{Data, Fit, Io, Model, Parts, Precision, Recipe, evaluate, fit, metrics_of};

pub use spy::{Calls, Spy};
pub use torch::save_torch;

/// A data set in memory. With `whole`, a batch holds all rows and selects those asked about, as a graph does.
pub struct Memory {
    pub acts: Acts,
    pub inputs: Schema,
    pub labels: BTreeMap<String, (Field, Target)>,
    pub targets: Schema,
    pub roles: Roles,
    pub whole: bool,
}

impl Memory {
    pub fn new(acts: Acts, inputs: Schema, labels: BTreeMap<String, (Field, Target)>, roles: Roles) -> Self {
        let targets = labels.iter().map(|(n, (f, _))| (n.clone(), f.clone())).collect();
        Self { acts, inputs, labels, targets, roles, whole: false }
    }

    /// Vectors with one class target `class`; the first `train` rows are the pool, the others the test part.
    pub fn vectors(x: Vec<Vec<f32>>, y: &[u32], classes: usize, train: usize) -> Self {
        let (n, width) = (x.len(), x[0].len());
        let hidden = Tensor::from_vec(x.concat(), (n, width), &Device::Cpu).unwrap();
        let inputs = Schema::from([("hidden".into(), Field::Vector { width })]);
        let roles =
            Roles { pool: (0..train as u64).collect(), validation: vec![], test: (train as u64..n as u64).collect() };
        Self::new(Acts::hidden(hidden), inputs, BTreeMap::from([("class".into(), classes_target(y, classes))]), roles)
    }

    pub fn train(self: &Arc<Self>) -> Train {
        Train::new(self.clone(), self.roles.pool.clone())
    }

    pub fn unlabelled(self: &Arc<Self>) -> Unlabelled {
        Unlabelled::new(self.clone(), self.roles.pool.clone())
    }

    pub fn test(self: &Arc<Self>) -> Test {
        Test::new(self.clone(), self.roles.test.clone())
    }
}

pub fn classes_target(y: &[u32], classes: usize) -> (Field, Target) {
    let names = (0..classes).map(|c| c.to_string()).collect();
    (Field::Class { names }, Target::known(Tensor::new(y, &Device::Cpu).unwrap()))
}

impl Dataset for Memory {
    fn inputs(&self) -> &Schema {
        &self.inputs
    }

    fn targets(&self) -> &Schema {
        &self.targets
    }

    fn roles(&self) -> &Roles {
        &self.roles
    }

    fn classes_of(&self, target: &str) -> Result<Vec<Option<u32>>> {
        Ok(self.labels[target].1.values.to_vec1::<u32>()?.into_iter().map(Some).collect())
    }

    fn batch(&self, rows: &[u64]) -> Result<Batch> {
        let at = Tensor::new(rows.iter().map(|r| *r as u32).collect::<Vec<_>>(), &Device::Cpu)?;
        let pick = |t: &Tensor| t.index_select(&at, 0);
        let targets = self.labels.iter().map(|(n, (_, t))| {
            Ok((n.clone(), Target { values: pick(&t.values)?, present: t.present.as_ref().map(pick).transpose()? }))
        });
        let targets: Targets = targets.collect::<Result<_>>()?;
        if self.whole {
            return Ok(Batch { inputs: self.acts.clone(), targets, rows: rows.to_vec(), select: Some(at) });
        }
        Ok(Batch::new(self.acts.map(|_, t| Ok(pick(t)?))?, targets, rows.to_vec()))
    }

    fn content_hash(&self) -> String {
        "memory".into()
    }
}

type Forward = Box<dyn Fn(Acts, &mut Ctx) -> Result<Acts> + Send + Sync>;
type StageFn = Arc<dyn Fn(&Scope) -> Result<Forward> + Send + Sync>;

/// A network given by a function a stage: the shortest way to an [`Architecture`] in a test.
pub struct Net {
    pub stages: Vec<(Stage, StageFn)>,
    pub width: usize,
}

impl Net {
    pub fn new(width: usize) -> Self {
        Self { stages: Vec::new(), width }
    }

    #[must_use]
    pub fn stage<F, G>(mut self, stage: Stage, make: F) -> Self
    where
        F: Fn(&Scope) -> Result<G> + Send + Sync + 'static,
        G: Fn(Acts, &mut Ctx) -> Result<Acts> + Send + Sync + 'static,
    {
        self.stages.push((stage, Arc::new(move |s| Ok(Box::new(make(s)?)))));
        self
    }
}

struct Built {
    stages: Vec<Stage>,
    run: Vec<Forward>,
}

impl Architecture for Net {
    fn stages(&self) -> Vec<Stage> {
        self.stages.iter().map(|(s, _)| s.clone()).collect()
    }

    fn build(&self, _: &Schema, scope: &Scope) -> Result<Box<dyn Backbone>> {
        let run = self.stages.iter().map(|(s, make)| make(&scope.stage(s).pp(&s.name))).collect::<Result<_>>()?;
        Ok(Box::new(Built { stages: self.stages(), run }))
    }

    fn features(&self, _: &Schema) -> Result<Schema> {
        Ok(Schema::from([("hidden".into(), Field::Vector { width: self.width })]))
    }
}

impl Backbone for Built {
    fn stage(&self, index: usize, acts: Acts, cx: &mut Ctx) -> Result<Acts> {
        self.run[index](acts, cx)
    }

    fn stages(&self) -> &[Stage] {
        &self.stages
    }
}

/// A component from the built-in catalogue.
pub fn make<K: ?Sized + Kind>(spec: Spec<K>) -> Box<K> {
    let plugins = transplant_pipeline::builtin();
    plugins.build(&spec, &BuildCx { plugins: &plugins, base: Path::new("."), seeds: Seeds::new(0) }).unwrap()
}

/// A component of one's own, built from its default options.
pub fn own<K: ?Sized + Kind, C: Component<K> + 'static>() -> Box<K> {
    let plugins = Plugins::new().with(|p| p.add::<K, C>());
    plugins
        .build(&Spec::new(C::TYPE), &BuildCx { plugins: &plugins, base: Path::new("."), seeds: Seeds::new(0) })
        .unwrap()
}

/// The classification task on the target of this name.
pub fn classify(target: &str) -> Arc<dyn Task> {
    Arc::from(make(Spec::<dyn Task>::new("classification").with("target", target)))
}

pub fn recipe(epochs: u64, optimiser: &str, lr: f64) -> Recipe {
    Recipe {
        epochs,
        optimiser: Arc::from(make(Spec::new(optimiser).with("lr", lr))),
        schedule: Arc::from(make(Spec::new("constant"))),
        averaging: None,
        clip_norm: None,
        accumulate: 1,
        precision: Precision::F32,
        checkpoint_every_secs: f64::INFINITY,
    }
}

/// Fresh parameters of a network for images of this height and width, by the network's own names.
pub fn parameters(network: &dyn Architecture, channels: usize, size: usize) -> (Params, Schema) {
    let (params, inputs) = (Params::new(&Device::Cpu), Field::Image { channels, height: size, width: size });
    let inputs = Schema::from([(HIDDEN.to_owned(), inputs)]);
    drop(network.build(&inputs, &Scope::new(&params, Arc::default(), Seeds::new(0), DType::F32)).unwrap());
    (params, inputs)
}

pub fn model(
    net: impl Architecture + 'static,
    data: &Memory,
    tasks: &[(&str, Arc<dyn Task>)],
    strategy: Arc<dyn Strategy>,
) -> Model {
    Model::new(Parts {
        architecture: Arc::new(net),
        inputs: data.inputs.clone(),
        tasks: tasks.iter().map(|(n, t)| ((*n).to_owned(), t.clone())).collect(),
        targets: data.targets.clone(),
        strategy,
        params: Params::new(&Device::Cpu),
        seeds: Seeds::new(7),
    })
    .unwrap()
}

/// The streams that a strategy needs, all of the same rows: by its names, or `target`.
pub fn data_for(strategy: &dyn Strategy, rows: &Arc<Memory>, options: &LoaderOptions) -> Data {
    let needs = strategy.needs();
    if needs.streams.is_empty() {
        return Data::target(Loader::train(&rows.train(), options.clone()).unwrap());
    }
    let mut data = Data::default();
    for StreamNeed { name, labels } in needs.streams {
        match labels {
            Labels::Learned => {
                data.labelled.insert(name, Loader::train(&rows.train(), options.clone()).unwrap());
            }
            Labels::None => {
                data.unlabelled.insert(name, Loader::unlabelled(&rows.unlabelled(), options.clone()).unwrap());
            }
        }
    }
    if data.labelled.is_empty() && strategy.supervises(&Update::default()) == Supervise::Labelled {
        data.labelled.insert("labelled".into(), Loader::train(&rows.train(), options.clone()).unwrap());
    }
    data
}

pub fn loader(batch_size: usize) -> LoaderOptions {
    LoaderOptions { seeds: Seeds::new(3), ..LoaderOptions::new(batch_size) }
}

pub fn train(model: &mut Model, recipe: &Recipe, data: &Data) -> Fit {
    let (stop, mut quiet) = (AtomicBool::new(false), |_: &Event| {});
    fit(model, recipe, data, &mut Io::new(&mut quiet, &stop)).unwrap()
}

/// A metric on the test part.
pub fn tested(model: &Model, data: &Arc<Memory>, metric: &str) -> f64 {
    let feed: Fed<Test> = Loader::test(&data.test(), loader(64)).unwrap();
    metrics_of(model, &evaluate(model, &feed).unwrap()).unwrap()[metric]
}

/// A standard normal number.
pub fn normal(rng: &mut Stream) -> f32 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

pub fn zeros(shape: impl Into<candle_core::Shape>) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}
