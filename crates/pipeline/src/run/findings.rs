//! [`DataFinding`]: what there is to tell about the data of a pipeline. `check`, `run`, `data`, the report and `summary.json` show
//! the same sentences.

use serde::{Deserialize, Serialize};
use transplant_core::{Event, Finding, FindingKind, Result, Severity};
use transplant_datasets::{Chain, split_findings};

use super::data::Opened;
use super::prepare::Ready;
use super::streams::ReadyStream;

/// A finding and the data set that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFinding {
    /// The data set's name in the file.
    pub dataset: String,
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
}

impl DataFinding {
    /// The sentence that is shown, the data set's name in front.
    pub fn sentence(&self) -> String {
        format!("data set `{}`: {}", self.dataset, self.finding.message)
    }

    /// As an event of a run.
    pub(crate) fn event(&self) -> Event {
        let text = self.sentence();
        if self.severity == Severity::Note { Event::Note { text } } else { Event::Warning { text } }
    }

    /// The severity and the message, as a line under the data set's name.
    pub(crate) fn line(&self) -> String {
        let severity = if self.severity == Severity::Note { "note" } else { "warning" };
        format!("{severity}: {}", self.finding.message)
    }
}

/// Findings about a data set and what its deterministic transforms make of it.
///
/// # Errors
/// When a row cannot be read.
pub(crate) fn of_data(open: &Opened) -> Result<Vec<Finding>> {
    let mut findings = open.dataset.findings();
    let chain = Chain::new(open.transforms.clone(), Vec::new())?;
    findings.extend(chain.findings(open.dataset.as_ref())?);
    Ok(findings)
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
