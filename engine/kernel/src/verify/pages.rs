//! The sweep: the checksum of every page in use, as it lies in the file, in large reads by two
//! threads past the cache.

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::sync::Mutex;

use super::Check;
use crate::error::{Error, Result};
use crate::page::{Kind, Page};
use crate::space::{GROUP, is_used, map_page_of};
use crate::types::PageId;

const THREADS: usize = 2;
/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// How often a page that looks bad is read again: it may be on its way out.
const LOOKS: u32 = 5;

/// What the threads of a sweep share.
struct Sweep {
    used: Vec<Option<Page>>,
    next: AtomicU32,
    pages: AtomicU64,
    bytes: AtomicU64,
    suspects: Mutex<Vec<PageId>>,
}

impl Sweep {
    fn is_used(&self, page: PageId) -> bool {
        let map = self.used.get((page.0 / GROUP) as usize).and_then(Option::as_ref);
        map.is_some_and(|map| is_used(map, page))
    }
}

impl Check<'_> {
    pub(super) fn sweep_pages(&mut self) -> Result<()> {
        let pool = &self.shared.core.pool;
        self.progress.begin("pages", "pages", u64::from(pool.file_pages()));
        let sweep = Sweep {
            used: self.maps()?,
            next: AtomicU32::new(0),
            pages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            suspects: Mutex::new(Vec::new()),
        };
        let check = &*self;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| check.sweep(&sweep))).collect();
            let ended = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Err(Error::internal("a checking thread panicked")))
            });
            ended.fold(Ok(()), Result::and)
        })?;
        self.report.pages = sweep.pages.into_inner();
        self.report.bytes = sweep.bytes.into_inner();
        let mut suspects = sweep.suspects.into_inner();
        suspects.extend(self.shared.core.pool.overdue_pages().into_iter().map(|(page, _)| page));
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

    fn sweep(&self, sweep: &Sweep) -> Result<()> {
        let pool = &self.shared.core.pool;
        let size = pool.page_size();
        let step = (CHUNK / size) as u32;
        let mut chunk = vec![0; step as usize * size];
        loop {
            let first = sweep.next.fetch_add(step, Ordering::Relaxed);
            let end = first.saturating_add(step).min(pool.file_pages());
            if first >= end {
                return Ok(());
            }
            self.progress.ensure_going()?;
            let wanted = (first..end).filter(|id| sweep.is_used(PageId(*id))).count();
            if wanted > 0 {
                let bytes = &mut chunk[..(end - first) as usize * size];
                let read = pool.read_run(PageId(first), bytes).unwrap_or(0);
                bytes[read..].fill(0);
                sweep.bytes.fetch_add(read as u64, Ordering::Relaxed);
                let log_end = pool.log().end();
                for (id, bytes) in (first..end).map(PageId).zip(bytes.chunks_exact(size)) {
                    if sweep.is_used(id) && !Page::is_plausible(bytes, id, log_end) {
                        sweep.suspects.lock().push(id);
                    }
                }
            }
            sweep.pages.fetch_add(wanted as u64, Ordering::Relaxed);
            self.progress.add(u64::from(end - first));
        }
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
            let raw = match pool.read_raw(id) {
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
