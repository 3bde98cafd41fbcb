//! Transactions: begin, savepoints, commit, rollback. Reading and changing records is in
//! `record`, undo in `undo`, trees and the catalogue in `catalogue`, long values in `long`.
//!
//! The stamp of an active writer is the exclusive lock on its record: a transaction of five
//! million changes holds no five million locks, and after a crash the losers' records are locked
//! by their stamps before undo has begun.

use crate::sync::{AtomicBool, Ordering};
use std::collections::HashMap;
use std::sync::Arc;

use crate::buffer::NumberHashing;
use crate::core::{Author, Core};
use crate::error::{Code, Error, Result};
use crate::events::{EventQueue, unix_micros};
use crate::hash::FastMap;
use crate::lock::{LockTable, Mode, Resource};
use crate::log::{Op, Span};
use crate::repair::{Halt, Repairs};
use crate::stats::{Counter, Stats, Timed};
use crate::types::{Lsn, PageId, TreeId, TxnId};

mod batch;
mod bulk;
mod catalogue;
mod courier;
mod ending;
mod garbage;
mod known;
mod long;
mod manager;
mod newest;
mod outside;
mod read;
#[cfg(test)]
mod read_tests;
mod row_ids;
mod serializable;
mod snapshot;
mod trying;
#[cfg(test)]
mod trying_tests;
mod undo;
mod write;

pub use batch::{Batch, Records};
pub use bulk::Filling;
pub use catalogue::{
    CATALOGUE_REF, CatalogueEntry, CatalogueKind, RawRow, TreeRef, format as format_catalogue,
    newest_rows,
};
pub use courier::{Courier, Delivery, Push, WORTH_A_BUILDER, builder, line};
pub use ending::{Ended, Ending};
pub(crate) use ending::{decode_counts, encode_counts, take};
pub use garbage::{TidyQueue, collect, free_lost, tidy};
pub use known::KnownTrees;
pub(crate) use manager::AtWork;
pub use manager::{Counts, Garbage, Isolation, Pending, Status, TxnManager, TxnState};
pub use outside::LogLimits;
pub use read::Range;
pub use row_ids::RowIds;
pub use snapshot::{Horizon, Snapshot};
pub use undo::{read_compensation, roll_back, touched};

/// Everything that transactions of one store share.
pub struct Shared {
    pub core: Core,
    pub txns: TxnManager,
    pub locks: LockTable,
    pub stats: Arc<Stats>,
    pub events: Arc<EventQueue>,
    /// Row counts as the commits in the log have them; a checkpoint takes them along.
    pub logged_counts: crate::sync::Mutex<Counts>,
    /// Root pages of trees that have been used, for undo.
    pub roots: crate::sync::RwLock<FastMap<TreeId, PageId>>,
    /// Trees that are looked up by name again and again.
    pub known_trees: KnownTrees,
    /// Row numbers that have been given out, for tables without keys of their own.
    pub row_ids: RowIds,
    pub tidy: TidyQueue,
    pub limits: LogLimits,
    /// Transactions that their owners do not end, their ends claimed: rolled back in the background.
    pub orphans: crate::sync::Mutex<Vec<Arc<TxnState>>>,
    pub read_only: AtomicBool,
    /// Changes are stopped by damage.
    pub halt: Halt,
    pub closed: AtomicBool,
    /// Leaves compensation records out; for campaigns that must then fail, and for nothing else.
    pub skip_compensation: AtomicBool,
    /// Lets later updaters win over snapshots; likewise.
    pub skip_first_updater: AtomicBool,
    /// Who makes damaged pages whole; there once pages are read.
    pub repairs: std::sync::OnceLock<Arc<Repairs>>,
}

struct Savepoint {
    name: String,
    lsn: Lsn,
    deltas: Counts,
    garbage: usize,
}

/// One transaction, used by one thread at a time. Dropping it rolls it back.
pub struct Transaction {
    shared: Arc<Shared>,
    state: Arc<TxnState>,
    is_read_only: bool,
    savepoints: Vec<Savepoint>,
    deltas: Counts,
    garbage: Vec<Garbage>,
    chains: u64,
    trees: FastMap<String, TreeRef>,
    /// Raised when a rollback to a savepoint may have taken trees back: handles look again.
    epoch: u64,
    modes: HashMap<TreeId, Mode, NumberHashing>,
    /// Reads see the newest committed version whatever the isolation; see `newest`.
    reads_newest: bool,
    /// It repairs damage, which stops others only.
    is_repair: bool,
    /// The value that was read last: see [`Transaction::try_get`].
    copied: Vec<u8>,
}

impl Shared {
    /// Begins a transaction.
    pub fn begin(self: &Arc<Self>, isolation: Isolation, is_read_only: bool) -> Result<Transaction> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(Code::StoreClosed));
        }
        let state = self.txns.begin(isolation, || self.core.log.end());
        let work: Arc<TxnState> = Arc::clone(&state);
        self.locks.register(state.id, work);
        self.transaction(state, is_read_only)
    }

    /// The transaction of a state that is in every table.
    fn transaction(self: &Arc<Self>, state: Arc<TxnState>, is_read_only: bool) -> Result<Transaction> {
        self.stats.add(Counter::Begun, 1);
        // A close that did not see it yet has been seen here.
        if self.closed.load(Ordering::SeqCst) && state.claim_end() {
            self.finish(&state, Status::Aborted, &Counts::default());
            return Err(Error::new(Code::StoreClosed));
        }
        Ok(Transaction {
            shared: Arc::clone(self),
            state,
            is_read_only,
            savepoints: Vec::new(),
            deltas: Counts::default(),
            garbage: Vec::new(),
            chains: 0,
            trees: FastMap::default(),
            epoch: 0,
            modes: HashMap::default(),
            reads_newest: false,
            is_repair: false,
            copied: Vec::new(),
        })
    }

    fn count_logged(&self, deltas: &Counts) {
        let mut counts = self.logged_counts.lock();
        deltas.iter().for_each(|(tree, delta)| *counts.entry(*tree).or_default() += delta);
    }

    /// Once the store has failed no transaction ends any more: nobody is to wait for one.
    pub(crate) fn wake_if_failed(&self) {
        if self.core.log.has_failed()
            && let Some(error) = self.core.log.failed()
        {
            self.locks.fail(&error);
        }
    }

    /// Takes an ended transaction out of every table and wakes who waited for it.
    fn finish(&self, state: &TxnState, status: Status, deltas: &Counts) {
        state.set_status(status);
        self.core.log.release_undo(state.undo_reserved.swap(0, Ordering::AcqRel));
        self.txns.end(state.id, deltas);
        self.locks.ended(state.id);
        let counter = if status == Status::Committed { Counter::Committed } else { Counter::Aborted };
        self.stats.add(counter, 1);
        if status == Status::Committed && !state.first_lsn().is_none() {
            self.stats.add(Counter::Written, 1);
        }
    }
}

/// Undoes a whole transaction, writes its end and forgets it; returns the records undone.
pub fn roll_back_whole(
    shared: &Shared,
    state: &TxnState,
    keep_on: &mut dyn FnMut() -> bool,
) -> Result<u64> {
    let records = roll_back(shared, state, Lsn::NONE, keep_on)?;
    undo::append_end(shared, state)?;
    shared.finish(state, Status::Aborted, &Counts::default());
    Ok(records)
}

impl Transaction {
    pub fn id(&self) -> TxnId {
        self.state.id
    }
    pub fn state(&self) -> &Arc<TxnState> {
        &self.state
    }
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
    pub fn isolation(&self) -> Isolation {
        self.state.isolation
    }
    /// Changes when handles of trees and tables have to be looked up again by name.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// "active", "committed", "aborted", or "doomed": condemned, and not yet rolled back.
    pub fn status(&self) -> &'static str {
        match self.state.status() {
            Status::Active if self.state.is_condemned() => "doomed",
            status => status.name(),
        }
    }

    /// Refuses work after the end, or after another thread or a deadlock has condemned this one.
    pub(crate) fn ensure_usable(&self) -> Result<()> {
        match self.state.status() {
            Status::Active => {}
            _ => return Err(self.state.fate()),
        }
        if !self.state.is_condemned() {
            return Ok(());
        }
        // The lock table forgets it with its end.
        Err(self.shared.locks.doomed(self.id()).unwrap_or_else(|| self.state.fate()))
    }

    /// What the owner is told where the lock table does not know the transaction any more.
    pub(super) fn or_fate(&self, error: Error) -> Error {
        if error.code == Code::TransactionEnded { self.state.fate() } else { error }
    }

    /// What was read, or failed to be, counts only where nobody has ended the transaction meanwhile:
    /// what its snapshot needed may be gone since, and what was met in its place is no damage.
    pub(super) fn confirm<T>(&self, read: Result<T>) -> Result<T> {
        if self.state.is_condemned() {
            self.ensure_usable()?;
        }
        read
    }

    /// As [`Transaction::ensure_usable`], for an operation that changes something; it lasts as long
    /// as the answer is kept.
    pub(crate) fn ensure_writable(&self) -> Result<AtWork> {
        self.ensure_usable()?;
        if self.is_read_only || self.shared.read_only.load(Ordering::Acquire) {
            return Err(Error::new(Code::ReadOnlyDatabase));
        }
        if let Some(halted) = self.halted() {
            return Err(halted);
        }
        crate::reserve::ensure("change a database")?;
        if self.shared.core.log.has_failed()
            && let Some(error) = self.shared.core.log.failed()
        {
            return Err(error);
        }
        self.begin_work()
    }

    /// Why damage stops this transaction from changing anything.
    pub(super) fn halted(&self) -> Option<Error> {
        self.shared.halt.why().filter(|_| !self.is_repair)
    }

    /// From now on damage that stops all changes does not stop this transaction, which repairs it.
    pub fn repairs_damage(&mut self) {
        self.is_repair = true;
    }

    fn begin_work(&self) -> Result<AtWork> {
        self.state.begin_work().ok_or_else(|| self.state.fate())
    }

    /// The author of this transaction's next entry, whose undo takes so much log space; the first
    /// entry also sets the room aside for the end of a rollback.
    fn author(&self, op: Op, undo: u64) -> Author {
        let end = if self.has_written() { 0 } else { undo::room_of_end() };
        Author { reserve_undo: undo + end, ..Author::new(self.id(), op, self.state.last_lsn()) }
    }

    fn has_written(&self) -> bool {
        !self.state.first_lsn().is_none()
    }

    /// Remembers this moment under a name; an earlier savepoint of the name is replaced.
    pub fn savepoint(&mut self, name: &str) -> Result<()> {
        self.ensure_usable()?;
        self.savepoints.retain(|savepoint| savepoint.name != name);
        self.savepoints.push(self.mark(name));
        Ok(())
    }

    fn mark(&self, name: &str) -> Savepoint {
        Savepoint {
            name: name.to_owned(),
            lsn: self.state.last_lsn(),
            deltas: self.deltas.clone(),
            garbage: self.garbage.len(),
        }
    }

    /// Undoes what was done since the savepoint, which stays; later ones go. Locks are kept, but
    /// for those on the records: they have no stamp of this transaction any more.
    pub fn rollback_to(&mut self, name: &str) -> Result<()> {
        self.ensure_usable()?;
        let _work = self.begin_work()?;
        let place = self
            .savepoints
            .iter()
            .position(|savepoint| savepoint.name == name)
            .ok_or_else(|| Error::new(Code::SavepointNotFound).with("name", name))?;
        self.savepoints.truncate(place + 1);
        let savepoint = self.mark_at(place);
        self.rewind(savepoint)
    }

    fn mark_at(&self, place: usize) -> Savepoint {
        let savepoint = &self.savepoints[place];
        Savepoint {
            name: String::new(),
            lsn: savepoint.lsn,
            deltas: savepoint.deltas.clone(),
            garbage: savepoint.garbage,
        }
    }

    fn rewind(&mut self, to: Savepoint) -> Result<()> {
        // Who has taken it over meanwhile undoes it as a whole.
        let _work = self.begin_work()?;
        roll_back(&self.shared, &self.state, to.lsn, &mut || true).inspect_err(|error| {
            // Half undone, it can only be rolled back as a whole.
            self.shared.locks.doom(self.id(), error.clone());
        })?;
        self.deltas = to.deltas;
        self.garbage.truncate(to.garbage);
        self.trees.clear();
        self.epoch += 1;
        self.shared.locks.look_again(self.id());
        Ok(())
    }

    /// Runs `work`; an error rolls back to where it began, so that each operation is atomic.
    pub fn atomically<T>(&mut self, work: impl FnOnce(&mut Transaction) -> Result<T>) -> Result<T> {
        let start = self.mark("");
        work(self).map_err(|error| {
            if self.state.status() != Status::Active || self.state.last_lsn() == start.lsn {
                return error;
            }
            match self.rewind(start) {
                Ok(()) => error,
                Err(failed) => failed.because(error),
            }
        })
    }

    /// Locks an advisory name until the end, or until it is unlocked.
    pub fn lock_name(&self, name: &str, mode: Mode, timeout: Option<std::time::Duration>) -> Result<()> {
        self.ensure_usable()?;
        let locked =
            self.shared.locks.acquire(self.id(), Resource::Name(name.to_owned()), mode, timeout);
        locked.map_err(|error| self.or_fate(error))
    }

    pub fn unlock_name(&self, name: &str) -> Result<bool> {
        self.ensure_usable()?;
        Ok(self.shared.locks.release(self.id(), &Resource::Name(name.to_owned())))
    }

    /// Gives every advisory lock back, and returns how many there were. Those on what was read and
    /// written stay until the end.
    pub fn unlock_all_names(&self) -> Result<usize> {
        self.ensure_usable()?;
        let is_name = |resource: &Resource| matches!(resource, Resource::Name(_));
        Ok(self.shared.locks.release_all(self.id(), is_name))
    }

    /// Makes the transaction durable, as the sync mode says, and releases its locks.
    ///
    /// Raises `StoreFailed` (-12) where the log could not be synced: recovery then decides the
    /// outcome, and the transaction's records stay locked until it has.
    pub fn commit(&mut self) -> Result<Lsn> {
        let usable = self.ensure_usable();
        // Where damage has stopped all changes, those made before do not become lasting either.
        let halted = self.halted().filter(|_| self.has_written());
        if let Err(error) = usable.and_then(|()| halted.map_or(Ok(()), Err)) {
            if self.state.status() == Status::Active {
                self.abort()?;
            }
            return Err(error);
        }
        let _work = self.begin_work()?;
        if !self.has_written() {
            self.shared.finish(&self.state, Status::Committed, &Counts::default());
            return Ok(self.shared.core.log.durable());
        }
        // Who only read has nothing to wait for, and would make every figure of commits look better.
        let _lap = self.shared.stats.lap(Timed::Commit);
        let ending = Ending { time: unix_micros(), deltas: &self.deltas, garbage: &self.garbage };
        let appended = self
            .append_ending(Op::Commit, &ending, Status::Committing)
            .inspect_err(|_| self.state.unclaim_end());
        let durable = appended.and_then(|span| {
            self.shared.core.log.commit_wait(span.end)?;
            Ok(span)
        });
        let span = durable.inspect_err(|_| self.shared.wake_if_failed())?;
        // It is committed from here on, whatever becomes of the mirrors.
        let mirrored = self.shared.core.log.gate().await_mirrors(span.end);
        self.shared.finish(&self.state, Status::Committed, &self.deltas);
        mirrored.map(|()| span.lsn)
    }

    fn append_ending(&self, op: Op, ending: &Ending<'_>, status: Status) -> Result<Span> {
        let (shared, state) = (&self.shared, &self.state);
        let body = ending.encode();
        // Nothing of it is undone any more: the room for that is given back in the same step.
        let use_undo = state.undo_reserved.load(Ordering::Acquire);
        let author = Author { use_undo, ..Author::new(self.id(), op, state.last_lsn()) };
        shared.core.log.append(&author.entry(&[&body]), |span| {
            state.appended(span, &author);
            state.set_status(status);
            // In the same step, so that a checkpoint after the entry has both.
            shared.count_logged(ending.deltas);
            if !ending.garbage.is_empty() {
                shared.txns.add_pending(state.id, ending.garbage.iter().copied());
            }
        })
    }

    /// Undoes everything and releases the locks. Does nothing after the end.
    ///
    /// Where a page or the log cannot be read, what is left to undo can be undone by another call;
    /// where there is none, the store tries again in the background.
    pub fn abort(&mut self) -> Result<()> {
        if self.state.status() != Status::Active || !self.state.claim_end() {
            return Ok(());
        }
        if !self.has_written() {
            self.shared.finish(&self.state, Status::Aborted, &Counts::default());
            return Ok(());
        }
        let undone = roll_back_whole(&self.shared, &self.state, &mut || true).map(|_| ());
        undone.inspect_err(|error| {
            // Half undone, it must not go on.
            self.shared.locks.doom(self.id(), error.clone());
            self.state.unclaim_end();
            self.shared.wake_if_failed();
        })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // A store that has failed cannot undo; recovery will. Nobody is left to be told.
        if self.abort().is_err() && !self.shared.core.log.has_failed() && self.state.claim_end() {
            self.shared.orphans.lock().push(Arc::clone(&self.state));
        }
    }
}
