//! What a frozen prefix puts out is computed once for each row, view and content, and whether it was kept, and where, changes
//! no bit of what is trained.

mod file;
mod kept;
mod known;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use candle_core::{Device, Tensor};
use transplant_core::{
    Acts, Ctx, Event, HIDDEN, KeptIn, Result, Schema, Seeds, Spec, Stage, Strategy, Transform, TransformCx, Validation,
};
use transplant_datasets::{Loader, LoaderOptions};
use transplant_ops::{ScopeExt, relu};
use transplant_tests::{Memory, Net, classify, loader, make, model, normal, recipe};
use transplant_trainer::{Cache, CacheFiles, Data, Io, Precision, Recipe, fit};

const TRAIN: usize = 70;
const VALIDATION: usize = 20;

/// Adds noise of the row and epoch.
struct Noise;

impl Transform for Noise {
    fn schema(&self, inputs: &Schema) -> Result<Schema> {
        Ok(inputs.clone())
    }
    fn random(&self) -> bool {
        true
    }
    fn apply(&self, inputs: Acts, cx: &TransformCx<'_>) -> Result<Acts> {
        let of = |row: &u64| {
            let mut rng = cx.seeds.stream("noise", &[*row, cx.epoch]);
            (0..40).map(|_| normal(&mut rng)).collect::<Vec<_>>()
        };
        let noise: Vec<f32> = cx.rows.iter().flat_map(of).collect();
        let noise = Tensor::from_vec(noise, (cx.rows.len(), 40), &Device::Cpu)?;
        Ok(Acts::hidden((inputs.get(HIDDEN)? + noise)?))
    }
}

/// A training of a network of four stages, of which the first ones are frozen.
#[derive(Clone)]
struct Training {
    frozen_until: &'static str,
    epochs: u64,
    noise: bool,
    views: Option<u64>,
    validated: bool,
    precision: Precision,
    cache: Cache,
    checkpoints: Option<PathBuf>,
    /// Added to one weight of the first stage.
    changed: f32,
}

impl Default for Training {
    fn default() -> Self {
        let (noise, views, validated, checkpoints, changed) = (false, None, true, None, 0.0);
        let (frozen_until, cache, precision) = ("third", Cache::default(), Precision::F32);
        Self { frozen_until, epochs: 3, noise, views, validated, precision, cache, checkpoints, changed }
    }
}

/// What a training did.
#[derive(Debug)]
struct Did {
    weights: String,
    losses: Vec<f64>,
    /// Rows that went through the first stage, filled-up tiles included.
    ran: usize,
    /// By stream: where, computed, reused.
    kept: Vec<(String, KeptIn, usize, usize)>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

impl Did {
    fn computed(&self) -> usize {
        self.kept.iter().map(|(_, _, computed, _)| computed).sum()
    }
}

fn data() -> Arc<Memory> {
    let mut rng = Seeds::new(8).stream("rows", &[]);
    let y: Vec<u32> = (0..100).map(|i| i % 3).collect();
    let x = y.iter().map(|c| (0..40).map(|d| normal(&mut rng) + if *c == d { 1.5 } else { 0.0 }).collect()).collect();
    Arc::new(Memory::vectors(x, &y, 3, TRAIN))
}

impl Training {
    fn run(&self) -> Did {
        self.run_with(&mut |_| {})
    }

    /// Runs it while somebody else looks at the events.
    fn run_with(&self, look: &mut (dyn FnMut(&Event) + Send)) -> Did {
        self.attempt(look, &AtomicBool::new(false)).unwrap()
    }

    fn attempt(&self, look: &mut (dyn FnMut(&Event) + Send), stop: &AtomicBool) -> Result<Did> {
        let (data, ran) = (data(), Arc::new(AtomicUsize::new(0)));
        let layer = |name: &str, i: usize, net: Net| {
            let counted = (name == "first").then(|| ran.clone());
            net.stage(Stage::new(name), move |s| {
                let (layer, counted) = (s.pp("fc").linear(i, 24)?, counted.clone());
                Ok(move |acts: Acts, _: &mut Ctx| {
                    let x = acts.get(HIDDEN)?;
                    if let Some(counted) = &counted {
                        counted.fetch_add(x.dims()[0], Ordering::Relaxed);
                    }
                    Ok(Acts::hidden(relu(&layer.forward(x)?)?))
                })
            })
        };
        let net = layer("fourth", 24, layer("third", 24, layer("second", 24, layer("first", 40, Net::new(24)))));
        let strategy = Spec::<dyn Strategy>::new("parameter").with("freeze_until", self.frozen_until);
        let mut m = model(net, &data, &[("class", classify("class"))], Arc::from(make(strategy)));
        let mut source = m.params().snapshot(|_| true).unwrap();
        let weight = source.get_mut("backbone.first.fc.weight").unwrap();
        let mut values: Vec<f32> = weight.flatten_all().unwrap().to_vec1().unwrap();
        values[0] += self.changed;
        *weight = Tensor::from_vec(values, weight.shape(), &Device::Cpu).unwrap();
        m.load_source(&source, "itself", &["class".to_owned()]).unwrap();

        let options = || {
            let augment: Vec<Arc<dyn Transform>> = if self.noise { vec![Arc::new(Noise)] } else { Vec::new() };
            LoaderOptions { augment, views: self.views, ..loader(13) }
        };
        let mut streams = Data::target(Loader::train(&data.train(), options()).unwrap());
        if self.validated {
            let rows = Validation::new(data.clone(), (TRAIN as u64..(TRAIN + VALIDATION) as u64).collect());
            streams = streams.validated_on(Loader::validation(&rows, options()).unwrap());
        }
        let mut events = Vec::new();
        let mut listener = |e: &Event| {
            look(e);
            events.push(e.clone());
        };
        let (cache, checkpoints) = (self.cache.clone(), self.checkpoints.clone());
        let mut io = Io { cache, checkpoints, resume: true, ..Io::new(&mut listener, stop) };
        ran.store(0, Ordering::Relaxed);
        let recipe = Recipe { precision: self.precision, ..recipe(self.epochs, "sgd", 0.05) };
        let fitted = fit(&mut m, &recipe, &streams, &mut io)?;
        let (mut kept, mut notes, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        for e in events {
            match e {
                Event::PrefixKept { stream, from, computed, reused, .. } => {
                    kept.push((stream, from, computed, reused));
                }
                Event::Note { text } => notes.push(text),
                Event::Warning { text } => warnings.push(text),
                _ => {}
            }
        }
        let score = |r: &transplant_core::Report| [r.train_loss, r.score.unwrap_or(0.0)];
        let losses = fitted.history.iter().flat_map(score).collect();
        let weights = m.params().hash(|_| true).unwrap();
        Ok(Did { weights, losses, ran: ran.load(Ordering::Relaxed), kept, notes, warnings })
    }

    fn with(&self, cache: Cache) -> Self {
        Self { cache, ..self.clone() }
    }
}

fn off() -> Cache {
    Cache { enabled: false, ..Cache::default() }
}

/// A cache with a file for everything, and no memory beside it unless it is given.
fn filed(folder: &Path, memory_bytes: u64) -> Cache {
    let (network, identity) = ("net".to_owned(), "code and options".to_owned());
    let files = CacheFiles { folder: folder.to_owned(), limit_bytes: 1 << 30, least_work: 0, network, identity };
    Cache { enabled: true, memory_bytes, files: Some(files) }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()).collect()
}

/// The same weights, losses and scores.
fn assert_same(did: &Did, expected: &Did, what: &str) {
    assert_eq!((&did.weights, &did.losses), (&expected.weights, &expected.losses), "{what}");
}
