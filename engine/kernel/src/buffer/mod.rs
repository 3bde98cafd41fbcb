//! The buffer pool: pages in memory, shared by all threads.
//!
//! # One latch order
//!
//! Latches protect memory for microseconds; locks protect transactions and live in `lock`. No
//! thread waits for a lock while it holds a latch. Latches are taken in this order only:
//!
//! 1. page latches of one tree: rightward within a level, then upward (child before parent);
//!    a descent holds one at a time and none below the one it waits for, except that the author
//!    of a split holds the split page while it climbs;
//! 2. the latch of a space map page;
//! 3. the log's mutex;
//! 4. leaves of the order, under which nothing else is waited for: shards of the page table, counts,
//!    the mutexes of `lock/ranges.rs` and `memory/slab.rs`.
//!
//! The writer's mutex ([`Pool::write_out`]) may be taken under page latches, so under it page
//! latches are only tried, never waited for.
//!
//! # Invariants
//!
//! A frame's page changes only while the frame is unmapped and pinned by one thread, or claimed by
//! one; `frame.rs` tells how that keeps hints, which pass the page table by, from doing harm. A dirty
//! frame (`rec_lsn != 0`) is never unmapped; only the writer makes it clean, after the log up to
//! its page LSN, a double-write copy, and the data file itself are synced. `rec_lsn` is set,
//! under the page latch, before the entry is appended: it is never later than the first change.
//!
//! Nobody sees a page that lacks a change: one that is overdue for redo (`overdue.rs`) is redone
//! while it is fetched, under the latch of its frame, before the frame can be had by anybody else.

use crate::sync::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, OnceLock};

use crate::sync::{Mutex, soon};

use crate::disk::File;
use crate::error::{Code, Error, Result};
use crate::log::Log;
use crate::memory::Slabs;
use crate::page::Page;
use crate::types::{Incarnation, PageId};

mod dirty;
mod doublewrite;
mod frame;
mod guard;
mod hints;
mod overdue;
mod redone;
mod victims;
mod writeout;

#[cfg(test)]
mod frame_tests;

pub use doublewrite::{DoubleWrite, PATH as DOUBLEWRITE_PATH, SLOTS as DOUBLEWRITE_SLOTS};
use frame::Frame;
pub use guard::{PageRead, PageWrite};
use hints::Hints;
pub use overdue::Overdue;
pub use redone::Redone;

const SHARDS: usize = 64;
/// The data file grows by at least so many pages at a time.
const GROWTH_PAGES: u32 = 256;
/// The last numbers name no page: "none" is among them.
const MOST_PAGES: u32 = u32::MAX - 16;
/// Frames kept for reading once the store has failed: what is dirty then can never be written out,
/// and may fill all others.
const RESERVE: usize = 16;

/// Numbers that the store gives out are dense: spreading their low bits is all the hashing that
/// those of pages and trees need.
#[derive(Default)]
pub struct NumberHasher(u64);
pub type NumberHashing = BuildHasherDefault<NumberHasher>;

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.0 = self.0.rotate_left(8) ^ u64::from(b));
    }
    fn write_u32(&mut self, value: u32) {
        self.0 = u64::from(value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// A map whose keys are pages.
pub type PageMap<V> = HashMap<PageId, V, NumberHashing>;
type PageTable = PageMap<usize>;

/// Counters of the pool, read without any lock.
#[derive(Default)]
pub struct PoolCounters {
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub evictions: AtomicU64,
    pub pages_written: AtomicU64,
    pub batches: AtomicU64,
}

/// How a pool is made.
pub struct PoolOptions {
    pub page_size: usize,
    pub frames: usize,
    pub incarnation: Incarnation,
}

/// Makes damaged pages whole again, from what the pool knows nothing of.
pub trait Mender: Send + Sync {
    /// Fills `place`, latched for the page `id` whose reading gave `error`; or the error that the
    /// reader is to get. Called under the page's latch: it may take no other page's.
    fn mend(&self, place: &mut PageWrite<'_>, id: PageId, error: Error) -> Result<()>;
}

pub struct Pool {
    page_size: usize,
    /// The last [`RESERVE`] of them hold nothing before the store has failed.
    frames: Vec<Frame>,
    /// Memory for the pages of frames that are used for the first time.
    slabs: Slabs,
    shards: Vec<Mutex<PageTable>>,
    /// Frames that may be used; see [`Pool::limit_frames`].
    limit: AtomicUsize,
    hints: Hints,
    /// Frames whose `rec_lsn` is set.
    dirty: AtomicUsize,
    hand: AtomicUsize,
    unused: AtomicUsize,
    file: Arc<dyn File>,
    log: Arc<Log>,
    writer: Mutex<DoubleWrite>,
    growth: Mutex<()>,
    file_pages: AtomicU32,
    incarnation: Incarnation,
    mender: OnceLock<Arc<dyn Mender>>,
    overdue: OnceLock<Arc<dyn Overdue>>,
    pub counters: PoolCounters,
}

impl Pool {
    pub fn new(
        file: Arc<dyn File>,
        log: Arc<Log>,
        doublewrite: DoubleWrite,
        options: &PoolOptions,
    ) -> Result<Pool> {
        let wanted = options.frames.max(16).saturating_add(RESERVE);
        let mut frames: Vec<Frame> = Vec::new();
        crate::memory::reserve(&mut frames, wanted, "make a cache as large as cache_size says")?;
        frames.extend((0..wanted).map(|_| Frame::new()));
        let file_pages = file.size()? / options.page_size as u64;
        Ok(Pool {
            page_size: options.page_size,
            hints: Hints::new(frames.len())?,
            dirty: AtomicUsize::new(0),
            frames,
            slabs: Slabs::default(),
            shards: (0..SHARDS).map(|_| Mutex::new(PageTable::default())).collect(),
            limit: AtomicUsize::new(usize::MAX),
            hand: AtomicUsize::new(0),
            unused: AtomicUsize::new(0),
            file,
            log,
            writer: Mutex::new(doublewrite),
            growth: Mutex::new(()),
            file_pages: AtomicU32::new(u32::try_from(file_pages).unwrap_or(u32::MAX - 1)),
            incarnation: options.incarnation,
            mender: OnceLock::new(),
            overdue: OnceLock::new(),
            counters: PoolCounters::default(),
        })
    }

    pub fn page_size(&self) -> usize {
        self.page_size
    }
    pub fn frame_count(&self) -> usize {
        self.frames.len() - RESERVE
    }
    /// Uses no more than `most` frames from now on; what lies in others stays where it is. A
    /// frame takes memory from its first use on.
    pub fn limit_frames(&self, most: usize) {
        self.limit.store(most.max(16), Ordering::Release);
    }
    pub fn usable_frames(&self) -> usize {
        self.frame_count().min(self.limit.load(Ordering::Acquire))
    }
    /// Pages that the data file has room for.
    pub fn file_pages(&self) -> u32 {
        self.file_pages.load(Ordering::Acquire)
    }
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn shard(&self, page: PageId) -> &Mutex<PageTable> {
        &self.shards[page.0 as usize % SHARDS]
    }

    /// Pins the frame of a page that is in memory.
    fn pin(&self, page: PageId) -> Option<&Frame> {
        self.pin_hinted(page).or_else(|| self.pin_cached(&self.shard(page).lock(), page))
    }

    /// As [`Pool::pin`]; `None` too where the page table would have to be waited for.
    fn try_pin(&self, page: PageId) -> Option<&Frame> {
        self.pin_hinted(page).or_else(|| self.pin_cached(&*soon(|| self.shard(page).try_lock())?, page))
    }

    fn pin_cached(&self, table: &PageTable, page: PageId) -> Option<&Frame> {
        let index = *table.get(&page)?;
        let frame = &self.frames[index];
        frame.pin();
        self.hints.set(page, index);
        Some(frame)
    }

    /// Pins without the page table: see `frame.rs` for why that is safe.
    fn pin_hinted(&self, page: PageId) -> Option<&Frame> {
        let frame = &self.frames[self.hints.of(page)];
        frame.pin_where_it_holds(page).then_some(frame)
    }

    /// Latches without pin and page table: see `frame.rs` too.
    fn read_hinted(&self, page: PageId) -> Option<PageRead<'_>> {
        PageRead::hinted(&self.frames[self.hints.of(page)], page)
    }

    /// Latches a page for reading; reads it from the file where it is not in memory.
    pub fn read(&self, page: PageId) -> Result<PageRead<'_>> {
        if let Some(read) = self.read_hinted(page) {
            self.counters.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(read);
        }
        loop {
            let cached = self.pin(page);
            if let Some(frame) = cached {
                self.counters.hits.fetch_add(1, Ordering::Relaxed);
                let guard = PageRead::latch(frame);
                if frame.page() == page {
                    return Ok(guard);
                }
            } else if let Some(loaded) = self.load_helped(page)? {
                return Ok(loaded.downgrade());
            }
        }
    }

    /// Latches a page for change; reads it from the file where it is not in memory.
    pub fn write(&self, page: PageId) -> Result<PageWrite<'_>> {
        loop {
            let cached = self.pin(page);
            if let Some(frame) = cached {
                self.counters.hits.fetch_add(1, Ordering::Relaxed);
                let guard = PageWrite::latch(self, frame);
                if frame.page() == page {
                    return Ok(guard);
                }
            } else if let Some(loaded) = self.load_helped(page)? {
                return Ok(loaded);
            }
        }
    }

    /// As [`Pool::read`], where nothing has to be waited for.
    pub fn try_read(&self, page: PageId) -> Option<PageRead<'_>> {
        if let Some(read) = self.read_hinted(page) {
            return Some(read);
        }
        let frame = self.try_pin(page)?;
        let guard = PageRead::try_latch(frame)?;
        (frame.page() == page).then_some(guard)
    }

    /// As [`Pool::write`], where nothing has to be waited for.
    pub fn try_write(&self, page: PageId) -> Option<PageWrite<'_>> {
        let frame = self.try_pin(page)?;
        let guard = PageWrite::try_latch(self, frame)?;
        (frame.page() == page).then_some(guard)
    }

    /// A frame for a page that is about to be written in full: what the file holds is not read,
    /// unless the page is yet to be redone, which must not be forgotten before it is written.
    pub fn fresh(&self, page: PageId) -> Result<PageWrite<'_>> {
        if self.is_overdue(page) { self.write(page) } else { self.place_of(page) }
    }

    /// As [`Pool::fresh`], also for a page that cannot be redone, by whoever puts a whole one there.
    pub fn place_of(&self, page: PageId) -> Result<PageWrite<'_>> {
        self.ensure(page)?;
        loop {
            let cached = self.pin(page);
            if let Some(frame) = cached {
                let guard = PageWrite::latch(self, frame);
                if frame.page() == page {
                    return Ok(guard);
                }
            } else if let Some(mut guard) = self.map(page)? {
                guard.bytes_mut().fill(0);
                return Ok(guard);
            }
        }
    }

    /// Takes a frame and maps `page` to it; `None` where another thread was quicker.
    fn map(&self, page: PageId) -> Result<Option<PageWrite<'_>>> {
        let index = self.take_victim()?;
        let frame = &self.frames[index];
        let mut guard = PageWrite::latch_pinned(self, frame);
        if guard.size() != self.page_size {
            guard.replace(Page::of_cache(&self.slabs, self.page_size)?);
        }
        let mut table = self.shard(page).lock();
        if table.contains_key(&page) {
            return Ok(None);
        }
        table.insert(page, index);
        frame.set_page(page);
        frame.note_use();
        drop(table);
        Ok(Some(guard))
    }

    fn load(&self, page: PageId) -> Result<Option<PageWrite<'_>>> {
        let available = self.file_pages();
        if page.0 >= available {
            return Err(Error::new(Code::PageNotFound)
                .with("page_id", page.0)
                .with("available_pages", available));
        }
        let Some((mut guard, read)) = self.fetch(page)? else { return Ok(None) };
        let read = match self.overdue_of(page) {
            None => read,
            Some(overdue) => overdue.redo(&mut guard, page, read),
        };
        self.settle_fetched(guard, page, read).map(Some)
    }

    /// Takes a frame for the page and reads what the file holds of it; `None` where another thread
    /// was quicker. To be followed by [`Pool::settle_fetched`].
    pub(crate) fn fetch(&self, page: PageId) -> Result<Option<(PageWrite<'_>, Result<()>)>> {
        let Some(mut guard) = self.map(page)? else { return Ok(None) };
        self.counters.misses.fetch_add(1, Ordering::Relaxed);
        let read = self.fill(page, guard.bytes_mut());
        let read = read.and_then(|()| guard.validate(page, self.log.end()));
        Ok(Some((guard, read)))
    }

    /// Gives the page to its readers where it is whole, or could be mended; else the frame holds
    /// nothing, as before.
    pub(crate) fn settle_fetched<'p>(
        &'p self,
        mut guard: PageWrite<'p>,
        page: PageId,
        read: Result<()>,
    ) -> Result<PageWrite<'p>> {
        match read.or_else(|error| self.mend(&mut guard, page, error)) {
            Ok(()) => {
                self.note_redone(&guard, page);
                Ok(guard)
            }
            Err(error) => {
                self.give_back(guard, page);
                Err(error)
            }
        }
    }

    /// The frame of a page that nothing was put into holds nothing again.
    pub(crate) fn give_back(&self, guard: PageWrite<'_>, page: PageId) {
        guard.end_redo();
        self.shard(page).lock().remove(&page);
        guard.forget_page();
    }

    /// From now on `mender` is asked for pages that cannot be read; the first one stays.
    pub fn set_mender(&self, mender: Arc<dyn Mender>) {
        let _ = self.mender.set(mender);
    }

    fn mend(&self, place: &mut PageWrite<'_>, page: PageId, error: Error) -> Result<()> {
        match self.mender.get() {
            Some(mender) if error.is_page_damage() => mender.mend(place, page, error),
            _ => Err(error),
        }
    }

    fn fill(&self, page: PageId, bytes: &mut [u8]) -> Result<()> {
        let offset = u64::from(page.0) * self.page_size as u64;
        let read = self.file.read_at(bytes, offset)?;
        if read < bytes.len() {
            bytes[read..].fill(0);
        }
        Ok(())
    }

    /// Latches a page for reading if it is in memory; reads nothing from the file.
    pub fn read_cached(&self, page: PageId) -> Option<PageRead<'_>> {
        let frame = self.pin(page)?;
        let guard = PageRead::latch(frame);
        (frame.page() == page).then_some(guard)
    }

    /// True where memory, or the log before the last recovery, holds changes that the file lacks.
    pub fn is_dirty(&self, page: PageId) -> bool {
        if self.is_overdue(page) {
            return true;
        }
        let table = self.shard(page).lock();
        table.get(&page).is_some_and(|index| self.frames[*index].is_dirty())
    }

    /// Reads neighbouring pages past the cache, as far as the file reaches; returns the bytes. Past
    /// the system's cache, too, where `bytes` lie in an [`AlignedBuffer`](crate::disk::AlignedBuffer).
    pub fn read_run(&self, first: PageId, bytes: &mut [u8]) -> Result<usize> {
        self.file.read_past_cache(bytes, u64::from(first.0) * self.page_size as u64)
    }

    /// Reads a page past the cache, whatever state it is in.
    pub fn read_raw(&self, page: PageId) -> Result<Page> {
        let mut raw = Page::zeroed(self.page_size);
        self.fill(page, raw.bytes_mut())?;
        Ok(raw)
    }

    /// Makes sure that the data file has room for `page`: later writes cannot meet a full disk.
    pub fn ensure(&self, page: PageId) -> Result<()> {
        if page.0 < self.file_pages() {
            return Ok(());
        }
        let _growing = self.growth.lock();
        let have = self.file_pages();
        if page.0 < have {
            return Ok(());
        }
        if page.0 > MOST_PAGES {
            return Err(Error::new(Code::PageNotFound)
                .with("page_id", page.0)
                .with("available_pages", have));
        }
        let mut growth = (have / 8).clamp(GROWTH_PAGES, 8192);
        loop {
            let wanted = (page.0 + 1).max(have.saturating_add(growth));
            match self.file.allocate(u64::from(wanted) * self.page_size as u64) {
                Ok(()) => {
                    self.file_pages.store(wanted, Ordering::Release);
                    return Ok(());
                }
                // A nearly full disk may still have room for less, at last for the page that is
                // needed. By steps: to find out that much does not fit may cost as much as to
                // write it, and is not to be paid for every page.
                Err(error) if error.code == Code::DiskFull && wanted > page.0 + 1 => growth /= 8,
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the data file before `page`. None of the pages from there on is in memory or in use.
    pub fn shrink(&self, page: PageId) -> Result<()> {
        let _growing = self.growth.lock();
        self.file.truncate(u64::from(page.0) * self.page_size as u64)?;
        self.file_pages.store(page.0, Ordering::Release);
        Ok(())
    }
}
