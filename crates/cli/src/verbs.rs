//! What each verb does.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use transplant_core::{Plugins, write_atomically};
use transplant_pipeline::file::{self, Overrides};
use transplant_pipeline::reference;
use transplant_pipeline::resolved::{DeviceChoice, Pipeline};
use transplant_pipeline::run::{self, Artefact, Asked, Folder, Format, Outcome, prepare};

use crate::args::{self, Assets, Cache, CacheFolder, Verb};
use crate::failure::Failure;
use crate::progress::{Counted, Progress};
use crate::signals::Signals;

/// So many inputs are named of those of which there is something to tell, and of those that could not be read.
const INPUTS_TOLD: usize = 20;

pub(crate) fn execute(verb: Verb, plugins: &Plugins, signals: &Signals) -> Result<(), Failure> {
    match verb {
        Verb::Run { pipeline, resume } => train(&pipeline, resume, plugins, signals),
        Verb::Check { pipeline } => check(&pipeline, plugins),
        Verb::Data { pipeline } => data(&pipeline, plugins),
        Verb::List { kind } => say(&reference::list(plugins, kind.as_deref()).map_err(wrong)?),
        Verb::Explain { tag } => say(&reference::explain(plugins, &tag).map_err(wrong)?),
        Verb::Schema => say(&pretty(&reference::schema(plugins))?),
        Verb::Reference { dir } => write_reference(&dir, plugins),
        Verb::Predict { run, inputs, cell, format, output, device } => {
            let (device, _) = run::open_device(device_of(&device)?).map_err(wrong)?;
            let (model, name) = run::model_of(&run, cell.as_deref(), plugins, &device)?;
            eprintln!("model: {name}");
            predict(&model, &inputs, format.as_deref(), output.as_deref())
        }
        Verb::Export { run, file, cell } => {
            let (device, _) = run::open_device(DeviceChoice::Cpu).map_err(wrong)?;
            let (model, name) = run::model_of(&run, cell.as_deref(), plugins, &device)?;
            eprintln!("model: {name}");
            written(&run::export(&model, &file)?)
        }
        Verb::Cache { what } => cache(what),
        Verb::Assets { what, folder } => assets(what, folder),
        Verb::Evaluate { run, cell, device } => evaluate(&run, cell.as_deref(), &device, plugins),
    }
}

/// What an export left, how it is opened, and what it cannot say.
fn written(export: &run::Written) -> Result<(), Failure> {
    let files: Vec<String> = export.files.iter().map(|f| f.display().to_string()).collect();
    let mut out = format!("the model of `{}`: {}\n", export.cell, files.join(", "));
    for note in &export.notes {
        let _ = writeln!(out, "note: {note}");
    }
    if !export.usage.is_empty() {
        let _ = write!(out, "\n{}", export.usage);
    }
    say(&out)
}

fn open(a: &args::Pipeline, plugins: &Plugins) -> Result<Pipeline, Failure> {
    let overrides = Overrides { set: a.set.clone(), seed: a.seed, device: a.device.clone(), env: true };
    Ok(file::open(&a.file, &overrides, plugins)?)
}

fn train(a: &args::Pipeline, resume: bool, plugins: &Plugins, signals: &Signals) -> Result<(), Failure> {
    let started = Instant::now();
    let pipeline = open(a, plugins)?;
    let prepared = prepare(&pipeline, plugins, a.out.as_deref())?;
    let mut progress = Progress::new(prepared.cells.iter().map(|c| c.cell.id.clone()).collect());
    let outcome = run::run(&prepared, resume, &mut progress, signals.stop());
    progress.end();
    let mut out = tables(&outcome?);
    let cpu = match run::cpu_seconds() {
        Some((own, build)) if build > 0.0 => format!(" ({:.0} CPU-seconds, build included)", own + build),
        Some((own, _)) => format!(" ({own:.0} CPU-seconds)"),
        None => String::new(),
    };
    let (secs, folder) = (started.elapsed().as_secs_f64(), prepared.folder.root().display());
    let _ = writeln!(out, "{secs:.0} s{cpu}; the run folder is {folder}, its report {folder}/report.md");
    say(&out)
}

fn tables(outcome: &Outcome) -> String {
    outcome.tables.iter().map(|t| format!("\n{}\n", t.plain())).collect()
}

fn check(a: &args::Pipeline, plugins: &Plugins) -> Result<(), Failure> {
    let pipeline = open(a, plugins)?;
    say(&run::overview(&prepare(&pipeline, plugins, a.out.as_deref())?)?)
}

fn data(a: &args::Pipeline, plugins: &Plugins) -> Result<(), Failure> {
    let pipeline = open(a, plugins)?;
    let prepared = prepare(&pipeline, plugins, None)?;
    let folder = a.out.clone().unwrap_or_else(|| run::sheets_folder(&prepared));
    say(&run::inspect(&prepared, &folder)?)
}

fn write_reference(dir: &Path, plugins: &Plugins) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(|e| Failure::Request(format!("{}: {e}", dir.display())))?;
    for (name, text) in reference::pages(plugins) {
        write_atomically(&dir.join(name), text.as_bytes())?;
    }
    let schema = pretty(&reference::schema(plugins))?;
    Ok(write_atomically(&dir.join("schema.json"), schema.as_bytes())?)
}

fn evaluate(path: &Path, cell: Option<&str>, device: &str, plugins: &Plugins) -> Result<(), Failure> {
    let (device, name) = run::open_device(device_of(device)?).map_err(wrong)?;
    let checked = run::check_run(&Folder::at(path), cell, plugins, (&device, &name))?;
    let mut same = true;
    for cell in &checked {
        same &= cell.same;
        say(&cell.text)?;
    }
    match (same, checked.len()) {
        (false, _) => Err(Failure::Differs),
        (true, 0) => say("no cell of this run was tested: there is nothing to measure again\n"),
        (true, 1) => say("the cell agrees with summary.json\n"),
        (true, n) => say(&format!("all {n} cells agree with summary.json\n")),
    }
}

fn predict(model: &Artefact, inputs: &[PathBuf], format: Option<&str>, output: Option<&Path>) -> Result<(), Failure> {
    let ending = output.and_then(|o| o.extension()).and_then(|e| e.to_str()).filter(|e| e.parse::<Format>().is_ok());
    let format: Format = format.or(ending).unwrap_or("csv").parse().map_err(wrong)?;
    // What is half-written when something goes wrong has another name; a pipe or a device is written to as it is.
    let replaced = output.filter(|o| o.metadata().map_or(true, |m| m.is_file()));
    let part = replaced.map(|o| PathBuf::from([o.as_os_str(), OsStr::new(".part")].into_iter().collect::<OsString>()));
    let opened = |path: &Path| std::fs::File::create(path).map_err(|e| wrong(format!("{}: {e}", path.display())));
    let out: Box<dyn std::io::Write + Send> = match part.as_deref().or(output) {
        Some(path) => Box::new(std::io::BufWriter::new(opened(path)?)),
        None => Box::new(Quiet(std::io::stdout())),
    };
    let mut bar = Counted::new("inputs");
    let asked = Asked { inputs, format, out, progress: &mut |done, of| bar.at(done, of) };
    let predicted = run::predict(model, asked);
    bar.end();
    let predicted = predicted.inspect_err(|_| drop(part.as_ref().map(std::fs::remove_file)))?;
    if let (Some(part), Some(output)) = (&part, output) {
        std::fs::rename(part, output).map_err(|e| wrong(format!("{}: {e}", output.display())))?;
    }
    for note in &predicted.notes {
        eprintln!("note: {note}");
    }
    let wordless = "has no word that the network knows: its answer is that of any such text";
    told(predicted.without_words.iter().map(|name| format!("note: {name}: {wordless}")));
    told(predicted.unread.iter().map(|line| format!("not read: {line}")));
    match predicted.unread.len() {
        0 => Ok(()),
        n => Err(Failure::Unread { unread: n, of: n + predicted.done }),
    }
}

/// The first of these lines, and how many more there are.
fn told(lines: impl ExactSizeIterator<Item = String>) {
    let more = lines.len().saturating_sub(INPUTS_TOLD);
    lines.take(INPUTS_TOLD).for_each(|line| eprintln!("{line}"));
    if more > 0 {
        eprintln!("… and {more} more");
    }
}

/// The standard output, to which it is no failure that the reader has gone (a pipe into `head`).
struct Quiet<W>(W);

impl<W: std::io::Write> std::io::Write for Quiet<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).or_else(|e| quiet(e, bytes.len()))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush().or_else(|e| quiet(e, ()))
    }
}

fn quiet<T>(e: std::io::Error, value: T) -> std::io::Result<T> {
    if e.kind() == std::io::ErrorKind::BrokenPipe { Ok(value) } else { Err(e) }
}

fn cache(what: Option<Cache>) -> Result<(), Failure> {
    let at = |folder: CacheFolder| {
        let none = || wrong("the system tells of no folder for caches; name one with `--folder`");
        folder.folder.or_else(run::default_cache).ok_or_else(none)
    };
    match what.unwrap_or(Cache::List { folder: CacheFolder::default() }) {
        Cache::List { folder } => {
            let folder = at(folder)?;
            say(&run::list_cache(&folder)?)
        }
        Cache::Clear { entry, folder } => say(&run::clear_cache(&at(folder)?, entry.as_deref())?),
    }
}

fn assets(what: Option<Assets>, folder: Option<PathBuf>) -> Result<(), Failure> {
    match what.unwrap_or(Assets::List) {
        Assets::List => say(&run::assets::list(folder)?),
        Assets::Fetch { names } => say(&run::assets::fetch(folder, &names, &mut |note| eprintln!("{note}"))?),
        Assets::Verify { names } => Ok(run::assets::verify(folder, &names, &mut |line| drop(say(line)))?),
    }
}

fn device_of(text: &str) -> Result<DeviceChoice, Failure> {
    text.parse().map_err(wrong)
}

fn wrong(e: impl std::fmt::Display) -> Failure {
    Failure::Request(e.to_string())
}

fn pretty(schema: &serde_json::Value) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(schema).map_err(wrong)? + "\n")
}

/// Writes to the standard output. That the reader has gone (a pipe into `head`) is no failure.
fn say(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(wrong(e)),
        _ => Ok(()),
    }
}
