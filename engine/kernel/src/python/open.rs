//! An open store with its lock and its live transactions, shared by every object of Python that
//! was made from it: none of them can outlive the lock.

use std::sync::Weak;

use super::cell::Cell;
use super::errors::guarded;
use super::held::{Holdable, Home};
use crate::error::{Code, Error, Result};
use crate::hash::FastMap;
use crate::lockfile::LockFile;
use crate::log::LogOptions;
use crate::moment::{Chain, Reader};
use crate::recovery::Progress;
use crate::store::Store;
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering, soon};
use crate::txn::{Isolation, Shared, Transaction};
use crate::types::TxnId;

pub struct OpenStore {
    pub store: Store,
    pub log_options: LogOptions,
    /// The database's snapshots; none of what is only looked at.
    chain: Option<Arc<Chain>>,
    /// Of what is a snapshot: keeps its files until the close.
    reader: Mutex<Option<Reader>>,
    home: Home,
    closing: AtomicBool,
    /// Begun and not yet dropped; `closing` is set under this mutex.
    live: Mutex<FastMap<TxnId, Weak<Cell>>>,
    /// Long works, which a close stops and waits for: they have transactions of their own.
    works: Mutex<Vec<Arc<Progress>>>,
    work_ended: Condvar,
    lock: Mutex<Option<LockFile>>,
}

impl Holdable for OpenStore {}

impl OpenStore {
    pub fn new(
        store: Store,
        log_options: LogOptions,
        chain: Option<Arc<Chain>>,
        lock: LockFile,
    ) -> Arc<OpenStore> {
        if let Some(chain) = &chain {
            chain.attend(&store.shared().events);
        }
        Arc::new(OpenStore {
            store,
            log_options,
            chain,
            reader: Mutex::new(None),
            home: Home::here(),
            closing: AtomicBool::new(false),
            live: Mutex::new(FastMap::default()),
            works: Mutex::new(Vec::new()),
            work_ended: Condvar::new(),
            lock: Mutex::new(Some(lock)),
        })
    }

    pub fn shared(&self) -> &Arc<Shared> {
        self.store.shared()
    }

    /// Holds on to the snapshot that this is until the close.
    pub fn hold(&self, reader: Reader) {
        *self.reader.lock() = Some(reader);
    }

    /// The snapshots of the database. `NotSupported` for one that is only looked at.
    pub fn chain(&self) -> Result<&Arc<Chain>> {
        let missing = || Error::new(Code::NotSupported).with("feature", "snapshots of a snapshot");
        self.chain.as_ref().ok_or_else(missing)
    }

    pub fn is_closed(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Raises `ForkedHandle` in a forked child.
    pub fn ensure_here(&self) -> Result<()> {
        self.home.ensure()
    }

    /// Raises `StoreClosed` after the close, `ForkedHandle` in a forked child.
    pub fn ensure_open(&self) -> Result<()> {
        self.ensure_here()?;
        if self.is_closed() {
            return Err(Error::new(Code::StoreClosed));
        }
        Ok(())
    }

    /// Begins a transaction that [`OpenStore::close`] knows of.
    pub fn begin(self: &Arc<Self>, isolation: Isolation, read_only: bool) -> Result<Arc<Cell>> {
        let mut live = self.live.lock();
        self.ensure_open()?;
        let cell = Cell::new(self, self.store.begin(isolation, read_only)?);
        live.insert(cell.id, Arc::downgrade(&cell));
        Ok(cell)
    }

    /// As [`OpenStore::begin`], `None` where anything would have to be waited for.
    pub fn try_begin(self: &Arc<Self>, isolation: Isolation, read_only: bool) -> Option<Arc<Cell>> {
        let mut live = soon(|| self.live.try_lock())?;
        self.ensure_open().ok()?;
        let cell = Cell::new(self, self.shared().try_begin(isolation, read_only)?);
        live.insert(cell.id, Arc::downgrade(&cell));
        Some(cell)
    }

    pub fn forget(&self, txn: TxnId) {
        self.live.lock().remove(&txn);
    }

    /// As [`OpenStore::forget`]; false where that would have to be waited for.
    pub fn try_forget(&self, txn: TxnId) -> bool {
        soon(|| self.live.try_lock()).map(|mut live| live.remove(&txn)).is_some()
    }

    /// Reads in a short transaction of its own.
    pub fn reading<T>(&self, work: impl FnOnce(&mut Transaction) -> Result<T>) -> Result<T> {
        self.ensure_open()?;
        guarded(self.shared(), || {
            let mut txn = self.store.begin(Isolation::ReadCommitted, true)?;
            let done = work(&mut txn)?;
            txn.commit()?;
            Ok(done)
        })
    }

    /// Runs a long work, which a close cancels.
    pub fn working<T>(&self, progress: &Arc<Progress>, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.works.lock().push(Arc::clone(progress));
        let done = self.ensure_open().and_then(|()| guarded(self.shared(), work));
        let mut works = self.works.lock();
        if let Some(place) = works.iter().position(|other| Arc::ptr_eq(other, progress)) {
            works.swap_remove(place);
        }
        self.work_ended.notify_all();
        done
    }

    fn find(&self, txn: TxnId) -> Option<Arc<Cell>> {
        self.live.lock().get(&txn)?.upgrade()
    }

    /// Ends a transaction from outside; false where none of that number is running.
    pub fn abort_transaction(&self, txn: TxnId) -> Result<bool> {
        self.ensure_open()?;
        let Some(cell) = self.find(txn).filter(|cell| cell.is_active()) else { return Ok(false) };
        cell.ask_for_abort();
        Ok(true)
    }

    /// Rolls back every transaction in flight; returns how many.
    pub fn abort_all(&self) -> Result<usize> {
        let reason = "all transactions were rolled back";
        let fate =
            |txn: TxnId| Error::new(Code::TransactionAborted).with("txn", txn.0).with("reason", reason);
        self.shared().end_all(&fate)
    }

    /// Rolls back what is running, closes the store and gives its lock back; returns how many
    /// transactions had to be rolled back. A second call does nothing. `progress`: see
    /// [`Store::close_or_leave`].
    pub fn close(&self, progress: &Progress) -> Result<usize> {
        self.ensure_here()?;
        let cells: Vec<Arc<Cell>> = {
            let live = self.live.lock();
            if self.closing.swap(true, Ordering::AcqRel) {
                return Ok(0);
            }
            live.values().filter_map(Weak::upgrade).filter(|cell| cell.is_active()).collect()
        };
        self.works.lock().iter().for_each(|progress| progress.cancel());
        // All are woken first: one may be waiting for another.
        cells.iter().for_each(|cell| self.shared().locks.doom(cell.id, Error::new(Code::StoreClosed)));
        cells.iter().for_each(|cell| cell.end(Error::new(Code::StoreClosed)));
        // Those too that woke, and were rolled back by their own threads.
        let aborted = cells.iter().filter(|cell| !cell.is_committed()).count();
        let mut works = self.works.lock();
        while !works.is_empty() {
            self.work_ended.wait(&mut works);
        }
        drop(works);
        let closed = guarded(self.shared(), || self.store.close_or_leave(progress));
        self.reader.lock().take();
        self.lock.lock().take();
        Ok(aborted + closed?)
    }
}
