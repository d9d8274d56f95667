//! Progress of a run: a bar with the time left on a terminal, plain lines elsewhere.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use transplant_core::{Event, Listener};

/// Parts into which the bar cuts each cell.
const PARTS: u64 = 1000;

/// Without a bar, an epoch is worth a line when there was none for so long.
const QUIET: Duration = Duration::from_secs(10);

/// Shows events as they come.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    cell: usize,
    of: usize,
    cells: Vec<String>,
    /// Notes that were shown: one that every cell makes is shown once.
    notes: BTreeSet<String>,
    /// When a line was last written.
    said: Instant,
}

impl Progress {
    /// Shows the progress of these cells on the standard error.
    pub(crate) fn new(cells: Vec<String>) -> Self {
        let of = cells.len();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(of as u64 * PARTS);
            let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self { bar, cell: 0, of, cells, notes: BTreeSet::new(), said: Instant::now() }
    }

    /// Removes the bar.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn say(&mut self, line: &str) {
        self.said = Instant::now();
        match &self.bar {
            Some(bar) => bar.println(line),
            // Nobody may be listening any more, which is no reason to stop training.
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }

    fn at(&self, cell: &str) -> usize {
        self.cells.iter().position(|c| c == cell).unwrap_or(self.cell)
    }

    fn show(&self, part: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.cell as u64 * PARTS + part);
        }
    }
}

impl Listener for Progress {
    fn on(&mut self, event: &Event) {
        match event {
            Event::CellStarted { cell, index, .. } => {
                self.cell = *index;
                self.show(0);
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("{cell} ({}/{})", index + 1, self.of));
                }
            }
            Event::CellReused { cell } => {
                self.cell = self.at(cell);
                self.show(PARTS);
                self.say(&format!("[{}/{}] {cell}: finished before", self.cell + 1, self.of));
            }
            Event::Stepped { step, steps, .. } => self.show(PARTS * step / (*steps).max(1)),
            Event::CellFinished { cell, seconds, metrics } => {
                self.show(PARTS);
                let splits = metrics.iter().filter_map(|(split, m)| {
                    let (name, value) = m.iter().next()?;
                    Some(format!(", {split} {name} {value:.3}"))
                });
                let splits: String = splits.collect();
                self.say(&format!("[{}/{}] {cell}: {seconds:.1} s{splits}", self.cell + 1, self.of));
            }
            Event::EpochFinished { report, .. } if self.bar.is_none() && self.said.elapsed() > QUIET => {
                let (epoch, loss) = (report.epoch + 1, report.train_loss);
                self.say(&format!("[{}/{}] {} epochs, training loss {loss:.4}", self.cell + 1, self.of, epoch));
            }
            Event::PrefixKept { rows, reused, .. } if *reused > 0 => {
                let text = format!("the cache has what frozen stages make of {reused} of {rows} rows");
                if self.notes.insert(text.clone()) {
                    self.say(&text);
                }
            }
            Event::Warning { text } => self.say(&format!("warning: {text}")),
            Event::Note { text } if self.notes.insert(text.clone()) => self.say(&format!("note: {text}")),
            _ => {}
        }
    }
}

/// A bar that counts.
pub(crate) struct Counted(Option<ProgressBar>);

impl Counted {
    /// A bar on the standard error, where that is a terminal, which counts `what`.
    pub(crate) fn new(what: &str) -> Self {
        Self(std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template(&format!(
                "{{bar:30}} {{pos}} of {{len}} {what}, {{per_sec}}, {{eta}} left"
            ));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        }))
    }

    /// So many of so many are done.
    pub(crate) fn at(&self, done: usize, of: usize) {
        if let Some(bar) = self.0.as_ref().filter(|_| of > 1) {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        }
    }

    /// Removes the bar.
    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
