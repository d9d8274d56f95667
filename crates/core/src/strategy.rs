//! [`Strategy`]: how what one network learned is moved to a new task.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use crate::{
    Features, Field, HIDDEN, Invalid, Mixed, Module, NormPolicy, Optimiser, Pass, Pattern, Plan, Result, Role, Schema,
    Scope, Stage, Step, Supervise, Term, Weighting,
};

/// One tensor of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamInfo {
    /// Full name: `backbone.…`, `heads.<task>.…`, `modules.<name>.…`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it is for.
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
    /// What the backbone puts out, and heads and modules read.
    pub features: Schema,
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
    /// Epochs of the fit, which all of its phases share: see [`epochs_of`](crate::epochs_of).
    pub epochs: u64,
}

impl ModelInfo {
    /// Weights of the network, its heads and modules, in order; those of adapters are not among them.
    pub fn weights(&self) -> impl Iterator<Item = &ParamInfo> {
        self.params.iter().filter(|p| p.role == Role::Weight)
    }

    /// The width of the features, where they are vectors.
    ///
    /// # Errors
    /// When they are something else: sequences, maps.
    pub fn feature_width(&self) -> Result<usize> {
        match self.features.get(HIDDEN) {
            Some(Field::Vector { width }) => Ok(*width),
            _ => Err(Invalid::new("needs a network whose features are vectors").into()),
        }
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
            Invalid::new(format!("the backbone has no stage `{name}`")).help(help).into()
        })
    }
}

/// What is taken from the source network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Load {
    /// Nothing: all weights are fresh.
    #[default]
    Nothing,
    /// The backbone; heads are fresh.
    Backbone,
    /// The backbone, and the head of every task whose labels are the same in the source.
    BackboneAndHeads,
}

/// Whether the targets of a stream's rows may be learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels {
    /// They may.
    Learned,
    /// The stream has none: its batches and features come without targets.
    None,
}

/// A stream of batches that a strategy uses by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamNeed {
    /// Its name in the step: `source`, `target`.
    pub name: String,
    /// Whether it has labels.
    pub labels: Labels,
}

impl StreamNeed {
    /// A stream with labels.
    pub fn labelled(name: &str) -> Self {
        Self { name: name.to_owned(), labels: Labels::Learned }
    }

    /// A stream without labels.
    pub fn unlabelled(name: &str) -> Self {
        Self { name: name.to_owned(), labels: Labels::None }
    }
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
    /// Streams that it uses by name. The first counts the epochs. Empty: whichever streams the step has.
    pub streams: Vec<StreamNeed>,
    /// Stages whose outputs it looks at.
    pub taps: Vec<String>,
}

impl Needs {
    /// Whether the strategy takes anything from the source network; one that does not is a control.
    pub fn takes_weights(&self) -> bool {
        self.load != Load::Nothing || self.source_required
    }

    /// The streams without labels that it needs, by name.
    pub fn unlabelled(&self) -> impl Iterator<Item = &str> {
        self.streams.iter().filter(|s| s.labels == Labels::None).map(|s| s.name.as_str())
    }

    /// Adds the needs of another strategy that is composed with this one.
    ///
    /// # Errors
    /// When one needs a stream with labels and the other needs it without.
    pub fn join(&mut self, other: Self) -> Result<(), Invalid> {
        self.load = self.load.max(other.load);
        self.source_required |= other.source_required;
        self.fresh |= other.fresh;
        for stream in other.streams {
            match self.streams.iter().find(|s| s.name == stream.name) {
                Some(mine) if mine.labels != stream.labels => {
                    let message = format!("the strategies need the stream `{}` with labels and without", stream.name);
                    return Err(Invalid::new(message).help("give the stream without labels a name of its own"));
                }
                Some(_) => {}
                None => self.streams.push(stream),
            }
        }
        self.taps.extend(other.taps.into_iter().filter(|tap| !self.taps.contains(tap)).collect::<Vec<_>>());
        Ok(())
    }
}

/// When a phase ends. All phases of a fit share its epochs, [`ModelInfo::epochs`], as [`epochs_of`](crate::epochs_of)
/// says; a policy may end a phase earlier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Until {
    /// After the epochs that other phases leave; several phases of this kind divide them evenly.
    Budget,
    /// After this share of the fit's epochs, above 0 and at most 1.
    Share(f64),
    /// After this many epochs.
    Epochs(u64),
    /// At once, without a step: a phase in which something is fitted in closed form.
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
    /// Of composed strategies, the one whose phase this is; all others live through it as through part of their one
    /// phase.
    pub owner: Option<String>,
}

impl Phase {
    /// A phase with one update that takes the epochs which other phases leave.
    pub fn new(name: &str, plan: Plan) -> Self {
        Self { name: name.to_owned(), plan, until: Until::Budget, updates: Vec::new(), owner: None }
    }
}

/// What becomes of a model when its fit has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finish {
    /// Layers whose adapters are added to the layer's weight and removed; adapters of other layers stay beside theirs.
    pub merge: Vec<Pattern>,
    /// Tensors that training alone needed, by full name: copies, memories, a discriminator.
    pub remove: Vec<Pattern>,
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
    /// After the last step of this phase, whether it took all of its epochs or a policy ended it: an average of weights
    /// has become the weights, and the best ones are restored where a policy wants that.
    PhaseEnd(usize),
}

impl Boundary {
    /// The name of its streams of random numbers: `PhaseStart(0)`, `EpochEnd(0, 3)`.
    pub fn stream(self) -> String {
        match self {
            Self::PhaseStart(phase) => format!("PhaseStart({phase})"),
            Self::EpochEnd(phase, epoch) => format!("EpochEnd({phase}, {epoch})"),
            Self::PhaseEnd(phase) => format!("PhaseEnd({phase})"),
        }
    }
}

/// A head that is fitted in closed form or to convergence instead of trained step by step.
pub trait HeadFit: Send + Sync {
    /// Its name, for the ledger.
    fn name(&self) -> &'static str;

    /// Whether it can be fitted to a target of this field; by default to classes alone. Who fits it checks this before.
    fn suits(&self, field: &Field) -> bool {
        matches!(field, Field::Class { .. })
    }

    /// Fits the head: tensors by name, to be kept as buffers below `heads.<task>`. `target` has the known values of
    /// `field`, one for each row of the features: classes `u32 [rows]`, numbers `f32 [rows]`. `prior` holds the source's
    /// head when its labels are the same.
    ///
    /// # Errors
    /// When the features do not suffice, or the field is none that it [`suits`](Self::suits).
    fn fit(
        &self,
        f: &Features,
        target: &Tensor,
        field: &Field,
        prior: &BTreeMap<String, Tensor>,
    ) -> Result<BTreeMap<String, Tensor>>;

    /// Builds the head on what was fitted; outputs logits, or log-probabilities, `[rows, classes]` under `logits`, of a
    /// number `[rows, 1]` under `value`.
    ///
    /// # Errors
    /// When a tensor is missing.
    fn build(&self, features: &Schema, field: &Field, scope: &Scope) -> Result<Box<dyn Module>>;

    /// Names and shapes of what [`fit`](Self::fit) returns for features of this width, where they do not depend on the
    /// rows; empty where they do. A step that starts from this one is planned by them before anything was fitted.
    fn shapes(&self, width: usize, field: &Field) -> Vec<(&'static str, Vec<usize>)> {
        let _ = (width, field);
        Vec::new()
    }

    /// The linear layer, `weight [classes, width]` and `bias [classes]`, that gives the same probabilities as what was
    /// fitted; `None` where none does.
    ///
    /// # Errors
    /// When a tensor is missing.
    fn linear(&self, fitted: &BTreeMap<String, Tensor>) -> Result<Option<BTreeMap<String, Tensor>>> {
        let _ = fitted;
        Ok(None)
    }
}

/// How what one network learned is moved to a new task. A strategy decides; the trainer acts. It opens no file and owns
/// no loop. Only [`phases`](Self::phases) has no default.
///
/// The trainer calls, in this order: [`needs`](Self::needs) whenever it likes; [`phases`](Self::phases) once; for each
/// phase [`at`](Self::at) its start, [`terms`](Self::terms) for every update, [`at`](Self::at) the end of every epoch,
/// and [`at`](Self::at) its end; [`finish`](Self::finish) once. A fit that resumes from a checkpoint asks for the
/// phases again, of a model in the state in which they were asked for first, and goes on in the middle of that list.
/// Whatever a strategy has to remember until then it therefore keeps among the tensors of [`Pass::params`], which are
/// part of every checkpoint, and not in a field of its own.
///
/// A strategy of two phases, the head first and then all weights, of which the second remembers where it started:
///
#[doc = concat!("```rust,ignore\n", include_str!("strategy_example.rs"), "\n```")]
pub trait Strategy: Send + Sync {
    /// What it needs.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Its phases, each a plan and how long.
    ///
    /// Called once in a fit, before anything is trained and before a checkpoint is read; the trainer keeps the answer.
    /// `model` has the tensors of the network, of its heads and of the strategy's modules, with the values of the
    /// source where [`Needs::load`] asks for them, and no adapter. `check` calls it for the same model with values that
    /// mean nothing, and whoever opens a model that has adapters calls it to attach them. It must be pure: the same
    /// model gives the same phases.
    ///
    /// # Errors
    /// When the model does not suit it, or an option names what is not there.
    fn phases(&self, model: &ModelInfo) -> Result<Vec<Phase>>;

    /// A head that takes the place of the tasks' own.
    fn head(&self) -> Option<Arc<dyn HeadFit>> {
        None
    }

    /// Its own modules; called again whenever the network is built, as it is when the plan changes.
    ///
    /// # Errors
    /// When a module cannot be made.
    fn modules(&self, model: &ModelInfo, scope: &Scope) -> Result<Modules> {
        let _ = (model, scope);
        Ok(Modules::new())
    }

    /// The terms that it adds to the loss of an update: none by default. The supervised terms are not among them; the
    /// trainer computes those of the streams that [`supervises`](Self::supervises) names, once for all strategies that
    /// are composed, and they come first in the sum.
    ///
    /// Called once for every update of every batch. Two terms may have one name: of composed strategies, the second is
    /// prefixed with its strategy's.
    ///
    /// # Errors
    /// When the model fails.
    fn terms(&self, update: &Update, step: &mut dyn Step) -> Result<Vec<Term>> {
        let _ = (update, step);
        Ok(Vec::new())
    }

    /// Which streams' tasks an update learns: by default those of every labelled stream of the step. Of composed
    /// strategies one may say otherwise. Must be pure.
    fn supervises(&self, update: &Update) -> Supervise {
        let _ = update;
        Supervise::Labelled
    }

    /// How the terms of the loss are weighed against each other; of composed strategies, one may bring a weighting.
    /// `None`: they are summed.
    fn weighting(&self) -> Option<Arc<dyn Weighting>> {
        None
    }

    /// Whether it learns from mixed batches; of composed strategies that do, one is asked in each step.
    fn mixes(&self) -> bool {
        false
    }

    /// What the supervised terms of a stream are computed on in this step; `None`: its batch as it is. What one
    /// strategy says here holds for all that it is composed with: [`Step::supervised`] gives each the same terms.
    ///
    /// # Errors
    /// When the batch cannot be mixed.
    fn mix(&self, stream: &str, step: &dyn Step) -> Result<Option<Mixed>> {
        let _ = (stream, step);
        Ok(None)
    }

    /// What happens at a boundary: a fit in closed form, pseudo-labels, averaging.
    ///
    /// Called once for each boundary of a fit: every [`Boundary::PhaseStart`] has its [`Boundary::PhaseEnd`], also when
    /// a policy stopped the phase. A fit that resumes does not call it again for boundaries that lie before the
    /// checkpoint.
    ///
    /// # Errors
    /// What it meets.
    fn at(&self, boundary: Boundary, pass: &mut dyn Pass) -> Result<()> {
        let _ = (boundary, pass);
        Ok(())
    }

    /// What becomes of the strategy's adapters and of its own tensors in the finished model: by default all of them
    /// stay.
    ///
    /// Called once in a fit, after the last phase's end, however it ended; also by `check` and by whoever opens the
    /// model, who must come to the same one. It must be pure. Afterwards the model runs under the last phase's
    /// adapters, less those merged.
    fn finish(&self) -> Finish {
        Finish::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_plans_two_phases() -> Result<()> {
        use crate::strategy_example::HeadFirst;
        let model = ModelInfo { epochs: 10, ..ModelInfo::default() };
        assert_eq!(crate::epochs_of(&HeadFirst.phases(&model)?, model.epochs)?, [2, 8]);
        assert!(HeadFirst.needs().source_required && HeadFirst.finish().merge.is_empty());
        Ok(())
    }

    #[test]
    fn boundaries_keep_their_streams() {
        // Part of what runs with these seeds have computed: never changed.
        for b in [Boundary::PhaseStart(0), Boundary::EpochEnd(1, 12), Boundary::PhaseEnd(3)] {
            assert_eq!(b.stream(), format!("{b:?}"));
        }
        assert_eq!(Boundary::EpochEnd(1, 12).stream(), "EpochEnd(1, 12)");
    }

    #[test]
    fn streams_share_one_namespace() {
        let needs = |streams: &[StreamNeed]| Needs { streams: streams.to_vec(), ..Needs::default() };
        let mut both = needs(&[StreamNeed::labelled("source"), StreamNeed::unlabelled("target")]);
        both.join(needs(&[StreamNeed::unlabelled("target"), StreamNeed::unlabelled("more")])).unwrap();
        assert_eq!(both.streams.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["source", "target", "more"]);
        let e = both.join(needs(&[StreamNeed::labelled("target")])).unwrap_err().to_string();
        assert!(e.contains("`target` with labels and without"), "{e}");
    }
}
