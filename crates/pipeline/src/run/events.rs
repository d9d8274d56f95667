//! `events.jsonl`: everything that happens in a run, one line each, and on to whoever else listens.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value, json};
use transplant_core::{Error, Event, Invalid, Listener, Result};

/// Version of the lines' form, in the first line of each run.
const SCHEMA: u32 = 1;

/// The right to write to a run folder, as long as it lives: the log is locked, and the system ends the lock with the
/// process.
pub(crate) struct Claim {
    file: File,
    path: PathBuf,
}

impl Claim {
    /// Claims the folder of this log. Nothing else may be touched there before.
    ///
    /// # Errors
    /// When another run has it.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        let io = |e| Error::io(path, e);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let folder = path.parent().unwrap_or(path).display();
                let e = Invalid::new(format!("another run is writing to {folder}"));
                return Err(e.help("wait for it, or name another folder with `--out`").into());
            }
            // A file system without locks is no reason not to run.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        Ok(Self { file, path: path.to_owned() })
    }
}

/// Writes events to a file and passes them on.
pub(crate) struct Log<'a> {
    file: BufWriter<File>,
    started: Instant,
    cell: Option<String>,
    next: &'a mut dyn Listener,
}

impl<'a> Log<'a> {
    /// Opens the log behind what earlier runs wrote, or empty when that was set aside.
    pub(crate) fn open(claim: Claim, empty: bool, next: &'a mut dyn Listener) -> Result<Self> {
        let Claim { mut file, path } = claim;
        let io = |e| Error::io(&path, e);
        let keep = if empty { 0 } else { whole_lines(&mut file).map_err(io)? };
        file.set_len(keep).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        let mut file = BufWriter::new(file);
        let first = json!({ "event": "opened", "schema": SCHEMA, "transplant": env!("CARGO_PKG_VERSION") });
        writeln!(file, "{first}").and_then(|()| file.flush()).map_err(io)?;
        Ok(Self { file, started: Instant::now(), cell: None, next })
    }

    fn line(&mut self, event: &Event) -> std::io::Result<()> {
        let mut line = Map::new();
        line.insert("at_secs".into(), json!((self.started.elapsed().as_secs_f64() * 1e3).round() / 1e3));
        if let Some(cell) = &self.cell {
            line.insert("cell".into(), json!(cell));
        }
        if let Value::Object(fields) = serde_json::to_value(event)? {
            line.extend(fields);
        }
        writeln!(self.file, "{}", Value::Object(line))?;
        // Steps are many; whatever else happens is worth seeing at once.
        if matches!(event, Event::Stepped { .. }) { Ok(()) } else { self.file.flush() }
    }
}

impl Listener for Log<'_> {
    fn on(&mut self, event: &Event) {
        match event {
            Event::CellStarted { cell, .. } | Event::CellReused { cell } => self.cell = Some(cell.clone()),
            _ => {}
        }
        if let Err(e) = self.line(event) {
            tracing::warn!("cannot write the event log: {e}");
        }
        if let Event::CellFinished { .. } | Event::CellReused { .. } = event {
            self.cell = None;
        }
        self.next.on(event);
    }
}

/// Length of the file up to its last line break: what a killed run left half-written is dropped.
fn whole_lines(file: &mut File) -> std::io::Result<u64> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_goes_on_after_its_last_whole_line_and_keeps_others_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        std::fs::write(&path, "{\"event\":\"note\"}\n{\"eve").unwrap();
        let mut seen = 0;
        let mut count = |_: &Event| seen += 1;
        let mut log = Log::open(Claim::take(&path).unwrap(), false, &mut count).unwrap();
        log.on(&Event::CellStarted { cell: "a".into(), index: 0, of: 1 });
        log.on(&Event::Note { text: "hello".into() });
        let second = Claim::take(&path).err().map(|e| e.to_string());
        assert!(second.unwrap().contains("another run"));
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[1]["schema"], SCHEMA);
        assert_eq!((lines[3]["cell"].as_str(), lines[3]["text"].as_str()), (Some("a"), Some("hello")));
        assert_eq!(seen, 2);
    }
}
