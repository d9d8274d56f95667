//! [`Strategy`]: how what one network learned is moved to a new task.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use crate::{
    Features, Field, Gradients, Mixed, Module, NormPolicy, Optimiser, Pass, Pattern, Plan, Result, Role, Schema, Scope,
    Stage, Step, Term,
};

/// One tensor of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamInfo {
    /// Full name: `backbone.…`, `heads.<task>.…`, `modules.<name>.…`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Weight or buffer.
    pub role: Role,
    /// Number of the backbone stage it belongs to; `None` for heads and modules.
    pub stage: Option<usize>,
    /// Whether a value was loaded from the source.
    pub loaded: bool,
}

/// What a strategy may know of the model when it plans.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelInfo {
    /// The backbone's stages.
    pub stages: Vec<Stage>,
    /// All tensors, by name.
    pub params: Vec<ParamInfo>,
    /// The tasks and what each predicts.
    pub tasks: BTreeMap<String, Field>,
    /// The target in the data that each task learns, by task.
    pub targets: BTreeMap<String, String>,
    /// Whether there is a source network.
    pub has_source: bool,
    /// Tasks whose head came from the source: those whose labels are the same there.
    pub kept_heads: Vec<String>,
}

impl ModelInfo {
    /// Weights, in order.
    pub fn weights(&self) -> impl Iterator<Item = &ParamInfo> {
        self.params.iter().filter(|p| p.role == Role::Weight)
    }

    /// How the normalisation layers of stage number `index` behave under a plan.
    pub fn norm_policy(&self, plan: &Plan, index: usize) -> NormPolicy {
        let weights = self.weights().filter(|p| p.stage == Some(index)).map(|p| &p.name);
        plan.norm_of(self.stages.get(index).map_or("", |s| s.name.as_str()), weights)
    }

    /// The number of a stage.
    ///
    /// # Errors
    /// When there is none of this name; the nearest is offered.
    pub fn stage(&self, name: &str) -> Result<usize> {
        self.stages.iter().position(|s| s.name == name).ok_or_else(|| {
            let names: Vec<_> = self.stages.iter().map(|s| s.name.as_str()).collect();
            let near = crate::nearest(name, names.iter().copied());
            let help =
                near.map_or_else(|| format!("there are: {}", names.join(", ")), |n| format!("did you mean `{n}`?"));
            crate::Invalid::new(format!("the backbone has no stage `{name}`")).help(help).into()
        })
    }
}

/// What is taken from the source network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Load {
    /// Nothing: all weights are fresh.
    #[default]
    Nothing,
    /// The backbone; heads are fresh.
    Backbone,
    /// The backbone, and the head of every task whose labels are the same in the source.
    BackboneAndHeads,
}

/// What a strategy needs from its surroundings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// What is loaded from the source.
    pub load: Load,
    /// Whether it makes no sense without a source network.
    pub source_required: bool,
    /// Whether the weights must be fresh: a strategy composed with it may not load any.
    pub fresh: bool,
    /// Names of labelled streams, the first of which counts the epochs. Empty: `target`.
    pub labelled: Vec<String>,
    /// Names of streams without labels.
    pub unlabelled: Vec<String>,
    /// Stages whose outputs it looks at.
    pub taps: Vec<String>,
}

impl Needs {
    /// The labelled streams, with the default filled in.
    pub fn labelled_streams(&self) -> Vec<String> {
        if self.labelled.is_empty() { vec!["target".to_owned()] } else { self.labelled.clone() }
    }
}

/// When a phase ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After as many epochs as the trainer was told.
    Budget,
    /// After this many epochs.
    Epochs(u64),
    /// At once: a phase in which something is fitted in closed form.
    Now,
}

/// One update within a step: which weights move, by which optimiser.
#[derive(Clone, Default)]
pub struct Update {
    /// Its name, which [`Strategy::terms`] looks at.
    pub name: String,
    /// Weights it moves, among those the plan trains; empty: all.
    pub trains: Vec<Pattern>,
    /// Its own optimiser; `None`: the trainer's.
    pub optimiser: Option<Arc<dyn Optimiser>>,
    /// It happens in every `every`-th step; 0 counts as 1.
    pub every: u64,
}

impl std::fmt::Debug for Update {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Update({}, {:?})", self.name, self.trains)
    }
}

/// A stretch of training under one plan.
#[derive(Debug, Clone)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// What happens with each weight.
    pub plan: Plan,
    /// When it ends.
    pub until: Until,
    /// The updates of a step, in order; empty: one that moves all trained weights.
    pub updates: Vec<Update>,
}

impl Phase {
    /// A phase with one update, as long as the trainer was told.
    pub fn new(name: &str, plan: Plan) -> Self {
        Self { name: name.to_owned(), plan, until: Until::Budget, updates: Vec::new() }
    }
}

/// Modules of a strategy by name; module `d` makes its parameters below `modules.d`.
pub type Modules = BTreeMap<String, Box<dyn Module>>;

/// When [`Strategy::at`] is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// Before the first step of this phase, after its plan took effect.
    PhaseStart(usize),
    /// After an epoch of this phase.
    EpochEnd(usize, u64),
    /// After the last step of this phase.
    PhaseEnd(usize),
}

/// A head that is fitted in closed form or to convergence instead of trained step by step.
pub trait HeadFit: Send + Sync {
    /// Its name, for the ledger.
    fn name(&self) -> &'static str;

    /// Fits the head: tensors by name, to be kept as buffers below `heads.<task>`. `prior` holds the source's head when
    /// its labels are the same.
    ///
    /// # Errors
    /// When the features do not suffice.
    fn fit(
        &self,
        f: &Features,
        target: &Tensor,
        classes: usize,
        prior: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>>;

    /// Builds the head on what was fitted; outputs logits, or log-probabilities, under `logits`.
    ///
    /// # Errors
    /// When a tensor is missing.
    fn build(&self, features: &Schema, field: &Field, scope: &Scope) -> Result<Box<dyn Module>>;

    /// Names and shapes of what [`fit`](Self::fit) returns for features of this width, where they do not depend on the rows;
    /// empty where they do. A step that starts from this one is planned by them before anything was fitted.
    fn shapes(&self, width: usize, classes: usize) -> Vec<(&'static str, Vec<usize>)> {
        let _ = (width, classes);
        Vec::new()
    }

    /// The linear layer, `weight [classes, width]` and `bias [classes]`, that gives the same probabilities as what was fitted;
    /// `None` where none does.
    ///
    /// # Errors
    /// When a tensor is missing.
    fn linear(&self, fitted: &BTreeMap<String, Tensor>) -> Result<Option<BTreeMap<String, Tensor>>> {
        let _ = fitted;
        Ok(None)
    }
}

/// How what one network learned is moved to a new task. A strategy decides; the trainer acts. It opens no file and owns no
/// loop. Only [`phases`](Self::phases) has no default.
pub trait Strategy: Send + Sync {
    /// What it needs.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Its phases, each a plan and how long.
    ///
    /// # Errors
    /// When the model does not suit it, or an option names what is not there.
    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>>;

    /// A head that takes the place of the tasks' own.
    fn head(&self) -> Option<Arc<dyn HeadFit>> {
        None
    }

    /// Its own modules; called again whenever the plan changes.
    ///
    /// # Errors
    /// When a module cannot be made.
    fn modules(&self, model: &ModelInfo, scope: &Scope) -> Result<Modules> {
        let _ = (model, scope);
        Ok(Modules::new())
    }

    /// The loss of an update: by default the supervised terms of every labelled stream.
    ///
    /// # Errors
    /// When the model fails.
    fn terms(&self, update: &Update, step: &mut dyn Step) -> Result<Vec<Term>> {
        let _ = update;
        let mut terms = Vec::new();
        for stream in self.needs().labelled_streams() {
            terms.extend(step.supervised(&stream)?);
        }
        Ok(terms)
    }

    /// Whether it learns from mixed batches; of composed strategies that do, one is asked in each step.
    fn mixes(&self) -> bool {
        false
    }

    /// What the supervised terms of a stream are computed on in this step; `None`: its batch as it is. What one strategy
    /// says here holds for all that it is composed with: [`Step::supervised`] gives each the same terms.
    ///
    /// # Errors
    /// When the batch cannot be mixed.
    fn mix(&self, stream: &str, step: &dyn Step) -> Result<Option<Mixed>> {
        let _ = (stream, step);
        Ok(None)
    }

    /// Whether [`combine`](Self::combine) wants the gradients of each term apart.
    fn combines(&self) -> bool {
        false
    }

    /// Combines the gradients of the terms, in the order of the terms, each already times its weight.
    ///
    /// # Errors
    /// When shapes differ.
    fn combine(&self, gradients: Vec<Gradients>, step: &dyn Step) -> Result<Gradients> {
        let _ = step;
        let mut all = gradients.into_iter();
        let mut sum = all.next().unwrap_or_default();
        for g in all {
            sum.add_scaled(&g, 1.0)?;
        }
        Ok(sum)
    }

    /// What happens at a boundary: a fit in closed form, pseudo-labels, averaging.
    ///
    /// # Errors
    /// What it meets.
    fn at(&self, boundary: Boundary, pass: &mut dyn Pass) -> Result<()> {
        let _ = (boundary, pass);
        Ok(())
    }
}
