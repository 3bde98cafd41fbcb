//! Redo: repeating history from the oldest recLSN, page by page, in parallel.
//!
//! Between pages no order is needed, for redo reads nothing but the page it changes. So the dirty
//! page table is cut, by page number, into shares whose pages fit the cache, and each share is
//! redone on its own: [`super::indexed`] reads the entries that an index names, each worker for
//! its own share; without an index [`super::passes`] reads the whole stretch of log once for each
//! share. Pages stay in memory until their share is done, and are then written out in order.
//!
//! Memory: the frames of the cache, the index, 16 bytes for each dirty page, windows of the log.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::index::{LogIndex, group_of};
use super::replay::Worked;
use super::{Analysis, Progress, RedoReport, indexed, passes};
use crate::buffer::{PageMap, Pool};
use crate::error::{Error, Result};
use crate::log::EntryHeader;
use crate::log::windows::Stretch;
use crate::memory;
use crate::sync::begin_scoped;
use crate::types::{Lsn, PageId};

/// What memory is asked for.
const OPERATION: &str = "redo pages";

/// What a redo works with.
pub(super) struct Redo<'r> {
    pub pool: &'r Pool,
    pub dirty: &'r PageMap<Lsn>,
    /// The same, by page number.
    pub sorted: Vec<(PageId, Lsn)>,
    pub log: Stretch,
    pub workers: usize,
    /// A salvage takes what redo can give of a page, also where it cannot give all.
    pub is_lenient: bool,
    pub progress: &'r Progress,
    /// Set by whoever fails, so that the others end too.
    pub failure: OnceLock<Error>,
}

/// A range of pages, its dirty ones being few enough to be held at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub first: PageId,
    pub last: PageId,
    /// Where in the log its pages begin to matter.
    pub from: Lsn,
    /// Its dirty pages, in `Redo::sorted`.
    pub pages: Range<usize>,
}

impl Redo<'_> {
    pub fn needs(&self, share: &Share, page: PageId, entry: &EntryHeader) -> bool {
        share.first <= page
            && page <= share.last
            && self.dirty.get(&page).is_some_and(|rec_lsn| entry.end() > *rec_lsn)
    }

    pub fn ensure_going(&self) -> Result<()> {
        // The first failure is everybody's: it says more than that somebody else has stopped.
        self.failure.get().map_or_else(|| self.progress.ensure_going(), |first| Err(first.clone()))
    }

    /// Ends the work of all with this error, unless another came first.
    pub fn fail(&self, error: &Error) {
        self.failure.get_or_init(|| error.clone());
    }

    /// Cuts the dirty pages into shares of at most `most` pages, between groups where it can.
    pub fn shares(&self, most: usize) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        let mut begin = 0;
        for group in self.sorted.chunk_by(|a, b| group_of(a.0) == group_of(b.0)) {
            for part in group.chunks(most.max(1)) {
                let end = begin + part.len();
                let from = part.iter().map(|(_, lsn)| *lsn).min().unwrap_or(Lsn::MAX);
                let (first, last) = (part[0].0, part[part.len() - 1].0);
                match shares.last_mut().filter(|share| end - share.pages.start <= most) {
                    Some(share) => {
                        share.last = last;
                        share.from = share.from.min(from);
                        share.pages.end = end;
                    }
                    None => shares.push(Share { first, last, from, pages: begin..end }),
                }
                begin = end;
            }
        }
        shares
    }
}

/// What is to be redone.
pub(super) struct Work<'w> {
    pub log: Stretch,
    pub analysis: &'w Analysis,
    /// None where it does not reach back far enough, or did not fit.
    pub index: Option<&'w LogIndex>,
    pub workers: usize,
    pub is_lenient: bool,
}

/// Redoes every page of the dirty page table, and brings all of them to the medium.
pub(super) fn redo(pool: &Pool, work: Work<'_>, progress: &Progress) -> Result<RedoReport> {
    let Work { log, analysis, index, workers, is_lenient } = work;
    let dirty = analysis.dirty.iter().map(|(page, lsn)| (*page, *lsn));
    let mut sorted = memory::gathered(dirty, OPERATION)?;
    sorted.sort_unstable();
    let redo = Redo {
        pool,
        dirty: &analysis.dirty,
        sorted,
        log,
        workers,
        is_lenient,
        progress,
        failure: OnceLock::new(),
    };
    let mut report = match index {
        Some(index) => indexed::run(&redo, index)?,
        None => passes::run(&redo)?,
    };
    report.bytes = analysis.end.0 - analysis.redo_lsn.0;
    report.damaged.sort_by_key(|(page, _)| *page);
    Ok(report)
}

impl RedoReport {
    /// What the workers did, once all of it is on the medium.
    pub(super) fn gather(pool: &Pool, workers: Vec<Worked>) -> Result<RedoReport> {
        let mut report = RedoReport::default();
        let mut written = Vec::new();
        for mut worker in workers {
            report.records += worker.records;
            report.applied += worker.applied;
            report.skipped += worker.skipped;
            report.pages += worker.pages;
            report.damaged.extend(worker.damaged);
            memory::grow(&mut written, worker.written.len(), OPERATION)?;
            written.append(&mut worker.written);
        }
        report.written = written.len() as u64;
        pool.end_redo(&written)?;
        Ok(report)
    }
}

pub(super) fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Error::internal("a redo worker panicked")))
}

/// A thread that has the medium take what was written while the workers go on. With one worker
/// there is none: then everything happens in the same order each time.
pub(super) struct Syncer<'scope> {
    thread: Option<(Sender<()>, ScopedJoinHandle<'scope, Result<()>>)>,
}

impl<'scope> Syncer<'scope> {
    pub fn start<'env>(scope: &'scope Scope<'scope, 'env>, redo: &'env Redo<'_>) -> Syncer<'scope> {
        let (wake, waker) = channel();
        let begin = || begin_scoped(scope, move || sync_along(&waker, redo.pool)).ok();
        let thread = (redo.workers > 1).then(begin).flatten();
        Syncer { thread: thread.map(|thread| (wake, thread)) }
    }

    /// Tells it that something was written.
    pub fn waker(&self) -> Option<Sender<()>> {
        self.thread.as_ref().map(|(wake, _)| wake.clone())
    }

    /// Once all wakers are gone.
    pub fn end(self) -> Result<()> {
        let Some((wake, thread)) = self.thread else { return Ok(()) };
        drop(wake);
        join(thread)
    }
}

fn sync_along(wake: &Receiver<()>, pool: &Pool) -> Result<()> {
    while wake.recv().is_ok() {
        while wake.try_recv().is_ok() {}
        pool.sync_redone()?;
    }
    Ok(())
}
