//! One transaction as Python's objects share it.
//!
//! The cell's mutex says who uses the transaction. Calls from Python only ever try it: two
//! threads at once are a mistake that is told, not a wait. Only a close waits for it, without
//! the interpreter's lock; whoever has the cell gives it back without needing that lock.

use pyo3::prelude::*;

use super::errors::guarded;
use super::held::Holdable;
use super::open::OpenStore;
use crate::core::CATALOGUE;
use crate::error::{Code, Error, Field, Result};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering};
use crate::txn::{Status, Transaction, TxnState, newest_rows};
use crate::types::TxnId;
use crate::verify::shown_name;

/// What the mutex guards.
struct Live {
    txn: Transaction,
    /// Why it was ended by somebody else than its owner.
    fate: Option<Error>,
    is_ended_by_owner: bool,
}

pub struct Cell {
    pub id: TxnId,
    pub open: Arc<OpenStore>,
    state: Arc<TxnState>,
    /// Raised with every change: cursors then read again what they have read ahead.
    changes: AtomicU64,
    /// Raised when trees or tables may have come, gone or changed: handles look again.
    shapes: AtomicU64,
    is_abort_asked: AtomicBool,
    /// The store does not know of it any more.
    is_forgotten: AtomicBool,
    live: Mutex<Live>,
}

impl Cell {
    pub fn new(open: &Arc<OpenStore>, txn: Transaction) -> Arc<Cell> {
        let state = Arc::clone(txn.state());
        let live = Live { txn, fate: None, is_ended_by_owner: false };
        Arc::new(Cell {
            id: state.id,
            open: Arc::clone(open),
            state,
            changes: AtomicU64::new(0),
            shapes: AtomicU64::new(0),
            is_abort_asked: AtomicBool::new(false),
            is_forgotten: AtomicBool::new(false),
            live: Mutex::new(live),
        })
    }

    pub fn isolation(&self) -> &'static str {
        self.state.isolation.name()
    }

    pub fn is_active(&self) -> bool {
        self.state.status() == Status::Active
    }

    pub fn is_committed(&self) -> bool {
        self.state.status() == Status::Committed
    }

    /// True where a cursor may go on with what it has read: the next call would not be refused.
    pub fn may_go_on(&self) -> bool {
        self.is_active()
            && !self.is_abort_asked.load(Ordering::Relaxed)
            && self.open.ensure_here().is_ok()
    }

    pub fn status(&self) -> &'static str {
        match self.state.status() {
            Status::Active if self.state.is_condemned() => "doomed",
            status => status.name(),
        }
    }

    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub fn shapes(&self) -> u64 {
        self.shapes.load(Ordering::Relaxed)
    }

    pub fn reshaped(&self) {
        self.shapes.fetch_add(1, Ordering::Relaxed);
        self.changed();
    }

    /// What a second thread is told.
    pub fn busy(&self) -> Error {
        Error::new(Code::TransactionBusy).with("txn", self.id.0)
    }

    fn enter(&self) -> Result<MutexGuard<'_, Live>> {
        self.open.ensure_here()?;
        let live = self.live.try_lock().ok_or_else(|| self.busy())?;
        match &live.fate {
            Some(fate) => Err(fate.clone()),
            None => Ok(live),
        }
    }

    /// Does what needs no waiting, with the interpreter's lock held. `None` where it would have
    /// to wait, or met an error: the same work by [`Cell::run`] then does it, or tells.
    pub fn attempt<T>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Transaction) -> Option<Result<T>>,
    ) -> Option<T> {
        let mut live = self.enter().ok()?;
        let done = guarded(self.open.shared(), || Ok(work(&mut live.txn)));
        drop(live);
        if self.is_abort_asked.load(Ordering::SeqCst) {
            py.detach(|| self.end_where_asked());
        }
        done.ok()??.ok()
    }

    /// Commits where that needs no waiting, with the interpreter's lock held; see [`Cell::commit`].
    pub fn try_commit(&self, py: Python<'_>) -> Option<u64> {
        let mut live = self.enter().ok()?;
        let done = guarded(self.open.shared(), || Ok(live.txn.try_commit()));
        let done = done.ok().flatten();
        live.is_ended_by_owner |= done.is_some();
        drop(live);
        if self.is_abort_asked.load(Ordering::SeqCst) {
            py.detach(|| self.end_where_asked());
        }
        done.map(|lsn| lsn.0)
    }

    /// Works on the transaction without the interpreter's lock.
    pub fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Transaction) -> Result<T> + Send,
    ) -> PyResult<T> {
        Ok(py.detach(|| self.work(work))?)
    }

    /// Works on the transaction, as its owner or on its behalf.
    pub fn work<T>(&self, work: impl FnOnce(&mut Transaction) -> Result<T>) -> Result<T> {
        self.with(|live| work(&mut live.txn))
    }

    /// A victim is rolled back at once, so that others can go on.
    fn with<T>(&self, work: impl FnOnce(&mut Live) -> Result<T>) -> Result<T> {
        let mut live = self.enter()?;
        let done = guarded(self.open.shared(), || work(&mut live)).map_err(|error| self.named(error));
        if done.is_err()
            && let Some(condemned) = self.open.shared().locks.doomed(self.id)
        {
            self.finish(&mut live, condemned);
        }
        drop(live);
        self.end_where_asked();
        done
    }

    /// Names the tree that an error is about by its name.
    fn named(&self, error: Error) -> Error {
        let Some(Field::Int(number)) = error.field("tree") else { return error };
        if *number == i64::from(CATALOGUE.0) {
            return error.saying("tree", "catalogue");
        }
        let found = newest_rows(&self.open.shared().core).ok().and_then(|rows| {
            rows.iter()
                .find(|row| i64::from(row.tree.id.0) == *number)
                .map(|row| shown_name(row).to_owned())
        });
        match found {
            Some(name) => error.saying("tree", name),
            None => error,
        }
    }

    /// Commits, as its owner; returns the LSN of the commit.
    pub fn commit(&self) -> Result<u64> {
        self.with(|live| {
            let done = live.txn.commit();
            live.is_ended_by_owner = true;
            done.map(|lsn| lsn.0)
        })
    }

    /// Rolls back, as its owner. Nothing is left to do after an end of any kind.
    pub fn abort(&self) -> Result<()> {
        self.changed();
        match self.with(|live| {
            live.is_ended_by_owner = true;
            live.txn.abort()
        }) {
            Err(_) if !self.is_active() => Ok(()),
            done => done,
        }
    }

    /// True where its owner has committed it or rolled it back; false too where that is not
    /// known at once.
    pub fn is_ended_by_owner(&self) -> bool {
        self.live.try_lock().is_some_and(|live| live.is_ended_by_owner)
    }

    /// Ends a block that had no error of its own: commits, unless its owner has ended it.
    pub fn leave(&self) -> Result<()> {
        if self.enter()?.is_ended_by_owner {
            return Ok(());
        }
        self.commit().map(|_| ())
    }

    /// Rolls back from outside, waiting for a call that is under way.
    pub fn end(&self, fate: Error) {
        self.finish(&mut self.live.lock(), fate);
    }

    fn finish(&self, live: &mut Live, fate: Error) {
        if !self.is_active() {
            return;
        }
        // A store that has failed cannot undo; recovery will.
        let _ = guarded(self.open.shared(), || live.txn.abort());
        live.fate = Some(fate);
    }

    /// Wakes and condemns the transaction, and rolls it back: here where nobody uses it, else by
    /// the thread that does.
    pub fn ask_for_abort(&self) {
        self.open.shared().locks.doom(self.id, self.aborted());
        self.is_abort_asked.store(true, Ordering::SeqCst);
        self.end_where_asked();
    }

    /// Both sides come here after they have asked, or have given the transaction back: so one
    /// of them finds it free.
    fn end_where_asked(&self) {
        if self.is_abort_asked.load(Ordering::SeqCst)
            && let Some(mut live) = self.live.try_lock()
        {
            self.finish(&mut live, self.aborted());
        }
    }

    fn aborted(&self) -> Error {
        let error = Error::new(Code::TransactionAborted).with("txn", self.id.0);
        error.with("reason", "it was asked for from outside")
    }
}

impl Holdable for Cell {
    /// An ended transaction has nothing to roll back: only the store has to forget it.
    fn drops_at_once(&self) -> bool {
        let drops = !self.is_active() && self.open.try_forget(self.id);
        self.is_forgotten.store(drops, Ordering::Relaxed);
        drops
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        if !self.is_forgotten.load(Ordering::Relaxed) {
            self.open.forget(self.id);
        }
        let live = self.live.get_mut();
        // Nobody is left to be told.
        let _ = guarded(self.open.shared(), || live.txn.abort());
    }
}
