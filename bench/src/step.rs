//! One network's evaluation forward and training step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};
use transplant_core::{
    Acts, Backbone, Ctx, Field, Gradients, HIDDEN, MASK, Mode, Optimiser, Params, Plan, Recording, Role, Scope, Seeds,
    TOKENS, UpdateAt, Use, backward_last,
};
use transplant_kernels::simd;
use transplant_ops::{Linear, ScopeExt, cross_entropy_rows, update_in_place};
use transplant_trainer::optimisers::{Sgd, SgdOptions};

use crate::network::{self, Reads};
use crate::{Engine, Limits, Peer, Timing, against};

const CLASSES: usize = 10;
/// Calls that are not timed: the second still takes memory that the first has freed.
const WARM_UP: usize = 2;

#[derive(Args, Clone)]
pub(crate) struct Flags {
    #[command(flatten)]
    case: Case,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    timing: Timing,
    #[command(flatten)]
    peer: Peer,
}

/// What is timed.
#[derive(Args, Clone)]
pub(crate) struct Case {
    /// The network, by the name that torchvision or timm gives it; `minilm` has the shape of all-MiniLM-L6-v2
    #[arg(long, default_value = "resnet18", value_parser = PossibleValuesParser::new(network::names()))]
    pub(crate) model: String,
    /// Height and width of the images, or tokens of a text
    #[arg(long, default_value_t = 32)]
    pub(crate) size: usize,
    /// Images or texts in a batch
    #[arg(long, default_value_t = 100)]
    pub(crate) batch: usize,
    /// Probability with which a network for texts drops outputs and attention weights in training, on both sides
    #[arg(long, default_value_t = DROPOUT)]
    pub(crate) dropout: f64,
    /// The last stage of the frozen part; there is no such setting on the other side
    #[arg(long, conflicts_with = "against")]
    pub(crate) freeze: Option<String>,
}

/// The default of BERT, here as in transformers.
pub(crate) const DROPOUT: f64 = 0.1;

/// Times the case on each number of threads; prints a line of JSON for each.
pub(crate) fn run(flags: &Flags) -> Result<()> {
    flags.limits.apply();
    let Flags { case, limits, timing, peer } = flags;
    for &threads in &limits.threads {
        let found = match peer.against {
            Some(Engine::Torch) => against::compare(case, limits, timing, peer, threads)?.json(case, timing, threads),
            None => {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
                pool.install(|| timed(case, timing, threads))?
            }
        };
        println!("{found}");
    }
    Ok(())
}

fn timed(case: &Case, timing: &Timing, threads: usize) -> Result<Value> {
    let at_start = peak_rss_mb();
    let _precision = timing.precision.enter();
    let seeds = Seeds::new(0);
    let network = network::named(&case.model)?;
    let (architecture, schema) = (network.architecture(case.dropout)?, network.inputs(case.size));
    let params = Params::new(&Device::Cpu);
    let build = |plan: Plan| -> Result<(Box<dyn Backbone>, Linear)> {
        let scope = Scope::new(&params, Arc::new(plan), seeds, DType::F32);
        let backbone = architecture.build(&schema, &scope.pp("backbone"))?;
        let Some(Field::Vector { width }) = architecture.features(&schema)?.get(HIDDEN).cloned() else {
            anyhow::bail!("`{}` puts out no vector", case.model)
        };
        Ok((backbone, scope.pp("head").linear(width, CLASSES)?))
    };
    build(Plan::default())?;
    let weights: Vec<String> =
        params.all().into_iter().filter(|(_, p)| p.role == Role::Weight).map(|(n, _)| n).collect();
    let inputs = inputs(network.reads, case)?;
    let labels: Vec<u32> = (0..case.batch).map(|i| (i % CLASSES) as u32).collect();
    let labels = Tensor::from_vec(labels, case.batch, &Device::Cpu)?;
    let rows: Vec<u64> = (0..case.batch as u64).collect();

    let logits = |net: &(Box<dyn Backbone>, Linear), mode: Mode, step: u64| -> Result<Tensor> {
        let mut cx = Ctx::new(mode, "target", step, &rows, seeds);
        let out = net.0.forward(inputs.clone(), 0..net.0.stages().len(), &mut cx)?;
        Ok(net.1.forward(out.get(HIDDEN)?)?)
    };

    let evaluated = build(Plan::frozen(weights.iter().map(String::as_str)))?;
    let forward_ms = median_ms(timing.repeats, || logits(&evaluated, Mode::Eval, 0).map(drop))?;

    let frozen = frozen(case, &architecture.stages(), &weights)?;
    let plan = Plan::frozen(frozen.iter().map(String::as_str));
    let net = build(plan.clone())?;
    let sgd = Sgd(SgdOptions { lr: 1e-3, ..SgdOptions::default() });
    let mut momenta: BTreeMap<String, Tensor> = BTreeMap::new();
    let mut count = 0;
    let train_step_ms = median_ms(timing.repeats, || {
        let recording = Recording::start()?;
        let loss = cross_entropy_rows(&logits(&net, Mode::Train, count)?, &labels, 0.0, None, None)?.mean_all()?;
        let mut g = Gradients::new(&params, |n| plan.use_of(n) != Use::Frozen);
        backward_last(&loss, &mut g)?;
        drop(recording);
        let at = UpdateAt { lr: sgd.lr(), weight_decay: 0.0, step: count };
        let update = sgd.in_place(at).context("SGD works in place")?;
        for (name, grad) in g.iter() {
            let value = params.get(name)?.view();
            if !momenta.contains_key(name) {
                momenta.insert(name.to_owned(), value.zeros_like()?);
            }
            update_in_place(&value, grad, &[&momenta[name]], |value, grad, slots| drop(update(value, grad, slots)))?;
        }
        count += 1;
        Ok(())
    })?;
    let peak = peak_rss_mb();
    Ok(json!({
        "model": case.model, "size": case.size, "batch": case.batch, "threads": threads,
        "precision": timing.precision.to_string(), "simd": simd::level().to_string(),
        "forward_ms": round(forward_ms), "train_step_ms": round(train_step_ms), "peak_rss_mb": peak,
        "above_start_mb": peak.zip(at_start).map(|(peak, start)| peak - start),
    }))
}

/// A batch; every text fills all its positions.
fn inputs(reads: Reads, case: &Case) -> Result<Acts> {
    let (batch, size) = (case.batch, case.size);
    Ok(match reads {
        Reads::Images => {
            let pixels: Vec<f32> = (0..batch * 3 * size * size).map(|i| ((i % 1013) as f32 * 0.37).sin()).collect();
            Acts::hidden(Tensor::from_vec(pixels, (batch, 3, size, size), &Device::Cpu)?)
        }
        Reads::Tokens => {
            let tokens: Vec<u32> = (0..batch * size).map(|i| (i * 7919 % 30_000) as u32).collect();
            let tokens = Tensor::from_vec(tokens, (batch, size), &Device::Cpu)?;
            Acts::new().with(TOKENS, tokens).with(MASK, Tensor::ones((batch, size), DType::F32, &Device::Cpu)?)
        }
    })
}

/// The weights of all stages up to the one that the case names.
fn frozen(case: &Case, stages: &[transplant_core::Stage], weights: &[String]) -> Result<Vec<String>> {
    let Some(last) = &case.freeze else { return Ok(Vec::new()) };
    let names: Vec<&str> = stages.iter().map(|s| s.name.as_str()).collect();
    let last = names.iter().position(|n| n == last).with_context(|| format!("no stage `{last}` among {names:?}"))?;
    let held = |n: &str| stages[..=last].iter().any(|s| s.holds(n));
    Ok(weights.iter().filter(|n| n.strip_prefix("backbone.").is_some_and(held)).cloned().collect())
}

fn median_ms(repeats: usize, mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..WARM_UP {
        f()?;
    }
    let mut times = Vec::with_capacity(repeats);
    for _ in 0..repeats.max(1) {
        let start = Instant::now();
        f()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(crate::median(times).unwrap_or_default())
}

fn round(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

/// The most memory this process has held so far; `None` where the system does not say.
fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kb| kb.div_ceil(1024))
}
