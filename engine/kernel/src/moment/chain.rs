//! All snapshots of a database, oldest first, and which of them keeps pages now.
//!
//! Latches, in this order: `keeper` (one at a time keeps pages, begins or drops a snapshot), then
//! `links`. Who writes to the data file holds `links` for reading meanwhile, so that no snapshot
//! begins, and no page is looked up, in the middle of a write.

use std::collections::BTreeMap;

use super::frames::{self, FileHead, Frames};
use super::manifest::Moment;
use super::{FOLDER, damaged, not_found, parse, path_of};
use crate::disk::{Disk, File};
use crate::error::{Code, Error, Result};
use crate::events::EventQueue;
use crate::sync::{Arc, AtomicU64, AtomicUsize, Mutex, Ordering, RwLock};

/// Pages in one batch: read, compressed, written, synced.
pub(super) const BATCH: usize = 256;
/// What is left to the database of its disk: snapshots end before they take that too.
pub const SPARE_BYTES: u64 = 256 << 20;

/// How a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Whole,
    /// Its files, or those of a later one that it needs, are damaged.
    Damaged,
}

/// A snapshot as it is told of.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub number: u64,
    pub moment: Moment,
    /// Pages kept in it, and the size of its files.
    pub pages: u64,
    pub bytes: u64,
    /// The size of the data file at its moment.
    pub data_bytes: u64,
    pub state: State,
    pub is_open: bool,
}

/// The kept pages of one snapshot, which may have been dropped or not be finished.
pub(super) struct Link {
    pub number: u64,
    pub frames: Frames,
    pub log_bytes: u64,
    /// None for one that is being taken, or that only older ones need.
    pub moment: Option<Moment>,
    /// How many look at it.
    pub(super) readers: Arc<AtomicUsize>,
    is_writable: bool,
    /// False while it is being taken.
    pub(super) is_taken: bool,
}

/// Keeps a snapshot's pages from being removed while somebody looks at it.
pub struct Reader {
    count: Arc<AtomicUsize>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What one at a time has: who keeps pages, begins or drops a snapshot.
pub(super) struct Keeper {
    compressor: zstd::bulk::Compressor<'static>,
    next: u64,
}

#[derive(Default)]
struct Telling {
    events: Option<Arc<EventQueue>>,
    /// Given up before anybody listened.
    waiting: Vec<(String, String)>,
}

/// The snapshots of one database.
pub struct Chain {
    base: Arc<dyn Disk>,
    pub(super) keeper: Mutex<Keeper>,
    pub(super) links: RwLock<Vec<Link>>,
    telling: Mutex<Telling>,
    spare_bytes: AtomicU64,
}

impl Link {
    /// Its last pages may be kept in the system's memory only: nobody has written to it yet.
    fn is_uncertain(&self) -> bool {
        !self.is_writable && self.frames.count() > 0
    }

    pub(super) fn needs(&self, page: u32) -> bool {
        let size = u64::from(self.frames.head.page_size);
        u64::from(page) * size < self.frames.head.data_bytes && !self.frames.has(page)
    }

    /// The pages in these stretches of the data file that it has not kept.
    fn missing(&self, ranges: &[(u64, u64)]) -> Vec<u32> {
        let size = u64::from(self.frames.head.page_size);
        let pages = ranges.iter().filter(|(_, count)| *count > 0).flat_map(|(offset, count)| {
            offset / size..(offset + count).min(self.frames.head.data_bytes).div_ceil(size)
        });
        pages.filter_map(|page| u32::try_from(page).ok()).filter(|page| self.needs(*page)).collect()
    }
}

impl Chain {
    /// Finds the snapshots of the database on `base`. Changes nothing there.
    pub fn load(base: Arc<dyn Disk>) -> Result<Arc<Chain>> {
        let mut kinds: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for name in base.list(FOLDER)? {
            if let Some((number, kind)) = parse(&name) {
                kinds.entry(number).or_default().push(kind.to_owned());
            }
        }
        let next = kinds.keys().next_back().map_or(1, |last| last + 1);
        let mut links = Vec::new();
        for (number, kinds) in &kinds {
            if let Some(link) = Self::load_link(&*base, *number, kinds)? {
                links.push(link);
            }
        }
        let keeper = Keeper { compressor: frames::compressor()?, next };
        Ok(Arc::new(Chain {
            base,
            keeper: Mutex::new(keeper),
            links: RwLock::new(links),
            telling: Mutex::default(),
            spare_bytes: AtomicU64::new(SPARE_BYTES),
        }))
    }

    fn load_link(base: &dyn Disk, number: u64, kinds: &[String]) -> Result<Option<Link>> {
        let has = |kind: &str| kinds.iter().any(|known| known == kind);
        let moment = if has("json") { Moment::read(base, &path_of(number, "json"))? } else { None };
        let frames = match has("kept") {
            true => Frames::open(base, &path_of(number, "kept"), moment.is_some())?,
            false => None,
        };
        let log_bytes = match has("log") {
            true => base.open(&path_of(number, "log"), crate::disk::OpenMode::Read)?.size()?,
            false => 0,
        };
        // Without its kept pages it is none: what is left goes when the next one begins.
        let Some(frames) = frames else { return Ok(None) };
        Ok(Some(Link {
            number,
            frames,
            log_bytes,
            moment,
            readers: Arc::default(),
            is_writable: false,
            is_taken: true,
        }))
    }

    /// Events go there from now on, those that waited first.
    pub fn attend(&self, events: &Arc<EventQueue>) {
        let mut telling = self.telling.lock();
        for (name, reason) in telling.waiting.drain(..) {
            push_given_up(events, name, reason);
        }
        telling.events = Some(Arc::clone(events));
    }

    /// So much of the disk is left to the database.
    pub fn leave_spare(&self, bytes: u64) {
        self.spare_bytes.store(bytes, Ordering::Relaxed);
    }

    pub fn base(&self) -> &Arc<dyn Disk> {
        &self.base
    }

    /// Every snapshot, oldest first.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let links = self.links.read();
        let mut is_damaged = false;
        let mut found: Vec<Snapshot> = links
            .iter()
            .rev()
            .filter_map(|link| {
                is_damaged |= link.frames.is_damaged;
                Some(Snapshot {
                    number: link.number,
                    moment: link.moment.clone()?,
                    pages: link.frames.count(),
                    bytes: link.frames.bytes() + link.log_bytes,
                    data_bytes: link.frames.head.data_bytes,
                    state: if is_damaged { State::Damaged } else { State::Whole },
                    is_open: link.readers.load(Ordering::Acquire) > 0,
                })
            })
            .collect();
        found.reverse();
        found
    }

    /// The snapshot of this name. `SnapshotNotFound`.
    pub fn named(&self, name: &str) -> Result<Snapshot> {
        let found = self.snapshots().into_iter().rfind(|snapshot| snapshot.moment.name == name);
        found.ok_or_else(|| not_found(name))
    }

    /// Bytes of all files, those included that only older snapshots need.
    pub fn bytes(&self) -> u64 {
        self.links.read().iter().map(|link| link.frames.bytes() + link.log_bytes).sum()
    }

    /// True where a write to these stretches could lose what the newest snapshot needs.
    pub(super) fn lacks(links: &[Link], ranges: &[(u64, u64)]) -> bool {
        links.last().is_some_and(|link| link.is_uncertain() || !link.missing(ranges).is_empty())
    }

    /// Keeps the pages in these stretches of the data file that the newest snapshot has not yet.
    /// On return they may be overwritten: what could not be kept was given up.
    pub(super) fn keep(&self, data: &dyn File, ranges: &[(u64, u64)]) {
        if !Self::lacks(&self.links.read(), ranges) {
            return;
        }
        let mut keeper = self.keeper.lock();
        loop {
            let newest = self.links.read().last().map(|link| (link.number, link.missing(ranges)));
            let Some((number, missing)) = newest else { return };
            let keep = |pages: &[u32]| match self.keep_batch(&mut keeper, data, pages) {
                // There may be memory for one at a time.
                Err(error) if error.code == Code::OutOfMemory => {
                    pages.chunks(1).try_for_each(|page| self.keep_batch(&mut keeper, data, page))
                }
                done => done,
            };
            let kept =
                self.make_writable(number).and_then(|()| missing.chunks(BATCH).try_for_each(keep));
            let Err(error) = kept else { return };
            self.give_up(&error);
        }
    }

    fn keep_batch(&self, keeper: &mut Keeper, data: &dyn File, pages: &[u32]) -> Result<()> {
        let (mut batch, file, size) = {
            let links = self.links.read();
            let Some(link) = links.last() else { return Ok(()) };
            (link.frames.batch(), link.frames.file(), link.frames.head.page_size as usize)
        };
        let mut page = vec![0; size];
        for number in pages {
            match data.read_at(&mut page, u64::from(*number) * size as u64) {
                Ok(read) => page[read..].fill(0),
                // It was lost before anybody overwrote it: the snapshot is to say so, not to guess.
                Err(_) => page.fill(0xff),
            }
            batch.put(&mut keeper.compressor, *number, &page)?;
        }
        self.ensure_room(batch.len())?;
        batch.write(&*file)?;
        if let Some(link) = self.links.write().last_mut() {
            link.frames.note(batch)?;
        }
        Ok(())
    }

    /// `DiskFull` where the database would be left with less than it may need.
    pub(super) fn ensure_room(&self, bytes: u64) -> Result<()> {
        let free = self.base.free_bytes()?;
        let spare = self.spare_bytes.load(Ordering::Relaxed);
        if free < bytes.saturating_add(spare) {
            return Err(Error::new(Code::DiskFull)
                .with("operation", "keep pages for snapshots")
                .with("path", FOLDER)
                .with("required", bytes.saturating_add(spare))
                .with("available", free));
        }
        Ok(())
    }

    /// A file is opened for reading only until the first page is put into it.
    pub(super) fn make_writable(&self, number: u64) -> Result<()> {
        let mut links = self.links.write();
        let is_it = |link: &&mut Link| link.number == number && !link.is_writable;
        let Some(link) = links.iter_mut().find(is_it) else { return Ok(()) };
        link.frames.make_writable(&*self.base, &path_of(number, "kept"))?;
        link.is_writable = true;
        Ok(())
    }

    /// Gives up the oldest snapshot where the disk is full, else all of them; certain on return,
    /// as far as the disk lets anything be.
    fn give_up(&self, error: &Error) {
        let mut links = self.links.write();
        let count = if error.code == Code::DiskFull { 1 } else { links.len() };
        let count = count.min(links.len());
        for link in links.drain(..count) {
            // The manifest goes first: what is then left is no snapshot.
            for kind in ["json", "kept", "log"] {
                let _ = self.base.remove(&path_of(link.number, kind));
            }
            if let Some(moment) = link.moment {
                self.tell_given_up(moment.name, error.to_string());
            }
        }
        let _ = self.base.sync_dir(FOLDER);
    }

    fn tell_given_up(&self, name: String, reason: String) {
        let mut telling = self.telling.lock();
        match &telling.events {
            Some(events) => push_given_up(events, name, reason),
            None => telling.waiting.push((name, reason)),
        }
    }

    /// Begins to keep pages for a new snapshot, as yet without a name; returns its number.
    pub(super) fn begin(&self, data: &dyn File, page_size: usize) -> Result<u64> {
        self.settle()?;
        let mut keeper = self.keeper.lock();
        self.sweep()?;
        self.ensure_room(0)?;
        let number = keeper.next;
        keeper.next += 1;
        let path = path_of(number, "kept");
        // A page that is added from now on is in the log from its first byte on.
        let head = FileHead { page_size: page_size as u32, data_bytes: data.size()? };
        let made = Frames::create(&*self.base, &path, head)
            .and_then(|frames| self.base.sync_dir(FOLDER).map(|()| frames));
        let frames = made.inspect_err(|_| {
            let _ = self.base.remove(&path);
        })?;
        self.links.write().push(Link {
            number,
            frames,
            log_bytes: 0,
            moment: None,
            readers: Arc::default(),
            is_writable: true,
            is_taken: false,
        });
        Ok(number)
    }

    /// Removes what a crash has left of snapshots that never were.
    fn sweep(&self) -> Result<()> {
        let known: Vec<u64> = self.links.read().iter().map(|link| link.number).collect();
        for name in self.base.list(FOLDER)? {
            if parse(&name).is_some_and(|(number, _)| !known.contains(&number)) {
                self.base.remove(&format!("{FOLDER}/{name}"))?;
            }
        }
        Ok(())
    }

    /// Gives the snapshot `number` its name: from here on it is one. `SnapshotGivenUp` where it
    /// was given up meanwhile.
    pub(super) fn publish(&self, number: u64, moment: Moment, log_bytes: u64) -> Result<Snapshot> {
        let keeper = self.keeper.lock();
        let given_up = || {
            Error::new(Code::SnapshotGivenUp)
                .with("name", moment.name.as_str())
                .with("reason", "a page could not be kept while it was taken")
        };
        if !self.links.read().iter().any(|link| link.number == number) {
            return Err(given_up());
        }
        moment.write(&*self.base, &path_of(number, "json"), FOLDER)?;
        if let Some(link) = self.links.write().iter_mut().find(|link| link.number == number) {
            link.moment = Some(moment.clone());
            link.log_bytes = log_bytes;
            link.is_taken = true;
        }
        drop(keeper);
        self.snapshots().into_iter().find(|snapshot| snapshot.number == number).ok_or_else(given_up)
    }

    /// Drops what was begun and will not be a snapshot.
    pub(super) fn abandon(&self, number: u64) {
        let keeper = self.keeper.lock();
        for kind in ["json", "log"] {
            let _ = self.base.remove(&path_of(number, kind));
        }
        if let Some(link) = self.links.write().iter_mut().find(|link| link.number == number) {
            link.is_taken = true;
        }
        drop(keeper);
        // What is left is removed with the next one that is dropped.
        let _ = self.settle();
    }

    /// Holds on to the snapshot of this name. `SnapshotNotFound`, or `SnapshotDamaged`.
    pub(super) fn hold(&self, name: &str) -> Result<(Reader, Snapshot)> {
        let links = self.links.read();
        let is_it = |link: &&Link| link.moment.as_ref().is_some_and(|moment| moment.name == name);
        let number = links.iter().rfind(is_it).map(|link| link.number).ok_or_else(|| not_found(name))?;
        let place = links.iter().position(|link| link.number == number).unwrap_or(0);
        if links[place..].iter().any(|link| link.frames.is_damaged) {
            return Err(damaged(name, "what was kept of its pages is damaged"));
        }
        let count = Arc::clone(&links[place].readers);
        count.fetch_add(1, Ordering::AcqRel);
        drop(links);
        let reader = Reader { count };
        let snapshot = self.snapshots().into_iter().find(|snapshot| snapshot.number == number);
        snapshot.map(|snapshot| (reader, snapshot)).ok_or_else(|| not_found(name))
    }

    /// One page as the snapshot `number` has it, into `page`: `data` is the data file of now.
    pub(super) fn read_page(
        &self,
        (number, name): (u64, &str),
        data: &dyn File,
        id: u32,
        page: &mut [u8],
    ) -> Result<()> {
        // Held to the end: a page that was not kept is not overwritten meanwhile.
        let links = self.links.read();
        let Some(first) = links.iter().position(|link| link.number == number) else {
            return Err(Error::new(Code::SnapshotGivenUp)
                .with("name", name)
                .with("reason", "a page that it needs could not be kept"));
        };
        for link in &links[first..] {
            match link.frames.read(id) {
                Some(Ok(content)) if content.len() == page.len() => {
                    page.copy_from_slice(&content);
                    return Ok(());
                }
                Some(Ok(_)) => return Err(damaged(name, format!("page {id} has another size"))),
                Some(Err(detail)) => return Err(damaged(name, format!("page {id}: {detail}"))),
                None => {}
            }
        }
        let size = page.len() as u64;
        let read = data.read_at(page, u64::from(id) * size)?;
        page[read..].fill(0);
        Ok(())
    }
}

fn push_given_up(events: &EventQueue, name: String, reason: String) {
    let code = i64::from(Code::SnapshotGivenUp.number());
    events.push(
        "snapshot_given_up",
        vec![("name", name.into()), ("code", code.into()), ("reason", reason.into())],
    );
}
