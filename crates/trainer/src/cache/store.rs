//! [`Store`]: the file of one prefix while it is open. Whoever holds the file's lock may add records; others read what is
//! there. A record that is cut off or whose sums do not agree is not there, and its place is taken by the next one.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use transplant_core::Event;

use super::folder::make_room;
use super::format::{HEAD, Header, RowKey, head, key_of, read_at, read_header};
use super::{CacheFiles, Layout};

/// Room is asked for in steps of this many bytes, so that the folder is not read for each row.
const STEP: u64 = 16 << 20;

/// An open file of the cache. It never fails: what cannot be read is not there, what cannot be written is not kept, and
/// [`told`](Self::told) says why.
pub(crate) struct Store {
    path: PathBuf,
    file: File,
    limit: u64,
    /// How far the file may grow; others have made room.
    granted: u64,
    /// Whether this process holds the lock.
    locked: bool,
    /// Whether rows are added.
    writes: bool,
    key: String,
    network: String,
    /// Once something is in it: the header, and where the records begin.
    header: Option<(Header, u64)>,
    slots: HashMap<RowKey, u32>,
    /// Places of damaged records.
    spare: Vec<u32>,
    /// Records, damaged ones included.
    len: u32,
    damaged: usize,
    told: Vec<Event>,
}

impl Store {
    /// Opens the file of a prefix, or makes it.
    pub(crate) fn open(files: &CacheFiles, key: &str, network: &str) -> io::Result<Self> {
        let path = files.folder.join(format!("{key}.bin"));
        let made = std::fs::create_dir_all(&files.folder);
        let both = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let (file, trouble) = match both {
            Ok(file) => match file.try_lock() {
                Ok(()) => (file, None),
                Err(TryLockError::WouldBlock) => (file, Some("is in use by another process".to_owned())),
                Err(TryLockError::Error(e)) => (file, Some(format!("cannot be locked ({e})"))),
            },
            Err(e) => (File::open(&path).map_err(|_| made.err().unwrap_or(e))?, Some("cannot be written".to_owned())),
        };
        let locked = trouble.is_none();
        let text = |why| format!("the cache file {} {why}; nothing is added to it", path.display());
        let told = trouble.map(|why| Event::Note { text: text(why) }).into_iter().collect();
        let (slots, spare) = Default::default();
        let mut store = Self {
            file,
            limit: files.limit_bytes,
            granted: 0,
            locked,
            writes: locked,
            key: key.to_owned(),
            network: network.to_owned(),
            header: None,
            slots,
            spare,
            len: 0,
            damaged: 0,
            told,
            path,
        };
        store.index()?;
        if !locked {
            // So that nobody clears it away meanwhile; without a lock it can still be read.
            store.file.try_lock_shared().ok();
        }
        Ok(store)
    }

    /// Finds out which records there are.
    fn index(&mut self) -> io::Result<()> {
        let bytes = self.file.metadata()?.len();
        let found = read_header(&self.file)?.filter(|(header, _)| header.key == self.key);
        let Some((header, start)) = found else {
            if bytes > 0 {
                self.warn("is damaged at its beginning, or not of this program; it is written anew");
            }
            return if self.writes { self.file.set_len(0) } else { Ok(()) };
        };
        let record = header.record();
        self.len = u32::try_from((bytes - start) / record).unwrap_or(u32::MAX);
        let whole = start + u64::from(self.len) * record;
        // Whoever reads while another process adds sees half a record at times.
        if whole < bytes && self.writes {
            self.warn("ends within a row, which is computed again");
            self.file.set_len(whole)?;
        }
        self.header = Some((header, start));
        for slot in 0..self.len {
            let mut head = [0; HEAD];
            read_at(&self.file, &mut head, start + u64::from(slot) * record)?;
            match key_of(&head) {
                Some(key) => drop(self.slots.insert(key, slot)),
                None => {
                    self.damaged += 1;
                    self.spare.push(slot);
                }
            }
        }
        Ok(())
    }

    fn warn(&mut self, what: &str) {
        self.told.push(Event::Warning { text: format!("the cache file {} {what}", self.path.display()) });
    }

    /// What there is to tell since the last time.
    pub(crate) fn told(&mut self) -> Vec<Event> {
        let n = std::mem::take(&mut self.damaged);
        if n > 0 {
            self.warn(&format!("has {n} damaged rows, which are computed again"));
        }
        std::mem::take(&mut self.told)
    }

    /// How values lie in it, once something is in it.
    pub(crate) fn layout(&self) -> Option<&Layout> {
        self.header.as_ref().map(|(header, _)| &header.layout)
    }

    /// Whether so many rows of this layout could ever be in it.
    pub(crate) fn could_hold(&self, layout: &Layout, rows: u64) -> bool {
        let other = self.layout().is_some_and(|own| own != layout);
        !other && rows.saturating_mul((HEAD + layout.bytes()) as u64) <= self.limit
    }

    /// Reads the values of these rows, one after the other; and the positions of those that are not there.
    pub(crate) fn read(&mut self, keys: &[RowKey]) -> (Vec<u8>, Vec<usize>) {
        let size = self.layout().map_or(0, Layout::bytes);
        let mut values = vec![0; keys.len() * size];
        let missing = (0..keys.len()).filter(|&i| !self.read_row(&keys[i], &mut values[i * size..(i + 1) * size]));
        let missing = missing.collect();
        (values, missing)
    }

    fn read_row(&mut self, key: &RowKey, values: &mut [u8]) -> bool {
        let (Some((header, start)), Some(&slot)) = (&self.header, self.slots.get(key)) else { return false };
        let at = start + u64::from(slot) * header.record();
        let mut found = [0; HEAD];
        let read = read_at(&self.file, &mut found, at).and_then(|()| read_at(&self.file, values, at + HEAD as u64));
        if read.is_ok() && found == head(key, values) {
            return true;
        }
        self.slots.remove(key);
        self.spare.push(slot);
        self.damaged += 1;
        false
    }

    /// Adds a row; whether it is there now.
    pub(crate) fn put(&mut self, key: &RowKey, layout: &Layout, values: &[u8]) -> bool {
        if self.slots.contains_key(key) {
            return true;
        }
        self.writes
            && self.try_put(key, layout, values).unwrap_or_else(|e| {
                self.writes = false;
                self.warn(&format!("cannot be written ({e}); nothing more is added to it"));
                false
            })
    }

    fn try_put(&mut self, key: &RowKey, layout: &Layout, values: &[u8]) -> io::Result<bool> {
        let (record, start) = match &self.header {
            Some((header, start)) if header.layout == *layout => (header.record(), *start),
            Some(_) => return Ok(false),
            None => self.begin(layout)?,
        };
        let slot = self.spare.last().copied().unwrap_or(self.len);
        let grown = start + u64::from(self.len + 1) * record;
        if slot == self.len && grown > self.granted {
            let sizes = [grown + STEP, grown];
            let Some(size) = sizes.into_iter().find(|size| make_room(&self.path, *size, self.limit)) else {
                self.writes = false;
                let text = format!("the cache in {} is full", self.path.parent().unwrap_or(&self.path).display());
                self.told.push(Event::Note { text });
                return Ok(false);
            };
            self.granted = size;
        }
        let mut bytes = Vec::with_capacity(HEAD + values.len());
        bytes.extend_from_slice(&head(key, values));
        bytes.extend_from_slice(values);
        self.file.seek(SeekFrom::Start(start + u64::from(slot) * record))?;
        self.file.write_all(&bytes)?;
        self.spare.pop();
        self.len = self.len.max(slot + 1);
        self.slots.insert(*key, slot);
        Ok(true)
    }

    /// Writes the header.
    fn begin(&mut self, layout: &Layout) -> io::Result<(u64, u64)> {
        let header = Header { key: self.key.clone(), network: self.network.clone(), layout: layout.clone() };
        let bytes = header.front()?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&bytes)?;
        let at = (header.record(), bytes.len() as u64);
        self.header = Some((header, at.1));
        Ok(at)
    }

    /// Nothing more is added: others may read now, and the file counts as used today.
    pub(crate) fn settle(&mut self) {
        self.writes = false;
        if std::mem::take(&mut self.locked) {
            // All of this is courtesy: without it others wait, or clear this file away sooner.
            self.file.set_modified(SystemTime::now()).ok();
            self.file.unlock().ok();
            self.file.try_lock_shared().ok();
        }
    }
}
