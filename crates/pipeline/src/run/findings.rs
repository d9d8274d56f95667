//! [`DataFinding`]: what there is to tell about the data of a pipeline. `check`, `run`, `data`, the report and `summary.json` show
//! the same sentences.

use serde::Serialize;
use transplant_core::{Error, Event, Field, Finding, Invalid, Severity};
use transplant_datasets::{Chain, split_findings};

use super::data::Opened;
use super::prepare::{Prepared, Ready};

/// A finding and the data set that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
pub(crate) fn of_data(open: &Opened) -> Result<Vec<Finding>, Invalid> {
    let mut findings = open.dataset.findings();
    let chain = Chain::new(open.transforms.clone(), Vec::new())?;
    findings.extend(chain.findings(open.dataset.as_ref()).map_err(crate::at(""))?);
    Ok(findings)
}

/// Findings about the split of a cell; where there are folds they are told apart.
///
/// # Errors
/// When the data set has not the targets it announces.
pub(crate) fn of_split(ready: &Ready) -> Result<Vec<Finding>, Error> {
    let targets = ready.open.dataset.targets();
    let class = |t: &&str| matches!(targets.get(*t), Some(Field::Class { .. }));
    let Some(target) = ready.components.tasks.values().map(|t| t.target()).find(class) else { return Ok(Vec::new()) };
    let mut findings = split_findings(&ready.parts, target, ready.cell.test)?;
    if ready.spec.folds.is_some() {
        findings
            .iter_mut()
            .for_each(|f| f.message = format!("with fold {} as test part, {}", ready.cell.fold, f.message));
    }
    Ok(findings)
}

impl Prepared<'_> {
    /// Adds what was found about a cell's data, once.
    ///
    /// # Errors
    /// When nothing sensible can be trained or tested on them: a cell with one task is refused.
    pub(super) fn add_findings(&mut self, ready: &Ready, findings: &[Finding]) -> Result<(), Invalid> {
        for finding in findings {
            if finding.severity() == Severity::Error && ready.components.tasks.len() == 1 {
                return Err(Invalid::new(finding.message.clone()));
            }
            let dataset = ready.cell.dataset.clone();
            let told = DataFinding { dataset, severity: finding.severity(), finding: finding.clone() };
            if !self.findings.contains(&told) {
                self.findings.push(told);
            }
        }
        Ok(())
    }

    /// What was found about a data set.
    pub(super) fn findings_of<'s>(&'s self, dataset: &'s str) -> impl Iterator<Item = &'s DataFinding> {
        self.findings.iter().filter(move |f| f.dataset == dataset)
    }
}
