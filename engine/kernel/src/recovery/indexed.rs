//! Redo by the index: each worker takes one share of the pages after the other, and reads from
//! the log only the entries that change them.
//!
//! Shares are small, so that their pages stay in the processor's cache: the log was read a moment
//! ago and is, as a rule, still in the system's memory. Where it is not, it has to come from the
//! disk again; workers notice, and take so many shares at a time as the page cache holds: then
//! their reads lie close together and run forward through the log.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::RedoReport;
use super::index::{Entries, LogIndex, group_of};
use super::redo::{Redo, Share, Syncer, join};
use super::replay::{Replay, Worked};
use crate::error::Result;
use crate::log::windows::Spots;
use crate::repair::looking_only;
use crate::sync::begin_scoped;
use crate::types::Lsn;

/// Entries that are looked up at a time.
const BATCH: usize = 64;
/// Bytes of the pages of one share.
const SHARE_BYTES: usize = 3 << 19;
/// Entries that take longer than this, on average, do not come from memory.
const SLOW: Duration = Duration::from_micros(40);

pub(super) fn run(redo: &Redo<'_>, index: &LogIndex) -> Result<RedoReport> {
    let quota = (redo.pool.usable_frames() / redo.workers).max(1);
    let shares = redo.shares(quota.min(SHARE_BYTES / redo.pool.page_size()));
    let queue =
        Queue { shares: &shares, next: AtomicUsize::new(0), is_slow: AtomicBool::new(false), quota };
    redo.progress.begin("redo", "pages", redo.dirty.len() as u64);
    let workers = std::thread::scope(|scope| {
        let syncer = Syncer::start(scope, redo);
        let workers: Vec<_> = (0..redo.workers)
            .map(|_| (syncer.waker(), &queue))
            .map(|(waker, queue)| {
                begin_scoped(scope, move || looking_only(|| work(redo, index, queue, waker)))
            })
            .collect();
        let workers: Vec<Result<Worked>> =
            workers.into_iter().map(|begun| begun.and_then(join)).collect();
        let workers: Result<Vec<Worked>> = workers.into_iter().collect();
        syncer.end().and(workers)
    })?;
    let mut report = RedoReport::gather(redo.pool, workers)?;
    report.passes = shares.len() as u64;
    Ok(report)
}

/// The shares that are still to be done.
struct Queue<'q> {
    shares: &'q [Share],
    next: AtomicUsize,
    /// The log comes from the disk.
    is_slow: AtomicBool,
    /// Pages that a worker may hold.
    quota: usize,
}

impl Queue<'_> {
    /// The next share, or several neighbours as one.
    fn take(&self) -> Option<Share> {
        let most = self.shares.iter().map(|share| share.pages.len()).max()?;
        let count = if self.is_slow.load(Ordering::Relaxed) { (self.quota / most).max(1) } else { 1 };
        let begin = self.next.fetch_add(count, Ordering::Relaxed);
        let taken = self.shares.get(begin..self.shares.len().min(begin + count))?;
        let (first, last) = (taken.first()?, taken.last()?);
        Some(Share {
            first: first.first,
            last: last.last,
            from: taken.iter().map(|share| share.from).min()?,
            pages: first.pages.start..last.pages.end,
        })
    }
}

fn work(
    redo: &Redo<'_>,
    index: &LogIndex,
    queue: &Queue<'_>,
    wake: Option<Sender<()>>,
) -> Result<Worked> {
    let mut replay = Replay::new(redo);
    let outcome = work_through(redo, index, queue, wake.as_ref(), &mut replay);
    outcome.inspect_err(|error| redo.fail(error)).map(|()| replay.end())
}

fn work_through(
    redo: &Redo<'_>,
    index: &LogIndex,
    queue: &Queue<'_>,
    wake: Option<&Sender<()>>,
    replay: &mut Replay<'_>,
) -> Result<()> {
    let mut spots = Spots::new(redo.log.clone());
    while let Some(share) = queue.take() {
        if replay.held() + share.pages.len() > queue.quota {
            replay.write_out()?;
        }
        let began = Instant::now();
        let entries = work_on(redo, index, &share, replay, &mut spots)?;
        if began.elapsed() > SLOW * entries.max(BATCH as u32) {
            queue.is_slow.store(true, Ordering::Relaxed);
        }
        replay.write_out_rebuilt()?;
        redo.progress.add(share.pages.len() as u64);
        redo.progress.count(0, share.pages.len() as u64, 0);
        if let Some(wake) = wake {
            // Without the syncing thread the end brings everything to the medium.
            let _ = wake.send(());
        }
    }
    replay.write_out()
}

/// Redoes the pages of one share; returns the entries read.
fn work_on(
    redo: &Redo<'_>,
    index: &LogIndex,
    share: &Share,
    replay: &mut Replay<'_>,
    spots: &mut Spots,
) -> Result<u32> {
    let mut merge = Merge::of(redo, index, share);
    let mut batch = Vec::with_capacity(BATCH);
    let mut entries = 0;
    loop {
        redo.ensure_going()?;
        batch.clear();
        batch.extend(merge.by_ref().take(BATCH));
        if batch.is_empty() {
            return Ok(entries);
        }
        entries += batch.len() as u32;
        let mut bytes = 0;
        spots.read(&batch, |entry, body| {
            bytes += u64::from(entry.len);
            replay.take(entry, body, |page| redo.needs(share, page, entry))
        })?;
        redo.progress.count(batch.len() as u64, 0, bytes);
    }
}

/// The entries of a share's groups, ascending, each once.
struct Merge<'i> {
    lists: Vec<Entries<'i>>,
    heads: BinaryHeap<Reverse<(Lsn, usize)>>,
    last: Lsn,
    end: Lsn,
}

impl<'i> Merge<'i> {
    fn of(redo: &Redo<'_>, index: &'i LogIndex, share: &Share) -> Merge<'i> {
        let pages = &redo.sorted[share.pages.clone()];
        let (lists, heads) = (Vec::new(), BinaryHeap::new());
        let mut merge = Merge { lists, heads, last: Lsn::NONE, end: redo.log.end() };
        for group in pages.chunk_by(|a, b| group_of(a.0) == group_of(b.0)) {
            let from = group.iter().map(|(_, lsn)| *lsn).min().unwrap_or(Lsn::NONE);
            let mut list = index.entries(group_of(group[0].0));
            // A recLSN lies between two entries: those that begin before it also end before it.
            if let Some(head) = list.by_ref().find(|lsn| *lsn >= from) {
                merge.heads.push(Reverse((head, merge.lists.len())));
                merge.lists.push(list);
            }
        }
        merge
    }
}

impl Iterator for Merge<'_> {
    type Item = Lsn;

    fn next(&mut self) -> Option<Lsn> {
        loop {
            let mut head = self.heads.peek_mut()?;
            let Reverse((lsn, list)) = *head;
            match self.lists[list].next() {
                Some(next) => *head = Reverse((next, list)),
                None => {
                    PeekMut::pop(head);
                }
            }
            if lsn > self.last && lsn < self.end {
                self.last = lsn;
                return Some(lsn);
            }
        }
    }
}
