//! `evaluate`: the models of a run, loaded from their artefacts and measured again on their test rows.

use candle_core::Device;
use transplant_core::{Error, Invalid, Plugins, Result, nearest};
use transplant_datasets::Loader;
use transplant_trainer::evaluate_views;

use super::compare::TEST;
use super::earlier::Reopened;
use super::folder::Folder;
use super::record::{Metrics, Record};
use super::summary::Summary;
use super::{artefact, cells};
use crate::at;

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
    let tested = summary.steps.iter().filter_map(|step| Some((step.cell.as_str(), step.metrics.get(TEST)?)));
    let tested: Vec<_> = tested.collect();
    if let Some(id) = only.filter(|only| tested.iter().all(|(id, _)| id != only)) {
        let there = tested.iter().map(|(id, _)| *id);
        let help = match nearest(id, there.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", there.collect::<Vec<_>>().join(", ")),
        };
        let e = Invalid::new(format!("{} has no tested cell `{id}`", folder.root().display()));
        return Err(e.help(help).into());
    }
    let mut out = Vec::new();
    for (id, told) in tested.into_iter().filter(|(id, _)| only.is_none_or(|only| only == *id)) {
        let record = Record::read(&folder.cell(id))?;
        let metrics = measure(folder, &record, plugins, device)?;
        let allowed = if record.device == device_name { 0.0 } else { OTHER_DEVICE };
        let mut same = metrics.len() == told.len();
        let mut lines = String::new();
        for (name, value) in &metrics {
            let before = told.get(name).copied().unwrap_or(f64::NAN);
            let agrees = (value - before).abs() <= allowed;
            same &= agrees;
            let verdict = if agrees { "as before".to_owned() } else { format!("summary.json says {before}") };
            lines.push_str(&format!("  {name} {value}, {verdict}\n"));
        }
        out.push(Checked { same, text: format!("{id}: {}\n{lines}", if same { "agrees" } else { "DIFFERS" }) });
    }
    Ok(out)
}

fn measure(folder: &Folder, record: &Record, plugins: &Plugins, device: &Device) -> Result<Metrics> {
    let cell = &record.cell;
    let Some(Reopened { open, components, parts }) = record.reopen(plugins)? else {
        let message = "the content is not what the run was made with: its hash differs";
        return Err(Error::data(&cell.dataset, None, message));
    };
    let artefact = artefact::load(folder.cell(&cell.id).model().root(), plugins, device)?;
    let loader = open.loader(cell.trainer.batch_size, cells::seeds(cell));
    let feed = Loader::test(&parts.test, loader).map_err(at("test"))?;
    let said = evaluate_views(&artefact.model, &feed, cell.test_views)?;
    cells::metrics(&components.measures, &said.predictions)
}
