//! [`Kept`]: what a frozen prefix made of all rows of a stream, in memory or in a file.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::rc::Rc;

use candle_core::{Device, Tensor};
use transplant_core::{Acts, Batch, Event, Memory, Result, Target, Targets};

use crate::cache::{Layout, RowKey, Store};

/// A file that the streams of a phase share.
pub(crate) type Shared = Rc<RefCell<Store>>;

/// Where the output is.
pub(crate) enum Place {
    /// All of it, view after view.
    Memory(Acts),
    /// In a file, read for each batch.
    File {
        store: Shared,
        layout: Layout,
        /// Of all rows, view after view.
        keys: Vec<RowKey>,
        device: Device,
    },
}

/// The prefix's output for every row and view of a stream, and the rows' targets.
pub(crate) struct Kept {
    /// Stages of the prefix.
    pub(crate) stages: usize,
    pub(crate) place: Place,
    /// Where rows stand in a view.
    pub(crate) at: HashMap<u64, usize>,
    /// The epochs whose views were kept, from the first one shown.
    pub(crate) seen: Range<u64>,
    /// After how many epochs views come round.
    pub(crate) views: u64,
    pub(crate) targets: Targets,
}

/// What was kept for a phase.
#[derive(Default)]
pub(crate) struct AllKept {
    /// By stream.
    pub(crate) streams: BTreeMap<String, Kept>,
    pub(crate) validation: Option<Kept>,
    /// Of streams that validators look at, as an evaluation shows their rows.
    pub(crate) judged: BTreeMap<String, Kept>,
}

impl AllKept {
    /// What there is to tell of the files since the last time.
    pub(crate) fn told(&self) -> Vec<Event> {
        let store = |kept: &Kept| match &kept.place {
            Place::Memory(_) => Vec::new(),
            Place::File { store, .. } => store.borrow_mut().told(),
        };
        self.streams.values().chain(&self.validation).chain(self.judged.values()).flat_map(store).collect()
    }
}

impl Kept {
    /// A batch of these rows without its inputs, and the output for them as `epoch` shows them. `None` when that is
    /// not there, or the file was damaged meanwhile.
    pub(crate) fn of(&self, rows: &[u64], epoch: u64) -> Result<Option<(Batch, Acts)>> {
        let at: Option<Vec<usize>> = rows.iter().map(|r| self.at.get(r).copied()).collect();
        let Some(at) = at else { return Ok(None) };
        let Some(view) = epoch.checked_sub(self.seen.start).map(|e| e % self.views) else { return Ok(None) };
        if view >= self.seen.end - self.seen.start {
            return Ok(None);
        }
        let there: Vec<usize> = at.iter().map(|i| i + view as usize * self.at.len()).collect();
        let acts = match &self.place {
            Place::Memory(acts) => picked(acts, &there)?,
            Place::File { store, layout, keys, device } => {
                let keys: Vec<RowKey> = there.iter().map(|i| keys[*i]).collect();
                let (values, missing) = store.borrow_mut().read(&keys);
                if !missing.is_empty() {
                    return Ok(None);
                }
                layout.decode(&values, device)?
            }
        };
        let target = |(name, t): (&String, &Target)| {
            let present = t.present.as_ref().map(|p| rows_of(p, &at)).transpose()?;
            Ok((name.clone(), Target { values: rows_of(&t.values, &at)?, present }))
        };
        let targets = self.targets.iter().map(target).collect::<Result<_>>()?;
        Ok(Some((Batch::new(Acts::new(), targets, rows.to_vec()), acts)))
    }
}

/// Some rows of named tensors, in the order of memory that they have.
pub(crate) fn picked(acts: &Acts, rows: &[usize]) -> Result<Acts> {
    acts.map(|_, t| rows_of(t, rows))
}

fn rows_of(t: &Tensor, rows: &[usize]) -> Result<Tensor> {
    let at = Tensor::from_iter(rows.iter().map(|&i| i as u32), t.device())?;
    Ok(Memory::keep(t, |t| t.index_select(&at, 0))?)
}
