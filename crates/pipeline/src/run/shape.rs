//! The shape of a cell: its network built once without training, so that whatever does not fit is found at the door,
//! and so that `check` can tell what will be trained.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use transplant_core::{
    Field, HIDDEN, HeadFit, Invalid, ModelInfo, Needs, ParamInfo, Params, Pattern, Phase, Result, Role, Schema, Seeds,
    Strategy, Until, Use, epochs_of,
};
use transplant_trainer::{Model, Parts, frozen_stages};

use super::parts::Components;
use super::source::Source;
use crate::at;
use crate::resolved::Cell;

/// What cells of one step, data set and strategy have in common.
pub struct Shape {
    /// Inputs, transforms included.
    pub inputs: Schema,
    /// Stages and the numbers in their weights.
    pub stages: Vec<(String, usize)>,
    /// Numbers in all weights.
    pub parameters: usize,
    /// The phases of training.
    pub phases: Vec<PhaseShape>,
    /// Labelled and unlabelled streams.
    pub streams: Vec<String>,
    /// What to tell of the file of pretrained weights that it starts from.
    pub notes: Vec<String>,
    /// Tensors by name that training leaves, for what builds on this.
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// One of them that an adapter made, where adapters stay beside the weights.
    pub(crate) adapter: Option<String>,
}

impl Shape {
    /// Whether no step of training is made: all there is to fit is fitted at once.
    pub fn fits_at_once(&self) -> bool {
        self.phases.iter().all(|phase| phase.fitted)
    }
}

/// A phase of training.
pub struct PhaseShape {
    /// Its name.
    pub name: String,
    /// Numbers that are trained.
    pub trainable: usize,
    /// Stages at the front whose output does not change.
    pub frozen: Vec<String>,
    /// Numbers in the weights of those.
    pub frozen_weights: usize,
    /// Whether it fits in closed form or to convergence instead of step by step.
    pub fitted: bool,
}

/// Builds the network of a cell with everything the strategy asks of it. Key paths of errors start at the step.
pub(crate) fn shape(
    cell: &Cell,
    c: &Components,
    inputs: &Schema,
    targets: &Schema,
    source: Option<Source<'_>>,
) -> Result<Shape> {
    let needs = c.strategy.needs();
    let streams = streams(cell, &needs);
    c.architecture.features(inputs).map_err(at("backbone"))?;
    let parts = parts(c, inputs, targets, Params::blank(&Device::Cpu), Seeds::new(0));
    let mut model = Model::new(parts)?;
    // A network without weights is the same wherever it comes from.
    let blank = model.info().weights().all(|w| w.stage.is_none());
    if needs.source_required && source.is_none() && !blank {
        let e = Invalid::key("strategy", format!("`{}` needs a network to start from", cell.strategy));
        return Err(e.help("add `from = \"STEP\"`, or the name of weights").into());
    }
    let mut notes = Vec::new();
    if let Some(source) = source {
        let source = source.for_model(&model).map_err(at("from"))?;
        source.load(&mut model).map_err(at("from"))?;
        notes = source.notes;
    }
    model.plan(cell.trainer.epochs).map_err(at(&which_strategy(cell)))?;
    epochs_of(model.phases(), cell.trainer.epochs).map_err(|e| e.under("trainer.epochs"))?;
    let mut phases = Vec::new();
    for (i, phase) in model.phases().to_vec().iter().enumerate() {
        model.start_phase(i).map_err(at("strategy"))?;
        phases.push(phase_shape(&model, phase, &needs, &c.strategy.finish().remove));
    }
    model.finish().map_err(at("strategy"))?;
    let info = model.info();
    let numbers = |keep: &dyn Fn(&ParamInfo) -> bool| numbers(&info, keep);
    let mut tensors = model.params().snapshot(|_| true).map_err(at("backbone"))?;
    if let Some(head) = c.strategy.head() {
        tensors.retain(|name, _| !name.starts_with("heads."));
        let features = c.architecture.features(inputs).map_err(at("backbone"))?;
        tensors.extend(fitted(head.as_ref(), &features, &info.tasks).map_err(at("strategy"))?);
    }
    Ok(Shape {
        inputs: inputs.clone(),
        stages: info
            .stages
            .iter()
            .enumerate()
            .map(|(i, s)| (s.name.clone(), numbers(&|w| w.stage == Some(i))))
            .collect(),
        parameters: numbers(&|_| true),
        phases,
        streams,
        notes,
        tensors,
        adapter: info.params.iter().find(|p| p.role == Role::Adapter).map(|p| p.name.clone()),
    })
}

/// Tensors like those that a head will have when it was fitted.
fn fitted(head: &dyn HeadFit, features: &Schema, tasks: &BTreeMap<String, Field>) -> Result<BTreeMap<String, Tensor>> {
    let mut out = BTreeMap::new();
    for (task, field) in tasks {
        let Some(Field::Vector { width }) = features.get(HIDDEN) else { continue };
        for (name, shape) in head.shapes(*width, field) {
            out.insert(format!("heads.{task}.{name}"), Tensor::zeros(shape, DType::F32, &Device::Cpu)?);
        }
    }
    Ok(out)
}

/// The targets of a cell's tasks, by task.
pub(crate) fn fields(c: &Components, targets: &Schema) -> BTreeMap<String, Field> {
    c.tasks.iter().filter_map(|(name, task)| Some((name.clone(), targets.get(task.target())?.clone()))).collect()
}

/// Numbers in the weights, those of adapters among them, that `keep` names.
fn numbers(info: &ModelInfo, keep: &dyn Fn(&ParamInfo) -> bool) -> usize {
    let learned = info.params.iter().filter(|p| p.role.learned() && keep(p));
    learned.map(|p| p.shape.iter().product::<usize>()).sum()
}

/// What a phase looks like that the model has just begun.
fn phase_shape(model: &Model, phase: &Phase, needs: &Needs, remove: &[Pattern]) -> PhaseShape {
    let stays = |name: &str| !remove.iter().any(|p| p.matches(name));
    let (info, frozen) = (model.info(), frozen_stages(model, &phase.plan, &needs.taps));
    PhaseShape {
        name: phase.name.clone(),
        trainable: numbers(&info, &|w| stays(&w.name) && phase.plan.use_of(&w.name) != Use::Frozen),
        frozen: info.stages[..frozen].iter().map(|s| s.name.clone()).collect(),
        frozen_weights: numbers(&info, &|w| w.stage.is_some_and(|s| s < frozen)),
        fitted: phase.until == Until::Now,
    }
}

/// The streams of a step in words: those that the file names, and those without labels that the strategy needs beside
/// them, which have the rows that are not drawn.
fn streams(cell: &Cell, needs: &Needs) -> Vec<String> {
    let kind = |labels: bool| if labels { "labelled" } else { "unlabelled" };
    let named = cell.streams.iter().map(|(name, s)| format!("{name} ({})", kind(s.labels)));
    let needed = needs.unlabelled().filter(|n| !cell.streams.contains_key(*n));
    named.chain(needed.map(|name| format!("{name} (unlabelled)"))).collect()
}

/// What a model is made of.
pub(crate) fn parts(c: &Components, inputs: &Schema, targets: &Schema, params: Params, seeds: Seeds) -> Parts {
    Parts {
        architecture: c.architecture.clone(),
        inputs: inputs.clone(),
        tasks: c.tasks.clone(),
        targets: targets.clone(),
        strategy: Arc::clone(&c.strategy) as Arc<dyn Strategy>,
        params,
        seeds,
    }
}

/// Tasks whose labels are the same in both of two data sets: the same classes, or a number of the same name.
pub(crate) fn same_labels(here: &Components, targets: &Schema, there: &Components, source: &Schema) -> Vec<String> {
    let field = |c: &Components, schema: &Schema, task: &str| {
        let target = c.tasks.get(task)?.target();
        match schema.get(target)? {
            Field::Class { names } => Some((String::new(), Some(names.clone()))),
            Field::Number => Some((target.to_owned(), None)),
            _ => None,
        }
    };
    let same = |task: &&String| field(here, targets, task).is_some_and(|f| field(there, source, task) == Some(f));
    here.tasks.keys().filter(same).cloned().collect()
}

/// Tasks whose classes are the same in both of two data sets, in another order.
pub(crate) fn reordered_labels(
    here: &Components,
    targets: &Schema,
    there: &Components,
    source: &Schema,
) -> Vec<String> {
    let sorted = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    let reordered = |task: &&String| match (classes(here, targets, task), classes(there, source, task)) {
        (Some(ours), Some(theirs)) => ours != theirs && sorted(ours) == sorted(theirs),
        _ => false,
    };
    here.tasks.keys().filter(reordered).cloned().collect()
}

/// The classes of a task, where it has some.
fn classes<'a>(c: &Components, targets: &'a Schema, task: &str) -> Option<&'a [String]> {
    match targets.get(c.tasks.get(task)?.target())? {
        Field::Class { names } => Some(names),
        _ => None,
    }
}

/// Where an error of the composed strategy stands: with one strategy, at that one.
fn which_strategy(cell: &Cell) -> String {
    if cell.strategies.len() == 1 { "strategy.0".to_owned() } else { "strategy".to_owned() }
}
