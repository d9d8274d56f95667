//! [`Prepared`]: a pipeline whose data are open, whose rows are drawn and whose networks have been built once. Nothing
//! has been written or trained; what the user got wrong has been found.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use serde_json::json;
use transplant_core::{BuildCx, Error, Finding, Invalid, Load, Plugins, Result, Seeds, Severity, Spec, Transform};
use transplant_datasets::Parts;

use super::data::{self, Drawn, Opened};
use super::device;
use super::findings::{self, DataFinding};
use super::folder::Folder;
use super::hash;
use super::meaning::Meaning;
use super::parts::{self, Components};
use super::shape::{self, Shape};
use super::source::{OpenWeights, Source};
use crate::file::{FileError, Place};
use crate::resolved::{Cell, DatasetSpec, Pipeline};
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
    /// What was found about the data, each thing once.
    pub findings: Vec<DataFinding>,
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
    /// Its data set, with what the weights it starts from call for.
    pub spec: DatasetSpec,
    /// The same, open.
    pub open: Arc<Opened>,
    /// The pretrained weights at the start of the chain of steps up to here.
    pub root: Option<String>,
    /// Hash of all that decides its result.
    pub key: String,
    /// The number of the cell it starts from.
    pub from: Option<usize>,
    /// Tasks whose classes are the same in that cell.
    pub same_labels: Vec<String>,
    /// Its rows.
    pub parts: Arc<Parts>,
    /// What to tell of what the network is given; `None`: nothing.
    pub scales: Option<String>,
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
        let section = format!("datasets.{}", cell.dataset);
        prepared.find(&ready, &mut known).map_err(|e| locate(e.under(&section)))?;
        prepared.compare_with_source(&ready, &mut known).map_err(|e| pipeline.locate_in(cell, e))?;
        prepared.cells.push(ready);
    }
    prepared.shapes.iter_mut().for_each(|s| s.tensors.clear());
    prepared.folder.check().map_err(|e| {
        let place = out.map_or(Place::Unread("runs".into()), |dir| Place::Flag(format!("--out {}", dir.display())));
        let class = e.class();
        FileError { class, ..FileError::new(place, text_at_key(e)) }
    })?;
    Ok(prepared)
}

/// What cells have in common and is made once.
#[derive(Default)]
struct Known {
    /// Rows by data set, seed, draw, fold and tasks.
    drawn: BTreeMap<RowsOf, Drawn>,
    /// Data sets fitted to such rows, by the transforms that weights call for, and what there is to tell of them.
    fitted: BTreeMap<(RowsOf, String), (Arc<Opened>, Option<String>)>,
    /// Numbers of shapes.
    shapes: BTreeMap<String, usize>,
    /// Data sets whose rows were looked through, with their transforms.
    looked_through: BTreeSet<String>,
    /// Data sets whose inputs were compared with those of a source, with all that decides what they stand for.
    compared: BTreeSet<String>,
}

/// What decides which rows a cell has: data set, seed, draw, fold and tasks.
type RowsOf = (String, u64, u64, u64, String);

impl Ready {
    /// The target by which its rows are drawn.
    pub(crate) fn target(&self) -> &str {
        data::drawn_by(&self.cell, self.open.dataset.targets(), &self.components).unwrap_or_default()
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

    /// Whether the data sets of two cells have the same records, however each divides them.
    pub(crate) fn same_records(&self, a: &Ready, b: &Ready) -> bool {
        let key = |r: &Ready| self.plugins.rows_key(&r.spec.source, &self.base).ok();
        key(a).is_some_and(|of_a| key(b) == Some(of_a))
    }

    fn ready(&mut self, cell: &Cell, cx: &BuildCx<'_>, known: &mut Known) -> Result<Ready, FileError> {
        let here = |e: Error| self.pipeline.locate_in(cell, e);
        let missing = || here(Invalid::key("dataset", format!("there is no data set `{}`", cell.dataset)).into());
        let spec = self.pipeline.datasets.get(&cell.dataset).ok_or_else(missing)?;
        let open = self.datasets.get(&cell.dataset).ok_or_else(missing)?;
        let components = parts::build(cell, open.dataset.targets(), cx).map_err(here)?;
        let section = format!("datasets.{}", cell.dataset);
        let in_section = |e: Error| self.pipeline.locate(e.under(&section));
        let tasks = json!([cell.tasks, cell.first_task]).to_string();
        if cell.test_views > 0 && !open.random {
            let e = Invalid::key(
                "test_views",
                format!("data set `{}` has no random transform that makes views", cell.dataset),
            );
            let e = e.help(format!("list some under `datasets.{}.augment`, such as `flip`", cell.dataset));
            return Err(here(e.into()));
        }
        let draw = (cell.dataset.clone(), cell.seed, cell.draw, cell.fold, tasks);
        let drawn = match known.drawn.get(&draw) {
            Some(drawn) => drawn.clone(),
            None => data::split(cell, spec, open, &components).map_err(in_section)?,
        };
        known.drawn.insert(draw.clone(), drawn.clone());
        let parts = drawn.parts.clone();
        check_roles(cell, spec, &parts, cx).map_err(here)?;
        check_unlabelled(cell, &components, &parts).map_err(here)?;
        let from = cell.from.as_ref().and_then(|id| self.cells.iter().position(|c| c.cell.id == *id));
        let upstream = from.map(|i| &self.cells[i]);
        let root = cell.weights.clone().or_else(|| upstream.and_then(|u| u.root.clone()));
        let called_for = root.as_ref().and_then(|name| self.weights.get(name));
        let called_for = called_for.map_or_else(Vec::new, |w| w.calls_for(&open.inputs, spec));
        let checked = |t: &Spec<dyn Transform>| self.plugins.check(t).map_err(|e| in_section(e.into()));
        let called_for = called_for.iter().map(checked).collect::<Result<Vec<_>, _>>()?;
        let under = (draw, json!(called_for).to_string());
        let (open, scales) = match known.fitted.get(&under) {
            Some(fitted) => fitted.clone(),
            None => {
                let open = match called_for.is_empty() {
                    true => open.clone(),
                    false => Arc::new(open.followed_by(&called_for, cx).map_err(in_section)?),
                };
                let open = open.fitted(&drawn).map_err(in_section)?.map_or(open, Arc::new);
                let scales = data::scales_apart(&cell.dataset, &open, &parts.train);
                (open, scales.map_err(in_section)?)
            }
        };
        known.fitted.insert(under, (open.clone(), scales.clone()));
        let mut spec = spec.clone();
        spec.transforms.extend(called_for);
        let same_labels = upstream.map(|u| {
            let source = u.open.dataset.targets();
            shape::same_labels(&components, open.dataset.targets(), &u.components, source)
        });
        let same_labels = same_labels.unwrap_or_else(|| {
            let weights = cell.weights.as_ref().and_then(|name| self.weights.get(name));
            let fields = shape::fields(&components, open.dataset.targets());
            weights.map_or_else(Vec::new, |w| w.same_labels(&fields, &cell.backbone))
        });
        let kind = json!([
            cell.step,
            cell.dataset,
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
                    Source::Cell { step, tensors, same_labels: &same_labels }
                });
                let source = of_cell.or_else(|| self.weights_of(cell));
                let targets = open.dataset.targets();
                let shape = shape::shape(cell, &components, &open.inputs, targets, source).map_err(here)?;
                known.shapes.insert(kind.to_string(), self.shapes.len());
                self.shapes.push(shape);
                self.shapes.len() - 1
            }
        };
        let weights = cell.weights.as_ref().and_then(|name| self.weights.get(name));
        let of_weights = weights.map(|w| w.key().map_err(|e| here(e.under("from")))).transpose()?;
        let started_from = upstream.map(|u| u.key.clone()).or(of_weights);
        let key = self.key(cell, &spec, &open, started_from.as_deref()).map_err(here)?;
        Ok(Ready { cell: cell.clone(), spec, open, root, key, from, same_labels, parts, scales, components, shape })
    }

    /// Adds what there is to tell about a cell's data, once.
    ///
    /// # Errors
    /// When nothing sensible can be trained or tested on them: a cell with one task is refused.
    fn find(&mut self, ready: &Ready, known: &mut Known) -> Result<()> {
        let mut all = Vec::new();
        if known.looked_through.insert(json!([ready.cell.dataset, ready.spec.transforms]).to_string()) {
            all = findings::of_data(&ready.open)?;
        }
        all.extend(findings::of_split(&ready.cell, &ready.spec, &ready.components, &ready.parts)?);
        for finding in all {
            if finding.severity() == Severity::Error && ready.components.tasks.len() == 1 {
                return Err(Invalid::new(finding.message).into());
            }
            self.tell(ready, finding);
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
        let inputs = |r: &Ready| json!([r.cell.dataset, r.spec.transforms, r.open.fitted_to]);
        let upstream = ready.from.map(|i| &self.cells[i]);
        let pair = json!([upstream.map(|u| (&u.cell.step, inputs(u))), ready.cell.weights, inputs(ready)]);
        if !known.compared.insert(pair.to_string()) {
            return Ok(());
        }
        let (source, theirs) = match (upstream, weights) {
            (Some(u), _) => (format!("step `{}`", u.cell.step), Meaning::of_data(&u.spec, &u.open)?),
            (None, Some((name, weights))) => (format!("`{name}`"), weights.meaning(self.plugins)),
            (None, None) => return Ok(()),
        };
        let ours = Meaning::of_data(&ready.spec, &ready.open)?;
        for finding in ours.beside(&ready.open.inputs, &source, &theirs) {
            if finding.severity() == Severity::Error {
                let message = format!("data set `{}`: {}", ready.cell.dataset, finding.message);
                return Err(Invalid::key("from", message).into());
            }
            self.tell(ready, finding);
        }
        Ok(())
    }

    /// Adds a finding about a cell's data set, once.
    fn tell(&mut self, ready: &Ready, finding: Finding) {
        let found = DataFinding { dataset: ready.cell.dataset.clone(), severity: finding.severity(), finding };
        if !self.findings.contains(&found) {
            self.findings.push(found);
        }
    }

    /// What was found about a data set.
    pub(crate) fn findings_of<'s>(&'s self, dataset: &'s str) -> impl Iterator<Item = &'s DataFinding> {
        self.findings.iter().filter(move |f| f.dataset == dataset)
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

    /// What to tell of the network of the pretrained weights that a cell starts from, and of the scales of its columns.
    pub(crate) fn warnings_of(&self, ready: &Ready) -> Vec<String> {
        let weights = ready.root.as_ref().and_then(|name| Some((name, self.weights.get(name)?)));
        let weights = weights.filter(|_| ready.takes_weights());
        let of_weights = weights.map_or_else(Vec::new, |(name, w)| w.other_network(name, &ready.cell.backbone));
        of_weights.into_iter().chain(ready.scales.clone()).collect()
    }

    fn key(&self, cell: &Cell, spec: &DatasetSpec, open: &Opened, upstream: Option<&str>) -> Result<String> {
        let mut trainer = serde_json::to_value(&cell.trainer).map_err(|e| Invalid::key("trainer", e.to_string()))?;
        if let Some(map) = trainer.as_object_mut() {
            // How often the state is saved does not change the result.
            map.remove("checkpoint_every_secs");
        }
        let all = json!({
            "code": self.code, "device": self.device_name, "step": cell.step,
            "seed": cell.seed, "draw": cell.draw, "fold": cell.fold, "dataset": spec, "data": self.datasets[&cell.dataset].hash,
            "backbone": cell.backbone, "tasks": cell.tasks, "strategies": cell.strategies, "trainer": trainer,
            "first_task": cell.first_task, "fitted_to": open.fitted_to, "metrics": cell.metrics, "test": cell.test,
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

/// There are rows for the streams without labels that a strategy needs.
fn check_unlabelled(cell: &Cell, components: &Components, parts: &Parts) -> Result<()> {
    let needs = components.strategy.needs();
    match needs.unlabelled().next().filter(|_| parts.unlabelled.rows().is_empty()) {
        Some(stream) => {
            let message = format!("needs rows without labels for the stream `{stream}`, and there are none");
            let help =
                format!("with `datasets.{}.labels_per_class` all rows beyond are used without labels", cell.dataset);
            Err(Invalid::key("strategy", message).help(help).into())
        }
        None => Ok(()),
    }
}

/// What a cell asks of its data set's parts is there.
fn check_roles(cell: &Cell, spec: &DatasetSpec, parts: &Parts, cx: &BuildCx<'_>) -> Result<()> {
    if cell.test && parts.test.rows().is_empty() {
        let e = Invalid::key("test", format!("data set `{}` has no test part of its own", cell.dataset));
        let help = format!(
            "set `datasets.{0}.test` to a share of the rows, or `datasets.{0}.folds`; `test = false` in the step tests nothing",
            cell.dataset
        );
        return Err(e.help(help).into());
    }
    if parts.validation.is_none() && spec.validation == 0.0 {
        let choosing = parts::policies(cell, cx)?.iter().position(|p| p.needs_validation());
        if let Some(i) = choosing {
            let e = Invalid::key(&format!("trainer.policies.{i}"), "chooses by a validation part, and there is none");
            return Err(e.help(format!("set `datasets.{}.validation` to a share of the rows", cell.dataset)).into());
        }
    }
    Ok(())
}
