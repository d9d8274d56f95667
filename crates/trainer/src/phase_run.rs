//! [`PhaseRun`]: the steps of a phase, each of which fetches batches, asks the strategy for a loss, and updates
//! weights.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use candle_core::Tensor;
use transplant_core::{
    Ascent, CombineCx, Error, Event, Feed, Gradients, Mode, Params, Phase, Progress, Recording, Result, Step, Strategy,
    Supervise, Task, Term, TermInfo, Update, Use, Weighting, backward, backward_last, scalar,
};

use crate::ahead::Ahead;
use crate::average::put;
use crate::checkpoint::Position;
use crate::fetched::{Fetched, Stream, streams};
use crate::fit::{Run, count};
use crate::keeper::keep;
use crate::kept::AllKept;
use crate::model::Network;
use crate::prefix::{Tiles, frozen_stages};
use crate::step::{Shares, TrainStep};
use crate::update::{Applied, clip};

/// What stays the same while the steps of a phase are made.
pub(crate) struct PhaseRun<'s> {
    strategy: &'s dyn Strategy,
    pub(crate) phase: &'s Phase,
    updates: Vec<Update>,
    network: Network,
    prefix: usize,
    /// What the prefix made of all rows.
    pub(crate) kept: AllKept,
    /// Batches of the streams, by name, where nothing was kept of them.
    pub(crate) ahead: BTreeMap<String, Ahead>,
    taps: BTreeSet<String>,
    /// Batches in an epoch of the stream that counts them.
    batches: u64,
    pub(crate) steps_per_epoch: u64,
    pub(crate) epochs: u64,
}

impl<'s> PhaseRun<'s> {
    /// Builds the network under the phase's plan and keeps what its frozen prefix makes of all rows.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when `io.stop` was set, with the state saved.
    pub(crate) fn new(
        run: &mut Run<'_, '_>,
        strategy: &'s dyn Strategy,
        phase: &'s Phase,
        epochs: u64,
    ) -> Result<Self> {
        let needs = strategy.needs();
        let main = run.data.main(&needs)?.batches();
        let network = run.model.network(phase.plan.clone())?;
        let prefix = frozen_stages(run.model, &phase.plan, &needs.taps);
        let at = &run.at;
        let last = |feed: &dyn Feed| epoch_of(at, main, feed, (epochs * main).saturating_sub(1));
        let shown = |feed: &dyn Feed| epoch_of(at, main, feed, at.epoch * main).0..last(feed).0 + 1;
        let ahead =
            streams(run.data).map(|s| (s.name.to_owned(), Ahead::new(s.feed.clone(), last(&**s.feed)))).collect();
        let kept = keep(run.model, (&network, prefix), run.data, shown, run.io);
        if let Err(Error::Interrupted) = kept {
            run.save()?;
        }
        let kept = kept?;
        let steps_per_epoch = main.div_ceil(run.recipe.accumulate.max(1));
        let updates = if phase.updates.is_empty() {
            vec![Update { name: "all".into(), ..Update::default() }]
        } else {
            phase.updates.clone()
        };
        run.io.listener.on(&Event::PhaseStarted {
            phase: phase.name.clone(),
            steps: steps_per_epoch * epochs,
            trainable: count(run.model.params(), |n| phase.plan.use_of(n) != Use::Frozen),
            cached_stages: if kept.streams.is_empty() { 0 } else { prefix },
        });
        let taps = needs.taps.into_iter().collect();
        Ok(Self {
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
}

impl<'r> Run<'r, '_> {
    /// All updates of one optimiser step; returns the sum of the weighted terms, averaged over the accumulated batches.
    pub(crate) fn step(&mut self, phase: &PhaseRun<'_>) -> Result<f64> {
        let step = self.at.epoch * phase.steps_per_epoch + self.at.step_in_epoch;
        let progress =
            Progress { step, steps: phase.steps_per_epoch * phase.epochs, steps_per_epoch: phase.steps_per_epoch };
        let first = self.at.step_in_epoch * self.recipe.accumulate.max(1);
        let micro = first..(first + self.recipe.accumulate.max(1)).min(phase.batches);
        let fetched = micro.map(|i| self.fetch(phase, i)).collect::<Result<Vec<_>>>()?;
        let rows = known_shares(&fetched, self.model.tasks())?;
        // A file may be damaged while it is trained from.
        phase.kept.told().iter().for_each(|e| self.io.listener.on(e));
        let factor = self.recipe.schedule.factor(progress) * self.at.lr_factor;
        let mut total = 0.0;
        for update in phase.updates.iter().filter(|u| step.is_multiple_of(u.every.max(1))) {
            let wanted = |n: &str| {
                let mine = update.trains.is_empty() || update.trains.iter().any(|p| p.matches(n));
                mine && phase.phase.plan.use_of(n) != Use::Frozen
                    && self.model.params().find(n).is_some_and(|p| p.role.learned())
            };
            let places = Gradients::new(self.model.params(), wanted);
            let batches = Batches { fetched: &fetched, shares: &rows, progress };
            let optimiser = update.optimiser.as_deref().unwrap_or(&*self.recipe.optimiser);
            let ascent = optimiser.ascent();
            let first = if ascent.is_some() { Visit::Uphill } else { Visit::Only };
            let (loss, mut sum) = self.gradients(phase, update, &batches, &places, first)?;
            total += loss;
            if let Some(ascent) = ascent {
                let before = climb(self.model.params(), &sum, ascent)?;
                let there = self.gradients(phase, update, &batches, &places, Visit::Top);
                put(self.model.params(), &before)?;
                sum = there?.1;
            }
            if let Some(limit) = self.recipe.clip_norm {
                clip(&mut sum, limit)?;
            }
            let (params, plan, lr) = (self.model.params(), &phase.phase.plan, optimiser.lr() * factor);
            Applied { params, plan, optimiser, update: &update.name, lr }.apply(&sum, &mut self.optimiser)?;
        }
        if let Some(averaging) = &self.recipe.averaging {
            let made = Progress { step: step + 1, ..progress };
            self.average.take(self.model.params(), &phase.phase.plan, &**averaging, made)?;
        }
        let lr = self.recipe.optimiser.lr() * factor;
        self.io.listener.on(&Event::Stepped { step: step + 1, steps: progress.steps, loss: total, lr });
        Ok(total)
    }

    /// The loss and the gradients of one update, averaged over the batches that the step accumulates.
    fn gradients(
        &self,
        phase: &PhaseRun<'_>,
        update: &Update,
        batches: &Batches<'_>,
        places: &Gradients,
        visit: Visit,
    ) -> Result<(f64, Gradients)> {
        let weighting = phase.strategy.weighting();
        let combines = weighting.as_ref().is_some_and(|w| w.combines());
        let share = 1.0 / batches.fetched.len().max(1) as f64;
        let (mut total, mut sum, mut apart) = (0.0, places.clone(), Vec::<(TermInfo, Gradients)>::new());
        for (streams, shares) in batches.fetched.iter().zip(batches.shares) {
            let _recording = Recording::start()?;
            let mut cx = TrainStep {
                network: &phase.network,
                strategy: phase.strategy,
                tasks: self.model.tasks(),
                params: self.model.params(),
                streams,
                shares,
                prefix: phase.prefix,
                taps: &phase.taps,
                progress: batches.progress,
                step: self.at.total_steps,
                seeds: self.model.parts.seeds,
                first_pass: visit != Visit::Top,
                done: BTreeMap::new(),
            };
            let terms = self.terms(phase, update, weighting.as_deref(), &mut cx)?;
            let mut loss = None;
            for term in &terms {
                let weighted = (&term.value * term.weight)?;
                let number = scalar(&weighted)?;
                if !number.is_finite() {
                    return Err(Error::diverged(format!("the loss `{}`", term.name), number));
                }
                total += number * share;
                if !combines {
                    loss = Some(loss.map_or_else(|| Ok(weighted.clone()), |sum: Tensor| sum + &weighted)?);
                    continue;
                }
                let mut g = places.clone();
                backward(&weighted, &mut g)?;
                let known = apart.iter_mut().find(|(info, _)| info.name == term.name && info.stream == term.stream);
                if let Some((info, all)) = known {
                    info.loss += number * share;
                    all.add_scaled(&g, share)?;
                } else {
                    let (name, task, stream) = (term.name.clone(), term.task.clone(), term.stream.clone());
                    g.scale(share)?;
                    apart.push((TermInfo { name, task, stream, loss: number * share }, g));
                }
            }
            if let Some(loss) = loss {
                let mut g = places.clone();
                backward_last(&loss, &mut g)?;
                sum.add_scaled(&g, share)?;
            }
        }
        match weighting.filter(|_| combines) {
            None => Ok((total, sum)),
            Some(weighting) => {
                let seeds = self.model.parts.seeds.child(&format!("step/{}", self.at.total_steps));
                let (params, model, uphill) = (self.model.params(), &self.model.info(), visit == Visit::Uphill);
                let cx = CombineCx { params, model, progress: batches.progress, uphill, seeds };
                Ok((total, weighting.combine(apart, &cx)?))
            }
        }
    }

    /// The terms of the loss of one batch: the supervised ones, then those of the strategy, weighed.
    fn terms(
        &self,
        phase: &PhaseRun<'_>,
        update: &Update,
        weighting: Option<&dyn Weighting>,
        cx: &mut TrainStep<'_>,
    ) -> Result<Vec<Term>> {
        let streams = match phase.strategy.supervises(update) {
            Supervise::Labelled => self.data.labelled.keys().cloned().collect(),
            Supervise::Streams(names) => names,
            Supervise::Nothing => Vec::new(),
        };
        let mut terms = Vec::new();
        for stream in streams {
            terms.extend(cx.supervised(&stream)?);
        }
        terms.extend(phase.strategy.terms(update, cx)?);
        if terms.is_empty() {
            return Err(Error::contract(format!("update `{}` has no loss term", update.name)));
        }
        if let Some(weighting) = weighting {
            weighting.weigh(&mut terms, cx)?;
        }
        Ok(terms)
    }

    /// The batch of every stream that belongs to batch `index` of the main stream's epoch; shorter streams go round.
    fn fetch(&self, phase: &PhaseRun<'_>, index: u64) -> Result<BTreeMap<String, Fetched<'r>>> {
        let position = self.at.epoch * phase.batches + index;
        let (tiles, device) =
            (Tiles { network: &phase.network, prefix: phase.prefix, mode: Mode::Train }, self.model.params().device());
        let fetched = |stream: Stream<'r>| {
            let at = epoch_of(&self.at, phase.batches, &**stream.feed, position);
            let from = (phase.kept.streams.get(stream.name), &phase.ahead[stream.name]);
            let fetched = Fetched::new(stream, at, &tiles, from, device)?;
            Ok((stream.name.to_owned(), fetched))
        };
        streams(self.data).map(fetched).collect()
    }
}

/// How often the batches of a step are gone through for one update, and which time this is.
#[derive(Clone, Copy, PartialEq)]
enum Visit {
    /// Once.
    Only,
    /// Twice, this time to find the way uphill.
    Uphill,
    /// Twice, this time at the end of that way.
    Top,
}

/// The batches that one optimiser step accumulates.
struct Batches<'a> {
    /// Of every stream, by name.
    fetched: &'a [BTreeMap<String, Fetched<'a>>],
    shares: &'a [Shares],
    progress: Progress,
}

/// Moves the weights uphill along their gradients; returns them as they were. Foret et al. 2021, "Sharpness-Aware
/// Minimization"; with [`Ascent::adaptive`] each weight by its own size, Kwon et al. 2021, "ASAM".
fn climb(params: &Params, gradients: &Gradients, ascent: Ascent) -> Result<BTreeMap<String, Tensor>> {
    let mut directions = Gradients::default();
    for (name, g) in gradients.iter() {
        directions.set(name, if ascent.adaptive { (g * params.get(name)?.view().abs()?)? } else { g.clone() });
    }
    // PyTorch implementations add 1e-12 so that gradients of 0 stay where they are.
    let factor = ascent.rho / (directions.norm()? + 1e-12);
    let mut before = BTreeMap::new();
    for (name, direction) in directions.iter() {
        let value = params.get(name)?.view().copy()?;
        let direction = if ascent.adaptive { (direction * value.abs()?)? } else { direction.clone() };
        params.set(name, &(&value + (direction * factor)?)?)?;
        before.insert(name.to_owned(), value);
    }
    Ok(before)
}

/// Where a stream stands when the main one, of `batches` an epoch, has shown so many batches of this phase: its epoch
/// and batch. Epochs are counted over all phases, so that a second phase sees other augmentations than the first.
fn epoch_of(at: &Position, batches: u64, feed: &dyn Feed, position: u64) -> (u64, u64) {
    let n = feed.batches().max(1);
    let earlier = (at.total_epochs - at.epoch) * batches / n;
    (earlier + position / n, position % n)
}

/// By how much the supervised loss of each stream and task counts more, in each of the batches that one step
/// accumulates, than it would with as many known rows in all of them: the mean over the batches is then the mean over
/// all known rows.
fn known_shares(
    fetched: &[BTreeMap<String, Fetched<'_>>],
    tasks: &BTreeMap<String, Arc<dyn Task>>,
) -> Result<Vec<Shares>> {
    let mut shares = vec![Shares::new(); fetched.len()];
    let Some(first) = fetched.first().filter(|_| fetched.len() > 1) else { return Ok(shares) };
    for stream in first.keys() {
        for (name, task) in tasks {
            let known = |batch: &BTreeMap<String, Fetched<'_>>| batch[stream].known(task.target());
            let known = fetched.iter().map(known).collect::<Result<Vec<_>>>()?;
            let all: f64 = known.iter().sum();
            for (share, known) in shares.iter_mut().zip(known).filter(|_| all > 0.0) {
                share.insert((stream.clone(), name.clone()), known * fetched.len() as f64 / all);
            }
        }
    }
    Ok(shares)
}
