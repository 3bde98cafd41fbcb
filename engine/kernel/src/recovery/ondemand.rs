//! Redo on demand: a database that is open before its redo and its undo are through.
//!
//! After analysis all is known that a transaction may come upon: which pages lack changes and since
//! when, where in the log those changes are, and who was unfinished. So the store opens then.
//!
//! - *A page is redone when it is first fetched*, under the latch of its frame, from the entries
//!   that the index names ([`super::index`]); nobody sees it before. The rest is redone in the
//!   background, group by group. What is done to a page is [`redo_page`], as in any recovery.
//! - *A page stays on the list until its frame is dirty* since no later than its first entry. So
//!   every checkpoint has it in its dirty page table: redo after another crash begins early
//!   enough, and the log that this redo reads is not cut. Written out it goes the usual way, the
//!   log first and a double-write copy before its place.
//! - *Losers are active transactions* whose ends are claimed. Their stamps lock what they changed;
//!   whoever wants it waits, and a snapshot reads around it. Their locks on trees are given back
//!   to them ([`super::claims`]): none is dropped before its records are back, nor used before its
//!   own drop is taken back. They are in each checkpoint's
//!   table, and are rolled back in the background like any transaction without an owner.
//! - *A crash meanwhile* finds a log with a new incarnation after the old one, and the checkpoint of
//!   before or one that names what was left. Recovery begins anew, over both.
//! - *A page that cannot be redone* is mended from what a repair would take, mirrors and backups
//!   included ([`super::asking`]), or set apart: its readers get its error, all else goes on. It stays
//!   on the list, so its log stays, and the database is not closed cleanly before it was repaired: the
//!   next open looks again.
//! - *What reads past the cache* (checks, backups, repairs) has redo finish first, or takes a page of
//!   the list for a dirty one.
//! - *Opening is the point of no return.* Before it nothing has changed but whole copies in the place
//!   of torn pages; after it there are new entries in the log, and nothing is taken back.
//!
//! Latches: the background holds several pages that it is redoing. It waits for none: it takes
//! frames for pages that are not in memory, and passes over those that somebody else is fetching.
//!
//! Memory: the index (at most `redo_index_bytes`; where that is too little the database is recovered
//! before it is opened), about 40 bytes for each page that is left, and a window of the log for each
//! thread that is fetching. All of it is given back at the end.

use std::collections::HashMap;

use super::asking::{Asking, at_work, is_helped};
use super::index::{LogIndex, group_of};
use super::opening::helped::ask;
use super::replay::{Effect, each_page, redo_page};
use super::{Analysis, Progress};
use crate::buffer::{Overdue, PageMap, PageWrite, Pool};
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::log::windows::{Spots, Stretch};
use crate::page::Page;
use crate::repair::Helpers;
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering};
use crate::txn::Shared;
use crate::types::{Lsn, PageId, TxnId};

/// Entries that are looked up at a time.
const BATCH: usize = 64;
/// Pages that the background redoes at a time, where the cache has room for four times as many.
const TOGETHER: usize = 64;

/// Where the changes of pages are.
struct Sources {
    index: LogIndex,
    log: Stretch,
}

/// How far a redo on demand has come.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    pub pages: u64,
    pub pages_left: u64,
    pub losers: u64,
    pub losers_left: u64,
    /// Pages that could not be redone, with what their readers are told.
    pub damaged: Vec<(PageId, Error)>,
    /// Log that had to be read, in bytes, and entries that were applied so far.
    pub log_bytes: u64,
    pub applied: u64,
    pub is_complete: bool,
}

/// The pages of an open store that are yet to be redone, and its losers.
pub struct OnDemand {
    left: Mutex<PageMap<Lsn>>,
    /// As many as `left` has; read without its mutex.
    count: AtomicUsize,
    /// What the background is yet to look at, the first pages last.
    queue: Mutex<Vec<PageId>>,
    failed: Mutex<HashMap<PageId, Error>>,
    asking: Asking,
    sources: Mutex<Option<Arc<Sources>>>,
    /// Readers of the log that nobody uses at the moment.
    readers: Mutex<Vec<Spots>>,
    pages: u64,
    losers: Vec<TxnId>,
    stretch: (Lsn, Lsn),
    applied: AtomicU64,
    is_complete: AtomicBool,
}

impl OnDemand {
    /// `helpers` are asked for what redo cannot bring back.
    pub(super) fn new(
        analysis: &Analysis,
        index: LogIndex,
        log: Stretch,
        helpers: Helpers,
    ) -> Arc<OnDemand> {
        let mut queue: Vec<PageId> = analysis.dirty.keys().copied().collect();
        queue.sort_unstable_by(|a, b| b.cmp(a));
        Arc::new(OnDemand {
            left: Mutex::new(analysis.dirty.clone()),
            count: AtomicUsize::new(analysis.dirty.len()),
            pages: queue.len() as u64,
            queue: Mutex::new(queue),
            failed: Mutex::default(),
            asking: Asking::new(helpers),
            sources: Mutex::new(Some(Arc::new(Sources { index, log }))),
            readers: Mutex::default(),
            losers: analysis.losers.iter().map(|loser| loser.id).collect(),
            stretch: (analysis.redo_lsn, analysis.end),
            applied: AtomicU64::new(0),
            is_complete: AtomicBool::new(false),
        })
    }

    /// How things stand; `is_active` tells which losers are not rolled back yet.
    pub fn standing(&self, is_active: impl Fn(TxnId) -> bool) -> Standing {
        let mut damaged: Vec<(PageId, Error)> =
            self.failed.lock().iter().map(|(page, why)| (*page, why.clone())).collect();
        damaged.sort_by_key(|(page, _)| *page);
        Standing {
            pages: self.pages,
            pages_left: self.count.load(Ordering::Acquire) as u64,
            losers: self.losers.len() as u64,
            losers_left: self.losers.iter().filter(|loser| is_active(**loser)).count() as u64,
            damaged,
            log_bytes: self.stretch.1.0 - self.stretch.0.0,
            applied: self.applied.load(Ordering::Relaxed),
            is_complete: self.is_complete.load(Ordering::Acquire),
        }
    }

    /// Where redo begins, and where the log ended that the recovery found.
    pub fn stretch(&self) -> (Lsn, Lsn) {
        self.stretch
    }

    /// True where no page is left; losers may be.
    pub fn is_redone(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// True once a checkpoint stands after the whole recovery.
    pub fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }
    pub fn note_complete(&self) {
        self.is_complete.store(true, Ordering::Release);
    }

    /// True where every loser has been rolled back.
    pub fn is_undone(&self, is_active: impl Fn(TxnId) -> bool) -> bool {
        !self.losers.iter().any(|loser| is_active(*loser))
    }

    /// Pages that are left because they could not be redone are looked at again: what could not be
    /// read may be read now.
    pub fn look_again(&self) {
        let again: Vec<PageId> = self.failed.lock().drain().map(|(page, _)| page).collect();
        self.queue.lock().extend(again);
    }

    /// Redoes some pages; returns how many were looked at, 0 where all have been. Those that cannot
    /// be redone are noted, not told.
    pub fn step(&self, pool: &Pool) -> Result<usize> {
        at_work(|| self.redo_next(pool))
    }

    fn redo_next(&self, pool: &Pool) -> Result<usize> {
        let batch = self.next_batch((pool.usable_frames() / 4).clamp(1, TOGETHER));
        let (mut held, mut others, mut stopped) = (Vec::with_capacity(batch.len()), Vec::new(), None);
        for page in &batch {
            match pool.fetch(*page) {
                Ok(Some((place, read))) => held.push((*page, place, read)),
                Ok(None) => others.push(*page),
                Err(error) => {
                    stopped = Some(error);
                    break;
                }
            }
        }
        let looked_at = held.len() + others.len();
        self.queue.lock().extend(batch[looked_at..].iter().rev());
        self.redo_held(pool, held);
        others.into_iter().for_each(|page| self.touch(pool, page));
        match stopped {
            // Without a frame for even one page nothing was done.
            Some(error) if looked_at == 0 => Err(error),
            _ => Ok(looked_at),
        }
    }

    fn redo_held(&self, pool: &Pool, mut held: Vec<(PageId, PageWrite<'_>, Result<()>)>) {
        let mut targets: Vec<Target<'_>> = Vec::with_capacity(held.len());
        for (id, place, read) in &mut held {
            let rec_lsn = self.rec_lsn(*id).unwrap_or(Lsn::MAX);
            targets.push(Target { id: *id, rec_lsn, page: place, damage: read.clone().err() });
        }
        let redone = self.catch_up(&mut targets);
        let outcomes: Vec<Result<()>> =
            targets.into_iter().map(|target| redone.clone().and(target.outcome())).collect();
        for ((id, place, _), outcome) in held.into_iter().zip(outcomes) {
            self.note_outcome(id, pool.settle_fetched(place, id, outcome).map(drop));
        }
    }

    /// Redoes every page that is left, whoever is at it; those that cannot be redone stay.
    pub fn drain(&self, pool: &Pool, progress: &Progress) -> Result<()> {
        progress.begin("redo", "pages", self.count.load(Ordering::Acquire) as u64);
        loop {
            progress.ensure_going()?;
            match self.step(pool)? {
                0 => break,
                looked_at => progress.add(looked_at as u64),
            }
        }
        // Others may be at work on what is no longer queued: their latches are waited for here.
        for (page, _) in self.pages()? {
            progress.ensure_going()?;
            if !self.failed.lock().contains_key(&page) {
                at_work(|| self.touch(pool, page));
            }
        }
        Ok(())
    }

    /// Asks the helpers for the pages that redo could not bring back so far. Those that nobody has are
    /// set apart then. Returns how many were asked for.
    pub fn ask_helpers(
        &self,
        shared: &Shared,
        disk: &Arc<dyn Disk>,
        progress: &Progress,
    ) -> Result<usize> {
        let _turn = self.asking.turn.lock();
        let wanted = self.asking.wanted();
        let lacking: Vec<PageId> =
            wanted.iter().copied().filter(|page| self.rec_lsn(*page).is_some()).collect();
        // Nobody could change them since the crash, so that what is durable has all of their history.
        let end = shared.core.log.durable();
        let left = at_work(|| ask(&self.asking.helpers, shared, disk, lacking, end, progress))?;
        self.asking.note_asked(&wanted);
        at_work(|| left.iter().for_each(|page| self.touch(&shared.core.pool, *page)));
        Ok(wanted.len())
    }

    /// Who may have copies of pages is there, and pages are to be asked for.
    pub fn is_asking(&self) -> bool {
        !self.asking.is_idle()
    }

    /// True where there is somebody who may have copies.
    pub fn has_helpers(&self) -> bool {
        !self.asking.helpers.0.is_empty()
    }

    /// A thread calls `ask_helpers` from now on, or no longer.
    pub fn attend(&self, is_attended: bool) {
        self.asking.attend(is_attended);
    }

    /// Fetches a page that was in memory, or on its way there, when it was to be redone.
    fn touch(&self, pool: &Pool, id: PageId) {
        let touched = pool.write(id).map(|place| pool.note_redone(&place, id));
        self.note_outcome(id, touched);
    }

    fn note_outcome(&self, id: PageId, outcome: Result<()>) {
        let mut failed = self.failed.lock();
        match outcome {
            Ok(()) => drop(failed.remove(&id)),
            Err(error) => {
                if is_helped(&error) {
                    self.asking.want(id);
                }
                failed.insert(id, error);
            }
        }
    }

    /// Neighbours that are still to be redone.
    fn next_batch(&self, most: usize) -> Vec<PageId> {
        let (mut queue, left) = (self.queue.lock(), self.left.lock());
        let mut batch: Vec<PageId> = Vec::new();
        while let Some(page) = queue.last().copied() {
            let is_near = batch.first().is_none_or(|first| group_of(*first) == group_of(page));
            if !is_near || batch.len() == most {
                break;
            }
            queue.pop();
            if left.contains_key(&page) {
                batch.push(page);
            }
        }
        batch
    }

    /// Makes the changes that pages of one group lack; what became of each is in its `damage`.
    fn catch_up(&self, targets: &mut [Target<'_>]) -> Result<()> {
        let Some(from) = targets.iter().map(|target| target.rec_lsn).min() else { return Ok(()) };
        let sources = self.sources.lock().clone();
        // Others have redone everything meanwhile: these pages too.
        let Some(sources) = sources else { return Ok(()) };
        let end = sources.log.end();
        let wanted: Vec<(PageId, Lsn)> = targets.iter().map(|t| (t.id, t.rec_lsn)).collect();
        let place_of = |id: PageId| wanted.iter().position(|(page, _)| *page == id);
        let list = sources.index.entries(group_of(targets[0].id));
        let mut list = list.skip_while(|lsn| *lsn < from).take_while(|lsn| *lsn < end);
        let idle = self.readers.lock().pop();
        let mut reader = idle.unwrap_or_else(|| Spots::new(sources.log.clone()));
        let (mut batch, mut applied) = (Vec::with_capacity(BATCH), 0);
        loop {
            batch.clear();
            batch.extend(list.by_ref().take(BATCH));
            if batch.is_empty() {
                break;
            }
            reader.read(&batch, |entry, body| {
                let lacks = |id| place_of(id).is_some_and(|place| entry.end() > wanted[place].1);
                each_page(entry, body, lacks, |mark, changes| {
                    if let Some(place) = place_of(changes[0].page) {
                        let Target { page, damage, .. } = &mut targets[place];
                        let effect = redo_page(page, mark, changes, damage);
                        applied += if effect == Effect::Applied { changes.len() as u64 } else { 0 };
                    }
                    Ok(())
                })
            })?;
        }
        self.applied.fetch_add(applied, Ordering::Relaxed);
        self.readers.lock().push(reader);
        Ok(())
    }
}

/// A page that is being redone, latched.
struct Target<'t> {
    id: PageId,
    rec_lsn: Lsn,
    page: &'t mut Page,
    /// What is wrong with it, if anything; a full image may follow.
    damage: Option<Error>,
}

impl Target<'_> {
    fn outcome(self) -> Result<()> {
        self.damage.map_or(Ok(()), Err)
    }
}

impl Overdue for OnDemand {
    fn rec_lsn(&self, page: PageId) -> Option<Lsn> {
        if self.is_redone() {
            return None;
        }
        self.left.lock().get(&page).copied()
    }

    fn pages(&self) -> Result<Vec<(PageId, Lsn)>> {
        let left = self.left.lock();
        crate::memory::gathered(left.iter().map(|(page, lsn)| (*page, *lsn)), "name the overdue pages")
    }

    fn redo(&self, page: &mut Page, id: PageId, read: Result<()>) -> Result<()> {
        let Some(rec_lsn) = self.rec_lsn(id) else { return read };
        let mut target = [Target { id, rec_lsn, page, damage: read.err() }];
        self.catch_up(&mut target)?;
        target.into_iter().try_for_each(Target::outcome)
    }

    fn may_be_helped(&self, page: PageId) -> bool {
        self.asking.may_help(page)
    }

    fn waits_for_help(&self, page: PageId, error: &Error) -> bool {
        is_helped(error) && self.asking.wait(page)
    }

    fn note_redone(&self, page: PageId) {
        let mut left = self.left.lock();
        left.remove(&page);
        self.count.store(left.len(), Ordering::Release);
        if left.is_empty() {
            // Nobody will ask again.
            *left = PageMap::default();
            *self.sources.lock() = None;
            self.readers.lock().clear();
        }
        drop(left);
        self.failed.lock().remove(&page);
    }
}
