//! Snapshots: taken and dropped while the store is in use, looked at, made databases of their own.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::errors::detached;
use super::job::{Job, progress_of};
use super::open::OpenStore;
use super::options::store_options;
use super::status::dict;
use super::store::{Store, disk_of, lock_existing, this_process};
use crate::disk::os::OsDisk;
use crate::error::{Code, Error, Result};
use crate::lockfile::LockFile;
use crate::mirror::standing::renew_mirrors;
use crate::moment::{self, Snapshot, State, Wanted};

fn tell<'py>(py: Python<'py>, snapshot: &Snapshot) -> PyResult<Bound<'py, PyDict>> {
    let moment = &snapshot.moment;
    Ok(dict!(py, {
        "number": snapshot.number,
        "name": moment.name.as_str(),
        "taken_at": moment.taken_at as f64 / 1e6,
        "scheduled": moment.is_scheduled,
        "lsn": moment.end_lsn.0,
        "committed_at": moment.committed_at.max(0) as f64 / 1e6,
        "pages": snapshot.pages,
        "bytes": snapshot.bytes,
        "data_bytes": snapshot.data_bytes,
        "whole": snapshot.state == State::Whole,
        "is_open": snapshot.is_open,
    }))
}

/// Makes a closed database what one of its snapshots is, in place.
#[pyfunction]
#[pyo3(signature = (path, name, options, job = None))]
pub fn revert_to_snapshot(
    py: Python<'_>,
    path: PathBuf,
    name: &str,
    options: &Bound<'_, PyDict>,
    job: Option<&Bound<'_, Job>>,
) -> PyResult<u64> {
    let (options, holder, progress) = (store_options(options)?, this_process(py)?, progress_of(job));
    detached(py, || {
        let (disk, chain, _lock) = lock_existing(&path, &holder)?;
        let pages = moment::revert(&disk, &chain, name, &options, &progress)?;
        renew_mirrors(&*disk)?;
        Ok(pages)
    })
}

fn ensure_empty(target: &Path) -> Result<()> {
    let told = || target.display().to_string();
    match std::fs::read_dir(target).map(|mut entries| entries.next()) {
        Ok(Some(_)) => Err(Error::new(Code::TargetNotEmpty).with("path", told())),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("list", &told(), &error))
        }
        _ => Ok(()),
    }
}

#[pymethods]
impl Store {
    /// Every snapshot, oldest first.
    fn snapshots<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let found = self.work(py, |open| Ok(open.chain()?.snapshots()))?;
        found.iter().map(|snapshot| tell(py, snapshot)).collect()
    }

    /// Bytes that all snapshots take.
    fn snapshot_bytes(&self, py: Python<'_>) -> PyResult<u64> {
        self.work(py, |open| Ok(open.chain()?.bytes()))
    }

    /// Takes a snapshot while the store is in use.
    #[pyo3(signature = (name, scheduled = false, job = None))]
    fn take_snapshot<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        scheduled: bool,
        job: Option<&Bound<'py, Job>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let progress = progress_of(job);
        let wanted = Wanted { name: name.to_owned(), is_scheduled: scheduled };
        let taken = self.working(py, &progress, |open| {
            moment::take(&open.store, open.chain()?, &wanted, &progress)
        })?;
        tell(py, &taken)
    }

    fn drop_snapshot(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        self.work(py, |open| open.chain()?.drop_named(name))
    }

    /// Opens a snapshot for reading only; the folder `beside` takes what that writes.
    #[pyo3(signature = (name, beside, options, job = None))]
    fn look_at_snapshot(
        &self,
        py: Python<'_>,
        name: &str,
        beside: PathBuf,
        options: &Bound<'_, PyDict>,
        job: Option<&Bound<'_, Job>>,
    ) -> PyResult<Store> {
        let (options, holder, progress) = (store_options(options)?, this_process(py)?, progress_of(job));
        let opened = self.working(py, &progress, |open| {
            let lock = LockFile::acquire(&beside, &holder)?;
            let (store, reader) =
                moment::look(open.chain()?, name, &disk_of(&beside), &options, &progress)?;
            let opened = OpenStore::new(store, options.opening.log.clone(), None, lock);
            opened.hold(reader);
            Ok(opened)
        })?;
        Ok(Store::new(opened))
    }

    /// Proves a snapshot; returns the number of pages read.
    #[pyo3(signature = (name, beside, job = None))]
    fn verify_snapshot(
        &self,
        py: Python<'_>,
        name: &str,
        beside: PathBuf,
        job: Option<&Bound<'_, Job>>,
    ) -> PyResult<u64> {
        let progress = progress_of(job);
        self.working(py, &progress, |open| {
            moment::verify(open.chain()?, name, &disk_of(&beside), &progress)
        })
    }

    /// Makes what is open for reading only a database of its own in the missing or empty `target`.
    #[pyo3(signature = (target, job = None))]
    fn copy_to(&self, py: Python<'_>, target: PathBuf, job: Option<&Bound<'_, Job>>) -> PyResult<u64> {
        let progress = progress_of(job);
        self.working(py, &progress, |open| {
            if !open.store.is_view() {
                return Err(Error::internal("only what is open for reading only is copied"));
            }
            ensure_empty(&target)?;
            let existed = target.exists();
            let done = moment::restore(&open.store, &OsDisk::new(&target), &progress);
            if done.is_err() {
                // Folders that were made on the way go too; the files are gone already.
                let _ = std::fs::remove_dir(target.join(crate::log::segments::FOLDER));
                if !existed {
                    let _ = std::fs::remove_dir(&target);
                }
            }
            done
        })
    }
}
