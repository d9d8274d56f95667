//! [`fit`]: the training loop, phase after phase and epoch after epoch. The steps of an epoch are in `phase_run.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Instant;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use transplant_core::{
    Action, Boundary, Error, Event, Invalid, Origin, Param, Params, Phase, Report, Result, Role, Strategy, Until, Use,
    Within, epochs_of,
};
use transplant_ops::Precision;

use crate::average::{Average, put};
use crate::checkpoint::{self, Position, State, Tensors};
use crate::data::{Data, Io, Recipe};
use crate::evaluate::{Score, evaluate_kept, metrics_of, score_of};
use crate::ledger::{LedgerRow, ledger};
use crate::model::Model;
use crate::pass::BoundaryPass;
use crate::phase_run::PhaseRun;
use crate::update::OptimiserState;
use crate::validate::scores;

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
    /// The phases that a policy ended, in order.
    pub stopped: Vec<Stopped>,
}

/// A phase that a policy ended before it had all of its epochs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// The phase's name.
    pub phase: String,
    /// Epochs that it made.
    pub epochs: u64,
    /// The policy's reason.
    pub why: String,
}

/// Trains a model as its strategy says.
///
/// # Errors
/// [`Error::Interrupted`] when `io.stop` was set (the state is then in `io.checkpoints`); otherwise what data, strategy or
/// network met, and a loss that is not finite.
pub fn fit(model: &mut Model, recipe: &Recipe, data: &Data, io: &mut Io<'_>) -> Result<Fit> {
    let strategy = model.strategy().clone();
    data.check(&strategy.needs())?;
    io.validators.all().try_for_each(|v| data.looked_at(v).map(drop))?;
    let _precision = recipe.precision.enter();
    if recipe.precision != Precision::F32 && model.params().device().is_cpu() && !recipe.precision.has_unit() {
        let text =
            format!("this processor has no matrix unit for `{}`: training takes as long as in `f32`", recipe.precision);
        io.listener.on(&Event::Note { text });
    }
    let chosen_by_labels = io.validators.select.is_none() && io.policies.iter().any(|p| p.needs_validation());
    if data.validation.is_none() && chosen_by_labels {
        return Err(Invalid::key("policies", "these policies look at a validation part, and there is none").into());
    }
    model.plan(recipe.epochs)?;
    let phases = model.phases().to_vec();
    let epochs = epochs_of(&phases, recipe.epochs)?;
    let mut run = Run::new(model, recipe, data, io);
    let resumed = run.resume()?;
    let first = run.at.phase;
    for (i, (phase, epochs)) in phases.iter().zip(epochs).enumerate().skip(first) {
        let fresh = !(resumed && i == first);
        run.phase(&*strategy, (i, phase, epochs), fresh)?;
        run.at = Position { phase: i + 1, epoch: 0, step_in_epoch: 0, ..run.at.clone() };
    }
    let trained = run.trained(phases.last());
    let merged = run.model.finish()?;
    // What the strategy has removed is no part of the model.
    let stays = |name: &str| !run.model.removed.iter().any(|p| p.matches(name));
    let trainable = trained.iter().filter(|(name, _)| stays(name)).map(|(_, n)| n).sum();
    run.summary(phases.last(), trainable, &merged)
}

/// The state of a fit.
pub(crate) struct Run<'r, 'io> {
    pub(crate) model: &'r mut Model,
    pub(crate) recipe: &'r Recipe,
    pub(crate) data: &'r Data,
    pub(crate) io: &'r mut Io<'io>,
    pub(crate) at: Position,
    pub(crate) optimiser: OptimiserState,
    pub(crate) average: Average,
    kept: BTreeMap<String, BTreeMap<String, Tensor>>,
    history: Vec<Report>,
    stopped: Vec<Stopped>,
    saved: Instant,
    /// Why a policy ends the present phase.
    stop: Option<String>,
    /// Warnings that were given.
    told: BTreeSet<String>,
}

impl<'r, 'io> Run<'r, 'io> {
    fn new(model: &'r mut Model, recipe: &'r Recipe, data: &'r Data, io: &'r mut Io<'io>) -> Self {
        let optimiser = OptimiserState::new(model.params());
        let at = Position { lr_factor: 1.0, ..Position::default() };
        let (average, kept, history, stopped, told) = Default::default();
        let saved = Instant::now();
        Self { model, recipe, data, io, at, optimiser, average, kept, history, stopped, saved, stop: None, told }
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
        self.model.resume_phase(state.position.phase)?;
        for (name, t) in &tensors.slots {
            self.optimiser.slots.insert(name, t, Role::Buffer, Origin::Fresh)?;
        }
        for (policy, state) in self.io.policies.iter_mut().zip(state.policies) {
            policy.restore(state)?;
        }
        (self.at, self.optimiser.counts, self.history, self.stopped, self.kept) =
            (state.position, state.counts, state.history, state.stopped, tensors.kept);
        self.average.tensors = tensors.average;
        self.io.listener.on(&Event::Note { text: format!("resumed after step {}", self.at.total_steps) });
        Ok(true)
    }

    fn phase(
        &mut self,
        strategy: &dyn Strategy,
        (index, phase, epochs): (usize, &Phase, u64),
        fresh: bool,
    ) -> Result<()> {
        if fresh {
            self.optimiser = OptimiserState::new(self.model.params());
            self.model.start_phase(index)?;
            self.boundary(strategy, Boundary::PhaseStart(index))?;
        }
        if phase.until != Until::Now {
            if fresh {
                self.io.policies.iter_mut().for_each(|p| p.phase_start());
            }
            let run = PhaseRun::new(self, strategy, phase, epochs)?;
            self.epochs(strategy, index, &run)?;
            self.average.settle(self.model.params())?;
            let actions: Vec<Action> = self.io.policies.iter_mut().flat_map(|p| p.phase_end()).collect();
            self.act(actions)?;
            self.phase_ended(phase);
        }
        self.boundary(strategy, Boundary::PhaseEnd(index))
    }

    /// Tells how a phase ended.
    fn phase_ended(&mut self, phase: &Phase) {
        let (phase, epochs, stopped) = (phase.name.clone(), self.at.epoch, self.stop.take());
        if let Some(why) = &stopped {
            let text = format!("phase `{phase}` stopped early, after {epochs} epochs: {why}");
            self.io.listener.on(&Event::Note { text });
            self.stopped.push(Stopped { phase: phase.clone(), epochs, why: why.clone() });
        }
        self.io.listener.on(&Event::PhaseEnded { phase, epochs, stopped });
    }

    fn boundary(&mut self, strategy: &dyn Strategy, boundary: Boundary) -> Result<()> {
        let seeds = self.model.parts.seeds.child(&format!("boundary/{}", boundary.stream()));
        let (info, io) = (self.model.info(), &mut *self.io);
        strategy.at(boundary, &mut BoundaryPass { model: self.model, info, data: self.data, seeds, io })?;
        self.model.rebuild()
    }

    fn epochs(&mut self, strategy: &dyn Strategy, index: usize, phase: &PhaseRun<'_>) -> Result<()> {
        while self.at.epoch < phase.epochs && self.stop.is_none() {
            let started = Instant::now();
            while self.at.step_in_epoch < phase.steps_per_epoch {
                let (name, at) = (&phase.phase.name, self.at.total_steps);
                let loss = self.step(phase).within(|| format!("phase `{name}`, step {at}"))?;
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
            let train_loss = self.at.loss_sum / phase.steps_per_epoch.max(1) as f64;
            let seconds = started.elapsed().as_secs_f64();
            self.boundary(strategy, Boundary::EpochEnd(index, epoch))?;
            self.report(phase, train_loss, seconds)?;
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

    /// Evaluates on the validation part, asks the policies and does what they say; all of it with the average in place of the
    /// weights, where there is one.
    fn report(&mut self, phase: &PhaseRun<'_>, train_loss: f64, seconds: f64) -> Result<()> {
        let present = self.average.swap(self.model.params())?;
        let (epoch, name) = (self.at.total_epochs, phase.phase.name.clone());
        let mut report = Report { epoch, phase: name, train_loss, ..Report::default() };
        let evaluated = self.data.validation.as_ref();
        let evaluated = evaluated.map(|feed| evaluate_kept(self.model, &**feed, phase.kept.validation.as_ref()));
        let evaluated = evaluated.transpose()?;
        if let Some(evaluation) = &evaluated {
            report.validation = metrics_of(self.model, evaluation)?;
        }
        let source = evaluated.as_ref().map(|e| &e.predictions);
        report.validators = scores(self.model, self.data, &self.io.validators, &phase.kept.judged, source)?;
        report.score = match (&self.io.validators.select, &evaluated) {
            (Some(v), _) => report.validators.get(&v.name).copied(),
            (None, Some(evaluation)) => self.score(score_of(self.model, evaluation)?)?,
            (None, None) => None,
        };
        let actions: Vec<Action> = self.io.policies.iter_mut().flat_map(|p| p.decide(&report)).collect();
        let waited: f64 = phase.ahead.values().map(|a| a.waited().as_secs_f64()).sum();
        let waiting = (waited / seconds.max(f64::MIN_POSITIVE)).min(1.0);
        self.io.listener.on(&Event::EpochFinished { report: report.clone(), seconds, waiting });
        self.history.push(report);
        self.act(actions)?;
        if self.average.tensors.is_empty() { Ok(()) } else { put(self.model.params(), &present) }
    }

    /// The score that policies see, or `None` when none of them wants one. What does not count in it is told once.
    fn score(&mut self, score: Score) -> Result<Option<f64>> {
        let wanted = self.io.policies.iter().any(|p| p.needs_validation());
        if !wanted {
            return Ok(score.value);
        }
        let tasks = |names: &[String]| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        if score.value.is_none() && score.undefined.is_empty() {
            let e =
                Invalid::key("policies", "these policies choose by a score of the validation part, and there is none");
            let help = match score.without_targets.is_empty() {
                true => "give a task a metric".to_owned(),
                false => format!("no row of that part has a target of the task {}", tasks(&score.without_targets)),
            };
            return Err(e.help(help).into());
        }
        for (names, why) in [
            (&score.without_targets, "no row of that part has a target of it"),
            (&score.undefined, "its first metric is not defined for these rows"),
        ] {
            if !names.is_empty() && self.told.insert(format!("{}{why}", tasks(names))) {
                let text = format!("the validation score leaves out the task {}: {why}", tasks(names));
                self.io.listener.on(&Event::Warning { text });
            }
        }
        Ok(score.value)
    }

    fn act(&mut self, actions: Vec<Action>) -> Result<()> {
        for action in actions {
            match action {
                Action::Stop { why } => self.stop = Some(why),
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

    pub(crate) fn save(&mut self) -> Result<()> {
        let Some(folder) = &self.io.checkpoints else { return Ok(()) };
        let policies = self.io.policies.iter().map(|p| p.state()).collect();
        let params = self.model.params();
        let (counts, history, stopped) = (self.optimiser.counts.clone(), self.history.clone(), self.stopped.clone());
        let mut state = State::new(self.at.clone(), counts, policies, history, params);
        state.stopped = stopped;
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

    /// Weights that the last phase trained, adapters among them, and what was fitted, each with its count of numbers.
    fn trained(&self, last: Option<&Phase>) -> Vec<(String, usize)> {
        let trained = |n: &str| last.is_some_and(|p| p.until != Until::Now && p.plan.use_of(n) != Use::Frozen);
        let is_trained =
            |n: &str, p: &Param| p.role.learned() && trained(n) || matches!(p.origin, Origin::Fitted { .. });
        let all = self.model.params().all().into_iter().filter(|(n, p)| is_trained(n, p));
        all.map(|(n, p)| (n, p.var().elem_count())).collect()
    }

    fn summary(self, last: Option<&Phase>, trainable: usize, merged: &BTreeSet<String>) -> Result<Fit> {
        let params = self.model.params();
        Ok(Fit {
            steps: self.at.total_steps,
            epochs: self.at.total_epochs,
            trainable,
            parameters: count(params, |_| true),
            ledger: ledger(params, &self.model.info(), last, merged),
            history: self.history,
            stopped: self.stopped,
        })
    }
}

/// Numbers in the weights, those of adapters among them, that `which` names.
pub(crate) fn count(params: &Params, which: impl Fn(&str) -> bool) -> usize {
    params.all().iter().filter(|(n, p)| p.role.learned() && which(n)).map(|(_, p)| p.var().elem_count()).sum()
}
