//! [`PhaseRun`]: the steps of a phase, each of which fetches batches, asks the strategy for a loss, and updates
//! weights.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use transplant_core::{
    Error, Event, Feed, Gradients, Mode, Phase, Progress, Recording, Result, Step, Strategy, Task, Term, Update, Use,
    backward, backward_last, scalar,
};

use crate::ahead::Ahead;
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
    /// Batches in an epoch of the first labelled stream.
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
        let main = run.data.labelled.get(&needs.labelled_streams()[0]).map(|f| f.batches()).unwrap_or_default();
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
        let share = 1.0 / (micro.end - micro.start).max(1) as f64;
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
            let mut sum = Gradients::new(self.model.params(), wanted);
            for (streams, rows) in fetched.iter().zip(&rows) {
                let (loss, g) = self.gradients(phase, update, (streams, rows), progress, &sum.empty_like())?;
                sum.add_scaled(&g, share)?;
                total += loss * share;
            }
            if let Some(limit) = self.recipe.clip_norm {
                clip(&mut sum, limit)?;
            }
            let optimiser = update.optimiser.as_deref().unwrap_or(&*self.recipe.optimiser);
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

    /// The gradients of one update over one batch of every stream.
    fn gradients(
        &self,
        phase: &PhaseRun<'_>,
        update: &Update,
        (streams, shares): (&BTreeMap<String, Fetched<'_>>, &Shares),
        progress: Progress,
        places: &Gradients,
    ) -> Result<(f64, Gradients)> {
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
            progress,
            step: self.at.total_steps,
            seeds: self.model.parts.seeds,
            done: BTreeMap::new(),
        };
        let terms = phase.strategy.terms(update, &mut cx)?;
        let mut total = None;
        let mut apart = Vec::new();
        for Term { name, weight, value } in &terms {
            let weighted = (value * *weight)?;
            let number = scalar(&weighted)?;
            if !number.is_finite() {
                return Err(Error::diverged(format!("the loss `{name}`"), number));
            }
            if phase.strategy.combines() {
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
        if phase.strategy.combines() {
            return Ok((number, phase.strategy.combine(apart, &cx as &dyn Step)?));
        }
        let mut g = places.clone();
        backward_last(&loss, &mut g)?;
        Ok((number, g))
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
