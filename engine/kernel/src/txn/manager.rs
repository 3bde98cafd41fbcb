//! Who is active, what each may see, and what waits until nobody can see it any more.
//!
//! A transaction leaves the table only when its commit is durable (or its undo is complete), so
//! a snapshot begins at the last durable commit: nobody reads what a failed sync takes back.

use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::sync::{Mutex, RwLock, RwLockWriteGuard, soon};

use super::snapshot::{Horizon, Snapshot};
use crate::core::Author;
use crate::error::{Code, Error, Result};
use crate::events::unix_micros;
use crate::hash::FastMap;
use crate::lock::Work;
use crate::log::{Op, Span};
use crate::types::{Lsn, TreeId, TxnId};

/// What a transaction may see of others (Berenson et al. 1995).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadCommitted,
    /// Snapshot; the first updater wins.
    RepeatableRead,
    /// Reads the newest versions and locks what it reads, gaps included, against writers.
    Serializable,
}

impl Isolation {
    pub fn name(self) -> &'static str {
        match self {
            Isolation::ReadCommitted => "read_committed",
            Isolation::RepeatableRead => "repeatable_read",
            Isolation::Serializable => "serializable",
        }
    }
    pub fn named(name: &str) -> Result<Isolation> {
        [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable]
            .into_iter()
            .find(|isolation| isolation.name() == name)
            .ok_or_else(|| Error::argument("isolation", format!("there is no isolation level {name:?}")))
    }
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    Active,
    /// Its commit record is in the log, but not yet known to be durable.
    Committing,
    Committed,
    Aborted,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Committing => "committing",
            Status::Committed => "committed",
            Status::Aborted => "aborted",
        }
    }
    fn from_byte(byte: u8) -> Status {
        match byte {
            0 => Status::Active,
            1 => Status::Committing,
            2 => Status::Committed,
            _ => Status::Aborted,
        }
    }
}

pub type Counts = FastMap<TreeId, i64>;

/// One transaction, as others may look at it while it runs.
pub struct TxnState {
    pub id: TxnId,
    pub isolation: Isolation,
    pub started_at: i64,
    pub began: Instant,
    pub snapshot: Snapshot,
    /// The oldest log entry its snapshot may have to read; none where every read sees the newest
    /// committed versions, which are in the pages.
    pub pin: Lsn,
    status: AtomicU8,
    first_lsn: AtomicU64,
    last_lsn: AtomicU64,
    pub changes: AtomicU64,
    pub log_bytes: AtomicU64,
    pub undo_reserved: AtomicU64,
    /// Set when it is condemned; the lock table knows why.
    is_condemned: AtomicBool,
    /// Set by who ends the transaction: its owner, or the store.
    ending: AtomicBool,
    /// Operations of its owner under way, one within the other.
    at_work: AtomicU32,
    /// Why somebody else than its owner ends it.
    fate: Mutex<Option<Error>>,
    /// A bit for each way in which somebody was told that it holds too much log.
    told: AtomicU8,
}

/// One operation of a transaction's owner: while it lasts nobody else ends the transaction.
#[must_use]
pub(crate) struct AtWork(Arc<TxnState>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::SeqCst);
    }
}

impl TxnState {
    /// An active transaction that has changed nothing.
    fn new(id: TxnId, isolation: Isolation, started_at: i64, snapshot: Snapshot, pin: Lsn) -> TxnState {
        TxnState {
            id,
            isolation,
            started_at,
            began: Instant::now(),
            snapshot,
            pin,
            status: AtomicU8::new(Status::Active as u8),
            first_lsn: AtomicU64::new(0),
            last_lsn: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            undo_reserved: AtomicU64::new(0),
            is_condemned: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            at_work: AtomicU32::new(0),
            fate: Mutex::new(None),
            told: AtomicU8::new(0),
        }
    }

    pub fn status(&self) -> Status {
        Status::from_byte(self.status.load(Ordering::Acquire))
    }
    pub fn set_status(&self, status: Status) {
        self.status.store(status as u8, Ordering::Release);
    }
    pub fn first_lsn(&self) -> Lsn {
        Lsn(self.first_lsn.load(Ordering::Acquire))
    }
    pub fn last_lsn(&self) -> Lsn {
        Lsn(self.last_lsn.load(Ordering::Acquire))
    }
    pub fn is_condemned(&self) -> bool {
        self.is_condemned.load(Ordering::Acquire)
    }
    /// True for the first who comes to end this transaction.
    pub fn claim_end(&self) -> bool {
        !self.ending.swap(true, Ordering::SeqCst)
    }
    /// Begins an operation of the owner; `None` where somebody has come to end the transaction.
    ///
    /// Of the two, one sees the other: the owner what was claimed, or who claimed it the owner.
    pub(crate) fn begin_work(self: &Arc<Self>) -> Option<AtWork> {
        self.at_work.fetch_add(1, Ordering::SeqCst);
        let work = AtWork(Arc::clone(self));
        (!self.ending.load(Ordering::SeqCst)).then_some(work)
    }
    pub fn is_at_work(&self) -> bool {
        self.at_work.load(Ordering::SeqCst) > 0
    }
    /// True while somebody ends it: what it knows is of no use to it any more.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
    /// Takes the transaction out of its owner's hands, who learns `fate` when it begins its next
    /// operation; false where its end has begun. What the owner is at goes on; see [`Self::is_at_work`].
    pub fn take_over(&self, fate: &Error) -> bool {
        // Whoever finds the end claimed waits here until there is something to be told.
        let mut told = self.fate.lock();
        if self.status() != Status::Active || !self.claim_end() {
            return false;
        }
        *told = Some(fate.clone());
        true
    }
    /// Why the transaction takes no more work.
    pub fn fate(&self) -> Error {
        let ended = || Error::new(Code::TransactionEnded).with("status", self.status().name());
        self.fate.lock().clone().unwrap_or_else(ended)
    }
    /// True for the first who comes to tell that it holds too much log, as a snapshot or for its undo.
    pub fn tell_once(&self, what: &str) -> bool {
        let bit = if what == "snapshot" { 1 } else { 2 };
        self.told.fetch_or(bit, Ordering::AcqRel) & bit == 0
    }
    /// The end failed: somebody else may try.
    pub fn unclaim_end(&self) {
        self.ending.store(false, Ordering::Release);
    }
    /// Takes note of an entry; called under the log's mutex, so that a checkpoint that begins
    /// after the entry sees it.
    ///
    /// What the author sets aside for undo, or takes of it, counts from here on.
    pub fn appended(&self, span: Span, author: &Author) {
        self.settle_undo(author);
        if self.first_lsn().is_none() {
            self.first_lsn.store(span.lsn.0, Ordering::Release);
        }
        self.last_lsn.store(span.lsn.0, Ordering::Release);
        self.log_bytes.fetch_add(span.end.0 - span.lsn.0, Ordering::Relaxed);
        let is_change = matches!(author.op, Op::Insert | Op::Update | Op::Delete);
        self.changes.fetch_add(u64::from(is_change), Ordering::Relaxed);
    }
}

impl TxnState {
    /// So much of `bytes` as is still set aside: what an undo may take.
    pub fn undo_at_hand(&self, bytes: u64) -> u64 {
        bytes.min(self.undo_reserved.load(Ordering::Acquire))
    }

    /// Called once the author's entry is in the log.
    pub fn settle_undo(&self, author: &Author) {
        // Only the one thread that works for the transaction changes it.
        let before = self.undo_reserved.load(Ordering::Acquire);
        let after = before.saturating_sub(author.use_undo) + author.reserve_undo;
        self.undo_reserved.store(after, Ordering::Release);
    }
}

impl Work for TxnState {
    fn started_at(&self) -> i64 {
        self.started_at
    }
    fn work(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
    fn condemn(&self) {
        self.is_condemned.store(true, Ordering::Release);
    }
}

/// Pages to give back once nobody can see what they held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbage {
    Chain {
        tree: TreeId,
        reference: crate::tree::overflow::Reference,
    },
    Tree {
        tree: TreeId,
        root: crate::types::PageId,
    },
    /// A page that was taken and never used.
    Page {
        page: crate::types::PageId,
    },
}

/// Garbage and the transaction whose commit made it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub by: TxnId,
    pub garbage: Garbage,
}

struct Table {
    active: BTreeMap<TxnId, Arc<TxnState>>,
    counts: Arc<Counts>,
}

pub struct TxnManager {
    next_id: AtomicU64,
    /// Every snapshot sees the writers below this one.
    seen_by_all: AtomicU64,
    table: RwLock<Table>,
    pending: Mutex<VecDeque<Pending>>,
    next_tree: AtomicU64,
}

/// The table of who is active, held for a moment by a caller that must not wait.
pub struct Roll<'m> {
    txns: &'m TxnManager,
    table: RwLockWriteGuard<'m, Table>,
}

impl Roll<'_> {
    /// See [`TxnManager::begin`].
    pub fn begin(&mut self, isolation: Isolation, log_end: impl FnOnce() -> Lsn) -> Arc<TxnState> {
        self.txns.admit(&mut self.table, isolation, log_end)
    }

    /// See [`TxnManager::end`].
    pub fn end(&mut self, id: TxnId, deltas: &Counts) {
        self.txns.remove(&mut self.table, id, deltas);
    }
}

impl TxnManager {
    pub fn new(next_id: TxnId, next_tree: TreeId, counts: Counts, pending: Vec<Pending>) -> TxnManager {
        TxnManager {
            next_id: AtomicU64::new(next_id.0.max(1)),
            seen_by_all: AtomicU64::new(0),
            table: RwLock::new(Table { active: BTreeMap::new(), counts: Arc::new(counts) }),
            pending: Mutex::new(pending.into()),
            next_tree: AtomicU64::new(u64::from(next_tree.0)),
        }
    }

    /// Begins a transaction; `log_end` is read under the table's lock.
    pub fn begin(&self, isolation: Isolation, log_end: impl FnOnce() -> Lsn) -> Arc<TxnState> {
        self.admit(&mut self.table.write(), isolation, log_end)
    }

    /// The table for a moment, where it is free.
    pub fn try_roll(&self) -> Option<Roll<'_>> {
        Some(Roll { txns: self, table: soon(|| self.table.try_write())? })
    }

    fn admit(
        &self,
        table: &mut Table,
        isolation: Isolation,
        log_end: impl FnOnce() -> Lsn,
    ) -> Arc<TxnState> {
        let id = TxnId(self.next_id.fetch_add(1, Ordering::AcqRel));
        let active: Box<[TxnId]> = table.active.keys().copied().collect();
        // Read before the first LSNs: an entry appended in between lies beyond it.
        let end = log_end();
        // A version that this snapshot has to look behind was written by one that is active now
        // or begins later: its entry is no older than the first entry of those.
        let oldest = table.active.values().map(|txn| txn.first_lsn()).filter(|lsn| !lsn.is_none()).min();
        let snapshot = Snapshot::new(id, active, Arc::clone(&table.counts));
        let reads_snapshot = isolation == Isolation::RepeatableRead;
        let pin = if reads_snapshot { oldest.unwrap_or(end).min(end) } else { Lsn::NONE };
        let state = Arc::new(TxnState::new(id, isolation, unix_micros(), snapshot, pin));
        table.active.insert(id, Arc::clone(&state));
        self.note_oldest(table);
        state
    }

    /// Called with the table locked, once it has changed.
    fn note_oldest(&self, table: &Table) {
        let mut reading = table.active.values().filter(|txn| txn.isolation == Isolation::RepeatableRead);
        let oldest = reading.next().map_or(self.next_id(), |txn| txn.snapshot.min);
        self.seen_by_all.store(oldest.0, Ordering::Release);
    }

    /// Takes up a transaction that a crash cut off, to undo it.
    pub fn adopt(&self, id: TxnId, first: Lsn, last: Lsn, started_at: i64) -> Arc<TxnState> {
        let mut table = self.table.write();
        let snapshot = Snapshot::new(id, Box::new([]), Arc::clone(&table.counts));
        let state = TxnState::new(id, Isolation::ReadCommitted, started_at, snapshot, Lsn::NONE);
        state.first_lsn.store(first.0, Ordering::Release);
        state.last_lsn.store(last.0, Ordering::Release);
        let state = Arc::new(state);
        table.active.insert(id, Arc::clone(&state));
        state
    }

    /// Takes an ended transaction out, and lets later snapshots see its row counts.
    pub fn end(&self, id: TxnId, deltas: &Counts) {
        self.remove(&mut self.table.write(), id, deltas);
    }

    fn remove(&self, table: &mut Table, id: TxnId, deltas: &Counts) {
        table.active.remove(&id);
        self.note_oldest(table);
        if !deltas.is_empty() {
            let counts = Arc::make_mut(&mut table.counts);
            deltas.iter().for_each(|(tree, delta)| *counts.entry(*tree).or_default() += delta);
        }
    }

    /// True where no transaction is under way.
    pub fn is_idle(&self) -> bool {
        self.table.read().active.is_empty()
    }

    pub fn is_active(&self, id: TxnId) -> bool {
        self.table.read().active.contains_key(&id)
    }

    pub fn get(&self, id: TxnId) -> Option<Arc<TxnState>> {
        self.table.read().active.get(&id).cloned()
    }

    pub fn active(&self) -> Vec<Arc<TxnState>> {
        self.table.read().active.values().cloned().collect()
    }

    /// Row counts as of the last durable commit.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.table.read().counts)
    }

    /// True where every snapshot sees what `writer` did; may say no where they do.
    pub fn is_seen_by_all(&self, writer: TxnId) -> bool {
        writer.0 < self.seen_by_all.load(Ordering::Acquire)
    }

    /// True where a snapshot sees what `older` did and not what `newer` did, which both have
    /// ended: the version between them is needed.
    pub fn is_between(&self, older: TxnId, newer: TxnId) -> bool {
        let table = self.table.read();
        let mut reading = table.active.values().filter(|txn| txn.isolation == Isolation::RepeatableRead);
        reading.any(|txn| txn.snapshot.sees(older) && !txn.snapshot.sees(newer))
    }

    /// What every reader sees alike, now and later.
    pub fn horizon(&self) -> Horizon {
        let table = self.table.read();
        let mut reading = table.active.values().filter(|txn| txn.isolation == Isolation::RepeatableRead);
        // Whatever the oldest snapshot sees, every later one sees too.
        let oldest = reading.next().map(|txn| txn.snapshot.clone());
        Horizon::new(oldest, table.active.keys().copied().collect(), self.next_id())
    }

    pub fn next_id(&self) -> TxnId {
        TxnId(self.next_id.load(Ordering::Acquire))
    }

    /// A tree id that was never used before.
    pub fn new_tree(&self) -> TreeId {
        TreeId(self.next_tree.fetch_add(1, Ordering::AcqRel) as u32)
    }
    pub fn next_tree(&self) -> TreeId {
        TreeId(self.next_tree.load(Ordering::Acquire) as u32)
    }

    /// The oldest entries that undo and snapshots may still need, and who needs them.
    pub fn oldest_needed(&self) -> Option<(Lsn, TxnId, &'static str)> {
        let table = self.table.read();
        let undo = table.active.values().map(|txn| (txn.first_lsn(), txn.id, "transaction"));
        let pins = table.active.values().map(|txn| (txn.pin, txn.id, "snapshot"));
        undo.chain(pins).filter(|(lsn, ..)| !lsn.is_none()).min_by_key(|(lsn, ..)| *lsn)
    }

    pub fn add_pending(&self, by: TxnId, garbage: impl IntoIterator<Item = Garbage>) {
        self.pending.lock().extend(garbage.into_iter().map(|garbage| Pending { by, garbage }));
    }

    pub fn pending(&self) -> Vec<Pending> {
        self.pending.lock().iter().copied().collect()
    }

    /// True where it is certain without waiting that nothing is pending.
    pub fn nothing_pending(&self) -> bool {
        soon(|| self.pending.try_lock()).is_some_and(|pending| pending.is_empty())
    }

    /// True where the drop of this tree is committed, though some may still see it.
    pub fn is_dropped(&self, tree: TreeId) -> bool {
        let is_it =
            |pending: &Pending| matches!(pending.garbage, Garbage::Tree { tree: t, .. } if t == tree);
        self.pending.lock().iter().any(is_it)
    }

    /// The next garbage that nobody can see any more. It stays pending until [`Self::collected`].
    pub fn next_garbage(&self) -> Option<Pending> {
        let horizon = self.horizon();
        self.pending.lock().iter().find(|pending| horizon.has_passed(pending.by)).copied()
    }

    pub fn collected(&self, done: &Pending) {
        let mut pending = self.pending.lock();
        if let Some(place) = pending.iter().position(|pending| pending == done) {
            pending.remove(place);
        }
    }
}
