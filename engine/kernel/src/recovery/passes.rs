//! Redo without an index: the whole stretch of log is read once for each share of the pages.
//!
//! One thread reads windows and tells the workers which entries are theirs; a window itself is
//! shared, never copied, and comes back when all are through with it. What no page of the share
//! needs is only framed.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::RedoReport;
use super::index::GROUP_PAGES;
use super::redo::{Redo, Share, Syncer, join};
use super::replay::{Replay, Worked};
use crate::error::{Error, Result};
use crate::log::EntryHeader;
use crate::log::windows::{Window, Windows};
use crate::page::PartReader;
use crate::repair::looking_only;
use crate::sync::begin_scoped;
use crate::types::{Lsn, PageId};

/// Windows of the log in memory.
const WINDOWS: usize = 6;

/// What a worker is told.
enum Work<'s> {
    /// Entries of one window, in log order, that change pages of the worker's part of a share.
    Entries(Lent, Vec<Lsn>, &'s Share),
    /// No more entries for the pages at hand: out with them.
    EndShare,
}

/// A window on loan to one worker; dropping it gives it back.
struct Lent {
    window: Option<Arc<Window>>,
    back: Sender<Arc<Window>>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(window) = self.window.take() {
            // The reader that would take it may have ended.
            let _ = self.back.send(window);
        }
    }
}

/// Neighbouring pages go to the same worker, so that they are written in one run.
fn worker_of(page: PageId, workers: usize) -> usize {
    (page.0 / GROUP_PAGES) as usize % workers
}

pub(super) fn run(redo: &Redo<'_>) -> Result<RedoReport> {
    // All pages of a share may be one worker's, and the others still hold the share before.
    let shares = redo.shares(redo.pool.usable_frames() / 2);
    let bytes = shares.iter().map(|share| redo.log.end().0.saturating_sub(share.from.0)).sum();
    redo.progress.begin("redo", "bytes", bytes);
    let workers = std::thread::scope(|scope| {
        let syncer = Syncer::start(scope, redo);
        let mut feeds = Vec::new();
        let mut workers = Vec::new();
        for worker in 0..redo.workers {
            let (feed, work) = sync_channel::<Work<'_>>(WINDOWS);
            feeds.push(feed);
            let wake = syncer.waker();
            let work = move || looking_only(|| carry_out(redo, worker, &work, wake));
            workers.push(begin_scoped(scope, work));
        }
        let fed = Feeder::new(redo, feeds).feed_all(&shares);
        let workers: Vec<Result<Worked>> =
            workers.into_iter().map(|begun| begun.and_then(join)).collect();
        let workers: Result<Vec<Worked>> = workers.into_iter().collect();
        let synced = syncer.end();
        // A worker's own error says more than that it could not be fed.
        let workers = workers?;
        synced.and(fed).map(|()| workers)
    })?;
    let mut report = RedoReport::gather(redo.pool, workers)?;
    report.passes = shares.len() as u64;
    Ok(report)
}

/// Works until the feed ends. After an error it only gives windows back, so that nobody waits for
/// one.
fn carry_out(
    redo: &Redo<'_>,
    worker: usize,
    work: &Receiver<Work<'_>>,
    wake: Option<Sender<()>>,
) -> Result<Worked> {
    let mut replay = Replay::new(redo);
    let mut outcome = Ok(());
    while let Ok(work) = work.recv() {
        if outcome.is_err() {
            continue;
        }
        outcome = match work {
            Work::Entries(lent, entries, share) => {
                redo.progress.count(entries.len() as u64, 0, 0);
                take(redo, worker, &mut replay, &lent, &entries, share)
            }
            Work::EndShare => {
                redo.progress.count(0, replay.held() as u64, 0);
                replay.write_out().inspect(|()| {
                    if let Some(wake) = &wake {
                        // Without the syncing thread the end brings everything to the medium.
                        let _ = wake.send(());
                    }
                })
            }
        };
        if let Err(error) = &outcome {
            redo.fail(error);
        }
    }
    outcome.map(|()| replay.end())
}

fn take(
    redo: &Redo<'_>,
    worker: usize,
    replay: &mut Replay<'_>,
    lent: &Lent,
    entries: &[Lsn],
    share: &Share,
) -> Result<()> {
    let Some(window) = &lent.window else { return Ok(()) };
    entries.iter().try_for_each(|lsn| {
        let (entry, body) = window.entry(*lsn)?;
        let is_ours = |page| worker_of(page, redo.workers) == worker && redo.needs(share, page, &entry);
        replay.take(&entry, body, is_ours)
    })
}

/// Reads the log and hands its entries out.
struct Feeder<'r, 's> {
    redo: &'r Redo<'r>,
    feeds: Vec<SyncSender<Work<'s>>>,
    entries: Vec<Vec<Lsn>>,
    free: Vec<Window>,
    back: (Sender<Arc<Window>>, Receiver<Arc<Window>>),
}

impl<'r, 's> Feeder<'r, 's> {
    fn new(redo: &'r Redo<'r>, feeds: Vec<SyncSender<Work<'s>>>) -> Feeder<'r, 's> {
        Feeder {
            redo,
            entries: feeds.iter().map(|_| Vec::new()).collect(),
            feeds,
            free: (0..WINDOWS).map(|_| Window::default()).collect(),
            back: channel(),
        }
    }

    fn feed_all(mut self, shares: &'s [Share]) -> Result<()> {
        for share in shares {
            self.feed(share)?;
            for feed in &self.feeds {
                feed.send(Work::EndShare).map_err(|_| stopped())?;
            }
        }
        Ok(())
    }

    fn feed(&mut self, share: &'s Share) -> Result<()> {
        let redo = self.redo;
        let mut log = Windows::new(redo.log.clone(), share.from);
        loop {
            redo.ensure_going()?;
            let mut window = self.free_window()?;
            let mut bytes = 0;
            let entries = &mut self.entries;
            let more = log.next(&mut window, |entry, body| {
                bytes += u64::from(entry.len);
                if entry.op.changes_pages() { split(redo, share, entry, body, entries) } else { Ok(()) }
            })?;
            if !more {
                self.free.push(window);
                return Ok(());
            }
            redo.progress.add(bytes);
            redo.progress.count(0, 0, bytes);
            self.hand_out(window, share)?;
        }
    }

    fn free_window(&mut self) -> Result<Window> {
        loop {
            self.redo.ensure_going()?;
            if let Some(window) = self.free.pop() {
                return Ok(window);
            }
            let back = self.back.1.recv().map_err(|_| stopped())?;
            // The last of those who had it brings it back for good.
            self.free.extend(Arc::into_inner(back));
        }
    }

    fn hand_out(&mut self, window: Window, share: &'s Share) -> Result<()> {
        let window = Arc::new(window);
        for (feed, entries) in self.feeds.iter().zip(&mut self.entries) {
            if !entries.is_empty() {
                let lent = Lent { window: Some(Arc::clone(&window)), back: self.back.0.clone() };
                let work = Work::Entries(lent, std::mem::take(entries), share);
                // A worker that is gone has an error of its own to tell.
                feed.send(work).map_err(|_| stopped())?;
            }
        }
        // Where nobody wanted it, this is the only one.
        self.free.extend(Arc::into_inner(window));
        Ok(())
    }
}

fn stopped() -> Error {
    Error::internal("a redo worker stopped")
}

/// Notes an entry for each worker that has a page in it which the share needs.
fn split(
    redo: &Redo<'_>,
    share: &Share,
    entry: &EntryHeader,
    body: &[u8],
    entries: &mut [Vec<Lsn>],
) -> Result<()> {
    let workers = entries.len();
    let mut parts = PartReader::new(body)?;
    while let Some((page, ..)) = parts.next_raw()? {
        if redo.needs(share, page, entry) {
            let list = &mut entries[worker_of(page, workers)];
            if list.last() != Some(&entry.lsn) {
                list.push(entry.lsn);
            }
        }
    }
    Ok(())
}
