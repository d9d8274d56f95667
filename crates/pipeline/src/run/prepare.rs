//! [`Prepared`]: a pipeline whose data are open, whose rows are drawn and whose networks have been built once. Nothing
//! has been written or trained; what the user got wrong has been found.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use serde_json::json;
use transplant_core::{
    BuildCx, Columns, DOMAIN, Error, Finding, FindingKind, Invalid, Labels, Load, Plugins, Result, Schema, Seeds,
    Severity, Spec, StreamNeed, Transform,
};
use transplant_datasets::{Loader, Parts};
use transplant_trainer::SourceLabels;

use super::cells::VALIDATION;
use super::choosing;
use super::data::{self, Opened};
use super::device;
use super::findings::{self, PipelineFinding, Subject};
use super::folder::Folder;
use super::hash;
use super::meaning::Meaning;
use super::overview::fields;
use super::parts::{self, Components};
use super::predictions::Datasets;
use super::record::DataRecord;
use super::shape::{self, Shape};
use super::source::{OpenWeights, Source};
use super::streams::{self, DrawnStream, ReadyStream, ReadyTest};
use crate::file::{FileError, Place};
use crate::resolved::{Cell, DatasetSpec, Pipeline, TEST};
use crate::text_at_key;

/// A pipeline that is ready to run.
pub struct Prepared<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// The registry.
    pub plugins: &'a Plugins,
    /// Where the run goes.
    pub folder: Folder,
    /// Where it computes.
    pub device: Device,
    /// The device's name.
    pub device_name: String,
    /// Data sets by name, as they are without the weights of a cell.
    pub datasets: BTreeMap<String, Arc<Opened>>,
    /// Pretrained weights by name, those that steps start from.
    pub weights: BTreeMap<String, OpenWeights>,
    /// The cells, each after those it builds on.
    pub cells: Vec<Ready>,
    /// What the cells look like.
    pub shapes: Vec<Shape>,
    /// What was found about data and steps, each thing once.
    pub findings: Vec<PipelineFinding>,
    /// Hash of the code.
    pub code: String,
    /// Hash of the code that makes outputs of frozen stages.
    pub feature_code: String,
    /// The folder from which relative paths start.
    pub base: PathBuf,
}

/// A cell that is ready to run.
pub struct Ready {
    /// The cell.
    pub cell: Cell,
    /// What it learns from; the main stream ([`Cell::main`]) comes first.
    pub streams: Vec<ReadyStream>,
    /// What it is tested on.
    pub tests: Vec<ReadyTest>,
    /// The targets of all its data sets.
    pub targets: Schema,
    /// The pretrained weights at the start of the chain of steps up to here.
    pub root: Option<String>,
    /// Hash of all that decides its result.
    pub key: String,
    /// The number of the cell it starts from.
    pub from: Option<usize>,
    /// Tasks whose classes are the same in that cell.
    pub same_labels: Vec<String>,
    /// Tasks whose classes are the same in that cell, in another order.
    pub reordered: Vec<String>,
    /// Its components.
    pub components: Components,
    /// The number of its shape.
    pub shape: usize,
}

/// Prepares a pipeline to run in the folder `out`, by default `runs/<name>`.
///
/// # Errors
/// Whatever is wrong with data, options, device or folder, with its place in the file, the environment or the flags.
pub fn prepare<'a>(
    pipeline: &'a Pipeline,
    plugins: &'a Plugins,
    out: Option<&Path>,
) -> Result<Prepared<'a>, FileError> {
    let locate = |e: Error| pipeline.locate(e);
    let (device, device_name) = device::open(pipeline.device).map_err(|e| pipeline.locate(e.under("device")))?;
    let base = pipeline.file.parent().map(Path::to_owned).unwrap_or_default();
    let base = std::path::absolute(if base.as_os_str().is_empty() { Path::new(".") } else { &base }).unwrap_or(base);
    let code = hash::of_code(plugins).map_err(locate)?;
    let feature_code = hash::of_feature_code(plugins).map_err(locate)?;
    let cx = BuildCx { plugins, base: &base, seeds: Seeds::new(pipeline.seed) };
    let mut datasets = BTreeMap::new();
    for (name, spec) in &pipeline.datasets {
        let open = data::open(spec, &cx).map_err(|e| locate(e.under(&format!("datasets.{name}"))))?;
        datasets.insert(name.clone(), Arc::new(open));
    }
    let mut weights = BTreeMap::new();
    for (name, spec) in
        pipeline.weights.iter().filter(|(n, _)| pipeline.cells.iter().any(|c| c.weights.as_ref() == Some(n)))
    {
        let open = OpenWeights::open(spec, &base).map_err(|e| locate(e.under(&format!("weights.{name}"))))?;
        weights.insert(name.clone(), open);
    }
    let (cells, shapes) = (Vec::new(), Vec::new());
    let folder = Folder::at(out.map_or_else(|| Path::new("runs").join(&pipeline.name), Path::to_owned));
    let mut prepared = Prepared {
        pipeline,
        plugins,
        folder,
        device,
        device_name,
        datasets,
        weights,
        cells,
        shapes,
        findings: Vec::new(),
        code,
        feature_code,
        base: base.clone(),
    };
    let mut known = Known::default();
    for cell in &pipeline.cells {
        let ready = prepared.ready(cell, &cx, &mut known)?;
        for stream in &ready.streams {
            let section = format!("datasets.{}", stream.dataset());
            prepared.find(&ready, stream, &mut known).map_err(|e| locate(e.under(&section)))?;
        }
        prepared.find_held_out(&ready);
        prepared.compare_with_source(&ready, &mut known).map_err(|e| pipeline.locate_in(cell, e))?;
        prepared.compare_classes(&ready);
        prepared.cells.push(ready);
    }
    let cells: Vec<_> = prepared.cells.iter().map(|ready| (&ready.cell, &prepared.shapes[ready.shape])).collect();
    let unused = findings::of_unused_options(pipeline, &cells);
    prepared.findings.extend(unused);
    prepared.shapes.iter_mut().for_each(|s| s.tensors.clear());
    prepared.folder.check().map_err(|e| {
        let place = out.map_or(Place::Unread("runs".into()), |dir| Place::Flag(format!("--out {}", dir.display())));
        let class = e.class();
        FileError { class, ..FileError::new(place, text_at_key(e)) }
    })?;
    Ok(prepared)
}

/// A data set with all its transforms.
struct CalledFor {
    spec: DatasetSpec,
    open: Arc<Opened>,
}

/// What cells have in common and is made once.
#[derive(Default)]
struct Known {
    /// Rows of streams and tests by what decides them, in JSON.
    drawn: BTreeMap<String, Arc<DrawnStream>>,
    tested: BTreeMap<String, Vec<u64>>,
    /// Data sets fitted to rows that a cell learns from, by these rows and the transforms that weights call for.
    fitted: BTreeMap<String, Arc<Opened>>,
    /// Numbers of shapes.
    shapes: BTreeMap<String, usize>,
    /// Data sets whose rows were looked through, with their transforms.
    looked_through: BTreeSet<String>,
    /// The same with the rows that are learned from: those whose scales were compared.
    scales_compared: BTreeSet<String>,
    /// Data sets whose inputs were compared with those of a source, with all that decides what they stand for.
    compared: BTreeSet<String>,
}

impl Ready {
    /// The stream that what is said of a cell's data in one word is said of.
    pub(crate) fn main(&self) -> &ReadyStream {
        &self.streams[0]
    }

    /// The data set of the main stream, with what the weights that the cell starts from call for.
    pub(crate) fn spec(&self) -> &DatasetSpec {
        &self.main().spec
    }

    /// The same, open.
    pub(crate) fn open(&self) -> &Arc<Opened> {
        &self.main().open
    }

    /// The rows of the main stream.
    pub(crate) fn parts(&self) -> &Arc<Parts> {
        &self.main().parts
    }

    /// The streams with labels.
    pub(crate) fn labelled(&self) -> impl Iterator<Item = &ReadyStream> {
        self.streams.iter().filter(|s| s.stream.labels)
    }

    /// The test that the step is judged by: that of its data set, or the first that is of it, or the first.
    pub(crate) fn judged(&self) -> Option<&ReadyTest> {
        let by = |is: &dyn Fn(&&ReadyTest) -> bool| self.tests.iter().find(is);
        by(&|t| t.name == TEST).or_else(|| by(&|t| t.dataset == self.cell.dataset())).or_else(|| self.tests.first())
    }

    /// Streams without labels that the strategy needs and the file does not name: each has the rows of the main data
    /// set that are not drawn.
    pub(crate) fn not_named(&self) -> Vec<String> {
        let needs = self.components.strategy.needs();
        needs.unlabelled().filter(|n| !self.cell.streams.contains_key(*n)).map(str::to_owned).collect()
    }

    /// Its data sets, for its record.
    pub(crate) fn data(&self) -> BTreeMap<String, DataRecord> {
        let of_streams = self.streams.iter().map(|s| (s.dataset(), s.spec.clone(), s.open.hash.clone()));
        let of_tests = self.tests.iter().map(|t| (t.dataset.as_str(), t.spec.clone(), t.open.hash.clone()));
        let all = of_tests.chain(of_streams);
        all.map(|(name, spec, hash)| (name.to_owned(), DataRecord { spec, hash })).collect()
    }

    /// The data set whose rows each split of the predictions has.
    pub(crate) fn datasets_by_split(&self) -> Datasets {
        let tests = self.tests.iter().map(|t| (t.name.clone(), t.open.dataset.clone()));
        tests.chain([(VALIDATION.to_owned(), self.open().dataset.clone())]).collect()
    }

    /// The streams without labels.
    pub(crate) fn unlabelled(&self) -> impl Iterator<Item = &ReadyStream> {
        self.streams.iter().filter(|s| !s.stream.labels)
    }

    /// Whether its strategy takes anything from what it starts from; what does not is a control.
    pub(crate) fn takes_weights(&self) -> bool {
        self.components.strategy.needs().takes_weights()
    }
}

impl Prepared<'_> {
    /// The cells before one whose labels its network has learned from, the nearest first: up to one that takes nothing
    /// from the cell before it.
    pub(crate) fn learned_from<'s>(&'s self, ready: &'s Ready) -> Vec<&'s Ready> {
        let before = |r: &&'s Ready| r.from.filter(|_| r.takes_weights()).map(|i| &self.cells[i]);
        std::iter::successors(before(&ready), before).collect()
    }

    /// Whether two data sets of the file have the same records, however each divides them.
    pub(crate) fn same_records(&self, a: &str, b: &str) -> bool {
        let key = |name: &str| self.plugins.rows_key(&self.pipeline.datasets.get(name)?.source, &self.base).ok();
        key(a).is_some_and(|of_a| key(b) == Some(of_a))
    }

    fn ready(&mut self, cell: &Cell, cx: &BuildCx<'_>, known: &mut Known) -> Result<Ready, FileError> {
        let here = |e: Error| self.pipeline.locate_in(cell, e);
        let with_labels: Vec<&str> = {
            let labelled = cell.streams.values().filter(|s| s.labels).map(|s| s.dataset.as_str());
            labelled.chain(cell.tests.values().map(|t| t.dataset.as_str())).collect()
        };
        let schemas = with_labels.iter().map(|name| Ok((*name, self.dataset(name)?.1.dataset.targets())));
        let schemas = schemas.collect::<Result<Vec<_>, Invalid>>().map_err(|e| here(e.into()))?;
        let targets = streams::targets(schemas).map_err(|e| here(e.into()))?;
        let mut components = parts::build(cell, &targets, cx).map_err(here)?;
        let any_random = cell.tests.values().any(|t| self.datasets.get(&t.dataset).is_some_and(|d| d.random));
        if cell.test_views > 0 && !any_random {
            let name = cell.dataset();
            let e = Invalid::key("test_views", format!("data set `{name}` has no random transform that makes views"));
            let e = e.help(format!("list some under `datasets.{name}.augment`, such as `flip`"));
            return Err(here(e.into()));
        }
        let from = cell.from.as_ref().and_then(|id| self.cells.iter().position(|c| c.cell.id == *id));
        let upstream = from.map(|i| &self.cells[i]);
        let root = cell.weights.clone().or_else(|| upstream.and_then(|u| u.root.clone()));
        let streams = self.streams(cell, &components, root.as_deref(), cx, known)?;
        streams::fitted_tasks(&mut components, &streams).map_err(here)?;
        let tests = self.tests(cell, &components, &streams, root.as_deref(), cx, known)?;
        check_streams(cell, &components, &streams).map_err(here)?;
        for stream in streams.iter().filter(|s| s.stream.sampler.is_some()) {
            check_sampler(cell, stream, cx).map_err(|e| here(e.under(&format!("streams.{}", stream.name))))?;
        }
        check_inputs(&streams, &tests).map_err(here)?;
        check_tested(&tests).map_err(here)?;
        let open = streams[0].open.clone();
        let reordered = upstream.map(|u| shape::reordered_labels(&components, &targets, &u.components, &u.targets));
        let reordered = reordered.unwrap_or_default();
        let same_labels = upstream.map(|u| shape::same_labels(&components, &targets, &u.components, &u.targets));
        let same_labels = same_labels.unwrap_or_else(|| {
            let weights = cell.weights.as_ref().and_then(|name| self.weights.get(name));
            let fields = shape::fields(&components, &targets);
            weights.map_or_else(Vec::new, |w| w.same_labels(&fields, &cell.backbone))
        });
        let kind = json!([
            cell.step,
            cell.streams,
            cell.tests,
            cell.backbone,
            cell.tasks,
            cell.strategies,
            cell.trainer.epochs,
            upstream.map(|u| u.shape),
            cell.weights,
            open.inputs
        ]);
        let shape = match known.shapes.get(&kind.to_string()) {
            Some(shape) => *shape,
            None => {
                if let Some(upstream) = upstream.filter(|_| components.strategy.needs().load != Load::Nothing) {
                    check_merged(upstream, &self.shapes[upstream.shape]).map_err(here)?;
                }
                let of_cell = upstream.map(|u| {
                    let (step, tensors) = (u.cell.step.as_str(), Cow::Borrowed(&self.shapes[u.shape].tensors));
                    let labels = SourceLabels { same: &same_labels, reordered: &reordered };
                    Source::Cell { step, tensors, labels }
                });
                let source = of_cell.or_else(|| self.weights_of(cell));
                let shape = shape::shape(cell, &components, &open.inputs, &targets, source).map_err(here)?;
                known.shapes.insert(kind.to_string(), self.shapes.len());
                self.shapes.push(shape);
                self.shapes.len() - 1
            }
        };
        choosing::check_policies(cell, &streams[0], &self.shapes[shape], cx).map_err(here)?;
        choosing::check_validators(cell, &components, cx).map_err(here)?;
        let weights = cell.weights.as_ref().and_then(|name| self.weights.get(name));
        let of_weights = weights.map(|w| w.key().map_err(|e| here(e.under("from")))).transpose()?;
        let started_from = upstream.map(|u| u.key.clone()).or(of_weights);
        let key = self.key(cell, &streams, &tests, started_from.as_deref()).map_err(here)?;
        let cell = cell.clone();
        Ok(Ready { cell, streams, tests, targets, root, key, from, same_labels, reordered, components, shape })
    }

    /// A data set of the file, as it is written and open.
    fn dataset(&self, name: &str) -> Result<(&DatasetSpec, &Arc<Opened>), Invalid> {
        let missing = || Invalid::key("dataset", format!("there is no data set `{name}`"));
        let spec = self.pipeline.datasets.get(name).ok_or_else(missing)?;
        Ok((spec, self.datasets.get(name).ok_or_else(missing)?))
    }

    /// A data set with the transforms that the weights at the start of a chain call for.
    fn called_for(&self, name: &str, root: Option<&str>, cx: &BuildCx<'_>) -> Result<CalledFor, FileError> {
        let in_section = |e: Error| self.pipeline.locate(e.under(&format!("datasets.{name}")));
        let (spec, open) = self.dataset(name).map_err(|e| in_section(e.into()))?;
        let weights = root.and_then(|name| self.weights.get(name));
        let more = weights.map_or_else(Vec::new, |w| w.calls_for(&open.inputs, spec));
        let checked = |t: &Spec<dyn Transform>| self.plugins.check(t).map_err(|e| in_section(e.into()));
        let more = more.iter().map(checked).collect::<Result<Vec<_>, _>>()?;
        let open = match more.is_empty() {
            true => open.clone(),
            false => Arc::new(open.followed_by(&more, cx).map_err(in_section)?),
        };
        let mut spec = spec.clone();
        spec.transforms.extend(more);
        Ok(CalledFor { spec, open })
    }

    /// The streams of a cell, the main one first. What data sets and transforms fit to rows is fitted to those that the
    /// main stream learns from, and other data sets are prepared alike.
    fn streams(
        &self,
        cell: &Cell,
        c: &Components,
        root: Option<&str>,
        cx: &BuildCx<'_>,
        known: &mut Known,
    ) -> Result<Vec<ReadyStream>, FileError> {
        let tasks = json!([cell.tasks, cell.first_task]);
        let mut opened = BTreeMap::<&str, Arc<Opened>>::new();
        let mut out = Vec::new();
        for name in streams::in_order(cell) {
            let stream = &cell.streams[name];
            let dataset = stream.dataset.as_str();
            let in_section = |e: Error| self.pipeline.locate(e.under(&format!("datasets.{dataset}")));
            let at_stream = |e: Error| match &e {
                // Which rows a stream has is said where the stream is.
                Error::Invalid(i) if matches!(i.path.first().map(String::as_str), Some("part" | "domain")) => {
                    self.pipeline.locate_in(cell, e.under(&format!("streams.{name}")))
                }
                Error::Invalid(i) if i.path.first().is_some_and(|key| key == "held_out") => {
                    self.pipeline.locate_in(cell, e)
                }
                _ => in_section(e),
            };
            let (spec, plain) = self.dataset(dataset).map_err(|e| in_section(e.into()))?;
            // Of the main stream alone, rows are set apart for validation.
            let is_main = cell.streams.get(cell.main()) == Some(stream);
            let rows = json!([stream, is_main, cell.held_out, cell.seed, cell.draw, cell.fold, tasks]).to_string();
            let drawn = match known.drawn.get(&rows) {
                Some(drawn) => drawn.clone(),
                None => Arc::new(streams::draw(cell, stream, spec, plain, c).map_err(at_stream)?),
            };
            known.drawn.insert(rows.clone(), drawn.clone());
            let CalledFor { spec, open: called } = self.called_for(dataset, root, cx)?;
            let open = match opened.get(dataset) {
                Some(open) => open.clone(),
                None => {
                    let main = out.first();
                    let of_main = main.map(|m: &ReadyStream| json!([m.spec.transforms, m.open.fitted_to]));
                    let under = json!([rows, spec.transforms, of_main]).to_string();
                    let open = match known.fitted.get(&under) {
                        Some(fitted) => fitted.clone(),
                        None => {
                            let fitted = called.fitted(&drawn.parts).map_err(in_section)?.map_or(called, Arc::new);
                            main.map_or_else(|| Ok(fitted.clone()), |m| streams::prepared_as(m, &spec, &fitted))
                                .map_err(in_section)?
                        }
                    };
                    known.fitted.insert(under, open.clone());
                    opened.entry(dataset).or_insert(open).clone()
                }
            };
            out.push(streams::ready(name, stream, spec, open, &drawn));
        }
        Ok(out)
    }

    /// What a cell is tested on, as its streams of the same data set see it.
    fn tests(
        &self,
        cell: &Cell,
        c: &Components,
        streams: &[ReadyStream],
        root: Option<&str>,
        cx: &BuildCx<'_>,
        known: &mut Known,
    ) -> Result<Vec<ReadyTest>, FileError> {
        let tasks = json!([cell.tasks, cell.first_task]);
        let mut out = Vec::new();
        for (name, test) in &cell.tests {
            let dataset = test.dataset.clone();
            let in_section = |e: Error| self.pipeline.locate(e.under(&format!("datasets.{dataset}")));
            let at_test = |e: Error| match &e {
                Error::Invalid(i) if i.path.first().is_some_and(|key| key == "domain") => {
                    self.pipeline.locate_in(cell, e.under(&format!("tests.{name}")))
                }
                Error::Invalid(i) if i.path.first().is_some_and(|key| key == "held_out") => {
                    self.pipeline.locate_in(cell, e)
                }
                _ => in_section(e),
            };
            let (spec, plain) = self.dataset(&dataset).map_err(|e| in_section(e.into()))?;
            let under = json!([test, cell.held_out, cell.fold, tasks]).to_string();
            let rows = match known.tested.get(&under) {
                Some(rows) => rows.clone(),
                None => streams::tested(cell, test, spec, plain, c).map_err(at_test)?,
            };
            known.tested.insert(under, rows.clone());
            let of_stream = streams.iter().find(|s| s.dataset() == dataset).map(|s| (s.spec.clone(), s.open.clone()));
            let (spec, open) = match of_stream {
                Some(of_stream) => of_stream,
                None => {
                    let CalledFor { spec, open } = self.called_for(&dataset, root, cx)?;
                    let open = streams::prepared_as(&streams[0], &spec, &open).map_err(in_section)?;
                    (spec, open)
                }
            };
            out.push(streams::ready_test(cell, (name, test), spec, open, rows, c));
        }
        Ok(out)
    }

    /// Adds what there is to tell about the data of a cell's stream, once.
    ///
    /// # Errors
    /// When nothing sensible can be trained or tested on them: a cell with one task is refused.
    fn find(&mut self, ready: &Ready, stream: &ReadyStream, known: &mut Known) -> Result<()> {
        let name = stream.dataset();
        let seen = json!([name, stream.spec.transforms]).to_string();
        // What was fitted to the rows of one cell may be wanting, and that of another not.
        let mut all = stream.open.dataset.findings();
        // Labels that nobody reads may be missing.
        let are_read = ready.labelled().any(|s| s.dataset() == name) || ready.tests.iter().any(|t| t.dataset == name);
        all.retain(|f| are_read || !f.kind.is_about_classes());
        if known.looked_through.insert(seen.clone()) {
            all.extend(findings::of_transforms(&stream.open)?);
        }
        let told = self.findings_of(name).any(|f| f.finding.kind == FindingKind::ScalesApart);
        let learned = data::learned(&stream.parts);
        if !told && known.scales_compared.insert(json!([seen, hash::of_value(&learned.rows())?]).to_string()) {
            all.extend(data::scales_apart(&stream.open, &stream.parts)?);
        }
        all.extend(findings::of_split(ready, stream)?);
        for finding in all {
            if finding.severity() == Severity::Error && ready.components.tasks.len() == 1 {
                return Err(Invalid::new(finding.message).into());
            }
            self.tell(name, finding);
        }
        Ok(())
    }

    /// Adds what there is to tell of a cell's inputs beside those that its source learned from, once.
    ///
    /// # Errors
    /// When what the network takes from the source is of no use to these inputs.
    fn compare_with_source(&mut self, ready: &Ready, known: &mut Known) -> Result<()> {
        let takes_nothing = self.shapes[ready.shape].stages.iter().all(|(_, numbers)| *numbers == 0);
        let weights = ready.cell.weights.as_ref().and_then(|name| Some((name, self.weights.get(name)?)));
        if takes_nothing || !ready.takes_weights() || (ready.from.is_none() && weights.is_none()) {
            return Ok(());
        }
        let inputs = |r: &Ready| json!([r.cell.dataset(), r.spec().transforms, r.open().fitted_to]);
        let upstream = ready.from.map(|i| &self.cells[i]);
        let pair = json!([upstream.map(|u| (&u.cell.step, inputs(u))), ready.cell.weights, inputs(ready)]);
        if !known.compared.insert(pair.to_string()) {
            return Ok(());
        }
        let (source, theirs) = match (upstream, weights) {
            (Some(u), _) => (format!("step `{}`", u.cell.step), Meaning::of_data(u.spec(), u.open())?),
            (None, Some((name, weights))) => (format!("`{name}`"), weights.meaning(self.plugins)),
            (None, None) => return Ok(()),
        };
        let ours = Meaning::of_data(ready.spec(), ready.open())?;
        for finding in ours.beside(&ready.open().inputs, &source, &theirs) {
            if finding.severity() == Severity::Error {
                let message = format!("data set `{}`: {}", ready.cell.dataset(), finding.message);
                return Err(Invalid::key("from", message).into());
            }
            self.tell(ready.cell.dataset(), finding);
        }
        Ok(())
    }

    /// Adds that a head begins afresh since the classes stand in another order than where it comes from.
    fn compare_classes(&mut self, ready: &Ready) {
        if let Some(finding) = ready.from.and_then(|i| findings::of_class_order(ready, &self.cells[i].cell.step)) {
            self.tell_of(Subject::Step(ready.cell.step.clone()), finding);
        }
    }

    /// Adds a finding where a step before a cell has learned from the domain that the cell holds out.
    fn find_held_out(&mut self, ready: &Ready) {
        let Some(domain) = &ready.cell.held_out else { return };
        let learned = |s: &&ReadyStream| {
            let fact = s.open.dataset.fact(DOMAIN);
            fact.is_some_and(|f| s.parts.train.rows().iter().any(|row| f.word(*row) == Some(domain)))
        };
        let before: Vec<String> = {
            let chain = self.learned_from(ready);
            let of = chain.iter().filter(|r| r.labelled().any(|s| learned(&s)));
            of.map(|r| format!("`{}`", r.cell.step)).collect()
        };
        if !before.is_empty() {
            let message = format!(
                "holds the domain `{domain}` out, and its network has learned from rows of it in step {}: say `held_out` there, too",
                before.join(", ")
            );
            let finding = Finding::new(FindingKind::HeldOutWasLearned, message);
            self.tell_of(Subject::Step(ready.cell.step.clone()), finding);
        }
    }

    /// Adds a finding about a data set, once.
    fn tell(&mut self, dataset: &str, finding: Finding) {
        self.tell_of(Subject::Dataset(dataset.to_owned()), finding);
    }

    fn tell_of(&mut self, subject: Subject, finding: Finding) {
        let found = PipelineFinding::new(subject, finding);
        if !self.findings.contains(&found) {
            self.findings.push(found);
        }
    }

    /// What was found about a data set.
    pub(crate) fn findings_of<'s>(&'s self, dataset: &'s str) -> impl Iterator<Item = &'s PipelineFinding> {
        self.findings.iter().filter(move |f| matches!(&f.subject, Subject::Dataset(name) if name == dataset))
    }

    /// What was found about a step.
    pub(crate) fn findings_of_step<'s>(&'s self, step: &'s str) -> impl Iterator<Item = &'s PipelineFinding> {
        self.findings.iter().filter(move |f| matches!(&f.subject, Subject::Step(name) if name == step))
    }

    /// The pretrained weights that a cell starts from.
    pub(crate) fn weights_of<'s>(&'s self, cell: &'s Cell) -> Option<Source<'s>> {
        let name = cell.weights.as_deref()?;
        Some(Source::Weights { name, open: self.weights.get(name)?, network: &cell.backbone })
    }

    /// The step or the pretrained weights that a cell starts from.
    pub(crate) fn source_name<'s>(&'s self, ready: &'s Ready) -> Option<&'s str> {
        ready.from.map(|i| &self.cells[i].cell.step).or(ready.cell.weights.as_ref()).map(String::as_str)
    }

    /// What to tell of the network of the pretrained weights that a cell starts from.
    pub(crate) fn warnings_of(&self, ready: &Ready) -> Vec<String> {
        let weights = ready.root.as_ref().and_then(|name| Some((name, self.weights.get(name)?)));
        let weights = weights.filter(|_| ready.takes_weights());
        weights.map_or_else(Vec::new, |(name, w)| w.other_network(name, &ready.cell.backbone).into_iter().collect())
    }

    fn key(&self, cell: &Cell, streams: &[ReadyStream], tests: &[ReadyTest], upstream: Option<&str>) -> Result<String> {
        let mut trainer = serde_json::to_value(&cell.trainer).map_err(|e| Invalid::key("trainer", e.to_string()))?;
        if let Some(map) = trainer.as_object_mut() {
            // How often the state is saved does not change the result.
            map.remove("checkpoint_every_secs");
        }
        let of_stream = |s: &ReadyStream| json!([s.name, s.stream, s.spec, s.open.hash, s.open.fitted_to]);
        let of_test = |t: &ReadyTest| json!([t.name, cell.tests.get(&t.name), t.spec, t.open.hash]);
        let streams: Vec<_> = streams.iter().map(of_stream).collect();
        let tests: Vec<_> = tests.iter().map(of_test).collect();
        let all = json!({
            "code": self.code, "device": self.device_name, "step": cell.step,
            "seed": cell.seed, "draw": cell.draw, "fold": cell.fold, "streams": streams, "tests": tests, "held_out": cell.held_out,
            "backbone": cell.backbone, "tasks": cell.tasks, "strategies": cell.strategies, "trainer": trainer,
            "first_task": cell.first_task, "metrics": cell.metrics,
            "select": cell.select, "validators": cell.validators,
            "test_views": cell.test_views, "from": upstream,
        });
        hash::of_value(&all)
    }
}

/// The step that a cell starts from leaves weights alone.
fn check_merged(upstream: &Ready, shape: &Shape) -> Result<()> {
    let Some(name) = &shape.adapter else { return Ok(()) };
    let step = &upstream.cell.step;
    let e = Invalid::key("from", format!("step `{step}` leaves adapters beside its weights (`{name}`)"));
    Err(e.help(format!("have `{step}` merge them into the weights, such as by `merge = true` of `lora`")).into())
}

/// The streams that a strategy needs are there, and have rows. One without labels that the file does not name has the
/// rows of the main data set that are not drawn.
fn check_streams(cell: &Cell, components: &Components, streams: &[ReadyStream]) -> Result<()> {
    for StreamNeed { name, labels } in components.strategy.needs().streams {
        let found = streams.iter().find(|s| s.name == name);
        let e = match (found.map(|s| s.stream.labels), labels) {
            (Some(true), Labels::Learned) | (Some(false), Labels::None) => continue,
            (None, Labels::None) if !streams[0].parts.unlabelled.rows().is_empty() => continue,
            (None, Labels::None) => {
                let e = Invalid::key(
                    "strategy",
                    format!("needs rows without labels for the stream `{name}`, and there are none"),
                );
                let help = format!(
                    "name them in `streams.{name}`, with `labels = false`; with `datasets.{}.labels_per_class` all rows beyond are \
                     used without labels",
                    cell.dataset()
                );
                e.help(help)
            }
            (None, Labels::Learned) => {
                let there: Vec<String> = streams.iter().map(|s| format!("`{}`", s.name)).collect();
                let e = Invalid::key(
                    "strategy",
                    format!("needs a labelled stream `{name}`, and the step has {}", there.join(", ")),
                );
                e.help(format!("name a data set in `streams.{name}`"))
            }
            (Some(true), Labels::None) => {
                let e = Invalid::key("strategy", format!("needs the stream `{name}` without labels, and it has them"));
                e.help(format!("set `streams.{name}.labels = false`"))
            }
            (Some(false), Labels::Learned) => {
                Invalid::key("strategy", format!("needs the stream `{name}` with labels, and it is one without"))
            }
        };
        return Err(e.into());
    }
    let needs = components.strategy.needs();
    let is_read = |s: &ReadyStream| s.stream.labels || needs.unlabelled().any(|name| name == s.name);
    if let Some(s) = streams.iter().find(|s| !is_read(s)) {
        let e = Invalid::key(&format!("streams.{}", s.name), "has no labels, and the strategy does not read it");
        let read: Vec<String> = needs.unlabelled().map(|name| format!("`{name}`")).collect();
        return Err(match read.is_empty() {
            true => e.help("strategies such as `dann` read rows without labels"),
            false => e.help(format!("it reads {} without labels", read.join(", "))),
        }
        .into());
    }
    let learns = needs.streams.is_empty() && streams.iter().all(|s| !s.stream.labels);
    match learns {
        true => Err(Invalid::key("streams", "none has labels, and the strategy learns from labels").into()),
        false => Ok(()),
    }
}

/// The sampler of a stream suits its rows.
fn check_sampler(cell: &Cell, stream: &ReadyStream, cx: &BuildCx<'_>) -> Result<()> {
    let options = stream.loader(&cell.trainer, Seeds::new(0), cx)?;
    match stream.stream.labels {
        true => Loader::train(&stream.parts.train, options).map(drop),
        false => Loader::unlabelled(&stream.parts.unlabelled, options).map(drop),
    }
}

/// All streams and tests of a cell give the network the same kind of inputs, which stand for the same.
fn check_inputs(streams: &[ReadyStream], tests: &[ReadyTest]) -> Result<()> {
    let of_streams = streams.iter().map(|s| (format!("streams.{}", s.name), s.dataset(), &s.spec, &s.open));
    let of_tests = tests.iter().map(|t| (format!("tests.{}", t.name), t.dataset.as_str(), &t.spec, &t.open));
    let main = &streams[0];
    let (name, meaning) = (main.dataset(), Meaning::of_data(&main.spec, &main.open)?);
    for (key, dataset, spec, open) in of_streams.chain(of_tests).filter(|(_, dataset, ..)| *dataset != name) {
        if open.inputs != main.open.inputs {
            let [theirs, ours] = [&open.inputs, &main.open.inputs].map(fields);
            let message = format!("data set `{dataset}` gives the network {theirs}, and `{name}` gives it {ours}");
            return Err(Invalid::key(&key, message).help("transforms such as `resize` bring them to one form").into());
        }
        let source = format!("data set `{name}`");
        let others = Meaning::of_data(spec, open)?.beside(&open.inputs, &source, &meaning);
        // Pictures were brought to one size by then.
        if let Some(other) = others.into_iter().find(|f| f.kind != FindingKind::OtherFrame) {
            return Err(Invalid::key(&key, format!("data set `{dataset}`: {}", other.message)).into());
        }
        if let Some(column) = other_fill(main.open.dataset.columns(), open.dataset.columns()) {
            let message =
                format!("data set `{dataset}`: another mean stands for missing numbers of `{column}` than in `{name}`");
            let help = "`fill = \"zero\"` is the same in both; or put both into one file, with a column for `domain`";
            return Err(Invalid::key(&key, message).help(help).into());
        }
    }
    Ok(())
}

/// A column for whose missing numbers another value stands.
fn other_fill(ours: Option<Columns>, theirs: Option<Columns>) -> Option<String> {
    let (Some(Columns::Vector { numbers: ours, .. }), Some(Columns::Vector { numbers: theirs, .. })) = (ours, theirs)
    else {
        return None;
    };
    let mut pairs = ours.into_iter().zip(theirs);
    pairs.find(|(a, b)| a.name == b.name && a.fill != b.fill).map(|(a, _)| a.name)
}

/// A cell that is tested has test rows.
fn check_tested(tests: &[ReadyTest]) -> Result<()> {
    if let Some(test) = tests.iter().find(|t| t.rows.rows().is_empty()) {
        let key = if test.name == TEST { "test".to_owned() } else { format!("tests.{}", test.name) };
        let e = Invalid::key(&key, format!("data set `{}` has no test part of its own", test.dataset));
        let help = format!(
            "set `datasets.{0}.test` to a share of the rows, or `datasets.{0}.folds`; `test = false` in the step tests nothing",
            test.dataset
        );
        return Err(e.help(help).into());
    }
    Ok(())
}
