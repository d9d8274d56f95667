//! `evaluate`: the models of a run, loaded from their artefacts and measured again on their test rows.

use std::collections::BTreeMap;

use candle_core::Device;
use transplant_core::{Error, Invalid, Plugins, Result, nearest};
use transplant_datasets::Loader;
use transplant_trainer::evaluate_views;

use super::cells::VALIDATION;
use super::earlier::Reopened;
use super::folder::Folder;
use super::record::{Metrics, Record};
use super::streams::ReadyTest;
use super::summary::Summary;
use super::{artefact, cells};
use crate::at;
use crate::resolved::TEST;

/// Metrics on another device than the run's may differ by this much: sums are rounded otherwise there.
const OTHER_DEVICE: f64 = 1e-3;

/// One cell, measured again.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// Whether its metrics are those of the summary.
    pub same: bool,
    /// What to tell the user.
    pub text: String,
}

/// Measures every tested cell of a run's summary again, or one of them.
///
/// # Errors
/// When the folder is not a finished run, has no such cell, or an artefact or data set cannot be read.
pub fn check_run(
    folder: &Folder,
    only: Option<&str>,
    plugins: &Plugins,
    (device, device_name): (&Device, &str),
) -> Result<Vec<Checked>> {
    let summary = Summary::read(folder.layout())?;
    summary.check_finished(folder.layout()).map_err(|e| e.help("finish it with `--resume`"))?;
    let tested: Vec<_> =
        summary.steps.iter().filter(|step| step.metrics.keys().any(|split| split != VALIDATION)).collect();
    if let Some(id) = only.filter(|only| tested.iter().all(|step| step.cell != *only)) {
        let there = tested.iter().map(|step| step.cell.as_str());
        let help = match nearest(id, there.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", there.collect::<Vec<_>>().join(", ")),
        };
        let e = Invalid::new(format!("{} has no tested cell `{id}`", folder.root().display()));
        return Err(e.help(help).into());
    }
    let mut out = Vec::new();
    for step in tested.into_iter().filter(|step| only.is_none_or(|only| only == step.cell)) {
        let id = step.cell.as_str();
        let record = Record::read(&folder.cell(id))?;
        let measured = measure(folder, &record, plugins, device)?;
        let allowed = if record.device == device_name { 0.0 } else { OTHER_DEVICE };
        let (mut same, mut lines) = (true, String::new());
        for (test, metrics) in &measured {
            let told = step.metrics.get(test);
            same &= told.is_some_and(|told| told.len() == metrics.len());
            let of = if test == TEST { String::new() } else { format!("{test}: ") };
            for (name, value) in metrics {
                let before = told.and_then(|told| told.get(name)).copied().unwrap_or(f64::NAN);
                let agrees = (value - before).abs() <= allowed;
                same &= agrees;
                let verdict = if agrees { "as before".to_owned() } else { format!("summary.json says {before}") };
                lines.push_str(&format!("  {of}{name} {value}, {verdict}\n"));
            }
        }
        out.push(Checked { same, text: format!("{id}: {}\n{lines}", if same { "agrees" } else { "DIFFERS" }) });
    }
    Ok(out)
}

/// The metrics of each test.
fn measure(folder: &Folder, record: &Record, plugins: &Plugins, device: &Device) -> Result<BTreeMap<String, Metrics>> {
    let cell = &record.cell;
    let Some(Reopened { tests, components, .. }) = record.reopen(plugins)? else {
        let message = "the content is not what the run was made with: its hash differs";
        return Err(Error::data(cell.datasets().join(", "), None, message));
    };
    let artefact = artefact::load(folder.cell(&cell.id).model().root(), plugins, device)?;
    let one = |test: ReadyTest| {
        let loader = test.open.loader(cell.trainer.batch_size, cells::seeds(cell));
        let feed = Loader::test(&test.rows, loader).map_err(at("test"))?;
        let said = evaluate_views(&artefact.model, &feed, cell.test_views)?;
        Ok((test.name, cells::metrics(&components.measures, &said.predictions)?))
    };
    tests.into_iter().map(one).collect()
}
