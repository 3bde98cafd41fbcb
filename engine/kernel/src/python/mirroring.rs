//! Mirrors: kept by an open store, judged and promoted without one.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::errors::detached;
use super::job::{Job, progress_of};
use super::open::OpenStore;
use super::options::store_options;
use super::status::{dict, seconds};
use super::store::{Store, disk_of, this_process};
use super::value::field;
use crate::control;
use crate::disk::Disk;
use crate::error::{Code, Error, Result};
use crate::lockfile::{Holder, LockFile};
use crate::mirror::{self, MirrorStatus, Outlook, Standing};
use crate::sync::Arc;

#[pymethods]
impl Store {
    /// Begins to keep a mirror in the directory `path`, which exists; its first copy is made in the
    /// background.
    #[pyo3(signature = (path, synchronous = false))]
    fn mirror_add(&self, py: Python<'_>, path: &str, synchronous: bool) -> PyResult<()> {
        self.work(py, |open| open.store.mirrors().add(Path::new(path), synchronous).map(|_| ()))
    }

    /// Stops keeping a mirror; with `remove_files` it is removed from its directory.
    #[pyo3(signature = (path, remove_files = false))]
    fn mirror_remove(&self, py: Python<'_>, path: &str, remove_files: bool) -> PyResult<()> {
        self.work(py, |open| open.store.mirrors().remove(path, remove_files))
    }

    /// Gives a mirror that does not follow a new copy; what only its directory holds is lost.
    fn mirror_renew(&self, py: Python<'_>, path: &str) -> PyResult<()> {
        self.work(py, |open| open.store.mirrors().renew(path))
    }

    /// How each mirror stands.
    fn mirrors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let all = self.work(py, |open| Ok(open.store.mirrors().status()))?;
        let list = PyList::empty(py);
        for status in &all {
            list.append(described(py, status)?)?;
        }
        Ok(list)
    }

    /// Proves a mirror while it is kept; see `mirror_verify`.
    #[pyo3(signature = (path, scratch, job = None))]
    fn mirror_verify<'py>(
        &self,
        py: Python<'py>,
        path: &str,
        scratch: &str,
        job: Option<&Bound<'py, Job>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let progress = progress_of(job);
        let (end, report) = self.working(py, &progress, |open| {
            open.store.mirrors().find(path)?.verify(disk_of(Path::new(scratch)), &progress)
        })?;
        Ok(dict!(py, {
            "end_lsn": end.0,
            "pages": report.pages,
            "records": report.records,
            "problems": report.problems.iter().map(|p| p.detail.clone()).collect::<Vec<_>>(),
        }))
    }

    /// Replaces damaged pages of a mirror by those of this database; returns how many.
    #[pyo3(signature = (path, job = None))]
    fn mirror_mend(&self, py: Python<'_>, path: &str, job: Option<&Bound<'_, Job>>) -> PyResult<u64> {
        let progress = progress_of(job);
        self.working(py, &progress, |open| open.store.mirrors().find(path)?.mend(&progress))
    }
}

fn described<'py>(py: Python<'py>, status: &MirrorStatus) -> PyResult<Bound<'py, PyDict>> {
    let error = match &status.error {
        Some(error) => {
            let fields = PyDict::new(py);
            for (name, value) in &error.fields {
                fields.set_item(name, field(py, value)?)?;
            }
            Some((error.code.number(), fields))
        }
        None => None,
    };
    Ok(dict!(py, {
        "path": &status.path,
        "synchronous": status.is_synchronous,
        "in_step": status.is_in_step,
        "phase": status.phase.name(),
        "error": error,
        "shipped_lsn": status.shipped.0,
        "redone_lsn": status.redone.0,
        "lag_bytes": status.lag_bytes,
        "lag_s": status.lag_seconds,
        "held": status.is_held,
        "copies": status.copies,
        "copied": status.copied,
        "to_copy": status.to_copy,
        "shipped_bytes": status.shipped_bytes,
        "mended": status.mended,
        "log_mended": status.log_mended,
    }))
}

/// What a directory says that it is; `None` where it says nothing. Keys: role, epoch, other,
/// database_id, mirrors [{path, synchronous}], parted_at.
#[pyfunction]
pub fn mirror_standing<'py>(py: Python<'py>, path: &str) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(found) = detached(py, || Standing::read(&*disk_of(Path::new(path))))? else {
        return Ok(None);
    };
    let mirrors = PyList::empty(py);
    for known in &found.mirrors {
        mirrors.append(dict!(py, { "path": &known.path, "synchronous": known.is_synchronous }))?;
    }
    Ok(Some(dict!(py, {
        "role": found.role.name(),
        "epoch": found.epoch,
        "other": &found.other,
        "database_id": mirror::hex(&found.database.0),
        "mirrors": mirrors,
        "parted_at": found.parted_at.0,
    })))
}

/// A disk, and the lock that is held on it.
type Held = (Option<Arc<dyn Disk>>, Option<LockFile>);

/// The disk of a former primary, with its lock, where it can be reached. `DatabaseOpenElsewhere`
/// where somebody works with it.
fn reached(primary: Option<&str>, holder: &Holder) -> Result<Held> {
    let Some(path) = primary.map(Path::new) else { return Ok((None, None)) };
    let disk = disk_of(path);
    if !matches!(disk.exists(control::PATH), Ok(true)) {
        return Ok((None, None));
    }
    match LockFile::acquire(path, holder) {
        Ok(lock) => Ok((Some(disk), Some(lock))),
        Err(error) if error.code == Code::IoError => Ok((None, None)),
        Err(error) => Err(error),
    }
}

fn outlook_dict<'py>(py: Python<'py>, found: &Outlook) -> PyResult<Bound<'py, PyDict>> {
    Ok(dict!(py, {
        "epoch": found.epoch,
        "primary": &found.primary,
        "end_lsn": found.end.0,
        "last_commit_at": seconds(found.last_commit_at),
        "redo_bytes": found.redo_bytes,
        "lost_bytes": found.missing.map(|missing| missing.bytes),
        "lost_commits": found.missing.map(|missing| missing.commits),
        "broken": found.broken.as_deref(),
        "begun": found.is_begun,
    }))
}

/// What failing over to the mirror in `path` would lose; changes nothing.
#[pyfunction]
#[pyo3(signature = (path, primary = None))]
pub fn mirror_outlook<'py>(
    py: Python<'py>,
    path: &str,
    primary: Option<&str>,
) -> PyResult<Bound<'py, PyDict>> {
    let found = detached(py, || {
        let primary = primary.map(|path| disk_of(Path::new(path)));
        let primary = primary.filter(|disk| matches!(disk.exists(control::PATH), Ok(true)));
        mirror::outlook(&disk_of(Path::new(path)), primary.as_ref())
    })?;
    outlook_dict(py, &found)
}

/// Makes the mirror in `path` the primary; it needs a recovery afterwards. Keys: as those of
/// `mirror_outlook`.
#[pyfunction]
#[pyo3(signature = (path, primary = None, accept_cut = false))]
pub fn mirror_fail_over<'py>(
    py: Python<'py>,
    path: &str,
    primary: Option<&str>,
    accept_cut: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let holder = this_process(py)?;
    let found = detached(py, || {
        let _lock = LockFile::acquire(Path::new(path), &holder)?;
        let (primary, _its_lock) = reached(primary, &holder)?;
        mirror::fail_over(&disk_of(Path::new(path)), path, primary.as_ref(), accept_cut)
    })?;
    outlook_dict(py, &found)
}

/// Recovers the mirror in `path` beside itself, in the folder `scratch`, and checks all of it. Nobody
/// may be keeping it meanwhile.
#[pyfunction]
#[pyo3(signature = (path, scratch, job = None))]
pub fn mirror_verify<'py>(
    py: Python<'py>,
    path: &str,
    scratch: &str,
    job: Option<&Bound<'py, Job>>,
) -> PyResult<Bound<'py, PyDict>> {
    let (progress, holder) = (progress_of(job), this_process(py)?);
    let (end, report) = detached(py, || {
        let _lock = LockFile::acquire(Path::new(path), &holder)?;
        mirror::verify(&disk_of(Path::new(path)), disk_of(Path::new(scratch)), None, &progress)
    })?;
    Ok(dict!(py, {
        "end_lsn": end.0,
        "pages": report.pages,
        "records": report.records,
        "problems": report.problems.iter().map(|p| p.detail.clone()).collect::<Vec<_>>(),
    }))
}

/// Opens what a former primary, or a mirror, in `path` holds, for reading only, whatever has become of
/// its place; the folder `beside` takes what that writes. Nobody else may have it open.
#[pyfunction]
#[pyo3(signature = (path, beside, options, job = None))]
pub fn mirror_look(
    py: Python<'_>,
    path: PathBuf,
    beside: PathBuf,
    options: &Bound<'_, PyDict>,
    job: Option<&Bound<'_, Job>>,
) -> PyResult<Store> {
    let (options, holder, progress) = (store_options(options)?, this_process(py)?, progress_of(job));
    let opened = detached(py, || {
        let disk = disk_of(&path);
        if !disk.exists(control::PATH)? {
            return Err(Error::new(Code::DatabaseNotFound).with("path", path.display().to_string()));
        }
        let lock = LockFile::acquire(&path, &holder)?;
        let store = mirror::look(&disk, disk_of(&beside), &options, &progress)?;
        Ok(OpenStore::new(store, options.opening.log.clone(), None, lock))
    })?;
    Ok(Store::new(opened))
}
