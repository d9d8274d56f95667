//! [`Ahead`]: training batches of a stream, read by a thread of its own before they are asked for.
//!
//! What a batch holds is a function of its position, so who reads it, and when, changes nothing but how long a step waits.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use transplant_core::{Batch, Error, Feed, Result};

/// Batches that lie ready, beside the one that is being read.
const READY: usize = 2;

/// Epoch and batch.
pub(crate) type At = (u64, u64);

/// The batches of a feed, one after the other.
pub(crate) struct Ahead {
    feed: Arc<dyn Feed>,
    /// The last batch that will be asked for.
    last: At,
    reader: RefCell<Option<Reader>>,
    waited: Cell<Duration>,
}

/// A thread that reads on from some position.
struct Reader {
    next: At,
    /// Taken first when it is dropped: the thread then has nobody to read for.
    batches: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Reads nothing before the first batch is asked for, and none after `last`.
    pub(crate) fn new(feed: Arc<dyn Feed>, last: At) -> Self {
        Self { feed, last, reader: RefCell::default(), waited: Cell::default() }
    }

    /// The training batch at a position: at once, when it is the one after that which was asked for last.
    ///
    /// # Errors
    /// Those of [`Feed::batch`].
    pub(crate) fn batch(&self, at: At) -> Result<Batch> {
        let started = Instant::now();
        let mut slot = self.reader.borrow_mut();
        let reader = match &mut *slot {
            Some(reader) if reader.next == at => reader,
            other => {
                // The old one ends before the new one begins.
                drop(other.take());
                other.insert(Reader::start(self.feed.clone(), at, self.last)?)
            }
        };
        let batch = reader.take();
        reader.next = after(&*self.feed, at);
        if batch.is_err() {
            // It ended with this.
            drop(slot.take());
        }
        self.waited.set(self.waited.get() + started.elapsed());
        batch
    }

    /// How long was waited for batches since this was asked last.
    pub(crate) fn waited(&self) -> Duration {
        self.waited.take()
    }
}

fn after(feed: &dyn Feed, (epoch, index): At) -> At {
    if index + 1 < feed.batches() { (epoch, index + 1) } else { (epoch + 1, 0) }
}

impl Reader {
    fn start(feed: Arc<dyn Feed>, from: At, last: At) -> Result<Self> {
        let (give, batches) = sync_channel(READY);
        let read = move || {
            let mut at = from;
            loop {
                let batch = feed.batch(at.0, at.1);
                let whole = batch.is_ok();
                if give.send(batch).is_err() || !whole || at >= last {
                    return;
                }
                at = after(&*feed, at);
            }
        };
        let thread = thread::Builder::new().name("transplant reader".into()).spawn(read);
        let thread =
            thread.map_err(|e| Error::resource("reading batches", format!("no thread can be started: {e}")))?;
        Ok(Self { next: from, batches: Some(batches), thread: Some(thread) })
    }

    fn take(&self) -> Result<Batch> {
        let gone = || Error::contract("the thread that reads batches ended before it had read this one");
        self.batches.as_ref().and_then(|b| b.recv().ok()).unwrap_or_else(|| Err(gone()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.batches.take());
        if let Some(thread) = self.thread.take() {
            // It panicked, if at all, where nobody is left to be told.
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use transplant_core::{Acts, Schema, Targets};

    /// Three batches an epoch, of one row each; row 100 cannot be read.
    #[derive(Default)]
    struct Toy {
        schema: Schema,
        read: AtomicU64,
    }

    impl Feed for Toy {
        fn inputs(&self) -> &Schema {
            &self.schema
        }
        fn targets(&self) -> &Schema {
            &self.schema
        }
        fn rows(&self) -> &[u64] {
            &[0, 1, 2]
        }
        fn batches(&self) -> u64 {
            3
        }
        fn order(&self, epoch: u64, index: u64) -> Result<Vec<u64>> {
            Ok(vec![epoch * 10 + index])
        }
        fn view(&self, rows: &[u64], _: u64) -> Result<Batch> {
            self.read.fetch_add(1, Ordering::SeqCst);
            if rows == [100] {
                return Err(Error::contract("row 100"));
            }
            Ok(Batch::new(Acts::new(), Targets::new(), rows.to_vec()))
        }
        fn plain(&self, rows: &[u64]) -> Result<Batch> {
            self.view(rows, 0)
        }
        fn views(&self) -> Option<u64> {
            None
        }
    }

    #[test]
    fn batches_come_in_order_over_epochs_from_any_position_and_none_is_read_after_the_last() {
        let toy = Arc::new(Toy::default());
        let ahead = Ahead::new(toy.clone(), (2, 0));
        for at in [(0, 0), (0, 1), (0, 2), (1, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)] {
            assert_eq!(ahead.batch(at).unwrap().rows, [at.0 * 10 + at.1], "{at:?}");
        }
        drop(ahead);
        // Four and six that were asked for, and at most three that the first reader had ready.
        assert!((10..=13).contains(&toy.read.load(Ordering::SeqCst)));
    }

    #[test]
    fn an_error_is_told_where_it_belongs_and_again_when_asked_again() {
        let ahead = Ahead::new(Arc::new(Toy::default()), (10, 2));
        assert_eq!(ahead.batch((9, 2)).unwrap().rows, [92]);
        for _ in 0..2 {
            assert!(ahead.batch((10, 0)).unwrap_err().to_string().contains("row 100"));
        }
        assert_eq!(ahead.batch((10, 1)).unwrap().rows, [101]);
        assert!(ahead.waited() > Duration::ZERO && ahead.waited() == Duration::ZERO);
    }
}
