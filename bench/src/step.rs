//! One network's evaluation forward and training step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use transplant_core::{
    Acts, Backbone, Ctx, Field, Gradients, HIDDEN, Mode, Optimiser, Params, Plan, Recording, Role, Schema, Scope,
    Seeds, UpdateAt, Use, backward_last,
};
use transplant_ops::{Linear, ScopeExt, cross_entropy_rows, update_in_place};
use transplant_trainer::optimisers::{Sgd, SgdOptions};

use crate::{Case, network};

const CLASSES: usize = 10;

/// Times a case, on as many threads as it says.
pub(crate) fn run(case: &Case) -> Result<Value> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(case.threads).build()?;
    pool.install(|| timed(case))
}

fn timed(case: &Case) -> Result<Value> {
    let _precision = case.precision.enter();
    let seeds = Seeds::new(0);
    let architecture = network::named(&case.model)?;
    let inputs = Schema::from([(HIDDEN.to_owned(), Field::Image { channels: 3, height: case.size, width: case.size })]);
    let params = Params::new(&Device::Cpu);
    let build = |plan: Plan| -> Result<(Box<dyn Backbone>, Linear)> {
        let scope = Scope::new(&params, Arc::new(plan), seeds, DType::F32);
        let backbone = architecture.build(&inputs, &scope.pp("backbone"))?;
        let Some(Field::Vector { width }) = architecture.features(&inputs)?.get(HIDDEN).cloned() else {
            anyhow::bail!("`{}` puts out no vector", case.model)
        };
        Ok((backbone, scope.pp("head").linear(width, CLASSES)?))
    };
    build(Plan::default())?;
    let weights: Vec<String> =
        params.all().into_iter().filter(|(_, p)| p.role == Role::Weight).map(|(n, _)| n).collect();
    let pixels = case.batch * 3 * case.size * case.size;
    let x: Vec<f32> = (0..pixels).map(|i| ((i % 1013) as f32 * 0.37).sin()).collect();
    let x = Tensor::from_vec(x, (case.batch, 3, case.size, case.size), &Device::Cpu)?;
    let labels: Vec<u32> = (0..case.batch).map(|i| (i % CLASSES) as u32).collect();
    let labels = Tensor::from_vec(labels, case.batch, &Device::Cpu)?;
    let rows: Vec<u64> = (0..case.batch as u64).collect();

    let logits = |net: &(Box<dyn Backbone>, Linear), mode: Mode, step: u64| -> Result<Tensor> {
        let mut cx = Ctx::new(mode, "target", step, &rows, seeds);
        let out = net.0.forward(Acts::hidden(x.clone()), 0..net.0.stages().len(), &mut cx)?;
        Ok(net.1.forward(out.get(HIDDEN)?)?)
    };

    let evaluated = build(Plan::frozen(weights.iter().map(String::as_str)))?;
    let forward_ms = median(case.repeats, || logits(&evaluated, Mode::Eval, 0).map(drop))?;

    let frozen = frozen(case, &architecture.stages(), &weights)?;
    let plan = Plan::frozen(frozen.iter().map(String::as_str));
    let net = build(plan.clone())?;
    let sgd = Sgd(SgdOptions { lr: 1e-3, ..SgdOptions::default() });
    let mut momenta: BTreeMap<String, Tensor> = BTreeMap::new();
    let mut count = 0;
    let train_step_ms = median(case.repeats, || {
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
            update_in_place(&value, grad, &[&momenta[name]], &update)?;
        }
        count += 1;
        Ok(())
    })?;
    Ok(json!({
        "model": case.model, "size": case.size, "batch": case.batch, "threads": case.threads,
        "precision": case.precision.to_string(),
        "forward_ms": round(forward_ms), "train_step_ms": round(train_step_ms), "peak_rss_mb": peak_rss_mb(),
    }))
}

/// The weights of all stages up to the one that the case names.
fn frozen(case: &Case, stages: &[transplant_core::Stage], weights: &[String]) -> Result<Vec<String>> {
    let Some(last) = &case.freeze else { return Ok(Vec::new()) };
    let names: Vec<&str> = stages.iter().map(|s| s.name.as_str()).collect();
    let last = names.iter().position(|n| n == last).with_context(|| format!("no stage `{last}` among {names:?}"))?;
    let held = |n: &str| stages[..=last].iter().any(|s| s.holds(n));
    Ok(weights.iter().filter(|n| n.strip_prefix("backbone.").is_some_and(held)).cloned().collect())
}

fn median(repeats: usize, mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    f()?;
    let mut times = Vec::with_capacity(repeats);
    for _ in 0..repeats.max(1) {
        let start = Instant::now();
        f()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2.0)
}

fn round(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

/// The most memory this process has held; `None` where the system does not say.
fn peak_rss_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kb| kb.div_ceil(1024))
}
