//! Redo: repeating history from the oldest recLSN, page by page, in parallel.
//!
//! Entries are split into their parts; a page's parts all go to the same worker, in log order.
//! Between pages no order is needed: redo reads nothing but the page it changes.
//!
//! Where the dirty pages are more than the cache holds, the log is read in several passes, each
//! for a range of pages that fits: reading a log again is far cheaper than pages that come and go.
//!
//! An entry may change one page more than once (a space map loses several runs of pages). Such
//! parts are applied under one latch: the page LSN can only say that all of them are there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Analysis, Progress, RedoReport};
use crate::buffer::Pool;
use crate::error::{Code, Error, Result};
use crate::log::{EntryRef, LogReader, Op};
use crate::page::{Change, EntryMark, PartReader};
use crate::repair::looking_only;
use crate::types::{Lsn, PageId};

/// Bytes of parts that are handed to a worker at a time.
const BATCH_BYTES: usize = 256 << 10;
/// Batches that may wait for a worker: what bounds memory.
const WAITING: usize = 4;

/// Parts for one worker, their changes one after the other in `bytes`.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    parts: Vec<PartAt>,
}

struct PartAt {
    page: PageId,
    previous: Lsn,
    mark: EntryMark,
    end: usize,
}

#[derive(Default)]
struct Worked {
    applied: u64,
    skipped: u64,
    pages: HashSet<PageId>,
    damaged: HashMap<PageId, String>,
}

/// The pages of one pass, and where in the log they begin to matter.
pub(super) struct Pass {
    first: PageId,
    last: PageId,
    pub from: Lsn,
}

/// Cuts the dirty page table into ranges of at most `most` pages, by page number.
pub(super) fn passes(analysis: &Analysis, most: usize) -> Vec<Pass> {
    let mut pages: Vec<(PageId, Lsn)> = analysis.dirty.iter().map(|(page, lsn)| (*page, *lsn)).collect();
    pages.sort_unstable();
    pages
        .chunks(most.max(1))
        .map(|range| Pass {
            first: range[0].0,
            last: range[range.len() - 1].0,
            from: range.iter().map(|(_, lsn)| *lsn).min().unwrap_or(analysis.end),
        })
        .collect()
}

/// Redoes the pages of one pass from `reader`, which stands at its start.
pub(super) fn redo(
    reader: &mut LogReader,
    pool: &Arc<Pool>,
    analysis: &Analysis,
    pass: &Pass,
    workers: usize,
    progress: &Progress,
) -> Result<RedoReport> {
    let mut report = RedoReport::default();
    let worked = std::thread::scope(|scope| {
        let mut feeds = Vec::new();
        let mut threads = Vec::new();
        for _ in 0..workers.max(1) {
            let (feed, work) = sync_channel::<Batch>(WAITING);
            feeds.push(Feed { feed, batch: Batch::default() });
            // What a later image brings back is not mended page by page from the same log.
            threads.push(scope.spawn(move || looking_only(|| work_through(&work, pool))));
        }
        let fed = feed_all(reader, analysis, pass, &mut feeds, &mut report, progress);
        drop(feeds);
        let worked: Result<Vec<Worked>> = threads
            .into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_| Err(Error::internal("a redo worker panicked")))
            })
            .collect();
        // A worker's own error says more than that it could not be fed.
        worked.and_then(|worked| fed.map(|()| worked))
    })?;
    for worker in worked {
        report.applied += worker.applied;
        report.skipped += worker.skipped;
        report.pages += worker.pages.len() as u64;
        report.damaged.extend(worker.damaged);
    }
    report.damaged.sort();
    Ok(report)
}

struct Feed {
    feed: SyncSender<Batch>,
    batch: Batch,
}

impl Feed {
    fn send(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        // A worker that is gone has an error of its own to tell.
        self.feed.send(batch).map_err(|_| Error::internal("a redo worker stopped"))
    }
}

fn feed_all(
    reader: &mut LogReader,
    analysis: &Analysis,
    pass: &Pass,
    feeds: &mut [Feed],
    report: &mut RedoReport,
    progress: &Progress,
) -> Result<()> {
    let mut told = pass.from;
    while let Some(entry) = reader.next()? {
        report.records += 1;
        report.bytes += u64::from(entry.header.len);
        if report.records.is_multiple_of(1024) {
            progress.ensure_going()?;
            progress.add(entry.header.end().0.saturating_sub(told.0));
            told = entry.header.end();
        }
        if changes_pages(entry.header.op) {
            split(&entry, analysis, pass, feeds, report)?;
        }
    }
    feeds.iter_mut().try_for_each(Feed::send)
}

fn changes_pages(op: Op) -> bool {
    matches!(
        op,
        Op::Insert
            | Op::Update
            | Op::Delete
            | Op::Clr
            | Op::Structure
            | Op::Image
            | Op::PagesTaken
            | Op::TreeMade
            | Op::Freed
    )
}

fn split(
    entry: &EntryRef<'_>,
    analysis: &Analysis,
    pass: &Pass,
    feeds: &mut [Feed],
    report: &mut RedoReport,
) -> Result<()> {
    let header = &entry.header;
    let mut parts = PartReader::new(entry.body)?;
    while let Some((page, previous, change)) = parts.next_raw()? {
        if page < pass.first || page > pass.last {
            continue;
        }
        let is_needed = analysis.dirty.get(&page).is_some_and(|rec_lsn| header.end() > *rec_lsn);
        if !is_needed {
            report.skipped += 1;
            continue;
        }
        let feed = &mut feeds[page.0 as usize % feeds.len()];
        feed.batch.bytes.extend_from_slice(change);
        let mark = EntryMark { txn: header.txn, lsn: header.lsn, end: header.end() };
        feed.batch.parts.push(PartAt { page, previous, mark, end: feed.batch.bytes.len() });
    }
    // Only now: parts of one entry must not be torn apart.
    feeds.iter_mut().filter(|feed| feed.batch.bytes.len() >= BATCH_BYTES).try_for_each(Feed::send)
}

fn work_through(work: &Receiver<Batch>, pool: &Pool) -> Result<Worked> {
    let mut worked = Worked::default();
    while let Ok(batch) = work.recv() {
        let mut start = 0;
        let together = |a: &PartAt, b: &PartAt| a.page == b.page && a.mark.end == b.mark.end;
        for parts in batch.parts.chunk_by(together) {
            let mut changes = Vec::with_capacity(parts.len());
            for part in parts {
                changes.push(PartReader::decode_change(&batch.bytes[start..part.end])?);
                start = part.end;
            }
            redo_parts(pool, &parts[0], &changes, &mut worked)?;
        }
    }
    Ok(worked)
}

/// Applies the changes of one entry to one page unless the page has them already. A page that
/// cannot be read is rebuilt by the next full image of it, or told as damaged.
fn redo_parts(pool: &Pool, part: &PartAt, changes: &[Change<'_>], worked: &mut Worked) -> Result<()> {
    let mut page = match pool.ensure(part.page).and_then(|()| pool.write(part.page)) {
        Ok(page) => page,
        Err(error) if is_page_damage(&error) => {
            if !matches!(changes[0], Change::Image { .. }) {
                worked.damaged.insert(part.page, error.to_string());
                return Ok(());
            }
            pool.fresh(part.page)?
        }
        Err(error) => return Err(error),
    };
    // Also where it has the changes: what the system's cache shows after a failed sync need not
    // be on the medium, so every page of the dirty page table is written out again.
    page.begin_redo(part.mark.lsn);
    if page.lsn() >= part.mark.end {
        worked.skipped += changes.len() as u64;
        return Ok(());
    }
    if !matches!(changes[0], Change::Image { .. }) && page.lsn() != part.previous {
        let (has, lacks) = (page.lsn(), part.previous);
        let why = format!("its last change is of LSN {has}; the one up to {lacks} never reached it");
        worked.damaged.insert(part.page, why);
        return Ok(());
    }
    match changes.iter().try_for_each(|change| page.redo(part.page, change, part.mark)) {
        Ok(()) => {
            worked.applied += changes.len() as u64;
            worked.pages.insert(part.page);
            worked.damaged.remove(&part.page);
        }
        Err(error) => {
            worked.damaged.insert(part.page, error.to_string());
        }
    }
    Ok(())
}

fn is_page_damage(error: &Error) -> bool {
    matches!(error.code, Code::ChecksumMismatch | Code::PageDamaged | Code::PageNotFound)
}
