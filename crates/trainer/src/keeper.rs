//! [`Keeper`]: what a frozen prefix makes of all rows of a phase, computed once or taken from the cache.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{DType, Device, Tensor};
use transplant_core::{
    Acts, Batch, Error, Event, Feed, KeptIn, Known, Listener, Mode, Result, Target, Targets, rows_at_a_time,
};

use crate::cache::{Cache, Layout, RowKey, Store, known_keys, prefix_key, row_keys};
use crate::data::{Data, Io};
use crate::fetched::streams;
use crate::kept::{AllKept, Kept, Place, Shared, picked};
use crate::model::{Model, Network, on_device};
use crate::prefix::{TILE, Tiles, joined};

/// Keeps the output of the first `prefix` stages for all streams of a phase, in the epochs that `shown` tells of them, and for
/// the validation part and the streams that validators look at.
///
/// # Errors
/// [`Error::Interrupted`] when `io.stop` was set; what is in a file by then stays there.
pub(crate) fn keep(
    model: &Model,
    (network, prefix): (&Network, usize),
    data: &Data,
    shown: impl Fn(&dyn Feed) -> Range<u64>,
    io: &mut Io<'_>,
) -> Result<AllKept> {
    let (cache, listener, stop) = (&io.cache, &mut *io.listener, io.stop);
    let mut keeper = Keeper { model, prefix, cache, listener, stop, memory_left: cache.memory_bytes, store: None };
    let mut all = AllKept::default();
    let tiles = Tiles { network, prefix, mode: Mode::Train };
    for stream in streams(data) {
        if let Some(kept) = keeper.keep(stream.name, &**stream.feed, shown(&**stream.feed), &tiles)? {
            all.streams.insert(stream.name.to_owned(), kept);
        }
    }
    if let Some(feed) = &data.validation {
        all.validation = keeper.keep("validation", &**feed, 0..1, &model.eval_tiles(prefix))?;
    }
    for v in io.validators.all() {
        let (name, feed) = data.looked_at(v)?;
        if !all.judged.contains_key(name) {
            let kept = keeper.keep(&format!("validators/{name}"), &**feed, 0..1, &model.eval_tiles(prefix))?;
            all.judged.extend(kept.map(|kept| (name.to_owned(), kept)));
        }
    }
    // Others may use the file from now on.
    keeper.store.iter().flatten().for_each(|s| s.borrow_mut().settle());
    Ok(all)
}

/// What a backbone of which nothing is trained makes of all rows of a feed in an evaluation. `None` when some of it is trained, or
/// it is not worth a file: such a pass is made once in a run, and what it makes serves others only.
pub(crate) fn keep_features(model: &Model, stream: &str, feed: &dyn Feed, io: &mut Io<'_>) -> Result<Option<Kept>> {
    let Some(tiles) = model.frozen_tiles() else { return Ok(None) };
    let (cache, listener, stop) = (&io.cache, &mut *io.listener, io.stop);
    let (prefix, memory_left) = (tiles.prefix, cache.memory_bytes);
    let mut keeper = Keeper { model, prefix, cache, listener, stop, memory_left, store: None };
    if !cache.enabled || keeper.store(feed.rows().len() as u64)?.is_none() {
        return Ok(None);
    }
    let kept = keeper.keep(stream, feed, 0..1, &tiles)?;
    keeper.store.iter().flatten().for_each(|s| s.borrow_mut().settle());
    Ok(kept)
}

/// Keeps the output of one prefix.
struct Keeper<'a> {
    model: &'a Model,
    prefix: usize,
    cache: &'a Cache,
    listener: &'a mut dyn Listener,
    stop: &'a AtomicBool,
    memory_left: u64,
    /// Once it was looked for.
    store: Option<Option<Shared>>,
}

impl Keeper<'_> {
    /// The output for all rows of a feed and all views that these epochs show. `None` when that is not wanted, or takes too
    /// much room.
    fn keep(&mut self, stream: &str, feed: &dyn Feed, epochs: Range<u64>, tiles: &Tiles<'_>) -> Result<Option<Kept>> {
        let views = if tiles.mode == Mode::Eval { Some(1) } else { feed.views() };
        let wanted = self.cache.enabled && self.prefix > 0 && tiles.prefix == self.prefix && !feed.rows().is_empty();
        let Some(views) = views.filter(|_| wanted) else { return Ok(None) };
        let seen = epochs.start..epochs.end.min(epochs.start.saturating_add(views));
        let rows = (feed.rows().len() as u64).saturating_mul(seen.end.saturating_sub(seen.start));
        let mut filling = Filling {
            tiles,
            device: self.model.params().device().clone(),
            store: self.store(rows)?,
            rows,
            memory_left: self.memory_left,
            place: None,
            parts: Vec::new(),
            keys: Vec::new(),
            targets: Vec::new(),
            first_view: None,
            seen: 0,
            computed: 0,
        };
        for epoch in seen.clone() {
            // A first tile alone tells how much room the output takes.
            let first = if epoch == seen.start { TILE.min(feed.rows().len()) } else { 0 };
            filling.seen = 0;
            let (first, others) = feed.rows().split_at(first);
            for rows in first.chunks(TILE).chain(others.chunks(rows_at_a_time(feed.inputs()))) {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                let plain = tiles.mode == Mode::Eval;
                // Rows that are known need only be read when something of them is missing.
                let known = if plain && filling.store.is_some() { feed.known(rows)? } else { None };
                let read = || if plain { feed.plain(rows) } else { feed.view(rows, epoch) };
                if !filling.take(rows, known, read, epoch == seen.start)? {
                    self.tell();
                    return Ok(None);
                }
            }
        }
        self.tell();
        let computed = filling.computed;
        let (place, targets) = filling.end()?;
        let from = if matches!(place, Place::File { .. }) { KeptIn::File } else { KeptIn::Memory };
        if let Place::Memory(acts) = &place {
            self.memory_left = self.memory_left.saturating_sub(Layout::of(acts)?.bytes() as u64 * rows);
        }
        let (stream, rows) = (stream.to_owned(), rows as usize);
        let reused = rows - computed;
        self.listener.on(&Event::PrefixKept { stream, stages: self.prefix, from, rows, computed, reused });
        let at = feed.rows().iter().enumerate().map(|(i, r)| (*r, i)).collect();
        Ok(Some(Kept { stages: tiles.prefix, place, at, seen, views, targets }))
    }

    /// The file, when it is worth it for so many rows.
    fn store(&mut self, rows: u64) -> Result<Option<Shared>> {
        let info = self.model.info();
        let below = info.weights().filter(|p| p.stage.is_some_and(|s| s < self.prefix));
        let weights = below.map(|p| p.shape.iter().product::<usize>() as u64).sum();
        let Some(files) = self.cache.files.as_ref().filter(|f| f.worth(rows, weights)) else { return Ok(None) };
        if self.store.is_none() {
            let key = prefix_key(self.model, self.prefix, &files.identity)?;
            let stages: Vec<_> = info.stages[..self.prefix].iter().map(|s| s.name.as_str()).collect();
            let opened = Store::open(files, &key, &format!("{}: {}", files.network, stages.join(", ")));
            let opened = opened.map(|s| Rc::new(RefCell::new(s))).map_err(|e| {
                let text = format!("the cache in {} cannot be used: {e}", files.folder.display());
                self.listener.on(&Event::Note { text });
            });
            self.store = Some(opened.ok());
        }
        Ok(self.store.clone().flatten())
    }

    fn tell(&mut self) {
        for store in self.store.iter().flatten() {
            store.borrow_mut().told().iter().for_each(|e| self.listener.on(e));
        }
    }
}

/// The output of a stream while it is gathered.
struct Filling<'a> {
    tiles: &'a Tiles<'a>,
    device: Device,
    store: Option<Shared>,
    /// How many there will be, each view counted.
    rows: u64,
    memory_left: u64,
    /// Once the first rows are there.
    place: Option<(KeptIn, Layout)>,
    parts: Vec<Acts>,
    keys: Vec<RowKey>,
    /// Of the first view.
    targets: Vec<Targets>,
    /// The same in one, once another view is there.
    first_view: Option<Targets>,
    /// Rows that were taken of the present view.
    seen: usize,
    computed: usize,
}

impl Filling<'_> {
    /// Takes in some rows, which are read unless the file has all of those that are known; `false` when all of them would take
    /// too much room.
    fn take(
        &mut self,
        rows: &[u64],
        known: Option<Known>,
        read: impl FnOnce() -> Result<Batch>,
        with_targets: bool,
    ) -> Result<bool> {
        let n = rows.len();
        let known = known.zip(self.store.as_ref()).map(|(known, store)| {
            let keys = known_keys(&known.fingerprints, self.tiles.mode);
            let found = store.borrow_mut().read(&keys);
            (known.targets, keys, found)
        });
        let (batch, keys, (mut values, missing)) = match known {
            Some((targets, keys, found)) if found.1.is_empty() => {
                (Batch::new(Acts::new(), targets, rows.to_vec()), keys, found)
            }
            known => {
                let batch = read()?;
                if batch.select.is_some() {
                    return Ok(false);
                }
                let (keys, found) = match (known, &self.store) {
                    (Some((_, keys, found)), _) => (keys, found),
                    (None, Some(store)) => {
                        let keys = row_keys(&batch.inputs, self.tiles.mode)?;
                        let found = store.borrow_mut().read(&keys);
                        (keys, found)
                    }
                    (None, None) => (Vec::new(), (Vec::new(), (0..n).collect())),
                };
                (batch, keys, found)
            }
        };
        let batch = on_device(batch, &self.device)?;
        self.computed += missing.len();
        let computed = if missing.is_empty() { None } else { Some(self.compute(&batch, &missing)?) };
        let Some((place, layout)) = self.place(computed.as_ref())? else { return Ok(false) };
        if let (Some(store), Some(acts)) = (&self.store, &computed) {
            let (size, new) = (layout.bytes(), layout.encode(acts)?);
            values.resize(n * size, 0);
            for (&i, row) in missing.iter().zip(new.chunks_exact(size.max(1))) {
                values[i * size..(i + 1) * size].copy_from_slice(row);
                if !store.borrow_mut().put(&keys[i], &layout, row) && place == KeptIn::File {
                    return Ok(false);
                }
            }
        }
        if with_targets {
            self.targets.push(batch.targets);
        } else if !self.agrees(&batch.targets, n)? {
            // Transforms have no access to targets; a feed that changes them with the view all the same is not kept.
            return Ok(false);
        }
        self.seen += n;
        match (place, computed) {
            (KeptIn::File, _) => self.keys.extend(keys),
            (KeptIn::Memory, Some(acts)) if missing.len() == n => self.parts.push(acts),
            (KeptIn::Memory, _) => self.parts.push(layout.decode(&values, &self.device)?),
        }
        Ok(true)
    }

    /// Whether the targets of the next `n` rows are those that they had in the first view: only these are kept.
    fn agrees(&mut self, targets: &Targets, n: usize) -> Result<bool> {
        let first = match &self.first_view {
            Some(first) => first,
            None => self.first_view.insert(joined_targets(std::mem::take(&mut self.targets))?),
        };
        let numbers = |t: &Tensor| t.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        for (name, target) in targets {
            let Some(before) = first.get(name) else { return Ok(false) };
            let rows = |t: &Tensor| numbers(&t.narrow(0, self.seen, n)?);
            let known = |t: Option<&Tensor>| t.map(&numbers).transpose();
            let before_known = before.present.as_ref().map(rows).transpose()?.unwrap_or_else(|| vec![1.0; n]);
            let now_known = known(target.present.as_ref())?.unwrap_or_else(|| vec![1.0; n]);
            if rows(&before.values)? != numbers(&target.values)? || before_known != now_known {
                return Ok(false);
            }
        }
        Ok(targets.len() == first.len())
    }

    fn compute(&self, batch: &Batch, missing: &[usize]) -> Result<Acts> {
        if missing.len() == batch.rows.len() {
            return self.tiles.run(&batch.inputs, &batch.rows);
        }
        let rows: Vec<u64> = missing.iter().map(|&i| batch.rows[i]).collect();
        let inputs = picked(&batch.inputs, missing)?;
        self.tiles.run(&inputs, &rows)
    }

    /// Where these rows and all others go; `None` when there is no such place, or they differ in form.
    fn place(&mut self, computed: Option<&Acts>) -> Result<Option<(KeptIn, Layout)>> {
        let kept = self.store.as_ref().and_then(|s| s.borrow().layout().cloned());
        let layout = match (computed, &kept) {
            (Some(acts), _) => Layout::of(acts)?,
            (None, Some(layout)) => layout.clone(),
            (None, None) => return Err(Error::contract("there are no rows to keep")),
        };
        if kept.is_some_and(|kept| kept != layout) {
            return Ok(None);
        }
        if let Some((place, before)) = &self.place {
            return Ok((layout == *before).then_some((*place, layout)));
        }
        let store = self.store.as_ref().filter(|s| s.borrow().could_hold(&layout, self.rows));
        let place = match (layout.bytes() as u64).saturating_mul(self.rows) <= self.memory_left {
            true => KeptIn::Memory,
            false if store.is_some() => KeptIn::File,
            false => return Ok(None),
        };
        Ok(Some(self.place.insert((place, layout)).clone()))
    }

    fn end(self) -> Result<(Place, Targets)> {
        let targets = match self.first_view {
            Some(targets) => targets,
            None => joined_targets(self.targets)?,
        };
        let place = match (self.place, self.store) {
            (Some((KeptIn::File, layout)), Some(store)) => {
                Place::File { store, layout, keys: self.keys, device: self.device }
            }
            _ => {
                let of = |name: &str| self.parts.iter().map(|p| p.get(name).cloned()).collect::<Result<Vec<_>>>();
                let names = self.parts.first().cloned().unwrap_or_default();
                Place::Memory(names.map(|name, _| joined(&of(name)?))?)
            }
        };
        Ok((place, targets))
    }
}

/// Targets of rows, one batch after another.
fn joined_targets(batches: Vec<Targets>) -> Result<Targets> {
    let mut targets = BTreeMap::<String, Vec<Target>>::new();
    for (name, t) in batches.into_iter().flatten() {
        targets.entry(name).or_default().push(t);
    }
    targets.into_iter().map(|(name, parts)| Ok((name, Target::joined(&parts)?))).collect()
}
