//! Analysis: one pass from the begin record of the last complete checkpoint to the end of the
//! log finds who was unfinished and which pages may lack changes.

use std::collections::{HashMap, HashSet};

use super::claims::Claims;
use super::{Analysis, Loser, Progress};
use crate::buffer::PageMap;
use crate::checkpoint::Tables;
use crate::control::ControlData;
use crate::error::Result;
use crate::log::{EntryRef, LogReader, Op};
use crate::memory;
use crate::page::{Change, PartReader, get_u32, get_u64};
use crate::txn::{Counts, Ended, Garbage, Pending, read_compensation, take};
use crate::types::{Lsn, PageId, TreeId, TxnId};

/// Leaves with deleted records are noted up to this many: to clean them is a courtesy.
const MOST_DELETIONS: usize = 1 << 16;

/// What memory is asked for.
const OPERATION: &str = "analyse the log";

/// Since when a page may lack changes, the end of the last entry that changed it, and that of
/// the last one that holds it in full.
struct Dirty {
    rec_lsn: Lsn,
    last_end: Lsn,
    image_end: Lsn,
}

/// Analysis under way: it takes every entry from the checkpoint's begin record on, in log order.
#[derive(Default)]
pub(super) struct Analyser {
    begin: Lsn,
    /// The pages come from a backup: what was written out after they were copied is not in them.
    pages_lag: bool,
    /// With what they have done to trees since the checkpoint.
    active: HashMap<TxnId, (Loser, Claims)>,
    /// Those that ended before the checkpoint's end record, which may still name them.
    ended: HashSet<TxnId>,
    has_tables: bool,
    /// When those began that had logged nothing at the checkpoint.
    quiet: HashMap<TxnId, i64>,
    dirty: PageMap<Dirty>,
    counts: Counts,
    pending: Vec<Pending>,
    freed: Vec<Pending>,
    deletions: HashMap<PageId, (TreeId, TxnId)>,
    result: Analysis,
}

/// Runs the pass over `reader`, which stands at the checkpoint's begin record.
pub(super) fn analyse(
    reader: &mut LogReader,
    control: &ControlData,
    progress: &Progress,
) -> Result<Analysis> {
    let mut analyser = Analyser::new(control);
    let (_, total) = reader.progress();
    progress.begin("analysis", "bytes", total);
    while let Some(entry) = reader.next()? {
        analyser.take(&entry)?;
        if analyser.result.records.is_multiple_of(1024) {
            progress.ensure_going()?;
            progress.set(entry.header.end().0 - analyser.begin.0);
        }
    }
    let end = reader.tail().map_or(reader.position(), |tail| tail.end);
    analyser.finish(end)
}

impl Analyser {
    pub fn new(control: &ControlData) -> Analyser {
        let begin = control.checkpoint_lsn;
        let result = Analysis { start: begin, ..Analysis::default() };
        Analyser { begin, pages_lag: control.pages_lag, result, ..Analyser::default() }
    }

    /// Takes the next entry; what lies before the checkpoint does not matter.
    pub fn take(&mut self, entry: &EntryRef<'_>) -> Result<()> {
        let header = &entry.header;
        if header.lsn < self.begin {
            return Ok(());
        }
        self.result.records += 1;
        self.result.bytes += u64::from(header.len);
        if header.txn != TxnId::SYSTEM {
            self.take_transaction(entry)?;
        }
        match header.op {
            Op::Clr => {
                let left = read_compensation(entry.body)?.1;
                let by = header.txn;
                self.pending.extend(left.map(|garbage| Pending { by, garbage }));
                self.take_pages(entry)
            }
            Op::Insert | Op::Update | Op::Delete | Op::Structure | Op::Image => self.take_pages(entry),
            Op::PagesTaken | Op::TreeMade => self.take_pages(entry),
            Op::PagesWritten if !self.pages_lag => {
                self.take_written(entry.body);
                Ok(())
            }
            Op::Freed => {
                self.take_freed(entry.body)?;
                self.take_pages(entry)
            }
            Op::CheckpointEnd => self.take_checkpoint(entry.body),
            _ => Ok(()),
        }
    }

    fn take_transaction(&mut self, entry: &EntryRef<'_>) -> Result<()> {
        let (id, lsn) = (entry.header.txn, entry.header.lsn);
        self.result.next_txn = self.result.next_txn.max(TxnId(id.0.saturating_add(1)));
        if matches!(entry.header.op, Op::Commit | Op::AbortEnd) {
            self.active.remove(&id);
            if !self.has_tables {
                self.ended.insert(id);
            }
            let ended = Ended::decode(entry.body)?;
            self.result.last_commit_at = self.result.last_commit_at.max(ended.time);
            self.result.committed += u64::from(entry.header.op == Op::Commit);
            self.add_counts(ended.deltas);
            self.pending.extend(ended.garbage.into_iter().map(|garbage| Pending { by: id, garbage }));
            return Ok(());
        }
        let started_at = self.quiet.get(&id).copied().unwrap_or(0);
        let begun = || (Loser { id, first: lsn, last: lsn, started_at, changes: 0 }, Claims::default());
        let (loser, claims) = self.active.entry(id).or_insert_with(begun);
        loser.last = loser.last.max(lsn);
        loser.changes += u64::from(matches!(entry.header.op, Op::Insert | Op::Update | Op::Delete));
        claims.take(&entry.header, entry.body)
    }

    fn add_counts(&mut self, counts: Counts) {
        for (tree, delta) in counts {
            let count = self.counts.entry(tree).or_default();
            *count = count.saturating_add(delta);
        }
    }

    fn take_pages(&mut self, entry: &EntryRef<'_>) -> Result<()> {
        let mut parts = PartReader::new(entry.body)?;
        let next_tree = TreeId(parts.tree().0.saturating_add(1));
        self.result.next_tree = self.result.next_tree.max(next_tree);
        let (lsn, end) = (entry.header.lsn, entry.header.end());
        let is_deletion = entry.header.op == Op::Delete && self.deletions.len() < MOST_DELETIONS;
        let tree = parts.tree();
        while let Some((page, _, change)) = parts.next_raw()? {
            let new = Dirty { rec_lsn: lsn, last_end: Lsn::NONE, image_end: Lsn::NONE };
            memory::widen(&mut self.dirty, OPERATION)?;
            let dirty = self.dirty.entry(page).or_insert(new);
            // What came before an image is in it, unless this entry changed the page before that.
            if Change::is_image(change) && dirty.last_end < end {
                (dirty.rec_lsn, dirty.image_end) = (lsn, end);
            }
            dirty.last_end = end;
            if is_deletion {
                memory::widen(&mut self.deletions, OPERATION)?;
                self.deletions.insert(page, (tree, entry.header.txn));
            }
        }
        Ok(())
    }

    /// Pages that reached their place: what they held then needs no redo.
    fn take_written(&mut self, body: &[u8]) {
        for item in body.chunks_exact(12) {
            let (page, written) = (PageId(get_u32(item, 0)), Lsn(get_u64(item, 4)));
            if let Some(dirty) = self.dirty.get_mut(&page) {
                dirty.rec_lsn = dirty.rec_lsn.max(written);
                if dirty.last_end <= written {
                    self.dirty.remove(&page);
                }
            }
        }
    }

    fn take_freed(&mut self, body: &[u8]) -> Result<()> {
        let mut parts = PartReader::new(body)?;
        while parts.next_raw()?.is_some() {}
        let mut extra = parts.extra();
        let freed = (|| {
            let by = TxnId(get_u64(take(&mut extra, 8)?, 0));
            Some(Pending { by, garbage: Garbage::decode(&mut extra)? })
        })();
        self.freed.extend(freed);
        Ok(())
    }

    /// The end record of the checkpoint that this pass began at. What its transactions and pages
    /// did after the begin record is known already and counts more.
    fn take_checkpoint(&mut self, body: &[u8]) -> Result<()> {
        let tables = Tables::decode(body)?;
        if tables.begin != self.begin {
            return Ok(());
        }
        self.has_tables = true;
        for txn in &tables.active {
            if self.ended.contains(&txn.id) {
                continue;
            }
            let (id, first, last) = (txn.id, txn.first, txn.last);
            let begun = || (Loser { id, first, last, started_at: 0, changes: 0 }, Claims::default());
            let (loser, _) = self.active.entry(id).or_insert_with(begun);
            loser.first = loser.first.min(txn.first);
            loser.last = loser.last.max(txn.last);
            loser.started_at = txn.started_at;
            // Those from the begin record on are counted as they come.
            loser.changes += txn.changes;
        }
        for (id, started_at) in tables.quiet {
            if let Some(loser) = self.active.get_mut(&id) {
                loser.0.started_at = started_at;
            }
            self.quiet.insert(id, started_at);
        }
        for (page, rec_lsn) in tables.dirty {
            let new = Dirty { rec_lsn, last_end: tables.begin, image_end: Lsn::NONE };
            memory::widen(&mut self.dirty, OPERATION)?;
            let dirty = self.dirty.entry(page).or_insert(new);
            if dirty.image_end == Lsn::NONE {
                dirty.rec_lsn = dirty.rec_lsn.min(rec_lsn);
            }
        }
        self.add_counts(tables.counts);
        self.pending.extend(tables.pending);
        self.result.next_txn = self.result.next_txn.max(tables.next_txn);
        self.result.next_tree = self.result.next_tree.max(tables.next_tree);
        Ok(())
    }

    /// Pages that may lack changes, as far as the log was read.
    pub fn dirty_pages(&self) -> u64 {
        self.dirty.len() as u64
    }

    /// Changes of transactions that have not ended, as far as the log was read.
    pub fn unfinished_changes(&self) -> u64 {
        self.active.values().map(|(loser, _)| loser.changes).sum()
    }

    /// What was found, the valid log ending at `end`.
    pub fn finish(mut self, end: Lsn) -> Result<Analysis> {
        let mut result = self.result;
        result.end = end;
        for (loser, claims) in self.active.into_values() {
            result.losers.push(loser);
            result.claims.insert(loser.id, claims);
        }
        result.losers.sort_by_key(|loser| loser.id);
        result.redo_lsn = self.dirty.values().map(|dirty| dirty.rec_lsn).min().unwrap_or(end);
        result.dirty.try_reserve(self.dirty.len()).map_err(|_| memory::lacking(OPERATION))?;
        result.dirty.extend(self.dirty.into_iter().map(|(page, dirty)| (page, dirty.rec_lsn)));
        let deletions = self.deletions.into_iter().map(|(page, (tree, by))| (tree, page, by));
        result.deletions = memory::gathered(deletions, OPERATION)?;
        result.counts = self.counts;
        result.counts.retain(|_, count| *count != 0);
        self.pending.sort_by_key(|pending| pending.by);
        for pending in self.pending {
            if !self.freed.contains(&pending) && !result.pending.contains(&pending) {
                result.pending.push(pending);
            }
        }
        Ok(result)
    }
}
