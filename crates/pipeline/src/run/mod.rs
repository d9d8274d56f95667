//! Running a pipeline: everything is opened and checked first ([`prepare`]), then cell after cell is trained or taken
//! as an earlier run left it ([`run`]), and a run folder is left behind that others can read, predict with
//! ([`predict`]) and check ([`check_run`]).

mod artefact;
pub mod assets;
mod baselines;
mod cache;
mod cells;
mod choosing;
mod compare;
mod data;
mod description;
mod device;
mod earlier;
mod evaluate;
mod events;
mod export;
mod file_names;
mod findings;
mod folder;
mod hash;
mod hub;
mod inspect;
mod labels;
mod layout;
mod leaks;
mod ledger;
mod lock;
mod meaning;
mod overview;
mod parts;
mod predict;
mod predictions;
mod prepare;
mod pretrained;
mod record;
mod repeats;
mod report;
mod shape;
mod source;
mod streams;
mod summary;
mod table;
mod usage;
mod vectors;
mod whole;

pub use artefact::{Artefact, Manifest, SourceNote, load as load_artefact};
pub use cache::{clear as clear_cache, default_folder as default_cache, list as list_cache};
pub use compare::{AgainstBaseline, Comparison, Paired};
pub use device::open as open_device;
pub use evaluate::{Checked, check_run};
pub use export::{Written, export};
pub use findings::{PipelineFinding, Subject};
pub use folder::Folder;
pub use inspect::{inspect, sheets_folder};
pub use labels::EarlierLabels;
pub use layout::{CellLayout, ModelLayout, RunLayout};
pub use leaks::{Because, By, Found, Leak};
pub use overview::overview;
pub use predict::{Asked, Choice, Format, Predicted, choose, model_of, predict};
pub use prepare::{Prepared, Ready, prepare};
pub use pretrained::pretrained;
pub use record::{Metrics, Record};
pub use shape::{PhaseShape, Shape};
pub use source::OpenWeights;
pub use summary::{Status, StepSummary, Summary};
pub use table::Table;
pub use usage::{cpu_seconds, peak_rss_mb};

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use transplant_core::{Error, Listener, Result, write_atomically};

use cells::{Finished, Session};
use compare::{Done, compare};
use events::{Claim, Log};
use folder::Left;

/// A finished run.
pub struct Outcome {
    /// What is in `summary.json`.
    pub summary: Summary,
    /// The main table of each step that was tested.
    pub tables: Vec<Table>,
}

/// Runs a prepared pipeline. Finished cells in the run folder are taken as they are; with `resume` a cell that was
/// begun goes on from its newest checkpoint, otherwise it begins anew. What was finished with other options, data or
/// code is set aside below `superseded`, and a warning tells so. When `stop` is set, the state is saved.
///
/// # Errors
/// [`Error::Interrupted`] when it was stopped; otherwise what data, networks or the disk met. `summary.json` says so.
pub fn run(run: &Prepared<'_>, resume: bool, listener: &mut dyn Listener, stop: &AtomicBool) -> Result<Outcome> {
    let folder = &run.folder;
    let files = folder.layout();
    folder::make(files.root())?;
    let claim = Claim::take(&files.events())?;
    folder.remove_half_written()?;
    let aside = replaces(run)?.then(|| folder.set_aside()).transpose()?;
    let mut log = Log::open(claim, aside.is_some(), listener)?;
    write_atomically(&files.pipeline(), run.pipeline.text.as_bytes())?;
    run.findings.iter().for_each(|found| log.on(&found.event()));
    let session = Session {
        run,
        folder,
        resume,
        stop,
        leaks: RefCell::default(),
        baselines: RefCell::default(),
        vectors: RefCell::default(),
        aside: RefCell::new(aside),
    };
    let mut done = Vec::new();
    let outcome = all_cells(&session, &mut log, &mut done).and_then(|()| finish(run, &done));
    if let Err(e) = &outcome {
        let status = if matches!(e, Error::Interrupted) { Status::Interrupted } else { Status::Failed };
        // The first error is the one to tell; the summary is a courtesy here.
        let written = write_summary(run, status, &done);
        written.unwrap_or_else(|e| tracing::warn!("cannot write the summary: {e}"));
    }
    outcome
}

/// Whether a cell was finished with something else than this run has, so that the files about all cells are of another
/// run.
fn replaces(run: &Prepared<'_>) -> Result<bool> {
    for ready in &run.cells {
        if matches!(run.folder.recorded(&ready.cell.id, &ready.key)?, Left::Other(_) | Left::Damaged(_)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn all_cells(session: &Session<'_>, log: &mut Log<'_>, done: &mut Vec<Finished>) -> Result<()> {
    for index in 0..session.run.cells.len() {
        write_summary(session.run, Status::Running, done)?;
        if session.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        done.push(session.cell(index, log)?);
    }
    Ok(())
}

fn write_summary(run: &Prepared<'_>, status: Status, done: &[Finished]) -> Result<()> {
    let records: Vec<_> = done.iter().map(|f| &f.record).collect();
    lock::write(&run.folder, run, &records)?;
    Summary { findings: run.findings.clone(), ..Summary::new(&run.pipeline.name, status, &records) }.write(&run.folder)
}

fn finish(run: &Prepared<'_>, done: &[Finished]) -> Result<Outcome> {
    let name = &run.pipeline.name;
    let records: Vec<_> = done.iter().map(|f| &f.record).collect();
    let all: Vec<Done<'_>> = done.iter().zip(&run.cells).map(|(f, ready)| f.done(ready)).collect();
    let (comparison, baselines) = (compare(&all)?, compare::baselines(&all)?);
    let findings = run.findings.clone();
    let summary = Summary { findings, comparison, baselines, ..Summary::new(name, Status::Finished, &records) };
    let main = Summary::main_metrics(&records);
    let tables = table::tables(&summary.comparison, &main, &summary.baselines, &summary.baselines_not_fitted);
    let files = run.folder.layout();
    write_atomically(&files.report(), report::report(&summary, &tables, &all)?.as_bytes())?;
    write_atomically(&files.ledger(), ledger::ledger(name, &records).as_bytes())?;
    let of = done.iter().zip(&run.cells);
    let cells: Vec<_> =
        of.map(|(f, ready)| (f.record.cell.id.as_str(), &f.predictions, ready.datasets_by_split())).collect();
    predictions::write_csv(&files.predictions(), &cells)?;
    lock::write(&run.folder, run, &records)?;
    summary.write(&run.folder)?;
    Ok(Outcome { summary, tables })
}
