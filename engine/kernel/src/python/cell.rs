//! A transaction as Python objects share it: one thread at a time, and none after a fork.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::{detached, to_python};
use crate::error::{Code, Error, Result};
use crate::txn::{Transaction, TxnState};

pub(crate) struct Cell {
    txn: Mutex<Transaction>,
    state: Arc<TxnState>,
    process: u32,
    /// Why someone else has ended the transaction: what its owner's next call is told.
    ended_because: Mutex<Option<Error>>,
    /// Raised with every change: cursors then read again what they have read ahead.
    changes: AtomicU64,
    /// Raised when tables may have changed their shape: handles are then opened again.
    shapes: AtomicU64,
}

impl Cell {
    pub fn new(txn: Transaction) -> Arc<Cell> {
        let state = Arc::clone(txn.state());
        Arc::new(Cell {
            txn: Mutex::new(txn),
            state,
            process: std::process::id(),
            ended_because: Mutex::new(None),
            changes: AtomicU64::new(0),
            shapes: AtomicU64::new(0),
        })
    }

    pub fn state(&self) -> &Arc<TxnState> {
        &self.state
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

    fn busy(&self) -> Error {
        Error::new(Code::TransactionBusy).with("txn", self.state.id.0)
    }

    fn ensure_own_process(&self) -> Result<()> {
        if self.process == std::process::id() { Ok(()) } else { Err(Error::new(Code::ForkedHandle)) }
    }

    /// Refuses work in a transaction that someone else has ended, and says why.
    pub fn ensure_not_ended_by_others(&self) -> Result<()> {
        self.ended_because.lock().clone().map_or(Ok(()), Err)
    }

    /// Runs work that may wait, without the interpreter's lock.
    pub fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Transaction) -> Result<T> + Send,
    ) -> PyResult<T> {
        detached(py, || {
            self.ensure_own_process()?;
            let mut txn = self.txn.try_lock().ok_or_else(|| self.busy())?;
            self.ensure_not_ended_by_others()?;
            self.poisoning(&mut txn, work)
        })
    }

    /// Runs work that never waits, with the interpreter's lock kept.
    pub fn attempt<T>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Transaction) -> Option<Result<T>>,
    ) -> PyResult<Option<T>> {
        let result = self.ensure_own_process().and_then(|()| {
            let mut txn = self.txn.try_lock().ok_or_else(|| self.busy())?;
            self.ensure_not_ended_by_others()?;
            self.poisoning(&mut txn, |txn| Ok(work(txn)))
        });
        match result {
            Ok(Some(Ok(value))) => Ok(Some(value)),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) | Err(error) => Err(to_python(py, &error)),
        }
    }

    /// A panic leaves pages in an unknown state: the store takes no more writes after it.
    fn poisoning<T>(
        &self,
        txn: &mut Transaction,
        work: impl FnOnce(&mut Transaction) -> Result<T>,
    ) -> Result<T> {
        let shared = Arc::clone(txn.shared());
        super::guarded(|| work(txn)).inspect_err(|error| {
            if error.code == Code::InternalError {
                shared.core.log.fail(error.clone());
            }
        })
    }

    /// Rolls back now where no call is running; a call that runs has been woken and ends it.
    pub fn end_if_idle(&self, why: Error) -> Result<()> {
        match self.txn.try_lock() {
            Some(mut txn) => self.end_locked(&mut txn, why).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Waits for a call that is running, then rolls back; for a store that is being closed.
    /// True where there was something to end.
    pub fn end(&self, why: Error) -> Result<bool> {
        self.end_locked(&mut self.txn.lock(), why)
    }

    fn end_locked(&self, txn: &mut Transaction, why: Error) -> Result<bool> {
        if txn.state().status() != crate::txn::Status::Active {
            return Ok(false);
        }
        *self.ended_because.lock() = Some(why);
        txn.abort()?;
        Ok(true)
    }
}

/// Rolls back without the interpreter's lock when the last handle goes.
impl Drop for Cell {
    fn drop(&mut self) {
        if self.state.status() == crate::txn::Status::Active && self.process == std::process::id() {
            Python::attach(|py| {
                py.detach(|| {
                    // Nobody is left to be told; a store that has failed leaves it to recovery.
                    let _ = self.txn.get_mut().abort();
                });
            });
        }
    }
}
