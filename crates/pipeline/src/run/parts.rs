//! The components of a cell, built and checked against each other before anything is trained.

use std::collections::BTreeMap;
use std::sync::Arc;

use transplant_core::{
    Architecture, BuildCx, Field, Invalid, Metric, Policy, Predictions, Result, Schema, Spec, Strategy, Task, Validator,
};
use transplant_trainer::{NamedValidator, Recipe, Validators};

use super::compare::Measure;
use crate::at;
use crate::resolved::{Cell, validator_name};

/// A cell's components.
#[derive(Clone)]
pub struct Components {
    /// The network.
    pub architecture: Arc<dyn Architecture>,
    /// Tasks by name.
    pub tasks: BTreeMap<String, Arc<dyn Task>>,
    /// The strategies, composed.
    pub strategy: Arc<dyn Strategy>,
    /// How training goes.
    pub recipe: Recipe,
    /// All metrics by the name they have in the summary.
    pub measures: BTreeMap<String, Measure>,
    /// The metric by which the cell is judged: the first of the task that the step names first, or of the next that has
    /// one.
    pub main_metric: Option<String>,
}

/// Builds the components of a cell for targets of this schema. Key paths of errors start at the step.
pub(crate) fn build(cell: &Cell, targets: &Schema, cx: &BuildCx<'_>) -> Result<Components> {
    let architecture = cx.make(&cell.backbone).map_err(at("backbone"))?;
    let mut tasks = BTreeMap::new();
    for (name, spec) in &cell.tasks {
        let here = format!("tasks.{name}");
        let task: Arc<dyn Task> = cx.make(spec).map_err(at(&here))?.into();
        if !targets.contains_key(task.target()) {
            let there = targets.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let e = Invalid::key(
                "target",
                format!("data set `{}` has no target `{}`", cell.datasets().join("`, `"), task.target()),
            );
            return Err(e.help(format!("it has: {there}")).under(&here).into());
        }
        tasks.insert(name.clone(), task);
    }
    let t = &cell.trainer;
    let recipe = Recipe {
        epochs: t.epochs,
        optimiser: cx.make(&t.optimiser).map_err(at("trainer.optimiser"))?.into(),
        schedule: cx.make(&t.schedule).map_err(at("trainer.schedule"))?.into(),
        averaging: t
            .averaging
            .as_ref()
            .map(|a| cx.make(a))
            .transpose()
            .map_err(at("trainer.averaging"))?
            .map(Into::into),
        clip_norm: t.clip_norm,
        accumulate: t.accumulate,
        precision: t.precision,
        checkpoint_every_secs: t.checkpoint_every_secs,
    };
    policies(cell, cx)?;
    let (measures, main_metric) = measures(cell, &tasks, targets, cx)?;
    let architecture: Arc<dyn Architecture> = architecture.into();
    Ok(Components { architecture, tasks, strategy: strategy(cell, cx)?, recipe, measures, main_metric })
}

/// Policies have state, so each fit gets its own.
pub(crate) fn policies(cell: &Cell, cx: &BuildCx<'_>) -> Result<Vec<Box<dyn Policy>>> {
    let make = |(i, spec)| cx.make(spec).map_err(at(&format!("trainer.policies.{i}")));
    cell.trainer.policies.iter().enumerate().map(make).collect()
}

/// What scores the models of a cell without labels.
pub(crate) fn validators(cell: &Cell, cx: &BuildCx<'_>) -> Result<Validators> {
    let make = |spec: &Spec<dyn Validator>, key: &str| -> Result<NamedValidator> {
        Ok(NamedValidator { name: validator_name(spec), validator: cx.make(spec).map_err(at(key))?.into() })
    };
    let told = cell.validators.iter().enumerate().map(|(i, spec)| make(spec, &format!("validators.{i}")));
    let select = cell.select.as_ref().map(|spec| make(spec, "select")).transpose()?;
    Ok(Validators { select, told: told.collect::<Result<_>>()? })
}

fn strategy(cell: &Cell, cx: &BuildCx<'_>) -> Result<Arc<dyn Strategy>> {
    let mut all = Vec::new();
    for (i, spec) in cell.strategies.iter().enumerate() {
        all.push((spec.tag.clone(), cx.make(spec).map_err(at(&format!("strategy.{i}")))?));
    }
    Ok(transplant_strategies::compose(all).map_err(at("strategy"))?.into())
}

/// Tasks with their names, that which the step names first before the others: it decides by what the step is judged.
pub(super) fn in_order<'t, T>(
    cell: &Cell,
    tasks: &'t BTreeMap<String, T>,
) -> impl Iterator<Item = (&'t String, &'t T)> {
    let first = cell.first_task.as_ref().and_then(|name| tasks.get_key_value(name));
    let is_first = move |name: &String| first.is_some_and(|(first, _)| first == name);
    first.into_iter().chain(tasks.iter().filter(move |(name, _)| !is_first(name)))
}

type Measures = (BTreeMap<String, Measure>, Option<String>);

fn measures(
    cell: &Cell,
    tasks: &BTreeMap<String, Arc<dyn Task>>,
    targets: &Schema,
    cx: &BuildCx<'_>,
) -> Result<Measures> {
    let mut out = BTreeMap::new();
    let mut main = None;
    let mut add = |task: &String, metric: Arc<dyn Metric>| {
        let name = if tasks.len() == 1 { metric.name() } else { format!("{task}.{}", metric.name()) };
        main.get_or_insert_with(|| name.clone());
        out.insert(name, Measure { task: task.clone(), metric });
    };
    for (name, task) in in_order(cell, tasks) {
        task.metrics().into_iter().for_each(|m| add(name, m));
    }
    for (i, spec) in cell.metrics.iter().enumerate() {
        let metric: Arc<dyn Metric> = cx.make(spec).map_err(at(&format!("metrics.{i}")))?.into();
        let tries = tasks.iter().map(|(n, t)| (n, metric.compute(&example(targets.get(t.target())))));
        let (suited, unsuited): (Vec<_>, Vec<_>) = tries.partition(|(_, tried)| tried.is_ok());
        if let (true, Some((_, Err(e)))) = (suited.is_empty(), unsuited.into_iter().next()) {
            return Err(at(&format!("metrics.{i}"))(e));
        }
        suited.into_iter().for_each(|(name, _)| add(name, metric.clone()));
    }
    Ok((out, main))
}

/// Predictions for one row, to see whether a metric suits a target.
fn example(field: Option<&Field>) -> Predictions {
    match field {
        Some(Field::Class { names }) => {
            let scores = vec![1.0 / names.len().max(1) as f32; names.len()];
            Predictions::Class { names: names.clone(), labels: vec![Some(0)], scores }
        }
        _ => Predictions::Number { labels: vec![Some(0.0)], values: vec![0.0] },
    }
}
