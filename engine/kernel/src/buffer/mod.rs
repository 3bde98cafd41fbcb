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
//! 4. leaves of the order, under which nothing else is taken: shards of the page table, counts,
//!    the mutexes of `lock/ranges.rs`.
//!
//! The writer's mutex ([`Pool::write_out`]) may be taken under page latches, so under it page
//! latches are only tried, never waited for.
//!
//! # Invariants
//!
//! A frame's page changes only while the frame is unmapped and pinned by one thread. A dirty
//! frame (`rec_lsn != 0`) is never unmapped; only the writer makes it clean, after the log up to
//! its page LSN, a double-write copy, and the data file itself are synced. `rec_lsn` is set,
//! under the page latch, before the entry is appended: it is never later than the first change.

use crate::sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::sync::{Mutex, RwLock};

use crate::disk::File;
use crate::error::{Code, Error, Result};
use crate::log::Log;
use crate::page::Page;
use crate::types::{Incarnation, Lsn, PageId};

mod doublewrite;
mod guard;
mod writeout;

pub use doublewrite::{DoubleWrite, PATH as DOUBLEWRITE_PATH, SLOTS as DOUBLEWRITE_SLOTS};
pub use guard::{PageRead, PageWrite};

const SHARDS: usize = 64;
/// The data file grows by at least so many pages at a time.
const GROWTH_PAGES: u32 = 256;
/// The last numbers name no page: "none" is among them.
const MOST_PAGES: u32 = u32::MAX - 16;
/// Frames kept for reading once the store has failed: what is dirty then can never be written out,
/// and may fill all others.
const RESERVE: usize = 16;

/// Page numbers are dense: spreading their low bits is all the hashing they need.
#[derive(Default)]
pub struct PageIdHasher(u64);

impl Hasher for PageIdHasher {
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

type PageTable = HashMap<PageId, usize, BuildHasherDefault<PageIdHasher>>;

/// A place for one page.
pub(crate) struct Frame {
    pub(crate) latch: RwLock<Page>,
    pins: AtomicU32,
    /// The page it holds; `PageId::NONE` where it holds none. Changes under the write latch.
    page: AtomicU32,
    referenced: AtomicBool,
    /// Lower bound of the first change not yet in the data file; 0 where there is none.
    rec_lsn: AtomicU64,
}

impl Frame {
    fn page(&self) -> PageId {
        PageId(self.page.load(Ordering::Acquire))
    }
    fn is_dirty(&self) -> bool {
        self.rec_lsn.load(Ordering::Acquire) != 0
    }
}

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
    shards: Vec<Mutex<PageTable>>,
    /// Frames that may be used; see [`Pool::limit_frames`].
    limit: AtomicUsize,
    hand: AtomicUsize,
    unused: AtomicUsize,
    file: Arc<dyn File>,
    log: Arc<Log>,
    writer: Mutex<DoubleWrite>,
    growth: Mutex<()>,
    file_pages: AtomicU32,
    incarnation: Incarnation,
    mender: OnceLock<Arc<dyn Mender>>,
    pub counters: PoolCounters,
}

impl Pool {
    pub fn new(
        file: Arc<dyn File>,
        log: Arc<Log>,
        doublewrite: DoubleWrite,
        options: &PoolOptions,
    ) -> Result<Pool> {
        let frames = (0..options.frames.max(16) + RESERVE)
            .map(|_| Frame {
                latch: RwLock::new(Page::zeroed(0)),
                pins: AtomicU32::new(0),
                page: AtomicU32::new(PageId::NONE.0),
                referenced: AtomicBool::new(false),
                rec_lsn: AtomicU64::new(0),
            })
            .collect();
        let file_pages = file.size()? / options.page_size as u64;
        Ok(Pool {
            page_size: options.page_size,
            frames,
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
            counters: PoolCounters::default(),
        })
    }

    pub fn page_size(&self) -> usize {
        self.page_size
    }
    pub fn frame_count(&self) -> usize {
        self.frames.len() - RESERVE
    }
    /// Uses no more than `most` frames from now on. A frame takes memory from its first use on.
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
    fn pin_cached(&self, table: &PageTable, page: PageId) -> Option<&Frame> {
        let frame = &self.frames[*table.get(&page)?];
        frame.pins.fetch_add(1, Ordering::AcqRel);
        frame.referenced.store(true, Ordering::Relaxed);
        Some(frame)
    }

    /// Latches a page for reading; reads it from the file where it is not in memory.
    pub fn read(&self, page: PageId) -> Result<PageRead<'_>> {
        loop {
            let cached = self.pin_cached(&self.shard(page).lock(), page);
            if let Some(frame) = cached {
                self.counters.hits.fetch_add(1, Ordering::Relaxed);
                let guard = PageRead::latch(frame);
                if frame.page() == page {
                    return Ok(guard);
                }
            } else if let Some(loaded) = self.load(page)? {
                return Ok(loaded.downgrade());
            }
        }
    }

    /// Latches a page for change; reads it from the file where it is not in memory.
    pub fn write(&self, page: PageId) -> Result<PageWrite<'_>> {
        loop {
            let cached = self.pin_cached(&self.shard(page).lock(), page);
            if let Some(frame) = cached {
                self.counters.hits.fetch_add(1, Ordering::Relaxed);
                let guard = PageWrite::latch(self, frame);
                if frame.page() == page {
                    return Ok(guard);
                }
            } else if let Some(loaded) = self.load(page)? {
                return Ok(loaded);
            }
        }
    }

    /// As [`Pool::read`], where nothing has to be waited for.
    pub fn try_read(&self, page: PageId) -> Option<PageRead<'_>> {
        let frame = self.pin_cached(&*self.shard(page).try_lock()?, page)?;
        let guard = PageRead::try_latch(frame)?;
        (frame.page() == page).then_some(guard)
    }

    /// As [`Pool::write`], where nothing has to be waited for.
    pub fn try_write(&self, page: PageId) -> Option<PageWrite<'_>> {
        let frame = self.pin_cached(&*self.shard(page).try_lock()?, page)?;
        let guard = PageWrite::try_latch(self, frame)?;
        (frame.page() == page).then_some(guard)
    }

    /// A frame for a page that is about to be written in full: what the file holds is not read.
    pub fn fresh(&self, page: PageId) -> Result<PageWrite<'_>> {
        self.ensure(page)?;
        loop {
            let cached = self.pin_cached(&self.shard(page).lock(), page);
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
        let mut table = self.shard(page).lock();
        if table.contains_key(&page) {
            return Ok(None);
        }
        table.insert(page, index);
        frame.page.store(page.0, Ordering::Release);
        frame.referenced.store(true, Ordering::Relaxed);
        drop(table);
        if guard.size() != self.page_size {
            guard.replace(Page::zeroed(self.page_size));
        }
        Ok(Some(guard))
    }

    fn load(&self, page: PageId) -> Result<Option<PageWrite<'_>>> {
        let available = self.file_pages();
        if page.0 >= available {
            return Err(Error::new(Code::PageNotFound)
                .with("page_id", page.0)
                .with("available_pages", available));
        }
        let Some(mut guard) = self.map(page)? else { return Ok(None) };
        self.counters.misses.fetch_add(1, Ordering::Relaxed);
        let read = self.fill(page, guard.bytes_mut());
        let read = read.and_then(|()| guard.validate(page, self.log.end()));
        match read.or_else(|error| self.mend(&mut guard, page, error)) {
            Ok(()) => Ok(Some(guard)),
            Err(error) => {
                self.shard(page).lock().remove(&page);
                guard.forget_page();
                Err(error)
            }
        }
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
        let frame = self.pin_cached(&self.shard(page).lock(), page)?;
        let guard = PageRead::latch(frame);
        (frame.page() == page).then_some(guard)
    }

    /// True where memory holds changes of the page that the file lacks.
    pub fn is_dirty(&self, page: PageId) -> bool {
        let table = self.shard(page).lock();
        table.get(&page).is_some_and(|index| self.frames[*index].is_dirty())
    }

    /// Reads neighbouring pages past the cache, as far as the file reaches; returns the bytes.
    pub fn read_run(&self, first: PageId, bytes: &mut [u8]) -> Result<usize> {
        self.file.read_at(bytes, u64::from(first.0) * self.page_size as u64)
    }

    /// Reads a page past the cache, whatever state it is in.
    pub fn read_raw(&self, page: PageId) -> Result<Page> {
        let mut raw = Page::zeroed(self.page_size);
        self.fill(page, raw.bytes_mut())?;
        Ok(raw)
    }

    /// An unmapped frame, pinned once, for the caller alone.
    fn take_victim(&self) -> Result<usize> {
        let count = self.usable_frames();
        if self.unused.load(Ordering::Relaxed) < count {
            let index = self.unused.fetch_add(1, Ordering::Relaxed);
            if index < count && Self::claim_empty(&self.frames[index]) {
                return Ok(index);
            }
        }
        for attempt in 0..2000u64 {
            for _ in 0..2 * count {
                let index = self.hand.fetch_add(1, Ordering::Relaxed) % count;
                if self.evict(index) {
                    return Ok(index);
                }
            }
            match self.write_out_cold() {
                Ok(0) => crate::sync::sleep(Duration::from_micros(50 * attempt.min(20))),
                Ok(_) => {}
                Err(error) => match self.take_reserve() {
                    Some(index) => return Ok(index),
                    None if attempt == 1999 || !self.log.has_failed() => return Err(error),
                    // Other readers have them all for the moment.
                    None => crate::sync::sleep(Duration::from_micros(50 * attempt.min(20))),
                },
            }
        }
        Err(Error::new(Code::CacheExhausted).with("frames", count))
    }

    /// One of the frames for reading a store that has failed.
    fn take_reserve(&self) -> Option<usize> {
        let reserve = self.frame_count()..self.frames.len();
        let has_failed = self.log.has_failed();
        reserve.clone().chain(reserve).filter(|_| has_failed).find(|index| self.evict(*index))
    }

    /// Pins a frame that holds nothing. Only who has it pinned maps a page to it, so what holds
    /// after the pin stays so; before, another thread may have come, mapped a page, and gone.
    fn claim_empty(frame: &Frame) -> bool {
        if frame.pins.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        let is_empty = frame.page().is_none();
        if !is_empty {
            frame.pins.fetch_sub(1, Ordering::AcqRel);
        }
        is_empty
    }

    fn evict(&self, index: usize) -> bool {
        let frame = &self.frames[index];
        if frame.pins.load(Ordering::Acquire) != 0 || frame.is_dirty() {
            return false;
        }
        if frame.referenced.swap(false, Ordering::Relaxed) {
            return false;
        }
        let page = frame.page();
        if page.is_none() {
            return Self::claim_empty(frame);
        }
        let mut table = self.shard(page).lock();
        if table.get(&page) != Some(&index)
            || frame.pins.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return false;
        }
        // Asked under the pin: whoever had the page before may have changed it up to this moment.
        let is_clean = !frame.is_dirty();
        if is_clean {
            table.remove(&page);
            frame.page.store(PageId::NONE.0, Ordering::Release);
            self.counters.evictions.fetch_add(1, Ordering::Relaxed);
        } else {
            frame.pins.fetch_sub(1, Ordering::AcqRel);
        }
        is_clean
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
        let wanted = (page.0 + 1).max(have.saturating_add((have / 8).clamp(GROWTH_PAGES, 8192)));
        let bytes = |pages: u32| u64::from(pages) * self.page_size as u64;
        let grown = match self.file.allocate(bytes(wanted)) {
            Ok(()) => wanted,
            // A nearly full disk may still have room for the one page that is needed.
            Err(error) if error.code == Code::DiskFull && wanted > page.0 + 1 => {
                self.file.allocate(bytes(page.0 + 1))?;
                page.0 + 1
            }
            Err(error) => return Err(error),
        };
        self.file_pages.store(grown, Ordering::Release);
        Ok(())
    }

    /// The dirty page table: pages with changes that the data file lacks, and since when.
    pub fn dirty_pages(&self) -> Vec<(PageId, Lsn)> {
        self.frames
            .iter()
            .filter_map(|frame| {
                let rec_lsn = frame.rec_lsn.load(Ordering::Acquire);
                (rec_lsn != 0).then(|| (frame.page(), Lsn(rec_lsn)))
            })
            .collect()
    }

    /// Frames in use and dirty frames.
    pub fn usage(&self) -> (usize, usize) {
        let used = self.frames.iter().filter(|f| !f.page().is_none()).count();
        let dirty = self.frames.iter().filter(|f| f.is_dirty()).count();
        (used, dirty)
    }
}
