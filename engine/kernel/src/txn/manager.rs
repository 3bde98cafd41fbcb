//! Who is active, what each may see, and what waits until nobody can see it any more.
//!
//! A transaction leaves the table only when its commit is durable (or its undo is complete), so
//! a snapshot begins at the last durable commit: nobody reads what a failed sync takes back.

use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::sync::{Mutex, RwLock};

use crate::error::{Error, Result};
use crate::events::unix_micros;
use crate::lock::Work;
use crate::log::Span;
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

pub type Counts = HashMap<TreeId, i64>;

/// Which writers a reader sees: those that had ended before it began.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Every transaction below this had ended.
    pub min: TxnId,
    /// This one and those after it had not begun.
    next: TxnId,
    active: Box<[TxnId]>,
    pub counts: Arc<Counts>,
}

impl Snapshot {
    pub fn sees(&self, writer: TxnId) -> bool {
        writer < self.min || (writer < self.next && self.active.binary_search(&writer).is_err())
    }
}

/// One transaction, as others may look at it while it runs.
pub struct TxnState {
    pub id: TxnId,
    pub isolation: Isolation,
    pub started_at: i64,
    pub began: Instant,
    pub snapshot: Snapshot,
    /// The oldest log entry its snapshot may have to read.
    pub pin: Lsn,
    status: AtomicU8,
    first_lsn: AtomicU64,
    last_lsn: AtomicU64,
    pub changes: AtomicU64,
    pub log_bytes: AtomicU64,
    pub undo_reserved: AtomicU64,
    /// Set when it is condemned; the lock table knows why.
    is_condemned: AtomicBool,
    /// Set by who ends the transaction: its owner, or the store that is being closed.
    ending: AtomicBool,
    /// Operations of its owner under way, one within the other.
    at_work: AtomicU32,
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
    /// The end failed: somebody else may try.
    pub fn unclaim_end(&self) {
        self.ending.store(false, Ordering::Release);
    }
    /// Takes up to `bytes` of the log space that was set aside for undo.
    pub fn take_undo(&self, bytes: u64) -> u64 {
        let take = |reserved: u64| Some(reserved - bytes.min(reserved));
        let before = self.undo_reserved.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        before.map_or(0, |before| bytes.min(before))
    }
    /// Takes note of an entry; called under the log's mutex, so that a checkpoint that begins
    /// after the entry sees it.
    pub fn appended(&self, span: Span) {
        if self.first_lsn().is_none() {
            self.first_lsn.store(span.lsn.0, Ordering::Release);
        }
        self.last_lsn.store(span.lsn.0, Ordering::Release);
        self.log_bytes.fetch_add(span.end.0 - span.lsn.0, Ordering::Relaxed);
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
    table: RwLock<Table>,
    pending: Mutex<VecDeque<Pending>>,
    next_tree: AtomicU64,
}

impl TxnManager {
    pub fn new(next_id: TxnId, next_tree: TreeId, counts: Counts, pending: Vec<Pending>) -> TxnManager {
        TxnManager {
            next_id: AtomicU64::new(next_id.0.max(1)),
            table: RwLock::new(Table { active: BTreeMap::new(), counts: Arc::new(counts) }),
            pending: Mutex::new(pending.into()),
            next_tree: AtomicU64::new(u64::from(next_tree.0)),
        }
    }

    /// Begins a transaction; `log_end` is read under the table's lock.
    pub fn begin(&self, isolation: Isolation, log_end: impl FnOnce() -> Lsn) -> Arc<TxnState> {
        let mut table = self.table.write();
        let id = TxnId(self.next_id.fetch_add(1, Ordering::AcqRel));
        let active: Box<[TxnId]> = table.active.keys().copied().collect();
        // Read before the first LSNs: an entry appended in between lies beyond it.
        let end = log_end();
        // A version that this snapshot has to look behind was written by one that is active now
        // or begins later: its entry is no older than the first entry of those.
        let oldest = table.active.values().map(|txn| txn.first_lsn()).filter(|lsn| !lsn.is_none()).min();
        let snapshot = Snapshot {
            min: active.first().copied().unwrap_or(id),
            next: id,
            active,
            counts: Arc::clone(&table.counts),
        };
        let state = Arc::new(TxnState {
            id,
            isolation,
            started_at: unix_micros(),
            began: Instant::now(),
            snapshot,
            pin: oldest.unwrap_or(end).min(end),
            status: AtomicU8::new(Status::Active as u8),
            first_lsn: AtomicU64::new(0),
            last_lsn: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            undo_reserved: AtomicU64::new(0),
            is_condemned: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            at_work: AtomicU32::new(0),
        });
        table.active.insert(id, Arc::clone(&state));
        state
    }

    /// Takes up a transaction that a crash cut off, to undo it.
    pub fn adopt(&self, id: TxnId, first: Lsn, last: Lsn, started_at: i64) -> Arc<TxnState> {
        let mut table = self.table.write();
        let snapshot =
            Snapshot { min: id, next: id, active: Box::new([]), counts: Arc::clone(&table.counts) };
        let state = Arc::new(TxnState {
            id,
            isolation: Isolation::ReadCommitted,
            started_at,
            began: Instant::now(),
            snapshot,
            pin: first,
            status: AtomicU8::new(Status::Active as u8),
            first_lsn: AtomicU64::new(first.0),
            last_lsn: AtomicU64::new(last.0),
            changes: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            undo_reserved: AtomicU64::new(0),
            is_condemned: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            at_work: AtomicU32::new(0),
        });
        table.active.insert(id, Arc::clone(&state));
        state
    }

    /// Takes an ended transaction out, and lets later snapshots see its row counts.
    pub fn end(&self, id: TxnId, deltas: &Counts) {
        let mut table = self.table.write();
        table.active.remove(&id);
        if !deltas.is_empty() {
            let counts = Arc::make_mut(&mut table.counts);
            deltas.iter().for_each(|(tree, delta)| *counts.entry(*tree).or_default() += delta);
        }
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

    /// What a writer below this id wrote or deleted is seen alike by everybody.
    pub fn horizon(&self) -> TxnId {
        let table = self.table.read();
        let next = TxnId(self.next_id.load(Ordering::Acquire));
        table.active.values().map(|txn| txn.snapshot.min.min(txn.id)).min().unwrap_or(next)
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

    /// True where the drop of this tree is committed, though some may still see it.
    pub fn is_dropped(&self, tree: TreeId) -> bool {
        let is_it =
            |pending: &Pending| matches!(pending.garbage, Garbage::Tree { tree: t, .. } if t == tree);
        self.pending.lock().iter().any(is_it)
    }

    /// The next garbage that nobody can see any more. It stays pending until [`Self::collected`].
    pub fn next_garbage(&self) -> Option<Pending> {
        let horizon = self.horizon();
        self.pending.lock().iter().find(|pending| pending.by < horizon).copied()
    }

    pub fn collected(&self, done: &Pending) {
        let mut pending = self.pending.lock();
        if let Some(place) = pending.iter().position(|pending| pending == done) {
            pending.remove(place);
        }
    }
}
