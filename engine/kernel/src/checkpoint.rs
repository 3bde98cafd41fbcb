//! Fuzzy checkpoints: nobody is stopped (Mohan et al. 1992, section 5.4).
//!
//! A begin record; then the dirty page table, the active transactions, the row counts and the
//! pages still to be given back, in an end record; then, once the end is durable, the control
//! file names the begin record. A crash before that leaves the previous checkpoint in force.
//! What happened between the two records is found by analysis, which starts at the begin.

use crate::sync::{AtomicBool, AtomicU64, Ordering};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::Mutex;

use crate::control::{Control, ControlData};
use crate::error::{Code, Error, Result};
use crate::events::unix_micros;
use crate::log::{NewEntry, Op};
use crate::page::{get_u32, get_u64};
use crate::stats::Timed;
use crate::tree::overflow::REFERENCE;
use crate::txn::{
    Counts, Garbage, Pending, Shared, Status, TxnState, decode_counts, encode_counts, take,
};
use crate::types::{Lsn, PageId, TreeId, TxnId};

/// A transaction that was active at a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveTxn {
    pub id: TxnId,
    pub first: Lsn,
    pub last: Lsn,
    pub started_at: i64,
    /// Its changes of records before the checkpoint's begin record.
    pub changes: u64,
}

/// What the end record of a checkpoint holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tables {
    pub begin: Lsn,
    pub at: i64,
    pub next_txn: TxnId,
    pub next_tree: TreeId,
    pub counts: Counts,
    pub dirty: Vec<(PageId, Lsn)>,
    pub active: Vec<ActiveTxn>,
    pub pending: Vec<Pending>,
    /// Transactions that had begun and logged nothing yet, with when.
    pub quiet: Vec<(TxnId, i64)>,
}

impl Tables {
    pub fn encode(&self) -> Result<Vec<u8>> {
        let most = 64
            + 12 * (self.counts.len() + self.dirty.len())
            + 40 * self.active.len()
            + (13 + REFERENCE) * self.pending.len()
            + 16 * self.quiet.len();
        let mut out = Vec::new();
        crate::memory::reserve(&mut out, most, "write a checkpoint")?;
        out.extend_from_slice(&self.begin.0.to_le_bytes());
        out.extend_from_slice(&self.at.to_le_bytes());
        out.extend_from_slice(&self.next_txn.0.to_le_bytes());
        out.extend_from_slice(&self.next_tree.0.to_le_bytes());
        encode_counts(&self.counts, &mut out);
        out.extend_from_slice(&(self.dirty.len() as u32).to_le_bytes());
        for (page, rec_lsn) in &self.dirty {
            out.extend_from_slice(&page.0.to_le_bytes());
            out.extend_from_slice(&rec_lsn.0.to_le_bytes());
        }
        out.extend_from_slice(&(self.active.len() as u32).to_le_bytes());
        for txn in &self.active {
            for word in [txn.id.0, txn.first.0, txn.last.0, txn.started_at.cast_unsigned()] {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
        out.extend_from_slice(&(self.pending.len() as u32).to_le_bytes());
        for pending in &self.pending {
            out.extend_from_slice(&pending.by.0.to_le_bytes());
            pending.garbage.encode(&mut out);
        }
        // Last, so that records that were written without it can still be read.
        self.active.iter().for_each(|txn| out.extend_from_slice(&txn.changes.to_le_bytes()));
        out.extend_from_slice(&(self.quiet.len() as u32).to_le_bytes());
        for (id, started_at) in &self.quiet {
            out.extend_from_slice(&id.0.to_le_bytes());
            out.extend_from_slice(&started_at.to_le_bytes());
        }
        Ok(out)
    }

    pub fn decode(mut bytes: &[u8]) -> Result<Tables> {
        // No more pages than there are bytes for: each takes twelve.
        let mut dirty = Vec::new();
        crate::memory::reserve(&mut dirty, bytes.len() / 12, "read a checkpoint")?;
        let from = &mut bytes;
        (|| {
            let word = |from: &mut &[u8]| take(from, 8).map(|b| get_u64(b, 0));
            let mut tables = Tables {
                begin: Lsn(word(from)?),
                at: word(from)?.cast_signed(),
                next_txn: TxnId(word(from)?),
                next_tree: TreeId(get_u32(take(from, 4)?, 0)),
                counts: decode_counts(from)?,
                dirty,
                ..Tables::default()
            };
            for _ in 0..get_u32(take(from, 4)?, 0) {
                tables.dirty.push((PageId(get_u32(take(from, 4)?, 0)), Lsn(word(from)?)));
            }
            for _ in 0..get_u32(take(from, 4)?, 0) {
                tables.active.push(ActiveTxn {
                    id: TxnId(word(from)?),
                    first: Lsn(word(from)?),
                    last: Lsn(word(from)?),
                    started_at: word(from)?.cast_signed(),
                    changes: 0,
                });
            }
            for _ in 0..get_u32(take(from, 4)?, 0) {
                tables.pending.push(Pending { by: TxnId(word(from)?), garbage: Garbage::decode(from)? });
            }
            if from.is_empty() {
                return Some(tables);
            }
            for txn in &mut tables.active {
                txn.changes = word(from)?;
            }
            for _ in 0..get_u32(take(from, 4)?, 0) {
                tables.quiet.push((TxnId(word(from)?), word(from)?.cast_signed()));
            }
            Some(tables)
        })()
        .ok_or_else(|| {
            Error::new(Code::WalCorrupted).with("details", "a checkpoint record cannot be read")
        })
    }
}

/// The last checkpoint, in figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckpointStatus {
    pub lsn: Lsn,
    pub redo_lsn: Lsn,
    pub at: i64,
    pub count: u64,
    pub pages: u64,
    pub duration: Duration,
    /// The next one is taken after so much log.
    pub due_bytes: u64,
}

/// Takes checkpoints, one at a time.
pub struct Checkpointer {
    control: Mutex<Control>,
    status: Mutex<CheckpointStatus>,
    /// Pages dirty since before this are written out by the next checkpoint.
    previous_begin: AtomicU64,
    /// Log from here on is kept for running backups; one entry for each.
    pins: Mutex<Vec<(u64, Lsn)>>,
    next_pin: AtomicU64,
    /// The last checkpoint could not archive what it wanted to.
    archive_fails: AtomicBool,
    /// Log from here on is kept for mirrors, by their numbers, up to so many bytes.
    holds: Mutex<Vec<(u64, Lsn)>>,
    hold_bytes: AtomicU64,
    due_bytes: AtomicU64,
}

impl Checkpointer {
    pub fn new(control: Control) -> Checkpointer {
        let data = control.data();
        let status = CheckpointStatus {
            lsn: data.checkpoint_lsn,
            redo_lsn: data.redo_lsn,
            at: data.checkpoint_at,
            ..CheckpointStatus::default()
        };
        Checkpointer {
            control: Mutex::new(control),
            status: Mutex::new(status),
            previous_begin: AtomicU64::new(data.checkpoint_lsn.0),
            pins: Mutex::new(Vec::new()),
            next_pin: AtomicU64::new(1),
            archive_fails: AtomicBool::new(false),
            holds: Mutex::new(Vec::new()),
            hold_bytes: AtomicU64::new(u64::MAX),
            due_bytes: AtomicU64::new(u64::MAX),
        }
    }

    /// The most log that is kept for a mirror that does not take it.
    pub fn set_hold_limit(&self, bytes: u64) {
        self.hold_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Keeps the log from `lsn` on for a mirror; a later call moves the hold.
    pub fn hold(&self, mirror: u64, lsn: Lsn) {
        let mut holds = self.holds.lock();
        match holds.iter_mut().find(|(number, _)| *number == mirror) {
            Some((_, held)) => *held = lsn,
            None => holds.push((mirror, lsn)),
        }
    }

    pub fn release(&self, mirror: u64) {
        self.holds.lock().retain(|(number, _)| *number != mirror);
    }

    /// Where the hold of a mirror is, unless it has none or it exceeds the limit.
    pub fn held(&self, mirror: u64, end: Lsn) -> Option<Lsn> {
        let most = self.hold_bytes.load(Ordering::Relaxed);
        let holds = self.holds.lock();
        let (_, lsn) = holds.iter().find(|(number, _)| *number == mirror)?;
        (end.0.saturating_sub(lsn.0) <= most).then_some(*lsn)
    }

    /// After how much log the next checkpoint is to be taken, by whoever takes them.
    pub fn set_due(&self, bytes: u64) {
        self.due_bytes.store(bytes, Ordering::Relaxed);
    }

    pub fn status(&self) -> CheckpointStatus {
        let due_bytes = self.due_bytes.load(Ordering::Relaxed);
        CheckpointStatus { due_bytes, ..*self.status.lock() }
    }

    pub fn control(&self) -> ControlData {
        self.control.lock().data()
    }

    /// Keeps the log from the present start of redo on, until [`Checkpointer::unpin`].
    pub fn pin(&self) -> (u64, Lsn) {
        // The control mutex keeps a checkpoint from cutting the log in between.
        let control = self.control.lock();
        let pin = (self.next_pin.fetch_add(1, Ordering::Relaxed), control.data().redo_lsn);
        self.pins.lock().push(pin);
        pin
    }

    /// As [`Checkpointer::pin`], but back to the first entry of every active transaction too, as
    /// undoing them will need; also answers what the control file says at this moment.
    pub fn pin_with_undo(&self, shared: &Shared) -> (u64, Lsn, ControlData) {
        let control = self.control.lock();
        let data = control.data();
        let from = shared.txns.oldest_needed().map_or(data.redo_lsn, |(lsn, ..)| lsn.min(data.redo_lsn));
        let pin = self.next_pin.fetch_add(1, Ordering::Relaxed);
        self.pins.lock().push((pin, from));
        (pin, from, data)
    }

    pub fn unpin(&self, pin: u64) {
        self.pins.lock().retain(|(number, _)| *number != pin);
    }

    /// Writes out what has been dirty since before the last checkpoint (or, `whole`, everything),
    /// takes a checkpoint, and drops log that nobody needs. `keep_on` is asked between batches.
    pub fn take(
        &self,
        shared: &Shared,
        is_whole: bool,
        keep_on: &mut dyn FnMut() -> bool,
    ) -> Result<CheckpointStatus> {
        let mut control = self.control.lock();
        let started = Instant::now();
        let _lap = shared.stats.lap(Timed::Checkpoint);
        shared.events.push("checkpoint_started", vec![]);
        let pool = &shared.core.pool;
        let older_than =
            if is_whole { pool.log().end() } else { Lsn(self.previous_begin.load(Ordering::Relaxed)) };
        let pages = pool.write_out_older(older_than, keep_on)?;
        let tables = Self::record(shared)?;
        let redo_lsn = tables.dirty.iter().map(|(_, lsn)| *lsn).fold(tables.begin, Lsn::min);
        let before = control.data();
        control.write(ControlData {
            checkpoint_lsn: tables.begin,
            redo_lsn,
            checkpoint_at: tables.at,
            next_txn: tables.next_txn.0,
            clean_end: Lsn::NONE,
            pages_lag: false,
            ..before
        })?;
        self.previous_begin.store(tables.begin.0, Ordering::Relaxed);
        let status = CheckpointStatus {
            lsn: tables.begin,
            redo_lsn,
            at: tables.at,
            count: self.status.lock().count + 1,
            pages: pages as u64,
            duration: started.elapsed(),
            due_bytes: self.due_bytes.load(Ordering::Relaxed),
        };
        *self.status.lock() = status;
        let keep = self.keep_from(shared, redo_lsn).0;
        shared.core.log.truncate_before(keep)?;
        self.tell_of_archive(shared, keep);
        shared.events.push(
            "checkpoint_finished",
            vec![
                ("lsn", tables.begin.0.into()),
                ("redo_lsn", redo_lsn.0.into()),
                ("pages", status.pages.into()),
                ("seconds", status.duration.as_secs_f64().into()),
            ],
        );
        Ok(status)
    }

    /// Says where log waits for its archive, has gone without, or is archived again.
    fn tell_of_archive(&self, shared: &Shared, keep: Lsn) {
        let log = &shared.core.log;
        if let Some(gap) = log.take_archive_gap() {
            shared.events.push(
                "archive_broken",
                vec![
                    ("first_segment", gap.first.into()),
                    ("last_segment", gap.last.into()),
                    ("until_lsn", gap.until.0.into()),
                    ("error", gap.why.to_string().into()),
                ],
            );
        }
        let failure = log.archive_failure();
        let has_failed = self.archive_fails.swap(failure.is_some(), Ordering::Relaxed);
        if let Some(error) = failure {
            // What waits is not lost: it stays where it is until the archive takes it again.
            let waiting = keep.0.saturating_sub(log.status().oldest.0);
            shared.events.push(
                "archive_failed",
                vec![("error", error.to_string().into()), ("waiting_bytes", waiting.into())],
            );
        } else if has_failed {
            shared.events.push("archive_resumed", vec![]);
        }
    }

    /// Appends begin and end records; both are durable on return.
    fn record(shared: &Shared) -> Result<Tables> {
        let log = &shared.core.log;
        let mut counts = Counts::default();
        let early = shared.txns.active();
        let mut changes = HashMap::with_capacity(early.len());
        let begin =
            log.append(&NewEntry::new(TxnId::SYSTEM, Op::CheckpointBegin, Lsn::NONE, &[]), |_| {
                counts = shared.logged_counts.lock().clone();
                // A change is counted under the log's mutex too: these are those before this record.
                let count = |txn: &Arc<TxnState>| (txn.id, txn.changes.load(Ordering::Relaxed));
                changes.extend(early.iter().map(count));
            })?;
        shared.core.images_since.store(begin.lsn.0, Ordering::Relaxed);
        // Read after the begin record: whatever was appended before it is in one of these.
        let active = shared.txns.active();
        let active = active.iter().filter(|txn| txn.status() == Status::Active);
        let (quiet, active): (Vec<_>, Vec<_>) = active.partition(|txn| txn.first_lsn().is_none());
        let tables = Tables {
            begin: begin.lsn,
            at: unix_micros(),
            next_txn: shared.txns.next_id(),
            next_tree: shared.txns.next_tree(),
            counts,
            dirty: shared.core.pool.dirty_pages()?,
            active: active
                .iter()
                .map(|txn| ActiveTxn {
                    id: txn.id,
                    first: txn.first_lsn(),
                    last: txn.last_lsn(),
                    started_at: txn.started_at,
                    // One that began a moment before the begin record is short of that moment.
                    changes: changes.get(&txn.id).copied().unwrap_or(0),
                })
                .collect(),
            pending: shared.txns.pending(),
            quiet: quiet.iter().map(|txn| (txn.id, txn.started_at)).collect(),
        };
        let body = tables.encode()?;
        let end =
            log.append(&NewEntry::new(TxnId::SYSTEM, Op::CheckpointEnd, Lsn::NONE, &[&body]), |_| {})?;
        log.flush_to(end.end)?;
        Ok(tables)
    }

    /// The oldest log that has to be kept, and what for.
    pub fn keep_from(&self, shared: &Shared, redo_lsn: Lsn) -> (Lsn, String) {
        let mut keep = (redo_lsn, "checkpoint".to_owned());
        if let Some((lsn, txn, why)) = shared.txns.oldest_needed()
            && lsn < keep.0
        {
            keep = (lsn, format!("{why} {txn}"));
        }
        for (_, lsn) in self.pins.lock().iter() {
            if *lsn < keep.0 {
                keep = (*lsn, "backup".to_owned());
            }
        }
        let (end, most) = (shared.core.log.end(), self.hold_bytes.load(Ordering::Relaxed));
        for (_, lsn) in self.holds.lock().iter() {
            // Beyond the limit the mirror gets a new copy: the disk of the database must not fill.
            if *lsn < keep.0 && end.0.saturating_sub(lsn.0) <= most {
                keep = (*lsn, "mirror".to_owned());
            }
        }
        keep
    }

    /// Says in the control file that the log ends cleanly at `end`.
    pub fn close(&self, end: Lsn) -> Result<()> {
        let mut control = self.control.lock();
        let data = ControlData { clean_end: end, ..control.data() };
        control.write(data)
    }
}
