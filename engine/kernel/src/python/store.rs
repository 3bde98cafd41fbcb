//! `Store`: one open database.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::cell::Cell;
use super::options::store_options;
use super::status::{self, dict};
use super::transaction::Transaction;
use super::{detached, guarded};
use crate::disk::Disk;
use crate::disk::os::OsDisk;
use crate::error::{Code, Error, Result};
use crate::lockfile::LockFile;
use crate::log::SyncMode;
use crate::rows::tables;
use crate::store::StoreOptions;
use crate::txn::{CatalogueKind, Isolation};
use crate::types::TxnId;

#[pyclass(frozen, module = "engine._kernel")]
pub struct Store {
    pub(crate) store: Arc<crate::store::Store>,
    sync_mode: SyncMode,
    live: Mutex<Vec<Weak<Cell>>>,
    lock: Mutex<Option<LockFile>>,
    process: u32,
    is_closed: AtomicBool,
}

impl Store {
    pub(crate) fn new(store: crate::store::Store, lock: LockFile, options: &StoreOptions) -> Store {
        Store {
            store: Arc::new(store),
            sync_mode: options.opening.log.sync_mode,
            live: Mutex::new(Vec::new()),
            lock: Mutex::new(Some(lock)),
            process: std::process::id(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// The store, where it is open and of this process.
    pub(crate) fn open_here(&self) -> Result<&Arc<crate::store::Store>> {
        if self.process != std::process::id() {
            return Err(Error::new(Code::ForkedHandle));
        }
        if self.is_closed.load(Ordering::Acquire) {
            return Err(Error::new(Code::StoreClosed));
        }
        Ok(&self.store)
    }

    /// Runs work that may wait, without the interpreter's lock.
    pub(crate) fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&crate::store::Store) -> Result<T> + Send,
    ) -> PyResult<T> {
        let store = self.open_here()?;
        detached(py, || work(store))
    }

    fn end_all(&self) -> Result<usize> {
        let shared = self.store.shared();
        for txn in shared.txns.active() {
            shared.locks.doom(txn.id, Error::new(Code::StoreClosed));
        }
        let live = std::mem::take(&mut *self.live.lock());
        let mut ended = 0;
        for cell in live.iter().filter_map(Weak::upgrade) {
            ended += usize::from(cell.end(Error::new(Code::StoreClosed))?);
        }
        Ok(ended)
    }
}

/// Creates the directory of a database, private to its owner.
fn make_directory(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let text = path.display().to_string();
    builder.create(path).map_err(|e| Error::io("create_folder", &text, &e))
}

pub(crate) fn disk_of(path: &Path) -> Arc<dyn Disk> {
    Arc::new(OsDisk::new(path))
}

#[pymethods]
impl Store {
    #[staticmethod]
    fn create(py: Python<'_>, path: &str, options: &Bound<'_, PyDict>) -> PyResult<Store> {
        let options = store_options(options)?;
        let path = Path::new(path);
        detached(py, || {
            make_directory(path)?;
            let lock = LockFile::acquire(path)?;
            let store = crate::store::Store::create(disk_of(path), &options)?;
            Ok(Store::new(store, lock, &options))
        })
    }

    #[staticmethod]
    fn open(py: Python<'_>, path: &str, options: &Bound<'_, PyDict>) -> PyResult<Store> {
        let options = store_options(options)?;
        let path = Path::new(path);
        detached(py, || {
            if !path.is_dir() {
                return Err(Error::new(Code::DatabaseNotFound).with("path", path.display().to_string()));
            }
            let lock = LockFile::acquire(path)?;
            let store = crate::store::Store::open(disk_of(path), &options)?;
            Ok(Store::new(store, lock, &options))
        })
    }

    #[pyo3(signature = (isolation, read_only = false))]
    fn begin(&self, py: Python<'_>, isolation: &str, read_only: bool) -> PyResult<Transaction> {
        let isolation = Isolation::named(isolation)?;
        let txn = self.run(py, |store| store.begin(isolation, read_only))?;
        let cell = Cell::new(txn);
        let mut live = self.live.lock();
        if live.len() >= 64 && live.len().is_power_of_two() {
            live.retain(|cell| cell.strong_count() > 0);
        }
        live.push(Arc::downgrade(&cell));
        Ok(Transaction { cell })
    }

    fn trees(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.run(py, |store| {
            let mut txn = store.begin(Isolation::ReadCommitted, true)?;
            Ok(txn.catalogue(CatalogueKind::Tree)?.into_iter().map(|entry| entry.name).collect())
        })
    }

    fn tables(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.run(py, |store| tables::list(&mut store.begin(Isolation::ReadCommitted, true)?))
    }

    fn table_schema(&self, py: Python<'_>, name: &str) -> PyResult<String> {
        self.run(py, |store| {
            let mut txn = store.begin(Isolation::ReadCommitted, true)?;
            let table = tables::open(&mut txn, name)?;
            let mut schema = table.schema.to_json();
            schema["rows"] = table.count(&mut txn)?.into();
            Ok(schema.to_string())
        })
    }

    /// Writes everything out and takes a checkpoint: lsn, redo_lsn, pages, seconds.
    fn checkpoint<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let taken = self.run(py, crate::store::Store::checkpoint)?;
        Ok(dict!(py, {
            "lsn": taken.lsn.0,
            "redo_lsn": taken.redo_lsn.0,
            "pages": taken.pages,
            "seconds": taken.duration.as_secs_f64(),
            "at": taken.at as f64 / 1e6,
        }))
    }

    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, crate::store::Store::flush)
    }

    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        status::status(py, &self.store, self.sync_mode, self.is_closed.load(Ordering::Acquire))
    }

    fn transactions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        status::transactions(py, self.open_here()?)
    }

    fn locks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        status::locks(py, self.open_here()?)
    }

    fn wait_for_graph<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        status::wait_for_graph(py, self.open_here()?)
    }

    /// Condemns a transaction: it wakes where it waits, and its owner's next call learns it. One
    /// that is idle is rolled back here, so that an owner who never calls again holds nobody up.
    /// False where there is none of that number.
    fn abort_transaction(&self, py: Python<'_>, txn: u64) -> PyResult<bool> {
        let shared = self.open_here()?.shared();
        let is_there = shared.txns.get(TxnId(txn)).is_some();
        if is_there {
            let error = Error::new(Code::TransactionAborted).with("txn", txn);
            let error = error.with("reason", "it was ended by request");
            shared.locks.doom(TxnId(txn), error.clone());
            let cells: Vec<_> = self.live.lock().iter().filter_map(Weak::upgrade).collect();
            if let Some(cell) = cells.iter().find(|cell| cell.state().id == TxnId(txn)) {
                detached(py, || cell.end_if_idle(error))?;
            }
        }
        Ok(is_there)
    }

    #[pyo3(signature = (limit = 1000))]
    fn drain_events<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<(Bound<'py, PyList>, u64)> {
        let (events, missed) = self.store.shared().events.drain(limit);
        let list = PyList::empty(py);
        for event in &events {
            list.append(status::event(py, event)?)?;
        }
        Ok((list, missed))
    }

    fn rotate_log(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, |store| store.shared().core.log.rotate())
    }

    fn set_read_only(&self, value: bool) -> PyResult<()> {
        self.open_here()?.shared().read_only.store(value, Ordering::Release);
        Ok(())
    }

    /// Clean shutdown. Waits for calls that are running; rolls back what is still open.
    fn close<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        if self.process != std::process::id() || self.is_closed.swap(true, Ordering::AcqRel) {
            return Ok(dict!(py, { "aborted": 0 }));
        }
        let closed = py.detach(|| {
            guarded(|| {
                let ended = self.end_all();
                let closed = self.store.close();
                self.lock.lock().take();
                Ok(ended? + closed?)
            })
        });
        Ok(dict!(py, { "aborted": closed? }))
    }
}
