//! Training one cell, or taking it as an earlier run left it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::json;
use transplant_core::{
    BuildCx, Error, Event, Fed, Listener, Params, Predictions, Result, RowRole, Seeds, Within, load_safetensors,
};
use transplant_datasets::{Loader, LoaderOptions};
use transplant_trainer::{Data, Fit, Io, Model, SourceLabels, evaluate_in, fit, validate};

use super::artefact::{self, Manifest, SourceNote};
use super::baselines::{self, Baselines};
use super::compare::{Done, Measure};
use super::data::Opened;
use super::folder::{Folder, Left, SetAside};
use super::layout::{BASELINES, MANIFEST, PREDICTIONS, WEIGHTS};
use super::leaks::{Because, Leak, Leaks};
use super::predictions::{self, CellPredictions, SplitPredictions};
use super::prepare::{Prepared, Ready};
use super::record::{DataRecord, Metrics, Record, SCHEMA};
use super::source::Source;
use super::streams::{ReadyStream, ReadyTest};
use super::usage::peak_rss_mb;
use super::vectors::Shared;
use super::{cache, hash, labels, leaks, parts, shape};
use crate::resolved::{Cell, TEST, validator_name};

/// The validation part in records and predictions.
pub(super) const VALIDATION: &str = "validation";
/// Rows for which a saved model is compared with the one in memory.
const COMPARED_ROWS: usize = 8;

/// A finished cell.
pub(crate) struct Finished {
    pub(crate) record: Record,
    pub(crate) predictions: CellPredictions,
    /// What baselines without a network predict for the test rows, by baseline.
    pub(crate) baselines: CellPredictions,
}

/// The rows a cell sees: what is tested, the rows that are learned from, and tasks.
type Rows = (String, Vec<u64>, Vec<String>);

/// How a cell is run.
pub(crate) struct Session<'a> {
    pub(crate) run: &'a Prepared<'a>,
    pub(crate) folder: &'a Folder,
    pub(crate) resume: bool,
    pub(crate) stop: &'a AtomicBool,
    /// Finds test rows that were learned from.
    pub(crate) leaks: RefCell<Leaks>,
    /// Baselines that were fitted.
    pub(crate) baselines: RefCell<BTreeMap<Rows, Baselines>>,
    /// Rows as baselines see them, by data set and its transforms.
    pub(crate) vectors: RefCell<BTreeMap<String, Shared>>,
    /// Where cells go that this run replaces, once there is one.
    pub(crate) aside: RefCell<Option<SetAside>>,
}

impl Session<'_> {
    /// Runs cell number `index`, unless an earlier run has finished it.
    pub(crate) fn cell(&self, index: usize, listener: &mut dyn Listener) -> Result<Finished> {
        let ready = &self.run.cells[index];
        let id = ready.cell.id.clone();
        let left = self.folder.left(&id, &ready.key)?;
        if let Left::Finished(record) = left {
            listener.on(&Event::CellReused { cell: id.clone() });
            let load = |file: &str| predictions::load(&self.folder.cell(&id).named(file));
            let baselines = if record.baselines.is_empty() { CellPredictions::new() } else { load(BASELINES)? };
            return Ok(Finished { record: *record, predictions: load(PREDICTIONS)?, baselines });
        }
        listener.on(&Event::CellStarted { cell: id.clone(), index, of: self.run.cells.len() });
        let goes_on = matches!(&left, Left::Begun { key, .. } if self.resume && *key == ready.key);
        if !goes_on {
            if let Some(why) = self.why_set_aside(ready, &left) {
                self.set_aside(&id, &why, listener)?;
            }
            self.folder.begin(&id, &ready.key)?;
        }
        let finished = self.train(ready, goes_on, listener).within(|| format!("cell `{id}`"))?;
        let (seconds, metrics) = (finished.record.seconds, finished.record.metrics.clone());
        listener.on(&Event::CellFinished { cell: id, seconds, metrics });
        Ok(finished)
    }

    /// Why what is left of a cell is set aside; `None` when nothing was trained there.
    fn why_set_aside(&self, ready: &Ready, left: &Left) -> Option<String> {
        match left {
            Left::Other(record) => Some(format!("was finished with {}", difference(record, ready))),
            Left::Damaged(why) => Some(format!("is not whole: {why}")),
            Left::Begun { checkpoint: false, .. } | Left::Nothing | Left::Finished(_) => None,
            Left::Begun { key, .. } if *key == ready.key => {
                Some("was begun by a run that did not end, which `--resume` would have gone on with".to_owned())
            }
            Left::Begun { .. } => Some("was begun with other options, data, weights or code".to_owned()),
        }
    }

    /// Moves what is left of a cell to where nothing replaces it, and says so.
    fn set_aside(&self, id: &str, why: &str, listener: &mut dyn Listener) -> Result<()> {
        let mut aside = self.aside.borrow_mut();
        let place = match &mut *aside {
            Some(place) => place,
            none => none.insert(self.folder.set_aside()?),
        };
        let moved = place.cell(id)?;
        listener.on(&Event::Warning { text: format!("{id} begins anew: it {why}; {moved}") });
        Ok(())
    }

    fn train(&self, ready: &Ready, resume: bool, listener: &mut dyn Listener) -> Result<Finished> {
        let started = Instant::now();
        let (cell, folder) = (&ready.cell, self.folder.cell(&ready.cell.id));
        let mut model = self.model(ready)?;
        let data = self.data(ready)?;
        let cx = BuildCx { plugins: self.run.plugins, base: &self.run.base, seeds: Seeds::new(cell.seed) };
        let mut policies = parts::policies(cell, &cx)?;
        let validators = parts::validators(cell, &cx)?;
        if data.validation.is_none() && validators.select.is_none() {
            policies.retain(|p| !p.needs_validation());
        }
        for text in ready.streams.iter().filter_map(|s| s.parts.note.clone()) {
            listener.on(&Event::Note { text });
        }
        for text in self.run.shapes[ready.shape].notes.iter().cloned() {
            listener.on(&Event::Note { text });
        }
        for text in self.run.warnings_of(ready) {
            listener.on(&Event::Warning { text });
        }
        let leak = self.leaks.borrow_mut().of(self.run, ready)?;
        for (because, text) in leaks::sentences(&[(cell.fold, &leak)], ready.spec().folds.is_some()) {
            listener.on(&if because == Because::Chance { Event::Note { text } } else { Event::Warning { text } });
        }
        let checkpoints = Some(folder.checkpoints());
        let cache = cache::settings(self.run, cell)?;
        let mut io = Io { listener, checkpoints, resume, stop: self.stop, policies, validators, cache };
        let outcome = fit(&mut model, &ready.components.recipe, &data, &mut io)?;

        let mut predictions = CellPredictions::new();
        if let Some(feed) = &data.validation {
            let of = (VALIDATION, &**ready.open(), feed);
            predictions.insert(VALIDATION.into(), self.evaluated(ready, &model, of, &mut io)?);
        }
        let source = predictions.get(VALIDATION).map(|p| &p.tasks);
        let scores = validate(&model, &data, &io.validators, source)?;
        for test in &ready.tests {
            let trainer = &ready.cell.trainer;
            let options = test.open.loader(trainer.batch_size, seeds(&ready.cell));
            let feed = Loader::test(&test.rows, LoaderOptions { views: trainer.views, ..options })?;
            let feed = match ready.judged().is_some_and(|judged| judged.name == test.name) {
                true => baselines::observed(ready, test, feed, &self.vectors(ready))?,
                false => feed,
            };
            let of = (test.name.as_str(), &*test.open, &feed);
            predictions.insert(test.name.clone(), self.evaluated(ready, &model, of, &mut io)?);
        }
        self.save(ready, &model, &data)?;
        predictions::save(&folder.named(PREDICTIONS), &predictions)?;
        let judged = ready.judged().and_then(|test| Some((test, predictions.get(&test.name)?)));
        let baselines = judged.map(|(test, p)| self.baselines(ready, test, p)).unwrap_or_default();
        if !baselines.predictions.is_empty() {
            predictions::save(&folder.named(BASELINES), &baselines.predictions)?;
        }
        let record = self.record(ready, outcome, leak, scores, (&predictions, &baselines), started)?;
        self.folder.end(&record)?;
        Ok(Finished { record, predictions, baselines: baselines.predictions })
    }

    /// A cell and those it builds on, the nearest first.
    fn chain<'r>(&'r self, ready: &'r Ready) -> Vec<&'r Ready> {
        std::iter::successors(Some(ready), |r| r.from.map(|i| &self.run.cells[i])).collect()
    }

    /// The model as it is before training.
    fn model(&self, ready: &Ready) -> Result<Model> {
        let (inputs, params) = (&ready.open().inputs, Params::new(&self.run.device));
        let parts = shape::parts(&ready.components, inputs, &ready.targets, params, seeds(&ready.cell));
        let mut model = Model::new(parts)?;
        if let Some(upstream) = ready.from.map(|i| &self.run.cells[i].cell) {
            let weights = self.folder.cell(&upstream.id).model().weights();
            let (tensors, _) = load_safetensors(&weights, &self.run.device)?;
            let labels = SourceLabels { same: &ready.same_labels, reordered: &ready.reordered };
            let source = Source::Cell { step: &upstream.step, tensors: Cow::Owned(tensors), labels };
            source.for_model(&model)?.load(&mut model)?;
        } else if let Some(source) = self.run.weights_of(&ready.cell) {
            source.for_model(&model)?.load(&mut model)?;
        }
        Ok(model)
    }

    /// What builds components of a cell.
    fn build_cx(&self, ready: &Ready) -> BuildCx<'_> {
        BuildCx { plugins: self.run.plugins, base: &self.run.base, seeds: Seeds::new(ready.cell.seed) }
    }

    /// How batches of a stream are made. Streams with as many rows as another are not shuffled alike: the main one has
    /// the seeds of the cell.
    fn loader(&self, ready: &Ready, stream: &ReadyStream) -> Result<LoaderOptions> {
        let seeds = match stream.name == ready.main().name {
            true => seeds(&ready.cell),
            false => seeds(&ready.cell).child(&format!("stream/{}", stream.name)),
        };
        stream.loader(&ready.cell.trainer, seeds, &self.build_cx(ready))
    }

    fn data(&self, ready: &Ready) -> Result<Data> {
        let mut data = Data::default();
        for stream in ready.labelled() {
            let options = self.loader(ready, stream)?;
            data.labelled.insert(stream.name.clone(), Loader::train(&stream.parts.train, options)?);
        }
        for stream in ready.unlabelled() {
            let options = self.loader(ready, stream)?;
            data.unlabelled.insert(stream.name.clone(), Loader::unlabelled(&stream.parts.unlabelled, options)?);
        }
        let main = ready.main();
        if let Some(validation) = &main.parts.validation {
            let options = LoaderOptions { sampler: None, ..self.loader(ready, main)? };
            data.validation = Some(Loader::validation(validation, options)?);
        }
        for name in ready.not_named() {
            let stream = ReadyStream { name: name.clone(), ..main.clone() };
            let options = LoaderOptions { sampler: None, ..self.loader(ready, &stream)? };
            data.unlabelled.insert(name, Loader::unlabelled(&main.parts.unlabelled, options)?);
        }
        Ok(data)
    }

    fn evaluated<R: RowRole>(
        &self,
        ready: &Ready,
        model: &Model,
        (name, open, feed): (&str, &Opened, &Fed<R>),
        io: &mut Io<'_>,
    ) -> Result<SplitPredictions> {
        let e = evaluate_in(io, name, model, feed, ready.cell.test_views)?;
        let groups = open.dataset.groups();
        let groups = groups.map(|g| e.rows.iter().map(|r| g[*r as usize]).collect()).unwrap_or_default();
        Ok(SplitPredictions { rows: e.rows, groups, tasks: e.predictions })
    }

    fn save(&self, ready: &Ready, model: &Model, data: &Data) -> Result<()> {
        let (cell, open) = (&ready.cell, ready.open());
        let chain = self.chain(ready);
        let streams = chain.iter().flat_map(|r| &r.streams);
        let licences = streams.filter_map(|s| s.open.dataset.licence());
        let first = chain.last().and_then(|r| self.run.weights.get(r.cell.weights.as_ref()?)?.licence.clone());
        let source = self.run.source_name(ready);
        let source = source.map(|s| SourceNote { step: s.to_owned(), same_labels: ready.same_labels.clone() });
        let manifest = Manifest {
            schema: artefact::SCHEMA,
            cell: cell.id.clone(),
            transplant: env!("CARGO_PKG_VERSION").to_owned(),
            architecture: cell.backbone.clone(),
            tasks: cell.tasks.clone(),
            strategies: cell.strategies.clone(),
            epochs: cell.trainer.epochs,
            raw_inputs: open.dataset.inputs().clone(),
            frame: open.dataset.frame(),
            columns: open.dataset.columns(),
            transforms: ready.spec().transforms.clone(),
            augment: if cell.test_views > 0 { ready.spec().augment.clone() } else { Vec::new() },
            test_views: cell.test_views,
            files: BTreeMap::new(),
            inputs: open.inputs.clone(),
            targets: ready.targets.clone(),
            source,
            licences: licences.chain(first).collect::<BTreeSet<_>>().into_iter().collect(),
            tensors: BTreeMap::new(),
            sha256: String::new(),
        };
        let main = &ready.main().name;
        let feed =
            data.labelled.get(main).map(|f| f.shared()).or_else(|| data.unlabelled.get(main).map(|f| f.shared()));
        let feed = feed.ok_or_else(|| Error::contract(format!("the cell has no stream `{main}`")))?;
        let rows: Vec<u64> = feed.rows().iter().copied().take(COMPARED_ROWS).collect();
        let folder = self.folder.cell(&cell.id).model();
        artefact::save(&folder, manifest, model, &open.transforms, (feed.plain(&rows)?.inputs, &rows), self.run.plugins)
    }

    /// The baselines of a cell: the same for all strategies that see the same rows, and so fitted once for them.
    fn baselines(&self, ready: &Ready, test: &ReadyTest, said: &SplitPredictions) -> Baselines {
        let tasks: Vec<_> = ready.cell.tasks.keys().cloned().collect();
        let tested = json!([test.dataset, ready.cell.tests.get(&test.name), ready.cell.held_out]).to_string();
        let rows = (tested, ready.parts().train.rows().to_vec(), tasks);
        if let Some(known) = self.baselines.borrow().get(&rows) {
            return known.clone();
        }
        let cx = BuildCx { plugins: self.run.plugins, base: &self.run.base, seeds: Seeds::new(ready.cell.seed) };
        let measures = &ready.components.measures;
        let baselines = baselines::baselines(ready, test, said, &self.vectors(ready), &cx);
        let baselines = baselines.measurable(|p| metrics(measures, &p.tasks).map(drop));
        self.baselines.borrow_mut().insert(rows, baselines.clone());
        baselines
    }

    /// What baselines saw of rows of the data set of a cell under its transforms.
    fn vectors(&self, ready: &Ready) -> Shared {
        let chain = json!([ready.cell.dataset(), ready.spec().transforms, ready.open().fitted_to]).to_string();
        self.vectors.borrow_mut().entry(chain).or_default().clone()
    }

    fn record(
        &self,
        ready: &Ready,
        fit: Fit,
        leak: Leak,
        validators: Metrics,
        (p, baselines): (&CellPredictions, &Baselines),
        started: Instant,
    ) -> Result<Record> {
        let cell = &ready.cell;
        let folder = self.folder.cell(&cell.id);
        let measures = &ready.components.measures;
        let validation = ready.parts().validation_rows().len();
        let labelled = |of: &dyn Fn(&ReadyStream) -> usize| ready.labelled().map(of).sum::<usize>();
        let not_named = if ready.not_named().is_empty() { 0 } else { ready.parts().unlabelled.rows().len() };
        let unlabelled = not_named + ready.unlabelled().map(|s| s.parts.unlabelled.rows().len()).sum::<usize>();
        // A row that two streams have is one label.
        let used = |s: &ReadyStream| {
            s.parts.labelled_rows().into_iter().map(|row| (s.dataset().to_owned(), row)).collect::<Vec<_>>()
        };
        let labels = ready.labelled().flat_map(used).collect::<BTreeSet<_>>().len();
        let rows = [
            ("pool", ready.main().pool),
            ("train", labelled(&|s| s.parts.train.rows().len())),
            (VALIDATION, validation),
            ("unlabelled", unlabelled),
            (TEST, ready.tests.iter().map(|t| t.rows.rows().len()).sum()),
        ];
        let tags = cell.trainer.policies.iter().map(|p| p.tag.clone());
        let measured = |p: &CellPredictions| -> Result<BTreeMap<String, Metrics>> {
            p.iter().map(|(name, p)| Ok((name.clone(), metrics(measures, &p.tasks)?))).collect()
        };
        let some = !baselines.predictions.is_empty();
        let files = [WEIGHTS, MANIFEST, PREDICTIONS].into_iter().chain(some.then_some(BASELINES));
        let files = files.map(|f| Ok((f.to_owned(), hash::of_file(&folder.named(f))?)));
        Ok(Record {
            schema: SCHEMA,
            key: ready.key.clone(),
            cell: cell.clone(),
            data: ready.data(),
            base: self.run.base.clone(),
            device: self.run.device_name.clone(),
            seconds: (started.elapsed().as_secs_f64() * 1e3).round() / 1e3,
            peak_rss_mb: peak_rss_mb(),
            parameters: fit.parameters,
            trainable_parameters: fit.trainable,
            steps: fit.steps,
            epochs: fit.epochs,
            stopped: fit.stopped,
            rows: rows.map(|(k, v)| (k.to_owned(), v)).into(),
            labels,
            unlabelled: unlabelled > 0,
            metrics: measured(p)?,
            baselines: measured(&baselines.predictions)?,
            baselines_not_fitted: baselines.not_fitted.clone(),
            // Where no step is made there is nothing to choose among.
            chosen_by: tags.filter(|_| (validation > 0 || cell.select.is_some()) && fit.steps > 0).collect(),
            selected_by: cell.select.as_ref().filter(|_| fit.steps > 0).map(validator_name),
            validators,
            main_metric: ready.components.main_metric.clone(),
            leak,
            labels_before: labels::before(self.run, ready),
            weights: self.run.shapes[ready.shape].notes.clone(),
            ledger: fit.ledger,
            files: files.collect::<Result<_>>()?,
        })
    }
}

impl Finished {
    /// For the comparison.
    pub(crate) fn done<'a>(&'a self, ready: &'a Ready) -> Done<'a> {
        let measures = &ready.components.measures;
        let (control, judged) = (!ready.takes_weights(), ready.judged().map(|t| t.name.as_str()));
        Done {
            record: &self.record,
            predictions: &self.predictions,
            baselines: &self.baselines,
            control,
            measures,
            judged,
        }
    }
}

/// What of a finished cell is not what it would be made of now.
fn difference(record: &Record, ready: &Ready) -> String {
    let (was, is) = (&record.cell, &ready.cell);
    let data = ready.data();
    let specs = |data: &BTreeMap<String, DataRecord>| data.values().map(|d| d.spec.clone()).collect::<Vec<_>>();
    let hashes = |data: &BTreeMap<String, DataRecord>| data.values().map(|d| d.hash.clone()).collect::<Vec<_>>();
    let mut trainer = was.trainer.clone();
    trainer.checkpoint_every_secs = is.trainer.checkpoint_every_secs;
    let options = [
        ("backbone", was.backbone == is.backbone),
        ("tasks", was.tasks == is.tasks),
        ("strategy", was.strategies == is.strategies),
        ("trainer", trainer == is.trainer),
        ("metrics", was.metrics == is.metrics),
        ("select", was.select == is.select),
        ("validators", was.validators == is.validators),
        ("tests", was.tests == is.tests && was.held_out == is.held_out && was.test_views == is.test_views),
        ("streams", was.streams == is.streams && specs(&record.data) == specs(&data)),
    ];
    let mut other: Vec<String> = options.into_iter().filter(|(_, same)| !same).map(|(k, _)| format!("`{k}`")).collect();
    if hashes(&record.data) != hashes(&data) {
        other.push("data".to_owned());
    }
    match other.is_empty() {
        true => "other code, on another device, or from another start".to_owned(),
        false => format!("other {}", other.join(", ")),
    }
}

/// All randomness of a cell but the choice of its rows: the seed of the chain, apart for each step.
pub(super) fn seeds(cell: &Cell) -> Seeds {
    Seeds::new(cell.seed).child(&cell.step)
}

/// The metrics of some predictions. What is not finite (no row has a label) is left out.
pub(crate) fn metrics(measures: &BTreeMap<String, Measure>, of: &BTreeMap<String, Predictions>) -> Result<Metrics> {
    let mut out = Metrics::new();
    for (name, m) in measures {
        let value = of.get(&m.task).map(|p| m.metric.compute(p)).transpose()?;
        out.extend(value.filter(|v| v.is_finite()).map(|v| (name.clone(), v)));
    }
    Ok(out)
}
