//! [`Model`]: a network, its tasks and the strategy that trains it, over one store of parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use transplant_core::{
    Acts, Architecture, Backbone, Batch, Ctx, Error, Feed, Field, Forward, Invalid, Load, Mode, ModelInfo, Module,
    Modules, Origin, ParamInfo, Params, Pattern, Phase, Plan, Result, Role, Schema, Scope, Seeds, Strategy, Task,
    Within, rows_in_words,
};

use crate::kept::Kept;
use crate::prefix::{Tiles, all_stay, in_tiles};

/// What a model is made of.
#[derive(Clone)]
pub struct Parts {
    /// The network's description.
    pub architecture: Arc<dyn Architecture>,
    /// What the network is given, transforms included.
    pub inputs: Schema,
    /// Tasks by name.
    pub tasks: BTreeMap<String, Arc<dyn Task>>,
    /// What the targets are.
    pub targets: Schema,
    /// The strategy.
    pub strategy: Arc<dyn Strategy>,
    /// The store, usually empty.
    pub params: Params,
    /// Where fresh weights and all randomness of training come from.
    pub seeds: Seeds,
}

/// A network with heads and modules, built under one plan.
pub(crate) struct Network {
    pub(crate) backbone: Box<dyn Backbone>,
    /// What the backbone says it puts out; other activations end here.
    features: Schema,
    pub(crate) heads: BTreeMap<String, Box<dyn Module>>,
    pub(crate) modules: Modules,
}

impl Network {
    /// Runs stages `from..` on `acts`, then the heads on the rows that `pick` chooses.
    pub(crate) fn forward(&self, acts: Acts, from: usize, pick: Option<&Tensor>, cx: &mut Ctx) -> Result<Forward> {
        let stages = self.backbone.stages().len();
        let out = self.backbone.forward(acts, from..stages, cx)?;
        let feature = |name: &String| {
            let t = out.get(name)?;
            Ok((name.clone(), pick.map_or_else(|| Ok(t.clone()), |at| t.index_select(at, 0))?))
        };
        let features = self.features.keys().map(feature).collect::<Result<Acts>>()?;
        let outputs = self.heads.iter().map(|(name, head)| {
            let out = head.forward(&features, cx);
            Ok((name.clone(), out.within(|| format!("head of task `{name}`, {}", rows_in_words(&cx.rows)))?))
        });
        let outputs = outputs.collect::<Result<_>>()?;
        Ok(Forward { features, taps: std::mem::take(&mut cx.tapped), outputs })
    }
}

/// A network, its tasks and its strategy.
pub struct Model {
    pub(crate) parts: Parts,
    pub(crate) eval: Network,
    kept_heads: Vec<String>,
    has_source: bool,
    /// Epochs of the fit it was planned for.
    epochs: u64,
    /// What the strategy answered for that fit.
    phases: Vec<Phase>,
    /// The phase it is in, or was in last.
    phase: usize,
    /// The adapters that stand beside its layers now.
    pub(crate) adapters: Plan,
    /// What the strategy has removed at the end of a fit, and so is not there.
    pub(crate) removed: Vec<Pattern>,
}

/// What the classes of a source are to those of a model that starts from it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SourceLabels<'a> {
    /// Tasks whose classes are the same there, in the same order.
    pub same: &'a [String],
    /// Tasks whose classes are the same there, in another order: a head is not taken for them.
    pub reordered: &'a [String],
}

impl Model {
    /// Builds the network once, so that every parameter exists.
    ///
    /// # Errors
    /// When the inputs do not fit the network, a task's target is not in the data, or existing parameters have other
    /// shapes. The key of the error begins with the component: `backbone`, `tasks.NAME` or `strategy`.
    pub fn new(parts: Parts) -> Result<Self> {
        let features = parts.architecture.features(&parts.inputs)?;
        let (stages, tasks) = (parts.architecture.stages(), fields(&parts)?);
        let info = ModelInfo { stages, features, tasks, ..ModelInfo::default() };
        let root = Scope::new(&parts.params, Arc::default(), parts.seeds, DType::F32);
        network_at(&root, &parts, &info, &|key, e| e.under(key))?;
        let eval = network(&parts, &info, Arc::new(untracked(&parts.params, &Plan::default())))?;
        let (kept_heads, phases, adapters) = Default::default();
        Ok(Self {
            parts,
            eval,
            kept_heads,
            has_source: false,
            epochs: 0,
            phases,
            phase: 0,
            adapters,
            removed: Vec::new(),
        })
    }

    /// The store of all its tensors.
    pub fn params(&self) -> &Params {
        &self.parts.params
    }

    /// Its tasks by name.
    pub fn tasks(&self) -> &BTreeMap<String, Arc<dyn Task>> {
        &self.parts.tasks
    }

    /// Its strategy.
    pub fn strategy(&self) -> &Arc<dyn Strategy> {
        &self.parts.strategy
    }

    /// What a strategy may know of it.
    pub fn info(&self) -> ModelInfo {
        let stages = self.parts.architecture.stages();
        let params = self.params().all().into_iter().map(|(name, p)| ParamInfo {
            shape: p.var().dims().to_vec(),
            role: p.role,
            stage: name.strip_prefix("backbone.").and_then(|n| stages.iter().position(|s| s.holds(n))),
            loaded: matches!(p.origin, Origin::Loaded { .. }),
            name,
        });
        ModelInfo {
            params: params.collect(),
            features: self.parts.architecture.features(&self.parts.inputs).unwrap_or_default(),
            stages,
            tasks: fields(&self.parts).unwrap_or_default(),
            targets: self.parts.tasks.iter().map(|(n, t)| (n.clone(), t.target().to_owned())).collect(),
            has_source: self.has_source,
            kept_heads: self.kept_heads.clone(),
            epochs: self.epochs,
        }
    }

    /// Asks the strategy for the phases of a fit of so many epochs, and keeps them. Called once in a fit, before
    /// anything is trained or a checkpoint is read.
    ///
    /// # Errors
    /// When the strategy does not suit the model.
    pub fn plan(&mut self, epochs: u64) -> Result<()> {
        self.epochs = epochs;
        (self.phases, self.phase) = (self.parts.strategy.phases(&self.info())?, 0);
        self.removed.clear();
        self.adapters = Plan::default();
        self.rebuild()
    }

    /// The phases of its fit; none before [`plan`](Self::plan).
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// The plan of the phase it is in or was in last.
    fn present_plan(&self) -> Option<&Plan> {
        self.phases.get(self.phase).map(|p| &p.plan)
    }

    /// Begins a phase: draws afresh what its plan resets, and makes its adapters. [`fit`](crate::fit) does so; without
    /// it, this and [`finish`](Self::finish) tell what tensors a fit would leave.
    ///
    /// # Errors
    /// When the network cannot be built under the phase's plan.
    pub fn start_phase(&mut self, index: usize) -> Result<()> {
        let plan = self.phases[index].plan.clone();
        self.params().remove_where(|n| plan.resets.iter().any(|p| p.matches(n)));
        self.network(plan)?;
        self.resume_phase(index)
    }

    /// Goes on within a phase, all of whose tensors are there.
    pub(crate) fn resume_phase(&mut self, index: usize) -> Result<()> {
        self.phase = index;
        let adapters = self.phases.get(index).map(|p| p.plan.adapters.clone()).unwrap_or_default();
        self.adapters = Plan { adapters, ..Plan::default() };
        self.rebuild()
    }

    /// Takes from a source network what the strategy asks for. `from` names the source in the ledger; `same_labels` are the
    /// tasks whose classes are the same there.
    ///
    /// # Errors
    /// When a backbone tensor is missing in the source or has another shape.
    pub fn load_source(&mut self, source: &BTreeMap<String, Tensor>, from: &str, same_labels: &[String]) -> Result<()> {
        self.load_source_with(source, from, SourceLabels { same: same_labels, reordered: &[] })
    }

    /// [`load_source`](Self::load_source), where it is known which tasks have the same classes in another order, too.
    ///
    /// # Errors
    /// As [`load_source`](Self::load_source).
    pub fn load_source_with(
        &mut self,
        source: &BTreeMap<String, Tensor>,
        from: &str,
        labels: SourceLabels<'_>,
    ) -> Result<()> {
        let load = self.parts.strategy.needs().load;
        self.has_source = true;
        if load == Load::Nothing {
            for name in self.params().names().iter().filter(|n| source.contains_key(*n)) {
                self.params().set_origin(name, Origin::Reset { why: "the strategy starts from fresh weights".into() });
            }
            return Ok(());
        }
        let loaded = || Origin::Loaded { from: from.to_owned() };
        for name in self.params().names().iter().filter(|n| n.starts_with("backbone.")) {
            let value = source
                .get(name)
                .ok_or_else(|| Error::param(name, format!("the source `{from}` has no such tensor")))?;
            self.params().set(name, value)?;
            self.params().set_origin(name, loaded());
        }
        if let Some(name) = source.keys().find(|n| n.starts_with("backbone.") && self.params().find(n).is_none()) {
            let e = Invalid::new(format!("the source `{from}` has `{name}`, which this network has no place for"));
            return Err(e
                .help("an adapted source must be merged first: `merge = true` of the strategy that adapted it")
                .into());
        }
        for task in self.parts.tasks.keys() {
            let same = labels.same.contains(task);
            let differ = match (same, labels.reordered.contains(task)) {
                (true, _) => None,
                (false, true) => Some("the classes stand in another order"),
                (false, false) => Some("the labels differ"),
            };
            if self.load_head(
                &format!("heads.{task}."),
                source,
                from,
                same && load == Load::BackboneAndHeads,
                differ,
            )? {
                self.kept_heads.push(task.clone());
            }
        }
        self.rebuild()
    }

    /// Takes the tensors of one head, or notes why not. A head that was fitted in another form than this model's is not
    /// taken; one that will be fitted anew sees the source's as its starting point. `labels_differ` says how its labels
    /// are others than the source's. Returns whether it was taken whole.
    fn load_head(
        &self,
        prefix: &str,
        source: &BTreeMap<String, Tensor>,
        from: &str,
        keep: bool,
        labels_differ: Option<&str>,
    ) -> Result<bool> {
        let theirs: Vec<_> = source.iter().filter(|(n, _)| n.starts_with(prefix)).collect();
        let ours: Vec<String> = self.params().names().into_iter().filter(|n| n.starts_with(prefix)).collect();
        let fits = |name: &String| {
            let shape = self.params().find(name).map(|p| p.var().shape().clone());
            source.get(name).is_some_and(|t| Some(t.shape()) == shape.as_ref())
        };
        let fitted = self.parts.strategy.head().is_some();
        let keep = keep && !theirs.is_empty() && (fitted || ours.iter().all(fits));
        let why = match (theirs.is_empty(), labels_differ, keep) {
            (_, _, true) => "",
            (true, ..) => "the source has no head whose labels are known",
            (_, Some(how), _) => how,
            (_, None, false) => "the strategy resets it, or it was fitted in another form",
        };
        for name in ours.iter().filter(|_| !keep) {
            self.params().set_origin(name, Origin::Reset { why: why.into() });
        }
        for (name, value) in theirs.into_iter().filter(|_| keep) {
            let origin = Origin::Loaded { from: from.to_owned() };
            match self.params().find(name) {
                Some(_) if fits(name) => {
                    self.params().set(name, value)?;
                    self.params().set_origin(name, origin);
                }
                _ => self.params().insert(name, value, Role::Buffer, origin)?,
            }
        }
        Ok(keep)
    }

    /// Builds the evaluating network again, after parameters were inserted or a head was fitted. Its adapters stay
    /// those of the phase that the model is in.
    ///
    /// # Errors
    /// When a parameter has the wrong shape.
    pub fn rebuild(&mut self) -> Result<()> {
        self.eval = self.network(untracked(self.params(), &self.adapters))?;
        // Building the network has made the strategy's modules again.
        self.params().remove_where(|n| self.removed.iter().any(|p| p.matches(n)));
        Ok(())
    }

    /// The outputs of each task for some rows, in evaluation mode; they do not depend on which rows stand beside each other.
    ///
    /// # Errors
    /// When the inputs do not fit.
    pub fn predict(&self, inputs: Acts, rows: &[u64]) -> Result<BTreeMap<String, Acts>> {
        Ok(self.run_plain(&Batch::new(inputs, BTreeMap::new(), rows.to_vec()))?.outputs)
    }

    /// Runs one of the strategy's modules in evaluation mode (a generator, a discriminator).
    ///
    /// # Errors
    /// When there is no such module or it fails.
    pub fn module(&self, name: &str, inputs: &Acts) -> Result<Acts> {
        let module = self
            .eval
            .modules
            .get(name)
            .ok_or_else(|| Error::contract(format!("the strategy made no module `{name}`")))?;
        module.forward(inputs, &mut Ctx::eval(&[]))
    }

    /// Runs the evaluating network on a batch, in tiles of fixed size.
    pub(crate) fn run_plain(&self, batch: &Batch) -> Result<Forward> {
        let batch = on_device(batch.clone(), self.params().device())?;
        let stages = self.eval.backbone.stages();
        if batch.select.is_some() || stages.iter().any(|s| !s.row_wise) {
            return self.eval.forward(batch.inputs, 0, batch.select.as_ref(), &mut Ctx::eval(&batch.rows));
        }
        self.run_from(0, &batch.inputs, &batch.rows)
    }

    /// Some rows of a feed, and what the evaluating network makes of them, where the output of its first stages may have been
    /// kept; the batch is then without inputs.
    pub(crate) fn run_kept(&self, kept: Option<&Kept>, feed: &dyn Feed, rows: &[u64]) -> Result<(Batch, Forward)> {
        if let (Some(kept), Some((batch, acts))) = (kept, kept.map(|k| k.of(rows, 0)).transpose()?.flatten()) {
            return Ok((batch, self.run_from(kept.stages, &acts, rows)?));
        }
        let batch = feed.plain(rows)?;
        let forward = self.run_plain(&batch)?;
        Ok((batch, forward))
    }

    /// Runs the evaluating network from stage number `first` on, in tiles, on what the stages before it put out.
    pub(crate) fn run_from(&self, first: usize, acts: &Acts, rows: &[u64]) -> Result<Forward> {
        // Features and outputs go through the tiles together, told apart by their prefix.
        let tiles = in_tiles(acts, rows, |tile, rows| {
            let f = self.eval.forward(tile, first, None, &mut Ctx::eval(rows))?;
            let mut all = Acts::new();
            f.features.iter().for_each(|(n, t)| all.set(&format!("features/{n}"), t.clone()));
            for (task, out) in &f.outputs {
                out.iter().for_each(|(n, t)| all.set(&format!("{task}/{n}"), t.clone()));
            }
            Ok(all)
        })?;
        let below = |prefix: &str| -> Acts {
            let inside = tiles
                .iter()
                .filter_map(|(n, t)| n.strip_prefix(prefix)?.strip_prefix('/').map(|n| (n.to_owned(), t.clone())));
            inside.collect()
        };
        let outputs = self.parts.tasks.keys().map(|t| (t.clone(), below(t))).collect();
        Ok(Forward { features: below("features"), taps: BTreeMap::new(), outputs })
    }

    /// Builds the network under a plan.
    pub(crate) fn network(&self, plan: Plan) -> Result<Network> {
        network(&self.parts, &self.info(), Arc::new(plan))
    }

    /// How the whole backbone runs in an evaluation, where nothing of it is trained in the present phase, or there is
    /// none.
    pub(crate) fn frozen_tiles(&self) -> Option<Tiles<'_>> {
        let stages = self.eval.backbone.stages().len();
        let untrained = || untracked(self.params(), &self.adapters);
        let plan = self.present_plan().cloned().unwrap_or_else(untrained);
        let all = stages > 0 && all_stay(&self.info(), &plan);
        all.then_some(Tiles { network: &self.eval, prefix: stages, mode: Mode::Eval })
    }

    /// How a prefix that is frozen in the present phase runs in an evaluation.
    pub(crate) fn eval_tiles(&self, prefix: usize) -> Tiles<'_> {
        Tiles { network: &self.eval, prefix, mode: Mode::Eval }
    }
}

fn fields(parts: &Parts) -> Result<BTreeMap<String, Field>> {
    let field = |task: &Arc<dyn Task>| {
        parts.targets.get(task.target()).cloned().ok_or_else(|| {
            let there: Vec<_> = parts.targets.keys().map(String::as_str).collect();
            Error::from(
                Invalid::key("target", format!("the data has no target `{}`", task.target()))
                    .help(format!("there are: {}", there.join(", "))),
            )
        })
    };
    let one = |(name, t): (&String, &Arc<dyn Task>)| {
        Ok((name.clone(), field(t).map_err(|e| e.under(&format!("tasks.{name}")))?))
    };
    parts.tasks.iter().map(one).collect()
}

fn network(parts: &Parts, info: &ModelInfo, plan: Arc<Plan>) -> Result<Network> {
    network_in(&Scope::new(&parts.params, plan, parts.seeds, DType::F32), parts, info)
}

/// Builds the network in a scope, which knows afterwards what layers were adapted.
pub(crate) fn network_in(root: &Scope, parts: &Parts, info: &ModelInfo) -> Result<Network> {
    network_at(root, parts, info, &|_, e| e)
}

/// [`network_in`]; `at` is given the component at fault, `backbone`, `tasks.NAME` or `strategy`, with each error.
fn network_at(root: &Scope, parts: &Parts, info: &ModelInfo, at: &dyn Fn(&str, Error) -> Error) -> Result<Network> {
    let of_backbone = |e: Error| at("backbone", e);
    let backbone = parts.architecture.build(&parts.inputs, &root.pp("backbone")).map_err(of_backbone)?;
    let features = parts.architecture.features(&parts.inputs).map_err(of_backbone)?;
    let fitted = parts.strategy.head();
    let mut heads = BTreeMap::new();
    for (name, task) in &parts.tasks {
        let (field, scope) = (&info.tasks[name], root.pp("heads").pp(name));
        let head = match &fitted {
            Some(f) => f.build(&features, field, &scope).map_err(|e| at("strategy", e))?,
            None => task.head(&features, field, &scope).map_err(|e| at(&format!("tasks.{name}"), e))?,
        };
        heads.insert(name.clone(), head);
    }
    let modules = parts.strategy.modules(info, &root.pp("modules")).map_err(|e| at("strategy", e))?;
    Ok(Network { backbone, features, heads, modules })
}

/// A plan that tracks nothing, with these adapters.
pub(crate) fn untracked(params: &Params, adapters: &Plan) -> Plan {
    let names = params.names();
    Plan { uses: Plan::frozen(names.iter().map(String::as_str)).uses, ..adapters.clone() }
}

/// Moves a batch to a device.
pub(crate) fn on_device(mut batch: Batch, device: &Device) -> Result<Batch> {
    batch.inputs = batch.inputs.map(|_, t| Ok(t.to_device(device)?))?;
    for target in batch.targets.values_mut() {
        target.values = target.values.to_device(device)?;
        target.present = target.present.take().map(|p| p.to_device(device)).transpose()?;
    }
    batch.select = batch.select.take().map(|s| s.to_device(device)).transpose()?;
    Ok(batch)
}
