//! The sweep: the checksum of every page in use, as it lies in the file, in large reads by two
//! threads past the cache.

use crate::sync::{AtomicU32, AtomicU64, Ordering, begin_scoped};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;

use super::{Check, Proved};
use crate::buffer::Pool;
use crate::error::{Error, Result};
use crate::page::{Kind, Page};
use crate::recovery::Progress;
use crate::space::{GROUP, is_used, map_page_of};
use crate::types::PageId;

const THREADS: usize = 2;
/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// How often a page that looks bad is read again: it may be on its way out.
const LOOKS: u32 = 5;

/// A sweep under way, and what its threads share.
pub(super) struct Sweep<'s> {
    pool: &'s Pool,
    progress: &'s Progress,
    used: Vec<Option<Page>>,
    proved: Option<Arc<Proved>>,
    /// Pages that no thread has taken: those before it.
    left: AtomicU32,
    pages: AtomicU64,
    bytes: AtomicU64,
    suspects: Mutex<Vec<PageId>>,
}

impl<'s> Check<'s> {
    pub(super) fn begin_sweep(&mut self) -> Result<Sweep<'s>> {
        let (pool, progress) = (&*self.shared.core.pool, self.progress);
        progress.begin("pages", "pages", u64::from(pool.file_pages()));
        Ok(Sweep {
            pool,
            progress,
            used: self.maps()?,
            proved: self.proved.clone(),
            left: AtomicU32::new(pool.file_pages().div_ceil(step(pool))),
            pages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            suspects: Mutex::new(Vec::new()),
        })
    }

    pub(super) fn end_sweep(&mut self, sweep: Sweep<'s>) -> Result<()> {
        self.report.pages = sweep.pages.into_inner();
        self.report.bytes += sweep.bytes.into_inner();
        let mut suspects = sweep.suspects.into_inner();
        suspects.extend(self.shared.core.pool.overdue_pages()?.into_iter().map(|(page, _)| page));
        suspects.sort_unstable();
        suspects.dedup();
        for page in suspects {
            if let Some(error) = self.confirm_page(page)? {
                self.note_error(page, None, error)?;
            }
        }
        Ok(())
    }

    /// Copies of the space maps. A group without one has no pages in use.
    pub(super) fn maps(&mut self) -> Result<Vec<Option<Page>>> {
        let groups = self.shared.core.space.groups();
        let mut maps = Vec::with_capacity(groups as usize);
        for group in 0..groups {
            match self.shared.core.space.map(group) {
                Ok(map) => maps.push(map.map(|map| map.clone())),
                Err(error) => {
                    self.note_error(map_page_of(PageId(group * GROUP)), None, error)?;
                    maps.push(None);
                }
            }
        }
        Ok(maps)
    }

    /// Looks again at a page that looked bad: what is wrong with it, if anything is.
    fn confirm_page(&self, id: PageId) -> Result<Option<Error>> {
        let pool = &self.shared.core.pool;
        let mut found = None;
        if pool.is_overdue(id) {
            return Ok(pool.read(id).err());
        }
        for look in 0..LOOKS {
            if look > 0 {
                crate::sync::sleep(Duration::from_millis(2));
            }
            // What the file holds of a page that is yet to be written matters to nobody.
            if pool.is_dirty(id) {
                return Ok(None);
            }
            let mut raw = match pool.read_raw(id) {
                Ok(raw) => raw,
                Err(error) => {
                    found = Some(error);
                    continue;
                }
            };
            match raw.validate(id, pool.log().end()) {
                Ok(()) => return Ok(None),
                Err(error) => found = Some(error),
            }
        }
        let is_zeroed =
            found.as_ref().is_some_and(|e| e.field("corruption_type") == Some(&"zeroed".into()));
        // A transaction may have taken the page and not written it yet.
        let may_be_unwritten = is_zeroed && !self.is_quiet();
        let is_free = pool
            .read(map_page_of(id))
            .is_ok_and(|map| map.kind() == Kind::SpaceMap && !is_used(&map, id));
        Ok(found.filter(|_| !may_be_unwritten && !is_free))
    }
}

/// Pages that are read at a time.
fn step(pool: &Pool) -> u32 {
    (CHUNK / pool.page_size()) as u32
}

impl Sweep<'_> {
    fn is_used(&self, page: PageId) -> bool {
        let map = self.used.get((page.0 / GROUP) as usize).and_then(Option::as_ref);
        map.is_some_and(|map| is_used(map, page))
    }

    /// Sweeps all there is, by [`THREADS`] threads.
    pub fn run_all(&self) -> Result<()> {
        std::thread::scope(|scope| {
            // Where there are no more threads to be had, fewer do it.
            let others = (1..THREADS).filter_map(|_| begin_scoped(scope, || self.run()).ok());
            let threads: Vec<_> = others.collect();
            let here = self.run();
            let ended = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Err(Error::internal("a checking thread panicked")))
            });
            ended.fold(here, Result::and)
        })
    }

    /// Sweeps what no other thread has taken. From the end of the file: a walk over the trees, where
    /// one runs beside it, begins with what was made first.
    pub fn run(&self) -> Result<()> {
        let size = self.pool.page_size();
        let step = step(self.pool);
        let mut chunk = crate::memory::zeroed(step as usize * size, "check pages")?;
        let take = |left: u32| left.checked_sub(1);
        while let Ok(left) = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            self.progress.ensure_going()?;
            let first = (left - 1) * step;
            let end = first.saturating_add(step).min(self.pool.file_pages());
            let bytes = &mut chunk[..end.saturating_sub(first) as usize * size];
            self.sweep(PageId(first), bytes);
            self.progress.add(u64::from(end.saturating_sub(first)));
        }
        Ok(())
    }

    /// Sweeps neighbouring pages, as many as `bytes` has room for.
    fn sweep(&self, first: PageId, bytes: &mut [u8]) {
        let size = self.pool.page_size();
        let ids = || (first.0..).map(PageId).take(bytes.len() / size);
        let wanted = ids().filter(|id| self.is_used(*id)).count() as u64;
        let is_proved = |id| self.proved.as_ref().is_some_and(|proved| proved.contains(id));
        let has_news = ids().any(|id| self.is_used(id) && !is_proved(id));
        self.pages.fetch_add(wanted, Ordering::Relaxed);
        if !has_news {
            self.bytes.fetch_add(wanted * size as u64, Ordering::Relaxed);
            return;
        }
        let read = self.pool.read_run(first, bytes).unwrap_or(0);
        bytes[read..].fill(0);
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        let log_end = self.pool.log().end();
        for (id, bytes) in (first.0..).map(PageId).zip(bytes.chunks_exact_mut(size)) {
            if !self.is_used(id) || is_proved(id) {
                continue;
            }
            if !Page::is_plausible(bytes, id, log_end) {
                self.suspects.lock().push(id);
            } else if let Some(proved) = &self.proved {
                proved.insert(id);
            }
        }
    }
}
