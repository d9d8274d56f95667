//! Steps: their order, what they take over from each other, and what each of their runs is made of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use transplant_core::{Architecture, Invalid, Kind, Metric, Spec, Strategy, Validator, read_options};

use super::check::{Sections, component, components, some, trainer, under, unknown};
use super::section::StepSection;
use super::streams::{streams, streams_full, tests, tests_full};
use super::sweep::{Sweep, in_step, value_at};
use super::validators::validators;
use crate::resolved::{StreamSpec, TestSpec, TrainerSpec, WeightsSpec};

/// A key path.
pub(crate) type Path = Vec<String>;

/// A step with the runs of its sweep, seeds aside.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) from: Option<String>,
    pub(crate) sweep: Sweep,
    pub(crate) drafts: Vec<Draft>,
    /// Seeds of its runs.
    pub(crate) seeds: Vec<u64>,
    /// Whether no other step starts from it.
    pub(crate) last: bool,
}

impl Step {
    /// Whether it has several runs because the steps that start from it have several draws or folds.
    pub(crate) fn follows(&self) -> bool {
        self.sweep.axes.is_empty() && self.drafts.len() > 1
    }
}

/// What a run of a step is made of.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// The numbers of the values of the sweep's axes.
    pub(crate) pick: Vec<usize>,
    /// What it learns from, by name; at least one.
    pub(crate) streams: BTreeMap<String, StreamSpec>,
    /// What it is tested on, by name; `None`: the test part of its main data set.
    pub(crate) tests: Option<BTreeMap<String, TestSpec>>,
    pub(crate) held_out: Option<String>,
    pub(crate) backbone: Spec<dyn Architecture>,
    pub(crate) tasks: Vec<String>,
    /// Names of the strategies as they were written.
    pub(crate) names: Vec<String>,
    pub(crate) strategies: Vec<Spec<dyn Strategy>>,
    /// Draw and fold; `None`: whichever the steps that start from this one have.
    pub(crate) draw: Option<u64>,
    pub(crate) fold: Option<u64>,
    pub(crate) trainer: TrainerSpec,
    pub(crate) metrics: Vec<Spec<dyn Metric>>,
    pub(crate) select: Option<Spec<dyn Validator>>,
    pub(crate) validators: Vec<Spec<dyn Validator>>,
    pub(crate) test: Option<bool>,
    pub(crate) test_views: u64,
    /// The pretrained weights it starts from.
    pub(crate) weights: Option<String>,
    /// Draw and fold of the rows that it and the steps before it learn from, by the name of these rows; filled in when
    /// all steps are known.
    pub(crate) held: Held,
    /// The step as it could have been written, every default spelled out.
    pub(crate) full: Map<String, Value>,
    /// Key paths of the step whose values are written elsewhere, and where, from the top of the file.
    pub(crate) origins: Vec<(Path, Path)>,
}

impl Draft {
    /// The name of the data set of a step's main stream: the first with labels, by name, or the first of all.
    fn main_of(streams: &BTreeMap<String, StreamSpec>) -> &str {
        let labelled = streams.values().find(|s| s.labels);
        labelled.or_else(|| streams.values().next()).map_or("", |s| &s.dataset)
    }

    /// The name of the data set of its main stream.
    pub(crate) fn dataset(&self) -> &str {
        Self::main_of(&self.streams)
    }

    /// The names of all its data sets, of streams and of tests.
    pub(crate) fn datasets(&self) -> impl Iterator<Item = &str> {
        let tests = self.tests.iter().flatten().map(|(_, t)| t.dataset.as_str());
        self.streams.values().map(|s| s.dataset.as_str()).chain(tests)
    }

    /// The rows that it learns from, by the names of their data sets.
    pub(crate) fn rows<'s>(&'s self, sections: &'s Sections<'_>) -> impl Iterator<Item = &'s str> {
        self.streams.values().map(|s| sections.rows_of(&s.dataset))
    }
}

/// Draw and fold by rows.
pub(crate) type Held = BTreeMap<String, (u64, u64)>;

fn path(parts: &[&str]) -> Path {
    parts.iter().map(|&p| p.to_owned()).collect()
}

/// Steps so that each stands after the one it starts from, otherwise as in the file.
pub(crate) fn order(
    steps: &BTreeMap<String, Map<String, Value>>,
    names: &[String],
    weights: &BTreeMap<String, WeightsSpec>,
) -> Result<Vec<String>, Invalid> {
    let mut out: Vec<String> = Vec::new();
    for name in names {
        // The chain from this step back to one that is placed already or starts from nothing.
        let mut chain = vec![name.as_str()];
        loop {
            let step = chain[chain.len() - 1];
            let wrong = |message: String| in_step(step)(Invalid::key("from", message));
            let from = match steps.get(step).and_then(|s| s.get("from")) {
                None => break,
                Some(Value::String(from)) => from,
                Some(other) => {
                    return Err(wrong(format!("invalid type: {other}, expected a name of a step or of weights")));
                }
            };
            if weights.contains_key(from) {
                break;
            }
            if !steps.contains_key(from) {
                let known = names.iter().chain(weights.keys()).map(String::as_str).filter(|n| *n != step);
                return Err(in_step(step)(under("from")(unknown("step", from, known))));
            }
            if let Some(start) = chain.iter().position(|s| s == from) {
                let circle: Vec<&str> = chain[start..].iter().copied().chain([from.as_str()]).collect();
                return Err(wrong(format!("steps start from each other in a circle: {}", circle.join(" -> "))));
            }
            chain.push(from);
        }
        for step in chain.into_iter().rev() {
            if !out.iter().any(|o| o == step) {
                out.push(step.to_owned());
            }
        }
    }
    Ok(out)
}

/// Reads one step and the runs of its sweep; `chain` holds those it builds on, the nearest first. `named` finds the
/// table of a name in the file; errors start at the step.
pub(crate) fn read(
    name: &str,
    step: &Map<String, Value>,
    sections: &Sections<'_>,
    chain: &[&Step],
    named: &dyn Fn(&str, &str) -> Option<Value>,
) -> Result<Step, Invalid> {
    let sweep = Sweep::read(step)?;
    let mut drafts = Vec::new();
    for pick in sweep.picks() {
        let set = sweep.set(step, &pick, named)?;
        let drafted = read_options(Value::Object(set)).and_then(|section: StepSection| {
            let place = |at: Path| {
                let written = sweep.written(step, &pick, &Invalid { path: at, ..Invalid::new("") });
                [path(&["steps", name]), written].concat()
            };
            draft(&section, sections, chain, &place)
        });
        let mut draft = drafted.map_err(|e| Invalid { path: sweep.written(step, &pick, &e), ..e })?;
        for (axis, i) in sweep.axes.iter().zip(&pick) {
            let at = [path(&["steps", name]), axis.error(*i, "").path].concat();
            if let Some(option) = axis.key.strip_prefix(path(&["strategy"]).as_slice()).filter(|o| !o.is_empty()) {
                draft.origins.push(([path(&["strategy", "0"]), option.to_vec()].concat(), at.clone()));
            }
            draft.origins.push((axis.key.clone(), at));
        }
        draft.pick = pick;
        drafts.push(draft);
    }
    let from = chain.first().map(|f| f.name.clone());
    Ok(Step { name: name.to_owned(), from, sweep, drafts, seeds: Vec::new(), last: true })
}

/// One run of a step. `place` says where a key path of the step was written.
fn draft(
    step: &StepSection,
    sections: &Sections<'_>,
    chain: &[&Step],
    place: &dyn Fn(Path) -> Path,
) -> Result<Draft, Invalid> {
    if step.kind != "train" {
        return Err(under("type")(unknown("step of type", &step.kind, ["train"])));
    }
    let streams = streams(step, sections)?;
    let tests = tests(step, sections)?;
    let main = Draft::main_of(&streams).to_owned();
    let rows: BTreeSet<&str> = streams.values().map(|s| sections.rows_of(&s.dataset)).collect();
    let folds = streams.values().find_map(|s| sections.datasets[&s.dataset].folds);
    let earlier = |of: fn(&Draft) -> Option<u64>| {
        let mut same = chain.iter().filter(|s| s.drafts[0].rows(sections).any(|r| rows.contains(r)));
        same.find_map(|s| Some((s.name.as_str(), of(&s.drafts[0])?)))
    };
    let draw = one_of("draw", step.draw, earlier(|d| d.draw))?;
    let fold = one_of("fold", step.fold, earlier(|d| d.fold))?;
    let from = chain.first().map(|s| &s.drafts[0]);
    if fold.is_some_and(|fold| fold >= folds.unwrap_or(1)) {
        let e = Invalid::key(
            "fold",
            format!(
                "is {}, and the data set has {}",
                fold.unwrap_or_default(),
                folds.map_or("no `folds`".to_owned(), |n| format!("{n} folds, from 0"))
            ),
        );
        return Err(if folds.is_none() { e.help(format!("set `datasets.{main}.folds`")) } else { e });
    }
    let mut origins = vec![(path(&["dataset"]), path(&["datasets", &main]))];
    let (backbone, backbone_full) = backbone(step, sections, from, place, &mut origins)?;
    let tasks = tasks(step, sections, from)?;
    origins.extend(tasks.iter().map(|t| (path(&["tasks", t]), path(&["tasks", t]))));
    let (names, strategies, strategy_full) = strategies(step, sections, place, &mut origins)?;
    let trainer = trainer(&step.trainer, sections.plugins).map_err(under("trainer"))?;
    let metrics = components(sections.plugins, &step.metrics).map_err(under("metrics"))?;
    let (select, validators) = validators(step, sections)?;
    let metrics_full: Vec<Value> = metrics.iter().map(spelled).collect();
    let full = json!({
        "type": step.kind, "dataset": step.dataset, "streams": streams_full(step, &streams), "tests": tests_full(step),
        "held_out": step.held_out, "from": step.from, "backbone": backbone_full, "tasks": tasks,
        "strategy": strategy_full, "draw": draw, "fold": fold, "metrics": metrics_full, "test": step.test,
        "select": select.as_ref().map(spelled), "validators": validators.iter().map(spelled).collect::<Vec<_>>(),
        "test_views": step.test_views,
        "trainer": {
            "epochs": trainer.epochs, "batch_size": trainer.batch_size, "optimiser": spelled(&trainer.optimiser),
            "schedule": spelled(&trainer.schedule), "averaging": trainer.averaging.as_ref().map(spelled),
            "clip_norm": trainer.clip_norm, "accumulate": trainer.accumulate, "views": trainer.views,
            "class_balance": trainer.class_balance, "precision": trainer.precision,
            "policies": trainer.policies.iter().map(spelled).collect::<Vec<_>>(),
            "checkpoint_every_secs": trainer.checkpoint_every_secs,
        },
    });
    let full = full.as_object().cloned().unwrap_or_default();
    let held_out = step.held_out.clone();
    let (test, test_views) = (step.test, step.test_views);
    let weights = step.from.clone().filter(|from| sections.weights.contains_key(from));
    let pick = Vec::new();
    Ok(Draft {
        pick,
        streams,
        tests,
        held_out,
        backbone,
        tasks,
        names,
        strategies,
        draw,
        fold,
        trainer,
        metrics,
        select,
        validators,
        test,
        test_views,
        weights,
        held: Held::new(),
        full,
        origins,
    })
}

/// The draw or fold of a step on the rows of one it builds on, which has `earlier`: they may not differ.
fn one_of(key: &str, own: Option<u64>, earlier: Option<(&str, u64)>) -> Result<Option<u64>, Invalid> {
    match (own, earlier) {
        (Some(own), Some((step, theirs))) if own != theirs => {
            let message =
                format!("is {own}, and step `{step}`, which this one builds on, has {theirs} of the same rows");
            let e = Invalid::key(key, message);
            Err(e.help("it would be judged by rows that the other was trained on; leave one of the two out"))
        }
        (own, earlier) => Ok(own.or(earlier.map(|(_, theirs)| theirs))),
    }
}

fn backbone(
    step: &StepSection,
    sections: &Sections<'_>,
    from: Option<&Draft>,
    place: &dyn Fn(Path) -> Path,
    origins: &mut Vec<(Path, Path)>,
) -> Result<(Spec<dyn Architecture>, Value), Invalid> {
    let at = path(&["backbone"]);
    match (&step.backbone, from) {
        (Some(spec), _) => match sections.backbones.get(&spec.tag).filter(|_| spec.options.is_empty()) {
            Some(named) => {
                origins.push((at, path(&["backbones", &spec.tag])));
                Ok((named.clone(), spec.tag.clone().into()))
            }
            None => {
                let names: Vec<&str> = sections.backbones.keys().map(String::as_str).collect();
                let spec = component(sections.plugins, spec, &names).map_err(under("backbone"))?;
                origins.push((at.clone(), place(at)));
                let full = spelled(&spec);
                Ok((spec, full))
            }
        },
        (None, Some(from)) => {
            origins.extend(from.origins.iter().filter(|(key, _)| *key == at).cloned());
            Ok((from.backbone.clone(), from.full.get("backbone").cloned().unwrap_or_default()))
        }
        (None, None) => {
            let missing = || {
                Invalid::new("missing key `backbone`").help("or name a step in `from`, whose backbone is taken over")
            };
            let spec = of_asset(step, sections).ok_or_else(missing)?;
            let spec = component(sections.plugins, spec, &[]).map_err(under("from"))?;
            origins.push((at, place(path(&["from"]))));
            let full = spelled(&spec);
            Ok((spec, full))
        }
    }
}

/// The network of the catalogue's weights that a step starts from.
fn of_asset(step: &StepSection, sections: &Sections<'_>) -> Option<&'static Spec<dyn Architecture>> {
    let weights = sections.weights.get(step.from.as_ref()?)?;
    transplant_assets::find(weights.asset.as_ref()?).ok()?.architecture.as_ref()
}

fn tasks(step: &StepSection, sections: &Sections<'_>, from: Option<&Draft>) -> Result<Vec<String>, Invalid> {
    let Some(names) = &step.tasks else {
        return Ok(from.map_or_else(|| sections.tasks.keys().cloned().collect(), |f| f.tasks.clone()));
    };
    for (i, name) in names.iter().enumerate() {
        let wrong = |e| Err(under("tasks")(under(&i.to_string())(e)));
        if !sections.tasks.contains_key(name) {
            return wrong(unknown("task", name, sections.tasks.keys().map(String::as_str)));
        }
        if names[..i].contains(name) {
            return wrong(Invalid::new("stands in this list twice"));
        }
    }
    some(names.clone()).map_err(under("tasks"))
}

type Strategies = (Vec<String>, Vec<Spec<dyn Strategy>>, Value);

fn strategies(
    step: &StepSection,
    sections: &Sections<'_>,
    place: &dyn Fn(Path) -> Path,
    origins: &mut Vec<(Path, Path)>,
) -> Result<Strategies, Invalid> {
    let known: Vec<&str> = sections.strategies.keys().map(String::as_str).collect();
    let (mut names, mut strategies, mut full) = (Vec::new(), Vec::new(), Vec::new());
    for (i, spec) in step.strategy.specs.iter().enumerate() {
        let i = i.to_string();
        let at = if step.strategy.list { path(&["strategy", &i]) } else { path(&["strategy"]) };
        let origin = |n: usize, to| (path(&["strategy", &n.to_string()]), to);
        match sections.strategies.get(&spec.tag).filter(|_| spec.options.is_empty()) {
            Some(named) => {
                let place = path(&["strategies", &spec.tag]);
                origins.extend((0..named.len()).map(|n| origin(strategies.len() + n, place.clone())));
                strategies.extend(named.iter().cloned());
                full.push(Value::String(spec.tag.clone()));
            }
            None => {
                let checked = component(sections.plugins, spec, &known);
                let checked = checked.map_err(|e| Invalid { path: [at.as_slice(), &e.path].concat(), ..e })?;
                origins.push(origin(strategies.len(), place(at)));
                full.push(spelled(&checked));
                strategies.push(checked);
            }
        }
        names.push(spec.tag.clone());
    }
    let strategies = some(strategies).map_err(under("strategy"))?;
    let full = if full.len() == 1 { full.remove(0) } else { Value::Array(full) };
    Ok((names, strategies, full))
}

/// A component with all its options.
pub(crate) fn spelled<K: ?Sized + Kind>(spec: &Spec<K>) -> Value {
    if spec.options.is_empty() {
        return Value::String(spec.tag.clone());
    }
    let kind = [("type".to_owned(), Value::String(spec.tag.clone()))];
    Value::Object(kind.into_iter().chain(spec.options.clone()).collect())
}

/// Says who starts from whom, and spreads seeds over the chains: a step has the seeds of its sweep, otherwise those of
/// the step it starts from, otherwise the file's; and all that the steps starting from it need. Tells whether a step took the
/// file's.
pub(crate) fn spread_seeds(steps: &mut [Step], file_seed: u64) -> Result<bool, Invalid> {
    let position = |steps: &[Step], name: &Option<String>| steps.iter().position(|s| Some(&s.name) == name.as_ref());
    let mut asked: Vec<Option<Vec<u64>>> = Vec::new();
    for i in 0..steps.len() {
        let from = position(steps, &steps[i].from);
        let above = from.and_then(|f| asked[f].clone());
        asked.push(steps[i].sweep.seeds.clone().or(above));
        if let Some(from) = from {
            steps[from].last = false;
            if let Some(axis) = steps[from].sweep.axes.first() {
                let name = &steps[i].name;
                let e = axis.error(0, format!("only `seed` can be swept here, because `{name}` starts from this step"));
                let follows = ["draw", "fold"].contains(&axis.name().as_str());
                let e = if follows { e.help(format!("sweep it in `{name}`: this step follows")) } else { e };
                let path = e.path[..e.path.len() - 1].to_vec();
                return Err(in_step(&steps[from].name)(Invalid { path, ..e }));
            }
        }
    }
    let taken = steps.iter().zip(&asked).any(|(step, asked)| step.last && asked.is_none());
    for i in (0..steps.len()).rev() {
        let own = asked[i].clone().filter(|_| steps[i].last || steps[i].sweep.seeds.is_some());
        let own = own.unwrap_or_else(|| if steps[i].last { vec![file_seed] } else { Vec::new() });
        let needed = std::mem::take(&mut steps[i].seeds);
        let mut seeds = own;
        seeds.extend(needed.into_iter().filter(|s| !seeds.contains(s)).collect::<Vec<_>>());
        if let Some(from) = position(steps, &steps[i].from) {
            let more: Vec<u64> = seeds.iter().copied().filter(|s| !steps[from].seeds.contains(s)).collect();
            steps[from].seeds.extend(more);
        }
        steps[i].seeds = seeds;
    }
    Ok(taken)
}

/// Gives each step a run for every draw and fold that those building on it have of rows that it or a step before it
/// learns from, and says which they are where nobody did.
pub(crate) fn spread_draws(steps: &mut [Step], sections: &Sections<'_>) {
    let rows = |draft: &Draft| draft.rows(sections).map(str::to_owned).collect::<Vec<_>>();
    // The rows that each step and those before it learn from.
    let mut learned: Vec<BTreeSet<String>> = Vec::new();
    for step in steps.iter() {
        let above = steps.iter().position(|s| Some(&s.name) == step.from.as_ref());
        let above = above.and_then(|i| learned.get(i).cloned()).unwrap_or_default();
        learned.push(above.into_iter().chain(step.drafts.iter().flat_map(rows)).collect());
    }
    for i in (0..steps.len()).rev() {
        let (earlier, later) = steps.split_at_mut(i + 1);
        let step = &mut earlier[i];
        let mut needed: Vec<Held> = Vec::new();
        for draft in later.iter().filter(|s| s.from.as_ref() == Some(&step.name)).flat_map(|s| &s.drafts) {
            let held: Held = draft.held.clone().into_iter().filter(|(rows, _)| learned[i].contains(rows)).collect();
            let within = |a: &Held, b: &Held| a.iter().all(|(rows, pair)| b.get(rows) == Some(pair));
            if !needed.iter().any(|n| within(&held, n)) {
                needed.retain(|n| !within(n, &held));
                needed.push(held);
            }
        }
        if !needed.is_empty() {
            let own = step.drafts[0].clone();
            let of = |held: Held| {
                let pair = rows(&own).iter().find_map(|rows| held.get(rows).copied());
                let (draw, fold) = (pair.map(|p| p.0).or(own.draw), pair.map(|p| p.1).or(own.fold));
                Draft { draw, fold, held, ..own.clone() }
            };
            step.drafts = needed.into_iter().map(of).collect();
        }
        for draft in &mut step.drafts {
            let (own, pair) = (rows(draft), (*draft.draw.get_or_insert(0), *draft.fold.get_or_insert(0)));
            draft.held.extend(own.into_iter().map(|rows| (rows, pair)));
        }
        for (key, of) in [("draw", (|d| d.draw) as fn(&Draft) -> Option<u64>), ("fold", |d| d.fold)] {
            // Of one that follows others the file does not say which.
            let differs = step.follows() && step.drafts.iter().any(|d| of(d) != of(&step.drafts[0]));
            for draft in &mut step.drafts {
                let value = of(draft).filter(|_| !differs);
                draft.full.insert(key.to_owned(), value.into());
            }
        }
    }
}

/// The value of an axis as it could have been written in full.
pub(crate) fn full_value(step: &Step, axis: usize, value: usize) -> Value {
    let axis_of = &step.sweep.axes[axis];
    let draft = step.drafts.iter().find(|d| d.pick[axis] == value);
    let full = draft.and_then(|d| value_at(&d.full, &axis_of.key)).filter(|v| !v.is_null());
    full.cloned().unwrap_or_else(|| axis_of.values[value].clone())
}
