//! [`PipelineFinding`]: what there is to tell about the data and the steps of a pipeline. `check`, `run`, `data`, the
//! report and `summary.json` show the same sentences.

use serde::{Deserialize, Serialize};
use transplant_core::{Event, Finding, FindingKind, Load, Result, Severity};
use transplant_datasets::{Chain, split_findings};

use super::data::Opened;
use super::prepare::Ready;
use super::shape::Shape;
use super::streams::ReadyStream;
use crate::resolved::{Cell, Pipeline};

/// A finding and what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineFinding {
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
}

/// What a finding is about, by its name in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A data set.
    Dataset(String),
    /// A step.
    Step(String),
}

impl PipelineFinding {
    pub(crate) fn new(subject: Subject, finding: Finding) -> Self {
        Self { subject, severity: finding.severity(), finding }
    }

    /// The sentence that is shown, the name of its subject in front.
    pub fn sentence(&self) -> String {
        let subject = match &self.subject {
            Subject::Dataset(name) => format!("data set `{name}`"),
            Subject::Step(name) => format!("step `{name}`"),
        };
        format!("{subject}: {}", self.finding.message)
    }

    /// As an event of a run.
    pub(crate) fn event(&self) -> Event {
        let text = self.sentence();
        if self.severity == Severity::Note { Event::Note { text } } else { Event::Warning { text } }
    }

    /// The severity and the message, as a line under the name of its subject.
    pub(crate) fn line(&self) -> String {
        let severity = if self.severity == Severity::Note { "note" } else { "warning" };
        format!("{severity}: {}", self.finding.message)
    }
}

/// Findings about what the deterministic transforms make of all rows of a data set.
///
/// # Errors
/// When a row cannot be read.
pub(crate) fn of_transforms(open: &Opened) -> Result<Vec<Finding>> {
    Chain::new(open.transforms.clone(), Vec::new())?.findings(open.dataset.as_ref())
}

/// That a step cannot take the head of the step `source` that it asks for: the classes stand in another order there.
pub(crate) fn of_class_order(ready: &Ready, source: &str) -> Option<Finding> {
    let strategy = &ready.components.strategy;
    if ready.reordered.is_empty() || strategy.needs().load != Load::BackboneAndHeads || strategy.head().is_some() {
        return None;
    }
    let tasks: Vec<_> = ready.reordered.iter().map(|task| format!("`{task}`")).collect();
    let message = format!(
        "the classes of {} are those of step `{source}` in another order, so its head begins afresh: give both data sets the same \
         `classes` to take the head as well",
        tasks.join(", ")
    );
    Some(Finding::new(FindingKind::OtherClassOrder, message))
}

/// Findings about how the rows of a cell's stream are split; where there are folds they are told apart.
///
/// # Errors
/// When the data set has not the targets it announces.
pub(crate) fn of_split(ready: &Ready, stream: &ReadyStream) -> Result<Vec<Finding>> {
    if !stream.stream.labels {
        return Ok(Vec::new());
    }
    let is_tested = ready.tests.iter().any(|t| t.dataset == stream.dataset());
    let mut findings = split_findings(&stream.parts, &stream.target, is_tested)?;
    if stream.spec.folds.is_some() {
        // A class that is missing in one fold is tested in another.
        findings.retain(|f| f.kind != FindingKind::ClassWithoutTestRows);
        let fold = ready.cell.fold;
        findings.iter_mut().for_each(|f| f.message = format!("with fold {fold} as test part, {}", f.message));
    }
    Ok(findings)
}

/// Keys of a step that are read only while steps of training are made.
const OF_TRAINING: [&str; 12] = [
    "trainer.epochs",
    "trainer.batch_size",
    "trainer.optimiser",
    "trainer.schedule",
    "trainer.averaging",
    "trainer.clip_norm",
    "trainer.accumulate",
    "trainer.views",
    "trainer.class_balance",
    "trainer.precision",
    "trainer.policies",
    "select",
];

/// Findings about options that have no effect because no step of training is made: the head is fitted at once. Options
/// that nobody wrote are not told.
pub(crate) fn of_unused_options(pipeline: &Pipeline, cells: &[(&Cell, &Shape)]) -> Vec<PipelineFinding> {
    let tell = |subject: Subject, keys: &[&str], why: &str| {
        let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        let verb = if keys.len() == 1 { "has" } else { "have" };
        let message = format!("{} {verb} no effect: {why}", keys.join(", "));
        PipelineFinding::new(subject, Finding::new(FindingKind::UnusedOptions, message))
    };
    let mut out = Vec::new();
    let mut seen = Vec::new();
    for (cell, _) in cells {
        let step = Subject::Step(cell.step.clone());
        if !seen.contains(&step) {
            let of_step = || cells.iter().filter(|(other, _)| other.step == cell.step);
            let is_written = |key: &&str| of_step().any(|(cell, _)| pipeline.sources.is_written(cell, key));
            let keys: Vec<&str> = OF_TRAINING.into_iter().filter(is_written).collect();
            if !keys.is_empty() && of_step().all(|(_, shape)| shape.fits_at_once()) {
                let why = "the head is fitted at once, and no step of training is made";
                out.push(tell(step.clone(), &keys, why));
            }
            seen.push(step);
        }
        for dataset in cell.streams.values().map(|s| &s.dataset) {
            let subject = Subject::Dataset(dataset.clone());
            if seen.contains(&subject) {
                continue;
            }
            let mut on_it = cells.iter().filter(|(other, _)| other.datasets().contains(&dataset.as_str()));
            let augments = pipeline.datasets.get(dataset).is_some_and(|spec| !spec.augment.is_empty());
            if augments && on_it.all(|(cell, shape)| shape.fits_at_once() && cell.test_views == 0) {
                let why = "no step of training is made on its rows, and no step has `test_views`";
                out.push(tell(subject.clone(), &["augment"], why));
            }
            seen.push(subject);
        }
    }
    out
}
