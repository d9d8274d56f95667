//! Backbones, strategies and trainer as libraries, without a pipeline file.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use transplant_core::{BuildCx, Dataset, Event, Kind, Params, Plugins, Result, Seeds, Spec};
use transplant_datasets::{CLASS, Draw, Loader, LoaderOptions, Optdigits};
use transplant_trainer::{Data, Io, Model, Parts, Precision, Recipe, evaluate, fit, metrics_of};

fn main() -> Result<()> {
    let plugins = Plugins::new()
        .with(transplant_backbones::plugin)
        .with(transplant_strategies::plugin)
        .with(transplant_tasks::plugin)
        .with(transplant_metrics::plugin)
        .with(transplant_trainer::plugin);
    let seeds = Seeds::new(1);
    let cx = BuildCx { plugins: &plugins, base: Path::new("."), seeds };

    let digits: Arc<dyn Dataset> = Arc::new(Optdigits::load()?);
    let parts = Draw { labels_per_class: Some(20), ..Draw::default() }.parts(&digits, CLASS, seeds)?;
    let train = Loader::train(&parts.train, LoaderOptions::new(32))?;
    let test = Loader::test(&parts.test, LoaderOptions::new(32))?;

    let mut model = Model::new(Parts {
        architecture: shared(&cx, Spec::new("convnet"))?,
        inputs: train.inputs().clone(),
        tasks: BTreeMap::from([("digit".to_owned(), shared(&cx, Spec::new("classification"))?)]),
        targets: train.targets().clone(),
        strategy: shared(&cx, Spec::new("structure"))?,
        params: Params::new(&Device::Cpu),
        seeds,
    })?;
    let recipe = Recipe {
        epochs: 20,
        optimiser: shared(&cx, Spec::new("adamw").with("lr", 3e-3))?,
        schedule: shared(&cx, Spec::new("one_cycle"))?,
        averaging: None,
        clip_norm: None,
        accumulate: 1,
        precision: Precision::F32,
        checkpoint_every_secs: f64::INFINITY,
    };
    let (stop, mut quiet) = (AtomicBool::new(false), |_: &Event| {});
    fit(&mut model, &recipe, &Data::target(train), &mut Io::new(&mut quiet, &stop))?;
    println!("accuracy {:.3}", metrics_of(&model, &evaluate(&model, &test)?)?["accuracy"]);
    Ok(())
}

fn shared<K: ?Sized + Kind>(cx: &BuildCx<'_>, spec: Spec<K>) -> Result<Arc<K>> {
    Ok(Arc::from(cx.make(&spec)?))
}
