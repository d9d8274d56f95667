//! [`fit`]: the loop. The strategy decides, policies ask, and this is where things happen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Instant;

use candle_core::{DType, Tensor};
use transplant_core::{
    Action, Boundary, Error, Event, Feed, Gradients, Invalid, Mode, Origin, Params, Phase, Progress, Recording, Report,
    Result, Role, Step, Strategy, Term, Until, Update, Use, Within, backward, backward_last,
};
use transplant_ops::Precision;

use crate::ahead::Ahead;
use crate::average::{Average, put};
use crate::checkpoint::{self, Position, State, Tensors};
use crate::data::{Data, Io, Recipe};
use crate::evaluate::{evaluate_kept, metrics_of, score_of};
use crate::fetched::{Fetched, Stream, streams};
use crate::keeper::keep;
use crate::kept::AllKept;
use crate::ledger::{LedgerRow, ledger};
use crate::model::{Model, Network};
use crate::pass::BoundaryPass;
use crate::prefix::{Tiles, frozen_stages};
use crate::step::TrainStep;
use crate::update::{Applied, OptimiserState, clip};

/// What a fit did.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Optimiser steps made.
    pub steps: u64,
    /// Epochs finished.
    pub epochs: u64,
    /// Numbers in weights that were trained, or fitted, in the last phase.
    pub trainable: usize,
    /// Numbers in all weights.
    pub parameters: usize,
    /// Tensor by tensor, where it came from and what was done with it.
    pub ledger: Vec<LedgerRow>,
    /// The report of every epoch.
    pub history: Vec<Report>,
}

/// Trains a model as its strategy says.
///
/// # Errors
/// [`Error::Interrupted`] when `io.stop` was set (the state is then in `io.checkpoints`); otherwise what data, strategy or
/// network met, and a loss that is not finite.
pub fn fit(model: &mut Model, recipe: &Recipe, data: &Data, io: &mut Io<'_>) -> Result<Fit> {
    let strategy = model.strategy().clone();
    data.check(&strategy.needs())?;
    let _precision = recipe.precision.enter();
    if recipe.precision != Precision::F32 && model.params().device().is_cpu() && !recipe.precision.has_unit() {
        let text =
            format!("this processor has no matrix unit for `{}`: training takes as long as in `f32`", recipe.precision);
        io.listener.on(&Event::Note { text });
    }
    if data.validation.is_none() && io.policies.iter().any(|p| p.needs_validation()) {
        return Err(Invalid::key("policies", "these policies look at a validation part, and there is none").into());
    }
    let phases = strategy.phases(&model.info())?;
    let mut run = Run::new(model, recipe, data, io);
    let resumed = run.resume()?;
    for (i, phase) in phases.iter().enumerate().skip(run.at.phase) {
        let fresh = !(resumed && i == run.at.phase);
        run.phase(&*strategy, i, phase, fresh)?;
        if run.stopped {
            break;
        }
        run.at = Position { phase: i + 1, epoch: 0, step_in_epoch: 0, ..run.at.clone() };
    }
    run.end()?;
    run.summary(phases.last())
}

/// The state of a fit.
struct Run<'r, 'io> {
    model: &'r mut Model,
    recipe: &'r Recipe,
    data: &'r Data,
    io: &'r mut Io<'io>,
    at: Position,
    optimiser: OptimiserState,
    average: Average,
    kept: BTreeMap<String, BTreeMap<String, Tensor>>,
    history: Vec<Report>,
    saved: Instant,
    stopped: bool,
}

/// What stays the same during a phase.
struct Stage<'s> {
    strategy: &'s dyn Strategy,
    phase: &'s Phase,
    updates: Vec<Update>,
    network: Network,
    prefix: usize,
    /// What the prefix made of all rows.
    kept: AllKept,
    /// Batches of the streams, by name, where nothing was kept of them.
    ahead: BTreeMap<String, Ahead>,
    taps: BTreeSet<String>,
    /// Batches in an epoch of the first labelled stream.
    batches: u64,
    steps_per_epoch: u64,
    epochs: u64,
}

impl<'r, 'io> Run<'r, 'io> {
    fn new(model: &'r mut Model, recipe: &'r Recipe, data: &'r Data, io: &'r mut Io<'io>) -> Self {
        let optimiser = OptimiserState::new(model.params());
        let at = Position { lr_factor: 1.0, ..Position::default() };
        let (average, kept, history) = Default::default();
        Self { model, recipe, data, io, at, optimiser, average, kept, history, saved: Instant::now(), stopped: false }
    }

    /// Goes to where the newest whole checkpoint was written, if that is wanted and there is one.
    fn resume(&mut self) -> Result<bool> {
        let Some(folder) = self.io.checkpoints.clone().filter(|_| self.io.resume) else { return Ok(false) };
        let checkpoint::Found { newest, damaged } = checkpoint::newest(&folder, self.model.params().device())?;
        for why in damaged {
            self.io.listener.on(&Event::Warning { text: format!("{why}; this checkpoint is passed over") });
        }
        let Some((state, tensors)) = newest else { return Ok(false) };
        checkpoint::restore(&state, &tensors, self.model.params())?;
        self.model.rebuild()?;
        for (name, t) in &tensors.slots {
            self.optimiser.slots.insert(name, t, Role::Buffer, Origin::Fresh)?;
        }
        for (policy, state) in self.io.policies.iter_mut().zip(state.policies) {
            policy.restore(state)?;
        }
        (self.at, self.optimiser.counts, self.history, self.kept) =
            (state.position, state.counts, state.history, tensors.kept);
        self.average.tensors = tensors.average;
        self.io.listener.on(&Event::Note { text: format!("resumed after step {}", self.at.total_steps) });
        Ok(true)
    }

    fn phase(&mut self, strategy: &dyn Strategy, index: usize, phase: &Phase, fresh: bool) -> Result<()> {
        if fresh {
            self.model.params().remove_where(|n| phase.plan.resets.iter().any(|p| p.matches(n)));
            self.optimiser = OptimiserState::new(self.model.params());
            self.model.network(phase.plan.clone())?;
            self.boundary(strategy, Boundary::PhaseStart(index))?;
        }
        if phase.until != Until::Now {
            let stage = self.stage(strategy, phase)?;
            self.epochs(strategy, index, &stage)?;
            self.average.settle(self.model.params())?;
        }
        if !self.stopped {
            self.boundary(strategy, Boundary::PhaseEnd(index))?;
        }
        Ok(())
    }

    fn boundary(&mut self, strategy: &dyn Strategy, boundary: Boundary) -> Result<()> {
        let seeds = self.model.parts.seeds.child(&format!("boundary/{boundary:?}"));
        let (info, io) = (self.model.info(), &mut *self.io);
        strategy.at(boundary, &mut BoundaryPass { model: self.model, info, data: self.data, seeds, io })?;
        self.model.rebuild()
    }

    fn stage<'s>(&mut self, strategy: &'s dyn Strategy, phase: &'s Phase) -> Result<Stage<'s>> {
        let needs = strategy.needs();
        let main = self.data.labelled.get(&needs.labelled_streams()[0]).map(|f| f.batches()).unwrap_or_default();
        let network = self.model.network(phase.plan.clone())?;
        let prefix = frozen_stages(self.model, &phase.plan, &needs.taps);
        let epochs = if let Until::Epochs(n) = phase.until { n } else { self.recipe.epochs };
        let at = &self.at;
        let last = |feed: &dyn Feed| epoch_of(at, main, feed, (epochs * main).saturating_sub(1));
        let shown = |feed: &dyn Feed| epoch_of(at, main, feed, at.epoch * main).0..last(feed).0 + 1;
        let ahead =
            streams(self.data).map(|s| (s.name.to_owned(), Ahead::new(s.feed.clone(), last(&**s.feed)))).collect();
        let kept = keep(self.model, (&network, prefix), self.data, shown, self.io);
        if let Err(Error::Interrupted) = kept {
            self.save()?;
        }
        let kept = kept?;
        let steps_per_epoch = main.div_ceil(self.recipe.accumulate.max(1));
        let updates = if phase.updates.is_empty() {
            vec![Update { name: "all".into(), ..Update::default() }]
        } else {
            phase.updates.clone()
        };
        self.io.listener.on(&Event::PhaseStarted {
            phase: phase.name.clone(),
            steps: steps_per_epoch * epochs,
            trainable: count(self.model.params(), |n| phase.plan.use_of(n) != Use::Frozen),
            cached_stages: if kept.streams.is_empty() { 0 } else { prefix },
        });
        let taps = needs.taps.into_iter().collect();
        Ok(Stage {
            strategy,
            phase,
            updates,
            network,
            prefix,
            kept,
            ahead,
            taps,
            batches: main,
            steps_per_epoch,
            epochs,
        })
    }

    fn epochs(&mut self, strategy: &dyn Strategy, index: usize, stage: &Stage<'_>) -> Result<()> {
        while self.at.epoch < stage.epochs && !self.stopped {
            let started = Instant::now();
            while self.at.step_in_epoch < stage.steps_per_epoch {
                let (phase, at) = (&stage.phase.name, self.at.total_steps);
                let loss = self.step(stage).within(|| format!("phase `{phase}`, step {at}"))?;
                self.at.loss_sum += loss;
                self.at.step_in_epoch += 1;
                self.at.total_steps += 1;
                if self.io.stop.load(Ordering::Relaxed) {
                    self.save()?;
                    return Err(Error::Interrupted);
                }
                if self.saved.elapsed().as_secs_f64() >= self.recipe.checkpoint_every_secs {
                    self.save()?;
                }
            }
            let epoch = self.at.epoch;
            let train_loss = self.at.loss_sum / stage.steps_per_epoch.max(1) as f64;
            let seconds = started.elapsed().as_secs_f64();
            self.boundary(strategy, Boundary::EpochEnd(index, epoch))?;
            self.report(stage, train_loss, seconds)?;
            self.at = Position {
                epoch: epoch + 1,
                step_in_epoch: 0,
                loss_sum: 0.0,
                total_epochs: self.at.total_epochs + 1,
                ..self.at.clone()
            };
        }
        Ok(())
    }

    /// All updates of one optimiser step; returns the sum of the weighted terms, averaged over the accumulated batches.
    fn step(&mut self, stage: &Stage<'_>) -> Result<f64> {
        let step = self.at.epoch * stage.steps_per_epoch + self.at.step_in_epoch;
        let progress =
            Progress { step, steps: stage.steps_per_epoch * stage.epochs, steps_per_epoch: stage.steps_per_epoch };
        let first = self.at.step_in_epoch * self.recipe.accumulate.max(1);
        let micro = first..(first + self.recipe.accumulate.max(1)).min(stage.batches);
        let share = 1.0 / (micro.end - micro.start).max(1) as f64;
        let fetched = micro.map(|i| self.fetch(stage, i)).collect::<Result<Vec<_>>>()?;
        // A file may be damaged while it is trained from.
        stage.kept.told().iter().for_each(|e| self.io.listener.on(e));
        let factor = self.recipe.schedule.factor(progress) * self.at.lr_factor;
        let mut total = 0.0;
        for update in stage.updates.iter().filter(|u| step.is_multiple_of(u.every.max(1))) {
            let wanted = |n: &str| {
                let mine = update.trains.is_empty() || update.trains.iter().any(|p| p.matches(n));
                mine && stage.phase.plan.use_of(n) != Use::Frozen
                    && self.model.params().find(n).is_some_and(|p| p.role == Role::Weight)
            };
            let mut sum = Gradients::new(self.model.params(), wanted);
            for streams in &fetched {
                let (loss, g) = self.gradients(stage, update, streams, progress, &sum.empty_like())?;
                sum.add_scaled(&g, share)?;
                total += loss * share;
            }
            if let Some(limit) = self.recipe.clip_norm {
                clip(&mut sum, limit)?;
            }
            let optimiser = update.optimiser.as_deref().unwrap_or(&*self.recipe.optimiser);
            let (params, plan, lr) = (self.model.params(), &stage.phase.plan, optimiser.lr() * factor);
            Applied { params, plan, optimiser, update: &update.name, lr }.apply(&sum, &mut self.optimiser)?;
        }
        if let Some(averaging) = &self.recipe.averaging {
            let made = Progress { step: step + 1, ..progress };
            self.average.take(self.model.params(), &stage.phase.plan, &**averaging, made)?;
        }
        let lr = self.recipe.optimiser.lr() * factor;
        self.io.listener.on(&Event::Stepped { step: step + 1, steps: progress.steps, loss: total, lr });
        Ok(total)
    }

    /// The gradients of one update over one batch of every stream.
    fn gradients(
        &self,
        stage: &Stage<'_>,
        update: &Update,
        streams: &BTreeMap<String, Fetched<'_>>,
        progress: Progress,
        places: &Gradients,
    ) -> Result<(f64, Gradients)> {
        let _recording = Recording::start()?;
        let mut cx = TrainStep {
            network: &stage.network,
            strategy: stage.strategy,
            tasks: self.model.tasks(),
            params: self.model.params(),
            streams,
            prefix: stage.prefix,
            taps: &stage.taps,
            progress,
            step: self.at.total_steps,
            seeds: self.model.parts.seeds,
            done: BTreeMap::new(),
        };
        let terms = stage.strategy.terms(update, &mut cx)?;
        let mut total = None;
        let mut apart = Vec::new();
        for Term { name, weight, value } in &terms {
            let weighted = (value * *weight)?;
            let number = weighted.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            if !number.is_finite() {
                return Err(Error::diverged(format!("the loss `{name}`"), number));
            }
            if stage.strategy.combines() {
                let mut g = places.clone();
                backward(&weighted, &mut g)?;
                apart.push(g);
            }
            total = Some(match total {
                None => (number, weighted),
                Some((n, t)) => (n + number, (t + weighted)?),
            });
        }
        let (number, loss) =
            total.ok_or_else(|| Error::contract(format!("update `{}` has no loss term", update.name)))?;
        if stage.strategy.combines() {
            return Ok((number, stage.strategy.combine(apart, &cx as &dyn Step)?));
        }
        let mut g = places.clone();
        backward_last(&loss, &mut g)?;
        Ok((number, g))
    }

    /// The batch of every stream that belongs to batch `index` of the main stream's epoch; shorter streams go round.
    fn fetch(&self, stage: &Stage<'_>, index: u64) -> Result<BTreeMap<String, Fetched<'r>>> {
        let position = self.at.epoch * stage.batches + index;
        let (tiles, device) =
            (Tiles { network: &stage.network, prefix: stage.prefix, mode: Mode::Train }, self.model.params().device());
        let fetched = |stream: Stream<'r>| {
            let at = epoch_of(&self.at, stage.batches, &**stream.feed, position);
            let from = (stage.kept.streams.get(stream.name), &stage.ahead[stream.name]);
            let fetched = Fetched::new(stream, at, &tiles, from, device)?;
            Ok((stream.name.to_owned(), fetched))
        };
        streams(self.data).map(fetched).collect()
    }

    /// Evaluates on the validation part, asks the policies and does what they say; all of it with the average in place of the
    /// weights, where there is one.
    fn report(&mut self, stage: &Stage<'_>, train_loss: f64, seconds: f64) -> Result<()> {
        let present = self.average.swap(self.model.params())?;
        let mut report = Report { epoch: self.at.total_epochs, train_loss, ..Report::default() };
        if let Some(feed) = &self.data.validation {
            let evaluation = evaluate_kept(self.model, &**feed, stage.kept.validation.as_ref())?;
            report.validation = metrics_of(self.model, &evaluation)?;
            report.score = score_of(self.model, &evaluation)?;
        }
        let actions: Vec<Action> = self.io.policies.iter_mut().flat_map(|p| p.decide(&report)).collect();
        let waited: f64 = stage.ahead.values().map(|a| a.waited().as_secs_f64()).sum();
        let waiting = (waited / seconds.max(f64::MIN_POSITIVE)).min(1.0);
        self.io.listener.on(&Event::EpochFinished { report: report.clone(), seconds, waiting });
        self.history.push(report);
        self.act(actions)?;
        if self.average.tensors.is_empty() { Ok(()) } else { put(self.model.params(), &present) }
    }

    fn act(&mut self, actions: Vec<Action>) -> Result<()> {
        for action in actions {
            match action {
                Action::Stop { why } => {
                    self.stopped = true;
                    self.io.listener.on(&Event::Note { text: why });
                }
                Action::Save { name } => drop(self.kept.insert(name, self.model.params().snapshot(|_| true)?)),
                Action::Restore { name } => {
                    self.average = Average::default();
                    self.kept.get(&name).map(|values| put(self.model.params(), values)).transpose()?;
                }
                Action::Delete { name } => drop(self.kept.remove(&name)),
                Action::ScaleLr { factor } => self.at.lr_factor *= factor,
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let actions: Vec<Action> = self.io.policies.iter_mut().flat_map(|p| p.at_end()).collect();
        self.act(actions)
    }

    fn save(&mut self) -> Result<()> {
        let Some(folder) = &self.io.checkpoints else { return Ok(()) };
        let policies = self.io.policies.iter().map(|p| p.state()).collect();
        let params = self.model.params();
        let state = State::new(self.at.clone(), self.optimiser.counts.clone(), policies, self.history.clone(), params);
        let slots = self.optimiser.slots.snapshot(|_| true)?;
        checkpoint::save(
            folder,
            &state,
            &Tensors {
                params: params.snapshot(|_| true)?,
                slots,
                average: self.average.tensors.clone(),
                kept: self.kept.clone(),
            },
        )?;
        self.saved = Instant::now();
        self.io.listener.on(&Event::Checkpointed { step: self.at.total_steps });
        Ok(())
    }

    fn summary(self, last: Option<&Phase>) -> Result<Fit> {
        let params = self.model.params();
        let fitted = |n: &str| params.find(n).is_some_and(|p| matches!(p.origin, Origin::Fitted { .. }));
        let trained = |n: &str| last.is_some_and(|p| p.until != Until::Now && p.plan.use_of(n) != Use::Frozen);
        Ok(Fit {
            steps: self.at.total_steps,
            epochs: self.at.total_epochs,
            trainable: count(params, trained)
                + params.all().iter().filter(|(n, _)| fitted(n)).map(|(_, p)| p.var().elem_count()).sum::<usize>(),
            parameters: count(params, |_| true),
            ledger: ledger(params, &self.model.info(), last),
            history: self.history,
        })
    }
}

/// Where a stream stands when the main one, of `batches` an epoch, has shown so many batches of this phase: its epoch and
/// batch. Epochs are counted over all phases, so that a second phase sees other augmentations than the first.
fn epoch_of(at: &Position, batches: u64, feed: &dyn Feed, position: u64) -> (u64, u64) {
    let n = feed.batches().max(1);
    let earlier = (at.total_epochs - at.epoch) * batches / n;
    (earlier + position / n, position % n)
}

/// Numbers in the weights that `which` names.
fn count(params: &Params, which: impl Fn(&str) -> bool) -> usize {
    params.all().iter().filter(|(n, p)| p.role == Role::Weight && which(n)).map(|(_, p)| p.var().elem_count()).sum()
}
