//! `Store`: one open database.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::errors::{caught, detached, guarded};
use super::held::Held;
use super::job::{Job, progress_of};
use super::open::OpenStore;
use super::options::store_options;
use super::status::{self, Sample, dict};
use super::table::describe;
use super::transaction::Transaction;
use crate::control;
use crate::disk::Disk;
use crate::disk::os::OsDisk;
use crate::error::{Code, Error, Result};
use crate::lockfile::{Holder, LockFile};
use crate::mirror::ensure_not_superseded;
use crate::moment::{Chain, KeepingDisk};
use crate::page::{Kind, Page};
use crate::recovery::Progress;
use crate::rows::tables;
use crate::store::StoreOptions;
use crate::sync::Arc;
use crate::txn::{CatalogueKind, Isolation};
use crate::types::{PageId, TxnId};

/// One open database.
#[pyclass(frozen, module = "engine._kernel")]
pub struct Store {
    open: Held<OpenStore>,
}

impl Store {
    pub fn new(open: Arc<OpenStore>) -> Store {
        Store { open: Held::new(open) }
    }

    /// Asks something of the open store, without the interpreter's lock.
    pub fn ask<T: Send>(
        &self,
        py: Python<'_>,
        question: impl FnOnce(&OpenStore) -> Result<T> + Send,
    ) -> PyResult<T> {
        detached(py, || {
            self.open.ensure_here()?;
            question(&self.open)
        })
    }

    /// As [`Store::ask`], refused after the close.
    pub fn work<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&OpenStore) -> Result<T> + Send,
    ) -> PyResult<T> {
        detached(py, || {
            self.open.ensure_open()?;
            guarded(self.open.shared(), || work(&self.open))
        })
    }

    /// Runs a long work, which a close cancels.
    pub fn working<T: Send>(
        &self,
        py: Python<'_>,
        progress: &Arc<Progress>,
        work: impl FnOnce(&Arc<OpenStore>) -> Result<T> + Send,
    ) -> PyResult<T> {
        let open = self.open.arc();
        detached(py, || open.working(progress, || work(open)))
    }
}

/// The disk of a directory.
pub fn disk_of(path: &Path) -> Arc<dyn Disk> {
    Arc::new(OsDisk::new(path))
}

/// What is written down about this process as the holder of a database.
pub fn this_process(py: Python<'_>) -> PyResult<Holder> {
    let host: String = py.import("platform")?.call_method0("node")?.extract()?;
    let time = py.import("time")?;
    let now = ("%Y-%m-%d %H:%M:%S UTC", time.call_method0("gmtime")?);
    let since: String = time.call_method1("strftime", now)?.extract()?;
    Ok(Holder { pid: std::process::id(), host, since })
}

/// An existing database whose lock is held: its disk, its snapshots, its lock.
pub type Locked = (Arc<dyn Disk>, Arc<Chain>, LockFile);

/// Takes the lock of an existing database. A directory that holds none is left as it is.
pub fn lock_existing(path: &Path, holder: &Holder) -> Result<Locked> {
    let disk = disk_of(path);
    if !disk.exists(control::PATH)? {
        return Err(Error::new(Code::DatabaseNotFound).with("path", path.display().to_string()));
    }
    let lock = LockFile::acquire(path, holder)?;
    let (disk, chain) = KeepingDisk::over(disk)?;
    Ok((disk, chain, lock))
}

fn create_directory(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|error| Error::io("create_folder", &path.display().to_string(), &error))
}

/// Errors of opening name the database by its path.
fn at(path: &Path, mut error: Error) -> Error {
    if matches!(
        error.code,
        Code::RecoveryNeeded
            | Code::DatabaseExists
            | Code::DatabaseNotFound
            | Code::DatabaseIsMirror
            | Code::DatabaseSuperseded
    ) {
        error.fields.retain(|(name, _)| *name != "path");
        error.fields.insert(0, ("path", path.display().to_string().into()));
    }
    error
}

fn create(path: &Path, options: &StoreOptions, holder: &Holder) -> Result<Arc<OpenStore>> {
    create_directory(path)?;
    let lock = LockFile::acquire(path, holder)?;
    let (disk, chain) = KeepingDisk::over(disk_of(path))?;
    let store = crate::store::Store::create(disk, options)?;
    store.mirrors().attach_known(path, holder)?;
    Ok(OpenStore::new(store, options.opening.log.clone(), Some(chain), lock))
}

fn open(path: &Path, options: &StoreOptions, holder: &Holder) -> Result<Arc<OpenStore>> {
    let (disk, chain, lock) = lock_existing(path, holder)?;
    ensure_not_superseded(path)?;
    let store = crate::store::Store::open(disk, options)?;
    if !store.is_view() {
        store.mirrors().attach_known(path, holder)?;
    }
    Ok(OpenStore::new(store, options.opening.log.clone(), Some(chain), lock))
}

#[pymethods]
impl Store {
    #[staticmethod]
    #[pyo3(name = "create")]
    fn create_at(py: Python<'_>, path: PathBuf, options: &Bound<'_, PyDict>) -> PyResult<Store> {
        let (options, holder) = (store_options(options)?, this_process(py)?);
        let made = py.detach(|| caught(|| create(&path, &options, &holder)));
        Ok(Store::new(made.map_err(|error| at(&path, error))?))
    }

    /// Open a cleanly closed database. Raises RecoveryNeeded where it was not closed.
    ///
    /// Options (all optional): page_size, cache_bytes, segment_bytes, log_buffer_bytes,
    /// sync_mode ("durable"|"interval"|"off"), sync_interval_ms, checkpoint_interval_s,
    /// checkpoint_log_bytes, lock_timeout_s, deadlock_victim ("youngest"|"least_work"),
    /// image_every_changes, snapshot_log_bytes, transaction_log_bytes,
    /// aborts_long_transactions, read_only. Pages are always verified when they are read.
    #[staticmethod]
    #[pyo3(name = "open")]
    fn open_at(py: Python<'_>, path: PathBuf, options: &Bound<'_, PyDict>) -> PyResult<Store> {
        let (options, holder) = (store_options(options)?, this_process(py)?);
        let opened = py.detach(|| caught(|| open(&path, &options, &holder)));
        Ok(Store::new(opened.map_err(|error| at(&path, error))?))
    }

    /// Isolation: "read_committed" | "repeatable_read" | "serializable".
    #[pyo3(signature = (isolation, read_only=false))]
    fn begin(&self, py: Python<'_>, isolation: &str, read_only: bool) -> PyResult<Transaction> {
        let isolation = Isolation::named(isolation)?;
        let cell = match caught(|| Ok(self.open.arc().try_begin(isolation, read_only)))? {
            Some(cell) => cell,
            None => detached(py, || self.open.arc().begin(isolation, read_only))?,
        };
        Ok(Transaction { cell: Held::new(cell) })
    }

    fn trees(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        let entries = self.ask(py, |open| open.reading(|txn| txn.catalogue(CatalogueKind::Tree)))?;
        Ok(entries.into_iter().map(|entry| entry.name).collect())
    }

    fn tables(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.ask(py, |open| open.reading(tables::list))
    }

    /// The schema as JSON: {"name", "columns": [{"name", "type", "declared", "not_null"}],
    /// "primary_key": [column names], "indexes": [{"name", "columns", "unique"}], "rows"}.
    fn table_schema(&self, py: Python<'_>, name: &str) -> PyResult<String> {
        self.ask(py, |open| {
            open.reading(|txn| {
                let table = tables::open(txn, name)?;
                describe(&table, txn)
            })
        })
    }

    fn checkpoint<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (status, redo_bytes) = self.work(py, |open| {
            let status = open.store.checkpoint()?;
            Ok((status, status::redo_bytes(open, &status)))
        })?;
        status::checkpoint_dict(py, &status, redo_bytes)
    }

    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.work(py, |open| open.store.flush())
    }

    /// Keys: state (open|failed|closed), reason, read_only, page_size, pages, free_pages,
    /// log {...}, checkpoint {...}, cache {...}, transactions {...}, locks {...},
    /// latency {name: {count, p50_us, p99_us, max_us}}.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.ask(py, |open| Ok(Sample::take(open)))?.tell(py, &self.open)
    }

    /// Keys: id, started_at, age_s, isolation, status, changes, log_bytes, locks,
    /// waiting_for (txn id or None), first_lsn, undo_bytes.
    fn transactions<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let running = self.ask(py, |open| Ok(status::running(open)))?;
        running.iter().map(|txn| txn.tell(py)).collect()
    }

    /// Keys: resource, mode, holders [txn], waiters [{txn, mode, since_s}], since_s.
    fn locks<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let locks = self.ask(py, |open| Ok(open.shared().locks.locks()))?;
        locks.iter().map(|info| status::lock_dict(py, info)).collect()
    }

    /// Keys: waiter, holder, resource, mode, since_s.
    fn wait_for_graph<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let edges = self.ask(py, |open| Ok(open.shared().locks.wait_for_graph()))?;
        edges.iter().map(|edge| status::edge_dict(py, edge)).collect()
    }

    fn abort_transaction(&self, py: Python<'_>, txn: u64) -> PyResult<bool> {
        self.ask(py, |open| open.abort_transaction(TxnId(txn)))
    }

    /// Rolls back every transaction in flight; returns how many. Their owners learn it with their
    /// next calls.
    fn abort_all(&self, py: Python<'_>) -> PyResult<usize> {
        self.work(py, |open| open.abort_all())
    }

    /// What happened since the last call, and how many events were missed.
    /// Keys of an event: kind, at (Unix seconds), and the kind's own fields.
    #[pyo3(signature = (limit=1000))]
    fn drain_events<'py>(
        &self,
        py: Python<'py>,
        limit: usize,
    ) -> PyResult<(Vec<Bound<'py, PyDict>>, u64)> {
        let (events, missed) = self.ask(py, |open| Ok(open.shared().events.drain(limit)))?;
        let events =
            events.iter().map(|event| status::event_dict(py, event)).collect::<PyResult<_>>()?;
        Ok((events, missed))
    }

    /// One page as it is in the data file. Keys: page, kind, level, tree, lsn, incarnation, right
    /// (None for the last of its level), records, free_bytes, used, ok, problem (text or None).
    fn page_info<'py>(&self, py: Python<'py>, page: u32) -> PyResult<Bound<'py, PyDict>> {
        let (page, problem) = self.work(py, |open| look_at(open, PageId(page)))?;
        let is_tree = matches!(page.kind(), Kind::Leaf | Kind::Inner);
        let right = (is_tree && !page.right().is_none()).then(|| page.right().0);
        Ok(dict!(py, {
            "page": page.id().0,
            "kind": format!("{:?}", page.kind()).to_lowercase(),
            "level": page.level(),
            "tree": page.tree().0,
            "lsn": page.lsn().0,
            "incarnation": page.incarnation().0,
            "right": right,
            "records": if is_tree && problem.is_none() { page.slots() } else { 0 },
            "free_bytes": if is_tree && problem.is_none() { page.free_bytes() } else { 0 },
            "ok": problem.is_none(),
            "problem": problem.map(|error| error.to_string()),
        }))
    }

    fn rotate_log(&self, py: Python<'_>) -> PyResult<()> {
        self.work(py, |open| open.shared().core.log.rotate())
    }

    fn set_read_only(&self, py: Python<'_>, value: bool) -> PyResult<()> {
        self.work(py, |open| open.store.set_read_only(value))
    }

    /// Stops all changes: damage, told by its page or by its place in words, could not be repaired.
    #[pyo3(signature = (page = None, place = None))]
    fn halt_writes(&self, py: Python<'_>, page: Option<u32>, place: Option<String>) -> PyResult<()> {
        self.work(py, |open| {
            let mut halted = Error::new(Code::WritesHalted);
            if let Some(page) = page {
                halted = halted.with("page_id", page);
            }
            if let Some(place) = place {
                halted = halted.with("place", place);
            }
            open.shared().halt.begin(halted);
            Ok(())
        })
    }

    /// Takes changes again.
    fn allow_writes(&self, py: Python<'_>) -> PyResult<()> {
        self.work(py, |open| {
            open.shared().halt.lift();
            Ok(())
        })
    }

    /// Clean shutdown; a job that is cancelled leaves what an early opening has left to the next open.
    /// Keys: aborted (number of live transactions aborted).
    #[pyo3(signature = (job = None))]
    fn close<'py>(
        &self,
        py: Python<'py>,
        job: Option<&Bound<'py, Job>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let progress = progress_of(job);
        let aborted = detached(py, || self.open.close(&progress))?;
        Ok(dict!(py, { "aborted": aborted }))
    }
}

/// A page past the cache, and what is wrong with it.
fn look_at(open: &OpenStore, id: PageId) -> Result<(Page, Option<Error>)> {
    let pool = &open.shared().core.pool;
    if id.0 >= pool.file_pages() {
        return Err(Error::new(Code::PageNotFound)
            .with("page_id", id.0)
            .with("available_pages", pool.file_pages()));
    }
    let mut page = pool.read_raw(id)?;
    let problem = page.validate(id, pool.log().end()).err();
    Ok((page, problem))
}
